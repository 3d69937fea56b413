//! What the store promises, on both engines.
//!
//! Everything under `both/` runs on SQLite and on PostgreSQL.

#[macro_use]
mod engines;

mod both;
mod sqlite;
