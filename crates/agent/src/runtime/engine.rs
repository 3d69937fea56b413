//! The engine: the desired objects, the ledger, the four workers, and their progress. The server's
//! client and the local socket use [`Engine`], which is cheap to clone and waits for a subsystem in
//! queries only. Depends on `novanet-reconcile` for the workers.

use super::addresses::Addresses;
use super::desired_objects::{DesiredObjects, MergeResult};
use super::lineage::{Held, Mismatch};
use crate::ledger::{self, Ledger};
use novanet_model::wire::{
    Digest, Follow, InstanceReport, InstanceState, ObjectError, Objects, Status,
};
use novanet_model::{InstanceId, ObjectKey};
use novanet_reconcile::{
    ForeignDevices, Inspect, ObjectChange, Progress, Query, Subsystem, Subsystems, Timing,
    WorkerHandles, Workers, host_key,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// Handle to a host's engine.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    /// Locked before `state`, and while the news are written. Not part of `state`: readers of that
    /// must not wait for the disk.
    ledger: Mutex<Option<Ledger>>,
    state: Mutex<State>,
    workers: WorkerHandles,
}

#[derive(Default)]
struct State {
    table: DesiredObjects,
    addresses: Addresses,
    held: Held,
    batch: u64,
    /// For each batch that the workers have not done: the position that is applied then.
    applied_positions: VecDeque<(u64, Follow)>,
    applied: Follow,
    instances: BTreeMap<InstanceId, InstanceReport>,
    unsent: BTreeMap<InstanceId, InstanceReport>,
}

/// The result of the server's news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewsResult {
    /// Merged; the next request continues from [`Engine::position`].
    Merged,
    /// The news do not continue the objects here: ask for the whole list.
    ListAgain,
    /// The news are of a database that this host does not follow: nothing was merged, see
    /// [`Mismatch`].
    Held,
}

impl Engine {
    /// An engine over these subsystems. With a ledger, what it holds is brought up at once.
    pub fn new<L, F, D, I>(
        subsystems: Subsystems<L, F, D, I>,
        ledger: Option<(Ledger, DesiredObjects)>,
        timing: &Timing,
    ) -> (Self, Workers<L, F, D, I>)
    where
        L: Subsystem + Inspect,
        F: Subsystem + Inspect,
        D: Subsystem + Inspect,
        I: Subsystem + Inspect,
    {
        let (handles, workers) = WorkerHandles::new(subsystems, timing);
        let inner = Inner {
            ledger: Mutex::default(),
            state: Mutex::default(),
            workers: handles,
        };
        let engine = Self {
            inner: Arc::new(inner),
        };
        if let Some((ledger, table)) = ledger {
            engine.start_from(ledger, table);
        }
        (engine, workers)
    }

    fn start_from(&self, ledger: Ledger, table: DesiredObjects) {
        *self.ledger() = Some(ledger);
        let mut state = self.state();
        state.table = table;
        if state.table.is_known() {
            let all = state.table.iter();
            let all = all.map(|(key, entry)| (key.clone(), Some(Arc::clone(&entry.object))));
            let all: Vec<_> = all.collect();
            tracing::info!(
                objects = all.len(),
                "the host is brought up from the ledger"
            );
            self.hand_out(&mut state, all);
        }
    }

    /// How far the table is, for the next question to the server.
    pub fn position(&self) -> Follow {
        self.state().table.position()
    }

    /// Merges the server's news, writes them to the ledger, and sends the objects that differ to
    /// the workers.
    pub fn merge(&self, mut news: Objects) -> NewsResult {
        news.questions = Vec::new();
        let mut ledger = self.ledger();
        {
            let mut state = self.state();
            if let Some(mismatch) = Mismatch::about(&state.table, &news) {
                if state.held.hold(mismatch) {
                    self.inner.workers.news().notify_one();
                }
                return NewsResult::Held;
            }
        }
        let idle = !news.whole && news.changes.is_empty();
        let line = ledger
            .as_ref()
            .filter(|_| !idle)
            .map(|_| ledger::line(&news));
        let MergeResult::Changed(changed) = self.state().table.merge(news) else {
            return NewsResult::ListAgain;
        };
        // On disk before anything is made of it.
        if let (Some(ledger), Some(line)) = (&mut *ledger, line)
            && ledger.add(&line)
        {
            ledger.renew(&self.state().table);
        }
        let mut state = self.state();
        state.held.release();
        // Something came and went before we heard of it: no worker will say that we are that far.
        let nothing_to_do = !idle && changed.is_empty();
        self.hand_out(&mut state, changed);
        if nothing_to_do {
            self.inner.workers.news().notify_one();
        }
        NewsResult::Merged
    }

