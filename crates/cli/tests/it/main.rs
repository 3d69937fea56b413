//! The binary from outside: arguments → exit code, stdout, stderr.

#![allow(clippy::unwrap_used, missing_docs)]

mod check;
mod flags;
mod manage;
