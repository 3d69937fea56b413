//! HTTP: the EC2 API for clients, and the agent API for hosts.
//!
//! Handlers parse, call one use case of `control`, and render; they decide nothing. Must not know:
//! SQL, the kernel.

pub mod agent_api;
mod ec2;
mod questions;
mod server;

pub use questions::Questions;
pub use server::{Server, ServerConfig, ServerError};
