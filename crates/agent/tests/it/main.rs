//! The agent's rooms on real kernels, daemons and packets, in namespaces of their own.
#![allow(clippy::unwrap_used, missing_docs)]

mod dhcp;
mod link;
mod link_uplink;
mod room;
