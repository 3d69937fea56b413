//! What a signature check costs. Prints; the figure is held by the benchmarks, in release.

#![allow(clippy::print_stderr)]

use crate::recorded::{self, NOW};
use std::time::Instant;

#[test]
fn reading_and_checking_a_request_is_cheap() {
    const ROUNDS: u32 = 200;
    for request in recorded::all() {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            request.verify("SK", NOW).unwrap();
        }
        let each = start.elapsed() / ROUNDS;
        eprintln!(
            "{} {} bytes: {each:?}",
            request.method,
            request.query.len() + request.body.len()
        );
    }
}
