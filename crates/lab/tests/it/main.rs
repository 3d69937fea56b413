//! What the laboratory promises, shown on real namespaces, a real server and real packets.
#![allow(missing_docs, clippy::unwrap_used)]

mod host;
mod postgres;
mod waiting;
