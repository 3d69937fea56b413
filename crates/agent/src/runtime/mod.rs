//! The running agent of one host: stores the objects that the server sends, hands them to the
//! workers of the subsystems, and reports their progress. Depends on `novanet-reconcile` for the
//! workers.

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
pub use lineage::Mismatch;
pub use lock::{Lock, NamespaceLock};
pub use offline::{Offline, has_ledger, offline_with};
pub use questions::{Answers, Console};
pub use run::{Options, offline, run, run_with};
pub use saved_settings::{saved_settings, saved_settings_path};
pub use serve::{Parts, serve};
