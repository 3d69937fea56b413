//! What the agent promises, in namespaces with real packets.
#![allow(clippy::unwrap_used, missing_docs)]

mod firewall;
mod firewall_float;
mod firewall_objects;
mod firewall_property;
mod firewall_repair;
mod firewall_scale;
mod firewall_spoof;
mod firewall_world;
