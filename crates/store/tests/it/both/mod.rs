//! Promises that hold on both engines, by groups of tables. Tests here are made by `both!` only.

mod seed;

mod follow;
mod pool;
mod pool_model;
mod schema;
mod transactions;
mod views;
