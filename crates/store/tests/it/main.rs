//! What the store promises, on both engines.
//!
//! Everything under `both/` runs on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, missing_docs, clippy::disallowed_methods)]

#[macro_use]
mod engines;

mod both;
mod coverage;
mod cut_off;
mod group_commit;
mod killed;
mod listen;
mod postgres;
mod real_faults;
mod sqlite;
