//! Tests of the agent, one binary: linking is what costs on two cores. Rooms are tried on the real
//! kernel, each test in namespaces of its own.
#![allow(clippy::unwrap_used, clippy::large_futures, missing_docs)]

mod dhcp;
mod dhcp_files;
mod dhcp_process;
mod dhcp_support;
mod engine;
mod engine_float;
mod engine_ground;
mod engine_ledger;
mod engine_real;
mod engine_shield;
mod engine_support;
mod firewall;
mod firewall_float;
mod firewall_flow;
mod firewall_guard;
mod firewall_objects;
mod firewall_one_float;
mod firewall_outside;
mod firewall_property;
mod firewall_repair;
mod firewall_scale;
mod firewall_spoof;
mod firewall_world;
mod guard_engine;
mod guard_foreign;
mod guard_hurry;
mod guard_packets;
mod guard_races;
mod image;
mod instance;
mod kill_engine;
mod link;
mod link_dispute;
mod link_float;
mod link_keep;
mod link_mark;
mod link_mtu;
mod link_setting;
mod link_uplink;
mod metadata;
mod property;
mod protocol;
mod protocol_server;
mod room;
