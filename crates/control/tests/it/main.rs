//! What the use cases promise. Every test runs on SQLite and on PostgreSQL.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    clippy::disallowed_methods
)]

mod deletion;
mod fake_host;
mod world;

mod addresses;
mod atomic;
mod auth;
mod controllers;
mod groups;
mod host_addresses;
mod hosts;
mod hosts_moved;
mod images;
mod killed;
mod launch;
mod launch_networks;
mod launch_together;
mod members;
mod network_modify;
mod networks;
mod power;
mod projects;
mod property;
mod restored;
mod terminate;
mod trouble;
mod user_data;
mod vpn;
