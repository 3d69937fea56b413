//! A subsystem at work: one task per subsystem, so that a slow one (an instance that starts) delays
//! no quick one (a floating IP). Depends on the [`Reconciler`] and on the progress of the other
//! workers: creations go upwards (links, firewall, DHCP, instances), removals downwards.
//!
//! Floating IPs are the exception: links answer for one only while the firewall knows it
//! ([`FirewallGate`]).

mod dependency;
mod foreign;
mod query;

use crate::cadence::{Cadence, Timing};
use crate::command::{Batch, Command, Dependencies, Inspect};
use crate::firewall_gate::FirewallGate;
use crate::progress::{Progress, any_moved, moved};
use crate::reconciler::{Reconciler, Round};
use crate::subsystem::Subsystem;
use novanet_model::{HostObject, ObjectKey, ObjectKind};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// A removal that waits for the worker above.
struct DelayedRemoval {
    batch: u64,
    until: Instant,
}

/// How long a subsystem may take to finish when the worker stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(3);

/// What failed in each subsystem below.
type DependencyErrors = Vec<Arc<BTreeMap<ObjectKey, String>>>;

/// The task of one subsystem.
pub struct SubsystemWorker<R: Subsystem> {
    reconciler: Reconciler<R>,
    commands: mpsc::UnboundedReceiver<Command>,
    backlog: VecDeque<Command>,
    progress: watch::Sender<Progress>,
    news: Arc<Notify>,
    dependencies: Dependencies,
    firewall_gate: Option<FirewallGate>,
    /// The firewall's progress, for items that wait for it.
    firewall: Option<watch::Receiver<Progress>>,
    /// The first batch of a guarded object that the firewall is still busy with.
    firewall_busy_with: Option<u64>,
    /// The errors of the subsystems below, as this worker saw them last.
    errors_below: DependencyErrors,
    /// An attempt was made while a worker below was still busy with its batch.
    ran_ahead: bool,
    changed_externally: Arc<Notify>,
    cadence: Cadence,
    timing: Timing,
    held: BTreeMap<ObjectKey, DelayedRemoval>,
    batch: u64,
    paused: bool,
}

impl<R: Subsystem + Inspect> SubsystemWorker<R> {
    pub(crate) fn new(
        mut subsystem: R,
        commands: mpsc::UnboundedReceiver<Command>,
        progress: watch::Sender<Progress>,
        news: Arc<Notify>,
        mut dependencies: Dependencies,
        timing: Timing,
    ) -> Self {
        let firewall_gate = dependencies.firewall_gate.take();
        let firewall_gate =
            firewall_gate.map(|(firewall, guarded)| FirewallGate::new(firewall, guarded));
        if let Some(firewall_gate) = &firewall_gate {
            subsystem.set_firewall_gate(firewall_gate.clone());
        }
        Self {
            changed_externally: subsystem.changed_externally(),
            reconciler: Reconciler::new(subsystem).with_max_retry_pause(R::MAX_RETRY_PAUSE),
            commands,
            backlog: VecDeque::new(),
            progress,
            news,
            firewall: firewall_gate.as_ref().map(FirewallGate::firewall),
            firewall_gate,
            firewall_busy_with: None,
            errors_below: DependencyErrors::new(),
            ran_ahead: false,
            dependencies,
            cadence: Cadence::new(timing.clone()).with_max_gap(R::MAX_GAP),
            timing,
            held: BTreeMap::new(),
            batch: 0,
            paused: false,
        }
    }

