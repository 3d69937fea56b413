//! The laboratory: hosts as namespaces, a temporary PostgreSQL, DHCP and raw frames, and
//! `eventually()`, for the demo, the tests and the bench. Depends on no other crate of ours:
//! nothing here names a network, an instance or a rule.
//!
//! Everything made here is real (real namespaces, the real database server, real packets) and goes
//! away by itself: on drop, and also when its maker is killed, because every holder process watches
//! a pipe that the kernel then closes.

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
mod vm;
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
pub use vm::{Vm, VmOutput};
pub use wire::Wire;
