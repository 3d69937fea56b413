//! The EC2 protocol against recorded requests of real clients, botocore's own code, and chance.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    unreachable_pub,
    clippy::disallowed_methods
)]

mod actions;
mod answers;
mod botocore;
mod chance;
mod ours;
mod recorded;
mod refusals;
mod samples;
mod selecting;
mod speed;
