//! Tests of the reconciler, one binary: no root, no kernel, only the host in memory.
#![allow(clippy::unwrap_used, missing_docs)]

mod property;
