//! Commands and queries of a worker, what it depends on, and what it asks of a subsystem besides
//! the [`Subsystem`] contract.

use crate::cadence::MAX_GAP;
use crate::desired::Desired;
use crate::firewall_gate::{FirewallGate, Guarded};
use crate::foreign::ForeignDevices;
use crate::progress::Progress;
use crate::reconciler::MAX_RETRY_PAUSE;
use crate::subsystem::{Subsystem, SubsystemError};
use novanet_model::wire::{Packet, RulesView};
use novanet_model::{HostObject, ObjectKey};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// An object that is new or different (`Some`) or gone (`None`).
pub type ObjectChange = (ObjectKey, Option<Arc<HostObject>>);

/// A message to a worker.
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

/// A question to a worker. The answer is text for people.
#[derive(Debug, Clone, Copy)]
pub enum Query {
    /// What the subsystem must have, as text.
    Plan {
        /// Only what would change now.
        diff: bool,
    },
    /// See [`Inspect::show`].
    Show,
    /// See [`Inspect::view`].
    View(RulesView),
    /// See [`Inspect::explain`].
    Explain(Packet),
    /// From now on nothing is made or removed, except by a cleanup.
    Pause,
    /// Removes everything of ours.
    Cleanup {
        /// Only says what that is.
        dry_run: bool,
    },
    /// See [`Inspect::in_use`].
    InUse,
}

/// What a worker needs of a subsystem beside the contract: text for people, warnings, and the hooks
/// around its rounds.
#[allow(async_fn_in_trait)] // subsystems are used as concrete types only
pub trait Inspect: Subsystem {
    /// The longest pause between two attempts of a failing item.
    const MAX_RETRY_PAUSE: Duration = MAX_RETRY_PAUSE;

    /// The longest pause between two observations that external changes ask for.
    const MAX_GAP: Duration = MAX_GAP;

    /// An item's value in a plan, for people.
    fn describe(value: &Self::Value) -> String {
        format!("{value:?}")
    }

    /// The text, in the words of the tool that an administrator would use.
    async fn show(&mut self) -> Result<String, SubsystemError> {
        Err(SubsystemError::Refused("nothing to show".to_owned()))
    }

    /// A part of the text, in the words of a tool of the operator's choice, with the objects that
    /// each line comes from.
    async fn view(
        &mut self,
        _view: RulesView,
        _desired: &Desired<Self::Key, Self::Value>,
    ) -> Result<String, SubsystemError> {
        Err(SubsystemError::Refused("nothing to show".to_owned()))
    }

    /// What becomes of a packet, as an `Explanation` in JSON.
    async fn explain(
        &mut self,
        _packet: Packet,
        _desired: &Desired<Self::Key, Self::Value>,
    ) -> Result<String, SubsystemError> {
        Err(SubsystemError::Refused("nothing to explain".to_owned()))
    }

    /// Foreign things that work against what is in force, with the remedy; keys are `host/…`.
    fn warnings(&self) -> BTreeMap<ObjectKey, String> {
        BTreeMap::new()
    }

    /// Waits until the work that `apply` started is done.
    async fn finish(&mut self) {}

    /// Sets the gate that says whether the firewall protects an instance. The worker calls this
    /// once, before anything else, if the subsystem makes items that need the protection.
    fn set_firewall_gate(&mut self, _gate: FirewallGate) {}

    /// Items that running instances use: a cleanup that could not end these instances leaves the
    /// subsystem alone. One line; empty: none.
    async fn in_use(&mut self) -> Result<String, SubsystemError> {
        Ok(String::new())
    }
}

/// Where a worker has the foreign devices from. `None` until the first observation.
pub(crate) enum ForeignView {
    /// From its own subsystem; it publishes them to the other workers.
    Source(watch::Sender<Option<ForeignDevices>>),
    /// From the worker that observes them.
    Subscriber(watch::Receiver<Option<ForeignDevices>>),
}

impl ForeignView {
    /// The channel, and a maker of one view for each worker, in their order: the first is the
    /// source, the others are subscribers.
    pub(crate) fn of_workers() -> (
        watch::Receiver<Option<ForeignDevices>>,
        impl FnMut() -> Self,
    ) {
        let (source, subscriber) = watch::channel(None);
        let mut source = Some(source);
        let foreign = subscriber.clone();
        let views = move || match source.take() {
            Some(source) => Self::Source(source),
            None => Self::Subscriber(subscriber.clone()),
        };
        (foreign, views)
    }

    pub(crate) fn subscriber(&mut self) -> Option<&mut watch::Receiver<Option<ForeignDevices>>> {
        match self {
            Self::Subscriber(foreign_devices) => Some(foreign_devices),
            Self::Source(_) => None,
        }
    }
}

/// What a worker waits for.
pub(crate) struct Dependencies {
    /// Subsystems below: creations of this worker wait for theirs.
    pub(crate) below: Vec<watch::Receiver<Progress>>,
    /// The subsystem above: removals of this worker wait for its removals.
    pub(crate) above: Option<watch::Receiver<Progress>>,
    /// Whether the first batch waits for `below`. The firewall's does not: there is no moment in
    /// which bridges and ports exist and rules do not.
    pub(crate) first_waits: bool,
    /// The firewall's progress, for a worker that makes these items only while the firewall
    /// protects them, however long that takes.
    pub(crate) firewall_gate: Option<(watch::Receiver<Progress>, Guarded)>,
    pub(crate) foreign_view: ForeignView,
}
