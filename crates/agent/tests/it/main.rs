//! Tests of the agent, one binary: linking is what costs on two cores. Subsystems are tried on the real
//! kernel, each test in namespaces of its own.
#![allow(
    clippy::unwrap_used,
    clippy::large_futures,
    missing_docs,
    clippy::disallowed_methods
)]

mod dhcp;
mod dhcp_checksum;
mod dhcp_dns;
mod dhcp_files;
mod dhcp_forged;
mod dhcp_process;
mod dhcp_router;
mod dhcp_support;
mod engine;
mod engine_firewall_gate;
mod engine_float;
mod engine_ledger;
mod engine_network_conflicts;
mod engine_real;
mod engine_support;
mod firewall;
mod firewall_backend;
mod firewall_blocked;
mod firewall_explain;
mod firewall_float;
mod firewall_flow;
mod firewall_guard;
mod firewall_iptables;
mod firewall_objects;
mod firewall_one_float;
mod firewall_outside;
mod firewall_ports;
mod firewall_property;
mod firewall_repair;
mod firewall_scale;
mod firewall_spoof;
mod firewall_upgrade;
mod firewall_world;
mod guard_engine;
mod guard_foreign;
mod guard_packets;
mod guard_races;
mod guard_retries;
mod guard_warnings;
mod image;
mod instance;
mod kill_engine;
mod link;
mod link_confirm;
mod link_conflict;
mod link_floating_ip;
mod link_foreign;
mod link_metadata;
mod link_mtu;
mod link_ownership;
mod link_port;
mod link_removal;
mod link_setting;
mod link_uplink;
mod link_vlan;
mod metadata;
mod protocol;
mod protocol_addresses;
mod protocol_restored;
mod protocol_server;
mod subsystem;
