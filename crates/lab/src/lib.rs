//! The laboratory: hosts as namespaces, a temporary PostgreSQL, DHCP and raw frames, and `eventually()`, for the demo, the tests and the bench.
//!
//! Everything made here is real (real namespaces, the real database server, real packets) and goes away by itself: on drop, and also when the process
//! that made it is killed, because every holder process watches a pipe that the kernel closes for us.
//!
//! Must not know: the product's insides. Nothing here names a network, an instance or a rule; errors are `anyhow`, as in a test.

mod eventually;
mod host;
mod postgres;

pub use eventually::{eventually, eventually_async};
pub use host::{Host, HostOptions, Output, Process, connect, inside_host};
pub use postgres::{Database, Postgres, PostgresOptions};
