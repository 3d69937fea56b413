//! The server as agents and EC2 clients see it: over its socket and its port.

#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

mod admin;
mod agent_api;
mod client;
mod connection;
mod ec2;
mod fake_agent;
mod hostile;
mod roles;
mod world;
