//! What the crate promises, against real programs where there are some.
#![allow(clippy::unwrap_used, missing_docs)]

mod archive;
mod credentials;
mod ssh;
mod vault;
mod x509;
