//! The agent of one host at work: keeps the objects that the server sends, hands them to the
//! subsystems' workers (`novanet-reconcile`), and reports how far they are.

mod addresses;
#[cfg(test)]
mod describe;
pub mod desired_objects;
pub mod engine;
pub mod error;
pub mod identity;
pub mod lineage;
pub mod lock;
pub mod offline;
pub mod preflight;
pub mod questions;
pub mod run;
mod saved_settings;
pub mod serve;

pub use desired_objects::DesiredObjects;
pub use engine::{Engine, NewsResult};
pub use error::AgentError;
pub use lineage::Doubt;
pub use lock::{Lock, NamespaceLock};
pub use offline::{Offline, has_ledger, offline_with};
pub use questions::{Answers, Console};
pub use run::{Options, offline, run, run_with};
pub use saved_settings::{saved_settings, saved_settings_path};
pub use serve::{Parts, serve};
