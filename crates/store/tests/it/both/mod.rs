//! Promises that hold on both engines, by groups of tables. Tests here are made by `both!` only.

pub(crate) mod seed;

mod bad_rows;
mod blocks;
mod certificates;
pub(crate) mod faults;
mod floating_ips;
mod follow;
mod groups;
mod host_addresses;
mod hosts;
mod hosts_moved;
mod instances;
mod listen;
mod network_change;
mod networks;
mod people;
mod plan;
mod pool;
mod pool_model;
mod restored;
mod roles;
mod schema;
mod tombstones;
mod transactions;
mod views;
mod vpns;
