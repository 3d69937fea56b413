//! HTTP: the EC2 API for clients, the agent API for hosts, and questions of the command line.
//!
//! Handlers parse, call one use case of `control`, and render; they decide nothing. Must not know:
//! SQL, the kernel.

mod admin;
pub mod agent_api;
pub mod clock_file;
mod ec2;
mod listeners;
mod lockout;
mod questions;
mod regions;
mod server;
mod state;

pub use questions::{NoAnswer, Questions};
pub use regions::Regions;
pub use server::{Server, ServerConfig, ServerError};