    /// Works until its handle is stopped or dropped. Changes nothing on the host before the first
    /// batch: an agent that does not know the host's objects removes nothing.
    pub async fn run(mut self) {
        loop {
            let due = self.next_due();
            let holding = !self.held.is_empty();
            let failing = self.reconciler.next_retry().is_some();
            let below = failing || self.reconciler.is_deferring();
            let waiting = self.firewall_busy_with.is_some() || self.reconciler.is_blocked();
            let active = self.is_active();
            tokio::select! {
                order = self.commands.recv() => match order {
                    None | Some(Command::Stop) => break,
                    Some(order) => self.backlog.push_back(order),
                },
                () = self.changed_externally.notified() => {
                    self.cadence.changed_externally(Instant::now());
                    self.reconciler.expedite_retries(Instant::now());
                }
                () = any_moved(&mut self.dependencies.below), if below => self.below_moved().await,
                () = moved(self.dependencies.above.as_mut()), if holding => {}
                () = moved(self.firewall.as_mut()), if waiting => self.resume().await,
                () = moved(self.dependencies.foreign_view.subscriber()), if active => self.resume().await,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            if self.work().await {
                break;
            }
        }
        // The next agent finishes the rest.
        let _ = timeout(FINISH_TIMEOUT, self.reconciler.subsystem().finish()).await;
    }

    /// Does everything that is due; returns whether the worker must stop.
    async fn work(&mut self) -> bool {
        while let Ok(order) = self.commands.try_recv() {
            self.backlog.push_back(order);
        }
        while let Some(order) = self.backlog.pop_front() {
            match order {
                Command::Stop => return true,
                Command::Batch(batch) => self.take(batch).await,
                Command::Query(query, answer) => {
                    let text = self.answer(query).await;
                    let _ = answer.send(text); // the receiver may have given up
                }
            }
        }
        self.release().await;
        if self.is_active() && self.due().is_some_and(|due| due <= Instant::now()) {
            self.observe().await;
        }
        false
    }

    /// Takes this batch and all that follow it directly into one round.
    async fn take(&mut self, batch: Batch) {
        let mut batches = vec![batch];
        while let Some(Command::Batch(_)) = self.backlog.front() {
            if let Some(Command::Batch(next)) = self.backlog.pop_front() {
                batches.push(next);
            }
        }
        self.order_after_below(batches.last()).await;
        self.observe_foreign_first(&batches).await;
        for batch in &batches {
            self.enter(batch);
        }
        self.settle().await;
        let batch = self.batch;
        let errors = Arc::new(self.reconciler.errors());
        let unready = self.reconciler.base_fault();
        // In one step: a reader that sees this batch as attempted sees its errors.
        self.progress.send_modify(|progress| {
            progress.created = batch;
            progress.unready = unready;
            progress.errors = errors;
        });
        self.news.notify_one();
        self.release().await;
        self.publish();
    }

    fn enter(&mut self, batch: &Batch) {
        let until = Instant::now() + self.timing.hold_limit;
        let hold = self.batch > 0 && !self.above_done(batch.number);
        for (key, object) in batch.objects.iter() {
            if object.is_none() && hold && is_structural(key) {
                let batch = batch.number;
                self.held
                    .insert(key.clone(), DelayedRemoval { batch, until });
            } else {
                self.held.remove(key);
                self.change(key, object.as_deref(), batch.number);
            }
        }
        self.batch = batch.number;
    }

    fn change(&mut self, key: &ObjectKey, object: Option<&HostObject>, batch: u64) {
        if let Some(firewall_gate) = &self.firewall_gate {
            firewall_gate.set_object(key, object, batch);
        }
        self.reconciler.change(key, object);
    }

    fn update_blocked(&mut self) {
        self.note_below_busy();
        if let Some(firewall_gate) = &self.firewall_gate {
            let blocked = firewall_gate.blocked();
            self.firewall_busy_with = blocked.busy_with;
            self.reconciler.block(blocked.objects);
        }
    }

    /// The firewall, the foreign devices or a worker below have moved: attempts the items that
    /// waited for them, at the cost of these only.
    async fn resume(&mut self) {
        self.reconciler.resume();
        self.settle().await;
        self.publish();
    }

    async fn settle(&mut self) {
        if self.paused {
            return;
        }
        let began = Instant::now();
        self.update_blocked();
        self.take_foreign();
        let round = self.reconciler.settle(began).await;
        self.after(round, began);
    }

    async fn observe(&mut self) {
        let began = Instant::now();
        self.update_blocked();
        self.take_foreign();
        let round = self.reconciler.round(began).await;
        if !round.is_quiet() {
            tracing::debug!(subsystem = R::NAME, ?round, "differed");
        }
        self.after(round, began);
        self.publish();
    }

    fn after(&mut self, round: Round, began: Instant) {
        self.publish_foreign();
        let now = Instant::now();
        if round.observed {
            self.cadence.observed(began, now);
        }
        if !round.is_quiet() {
            self.cadence.changed(now);
        }
    }

    /// Makes the removals whose turn has come: the worker above has done its part, or the time
    /// limit has passed.
    async fn release(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let now = Instant::now();
        let done = self.above_progress();
        let free: Vec<_> = self
            .held
            .iter()
            .filter(|(_, held)| held.batch <= done || held.until <= now)
            .map(|(key, _)| key.clone())
            .collect();
        if free.is_empty() {
            return;
        }
        for key in free {
            self.held.remove(&key);
            self.change(&key, None, self.batch);
        }
        self.settle().await;
        self.publish();
    }

    fn publish(&mut self) {
        let held = self.held.values().map(|held| held.batch);
        let deferred = self.reconciler.is_deferring().then_some(self.batch);
        let open = held.chain(self.firewall_busy_with).chain(deferred).min();
        let done = open.map_or(self.batch, |batch| batch - 1);
        let errors = self.reconciler.errors();
        let paused = self.paused;
        let unready = self.reconciler.base_fault();
        let warnings = self.reconciler.subsystem().warnings();
        let changed = self.progress.send_if_modified(|progress| {
            // After a cleanup nothing is in force: the version stays where it was.
            let done = if paused { progress.done } else { done };
            let differs = progress.done != done
                || progress.paused != paused
                || progress.unready != unready
                || *progress.errors != errors
                || *progress.warnings != warnings;
            if differs {
                progress.done = done;
                progress.paused = paused;
                progress.unready = unready;
                progress.errors = Arc::new(errors);
                progress.warnings = Arc::new(warnings);
            }
            differs
        });
        if changed {
            self.news.notify_one();
        }
    }

    async fn order_after_below(&mut self, last: Option<&Batch>) {
        let number = last.map_or(0, |batch| batch.number);
        let deadline = Instant::now() + self.timing.order_limit;
        if self.batch == 0 && !self.dependencies.first_waits {
            return self.order_after_foreign().await;
        }
        for below in &mut self.dependencies.below {
            let left = deadline.saturating_duration_since(Instant::now());
            let reached = below.wait_for(|progress| progress.created >= number);
            // After the time limit the retries do what the order would have spared.
            let _ = timeout(left, reached).await;
        }
    }

    fn is_active(&self) -> bool {
        self.batch > 0 && !self.paused
    }

    fn due(&self) -> Option<Instant> {
        self.cadence.due(self.reconciler.next_retry())
    }

    fn next_due(&self) -> Option<Instant> {
        let due = self.due().filter(|_| self.is_active());
        let held = self.held.values().map(|held| held.until);
        held.chain(due).min()
    }

    fn above_done(&self, batch: u64) -> bool {
        self.dependencies.above.is_none() || self.above_progress() >= batch
    }

    fn above_progress(&self) -> u64 {
        let above = self.dependencies.above.as_ref();
        above.map_or(u64::MAX, |above| above.borrow().done)
    }
}

/// Whether other subsystems depend on objects of this kind. The rest (floating IPs, rules, members)
/// goes at once: a revoked rule does not wait for an instance that stops.
fn is_structural(key: &ObjectKey) -> bool {
    // A kind that this agent does not know: assume that others need it.
    key.kind().is_none_or(ObjectKind::is_structural)
}
