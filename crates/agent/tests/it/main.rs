//! The agent's tests, in one binary.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod engine;
mod engine_support;
mod property;
mod protocol;
mod protocol_server;
