//! Instances on real parts: the OCI runtime, the tiny image, dnsmasq, packets.
#![allow(clippy::unwrap_used)]

mod boot;
mod console;
mod disk;
mod gate;
mod host;
mod ids;
mod killed;
mod life;
mod many;
pub(crate) mod parts;
mod refused;
