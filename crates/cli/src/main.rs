//! The `novanet` binary: argument parsing, tables, exit codes and wiring.
fn main() {}
