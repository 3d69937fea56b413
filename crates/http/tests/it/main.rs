//! The listener as clients see it, in memory and on a paused clock: no limit is waited for in real
//! time.
#![allow(missing_docs, clippy::unwrap_used)]

mod limits;
mod support;
mod times;
