//! Migrations and all SQL; SQLite and PostgreSQL through one code. One file per group of tables.
//!
//! Every function takes a connection ([`Conn`], [`Tx`]) and is executed on both engines in the
//! tests. Rows come out parsed ([`novanet_model::rows`]). What follows from rows is planned by
//! [`novanet_model::plan`] and written by [`plan::replan`] in the same transaction.
//!
//! Must not know: HTTP, the kernel.

pub mod audit;
mod audit_entry;
pub mod blocks;
pub mod certificates;
mod chunks;
pub mod clock;
pub mod counters;
mod db;
mod engine_tx;
mod error;
mod fault;
mod file;
pub mod fixed_ips;
pub mod floating_ips;
mod group_commit;
pub mod groups;
mod hints;
pub mod host_addresses;
pub mod hosts;
pub mod images;
pub mod inject;
mod instance_row;
pub mod instances;
pub mod interfaces;
pub mod key_pairs;
pub mod leases;
mod listen;
mod lock;
pub mod members;
mod migrate;
pub mod network_change;
mod network_row;
pub mod networks;
pub mod objects;
pub mod plan;
pub mod plan_owner;
pub mod pool;
pub mod projects;
mod read;
mod schema;
mod session;
mod tx;
pub mod user_data;
pub mod users;
pub mod views;
pub mod vpns;

pub use db::Db;
pub use engine_tx::Engine;
pub use error::{Result, StoreError, when_full};
pub use fault::Fault;
pub use hints::Hints;
pub use plan_owner::PlanOwner;
pub use session::{Conn, Reading};
pub use tx::{Committed, Tx, now};
