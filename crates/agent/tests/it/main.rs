//! What the agent promises, in namespaces with real packets.
#![allow(clippy::unwrap_used, missing_docs)]

mod firewall;
mod firewall_world;
