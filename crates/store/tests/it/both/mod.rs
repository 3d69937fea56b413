//! Promises that hold on both engines, by groups of tables. Tests here are made by `both!` only.

mod seed;

mod transactions;
mod views;
