//! What workers are told and asked, how far they are, and what they ask of a subsystem besides [`Subsystem`]'s
//! own contract.

use crate::barrier::{FirewallGate, Guarded};
use crate::cadence::LONGEST_GAP;
use crate::failure::LONGEST_WAIT;
use crate::subsystem::{ForeignDevices, Subsystem, SubsystemError};
use novanet_model::{HostObject, ObjectKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// An object that is new or different (`Some`) or gone (`None`).
pub type ObjectChange = (ObjectKey, Option<Arc<HostObject>>);

/// What a worker is told.
pub(crate) enum Command {
    Batch(Batch),
    Query(Query, oneshot::Sender<Result<String, String>>),
    Stop,
}

/// Objects that changed together.
#[derive(Clone)]
pub(crate) struct Batch {
    pub(crate) number: u64,
    pub(crate) objects: Arc<[ObjectChange]>,
}

/// What a worker can be asked.
#[derive(Debug, Clone, Copy)]
pub enum Query {
    /// What the subsystem must have, as text.
    Plan {
        /// Only what would change now.
        diff: bool,
    },
    /// See [`Shows::show`].
    Show,
    /// From now on nothing is made or removed, except by a cleanup.
    Pause,
    /// Removes everything of ours.
    Cleanup {
        /// Only says what that is.
        dry_run: bool,
    },
    /// See [`Shows::in_use`].
    InUse,
}

/// How far a worker is.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Creations and changes up to this batch were tried; `errors` and `unready` are at least as new.
    pub created: u64,
    /// Why what every host has of this subsystem is not in force.
    pub unready: Option<String>,
    /// Everything up to this batch was tried.
    pub done: u64,
    /// What is not in force, by object.
    pub errors: Arc<BTreeMap<ObjectKey, String>>,
    /// What of others is in the way of what is in force, as last observed.
    pub warnings: Arc<BTreeMap<ObjectKey, String>>,
    /// After a cleanup: nothing is made any more.
    pub paused: bool,
}

/// A subsystem that can show what is there as text for people.
#[allow(async_fn_in_trait)] // subsystems are used as concrete types only
pub trait Shows: Subsystem {
    /// What fails is tried again after this time at the latest.
    const LONGEST_WAIT: Duration = LONGEST_WAIT;

    /// The longest pause between two observations that disturbances ask for.
    const LONGEST_PAUSE: Duration = LONGEST_GAP;

    /// An item's value in a plan, for people.
    fn describe(value: &Self::Value) -> String {
        format!("{value:?}")
    }

    /// The text, in the words of the tool that an administrator would use.
    async fn show(&mut self) -> Result<String, SubsystemError> {
        Err(SubsystemError::Refused("nothing to show".to_owned()))
    }

    /// What of others is in the way of what is in force, with the remedy; keys are `host/…`.
    fn warnings(&self) -> BTreeMap<ObjectKey, String> {
        BTreeMap::new()
    }

    /// Waits until what was applied is done, in a subsystem that goes on working behind `apply`.
    async fn finish(&mut self) {}

    /// Whom to ask whether the firewall is around an instance. Called once, before anything else, in
    /// a subsystem that makes what must not be without it.
    fn set_firewall_gate(&mut self, _shield: FirewallGate) {}

    /// What of this subsystem is in use by something that runs: a cleanup that could not end it leaves
    /// the subsystem alone. One line; empty: nothing.
    async fn in_use(&mut self) -> Result<String, SubsystemError> {
        Ok(String::new())
    }
}

/// Where a worker knows from which bridges' names are somebody else's.
pub(crate) enum ForeignView {
    /// From its own subsystem, and it tells the others. `None` until it has looked.
    Source(watch::Sender<Option<ForeignDevices>>),
    /// From the one that sees.
    Subscriber(watch::Receiver<Option<ForeignDevices>>),
}

/// Progress of other workers, for the order of things.
pub(crate) struct Dependencies {
    /// Subsystems that this one stands on: its creations wait for theirs.
    pub(crate) below: Vec<watch::Receiver<Progress>>,
    /// The subsystem that stands on this one: removals wait for its removals.
    pub(crate) above: Option<watch::Receiver<Progress>>,
    /// Whether the first batch waits for `below`. The firewall does not: there is no moment in
    /// which bridges and ports are there and rules are not.
    pub(crate) first_waits: bool,
    /// The subsystem without whose protection this one does not make these, however long it takes.
    pub(crate) firewall_gate: Option<(watch::Receiver<Progress>, Guarded)>,
    /// See [`ForeignView`].
    pub(crate) sight: ForeignView,
}
