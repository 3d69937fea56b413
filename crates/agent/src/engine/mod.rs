//! Makes a host what the server wants it to be: keeps the objects, hands them to the subsystems, and
//! says how far they are.
//!
//! [`reconcile`] keeps one subsystem right, [`worker`] is its task, [`core`] holds them together. The
//! order is links, firewall, DHCP, instances; removals in reverse. What must not be there without
//! the firewall (floating IPs, instances) waits for it however long that takes ([`barrier`]).
//!
//! What is held back is held back for one of five reasons, each with its own end: the order of subsystems
//! (a time limit, [`worker`]), a failure (the clock, [`failure`], or [`hurry`]), a missing firewall (its
//! word, [`barrier`] and [`waiting`]), a bridge that is somebody else's (what is on the host, [`network_conflicts`]
//! and [`standing`]), another object that has the item (what the server wants, [`conflict`]).
//!
//! Nothing here retries inside a round: the next round is the retry, with a backoff per failing item.
//!
//! Must not know: the insides of a subsystem, HTTP.

mod addresses;
mod barrier;
pub mod cadence;
mod command;
mod conflict;
pub mod core;
pub mod error;
mod failure;
mod hurry;
pub mod identity;
mod kept;
pub mod lineage;
pub mod lock;
mod network_conflicts;
pub mod offline;
pub mod preflight;
pub mod questions;
pub mod reconcile;
mod render;
pub mod run;
pub mod serve;
mod standing;
pub mod table;
mod waiting;
pub mod worker;

pub use barrier::FirewallGate;
pub use cadence::Timing;
pub use core::{Engine, Subsystems, Takes, Workers};
pub use error::AgentError;
pub use kept::{kept, kept_path};
pub use lineage::Doubt;
pub use lock::{Lock, NamespaceLock};
pub use offline::{Offline, has_ledger, offline_with};
pub use questions::{Answers, Console};
pub use reconcile::{Blocked, Reconciler, Round};
pub use run::{Options, offline, run, run_with};
pub use serve::{Parts, serve};
pub use table::Table;
pub use worker::Shows;

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// The duration ±20 %, so that hosts (and subsystems) do not act in step.
pub fn jitter(duration: Duration) -> Duration {
    // The hasher's keys differ for each call: random enough, and no dependency.
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    let percent = 80 + u32::try_from(random % 41).unwrap_or(20);
    duration * percent / 100
}
