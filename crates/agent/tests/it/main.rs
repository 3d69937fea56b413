//! The agent's tests, in one binary.
#![allow(clippy::unwrap_used, missing_docs)]

mod engine;
mod engine_support;
mod property;