    /// Whether the table is what the server says; `None`: they are of different moments.
    pub fn agrees(&self, digest: &Digest) -> Option<bool> {
        self.state().table.agrees(digest)
    }

    /// Why the host takes nothing from the server, with the remedy; `None`: it does.
    pub fn held(&self) -> Option<String> {
        self.state().held.message()
    }

    /// Which instance has this address on this host's networks.
    pub fn instance_at(&self, address: Ipv4Addr) -> Option<InstanceId> {
        self.state().addresses.instance(address)
    }

    /// An instance is in another state now.
    pub fn report(&self, report: InstanceReport) {
        let mut state = self.state();
        let before = state.instances.insert(report.instance, report.clone());
        if before.as_ref() != Some(&report) {
            state.unsent.insert(report.instance, report);
            self.inner.workers.news().notify_one();
        }
    }

    /// Every instance is reported again: the server may have lost what it knew.
    pub fn report_all_again(&self) {
        let mut state = self.state();
        state.unsent = state.instances.clone();
        self.inner.workers.news().notify_one();
    }

    /// How far the host is, and what is not in force.
    pub fn status(&self) -> Status {
        let progress = self.progress();
        let done = progress.iter().map(|worker| worker.done).min().unwrap_or(0);
        let mut errors: BTreeMap<ObjectKey, String> = BTreeMap::new();
        for worker in &progress {
            for (key, message) in worker.errors.iter().chain(&*worker.warnings) {
                let text = errors.entry(key.clone()).or_default();
                if !text.is_empty() {
                    text.push_str("; ");
                }
                text.push_str(message);
            }
        }
        if progress.iter().any(|worker| worker.paused) {
            let message = "the host was cleaned up; restart the agent to bring it up again";
            errors.insert(host_key("cleanup"), message.to_owned());
        }
        let mut state = self.state();
        let held = state.held.message();
        let is_held = held.is_some();
        errors.extend(held.map(|message| (host_key("database"), message)));
        while state
            .applied_positions
            .front()
            .is_some_and(|(batch, _)| *batch <= done)
        {
            if let Some((_, position)) = state.applied_positions.pop_front() {
                state.applied = position;
            }
        }
        let object_error = |(key, message)| ObjectError { key, message };
        Status {
            epoch: state.applied.epoch.clone(),
            version: state.applied.after,
            errors: errors.into_iter().map(object_error).collect(),
            // Another database's instances of the same numbers are not these.
            instances: if is_held {
                Vec::new()
            } else {
                state.unsent.values().cloned().collect()
            },
        }
    }

    /// The server has answered this status: what it reported is known there.
    pub fn reported(&self, status: &Status) {
        let mut state = self.state();
        for report in &status.instances {
            if state.unsent.get(&report.instance) == Some(report) {
                state.unsent.remove(&report.instance);
            }
            if report.state == InstanceState::Gone
                && state.instances.get(&report.instance) == Some(report)
            {
                state.instances.remove(&report.instance);
            }
        }
    }

    /// Notified when [`Self::status`] has something new to say.
    pub fn news(&self) -> Arc<Notify> {
        Arc::clone(self.inner.workers.news())
    }

    /// Foreign devices, addresses and routes of the host; `None` before the first observation.
    pub fn foreign(&self) -> watch::Receiver<Option<ForeignDevices>> {
        self.inner.workers.foreign()
    }

    /// Ends the workers, each after the round that it is in. What is on the host stays as it is.
    pub fn stop(&self) {
        self.inner.workers.stop();
    }

    /// Asks one worker.
    pub(super) async fn ask(&self, place: usize, ask: Query) -> Result<String, String> {
        self.inner.workers.ask(place, ask).await
    }

    /// How many workers there are.
    pub(super) fn places(&self) -> usize {
        self.inner.workers.places()
    }

    pub(super) fn progress(&self) -> Vec<Progress> {
        self.inner.workers.progress()
    }

    fn hand_out(&self, state: &mut State, objects: Vec<ObjectChange>) {
        state.addresses.update(&objects);
        // The first list is handed out even if it is empty: then everything of ours goes.
        if state.batch == 0 || !objects.is_empty() {
            state.batch += 1;
            self.inner.workers.send(state.batch, objects);
        }
        let position = state.table.position();
        state
            .applied_positions
            .retain(|(batch, _)| *batch != state.batch);
        state.applied_positions.push_back((state.batch, position));
    }

    fn ledger(&self) -> MutexGuard<'_, Option<Ledger>> {
        // A panic in between costs one line, and the list is fetched again.
        self.inner
            .ledger
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in another thread leaves the table whole: every change to it is one step.
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
