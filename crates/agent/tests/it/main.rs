//! Tests of the agent, one binary: linking is what costs on two cores. Rooms are tried on the real
//! kernel, each test in namespaces of its own.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod engine;
mod engine_ledger;
mod engine_support;
mod firewall;
mod firewall_world;
mod instance;
mod link;
mod link_uplink;
mod metadata;
mod property;
mod protocol;
mod protocol_server;
mod room;
