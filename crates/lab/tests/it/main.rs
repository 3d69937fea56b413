//! Promises of the laboratory, shown on real namespaces, a real server and real packets.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

mod dhcp;
mod host;
mod machine;
mod postgres;
mod sandbox;
mod waiting;
mod wire;
mod workspace_rules;
