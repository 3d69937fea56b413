//! The laboratory: hosts as namespaces, a temporary PostgreSQL, DHCP and raw frames, and
//! `eventually()`, for the demo, the tests and the bench.
//!
//! Everything made here is real (real namespaces, the real database server, real packets) and goes
//! away by itself: on drop, and also when the process that made it is killed, because every holder
//! process watches a pipe that the kernel closes for us.
//!
//! Must not know: the product's insides. Nothing here names a network, an instance or a rule;
//! errors are `anyhow`, as in a test.

// The surroundings of tests are this crate's business: it reads the environment itself.
#![allow(clippy::disallowed_methods)]

#[cfg(feature = "dhcp")]
pub mod dhcp;
mod disk;
mod eventually;
mod host;
mod kernel;
mod machine;
pub mod packet;
mod postgres;
mod proxy;
mod quickest;
mod sandbox;
mod wire;

#[cfg(feature = "dhcp")]
pub use dhcp::{DhcpClient, Lease};
pub use disk::{DiskPlan, FaultyDisk};
pub use eventually::{eventually, eventually_async};
pub use host::{
    Host, HostOptions, Output, Process, connect, in_network_of, inside_host, this_test,
};
pub use kernel::have8021q;
pub use machine::MachineState;
pub use packet::Mac;
pub use postgres::{Database, Postgres, PostgresOptions};
pub use proxy::{Abort, Proxy};
pub use quickest::Quickest;
pub use sandbox::{DetachedSandbox, Sandbox};
pub use wire::Wire;
