//! A subsystem at work: one task per subsystem, so that a slow one (an instance that is started) delays no
//! quick one (a floating IP). Workers keep the order of things by watching each other's progress:
//! creations go upwards (links, firewall, DHCP, instances), removals downwards. Floating IPs are
//! the exception: links answer for one only while the firewall knows it.
//!
//! Must not know: the server, the ledger, which subsystem it drives.

use crate::barrier::FirewallGate;
use crate::cadence::{Cadence, Timing};
use crate::command::Shows;
use crate::command::{Batch, Command, Dependencies, Progress, Query};
use crate::hurry::{Troubles, any_moved};
use crate::reconcile::{Cleaned, Reconciler, Round};
use crate::render;
use crate::subsystem::{Subsystem, SubsystemError};
use novanet_model::{HostObject, ObjectKey, ObjectKind};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// A removal that waits for the worker above.
struct Held {
    batch: u64,
    until: Instant,
}

/// How long a subsystem may take to finish when the engine stops.
const FAREWELL: Duration = Duration::from_secs(3);

/// The task of one subsystem.
pub struct SubsystemWorker<R: Subsystem> {
    pub(crate) reconciler: Reconciler<R>,
    commands: mpsc::UnboundedReceiver<Command>,
    backlog: VecDeque<Command>,
    progress: watch::Sender<Progress>,
    news: Arc<Notify>,
    pub(crate) dependencies: Dependencies,
    firewall_gate: Option<FirewallGate>,
    /// The firewall's progress, for what waits for it.
    firewall: Option<watch::Receiver<Progress>>,
    /// The first batch that the firewall is busy with, of what waits for it.
    behind: Option<u64>,
    /// What failed in the subsystems below when this worker looked last.
    pub(crate) troubles: Troubles,
    /// Something was tried while a worker below was behind.
    pub(crate) ahead: bool,
    changed_externally: Arc<Notify>,
    cadence: Cadence,
    pub(crate) timing: Timing,
    held: BTreeMap<ObjectKey, Held>,
    pub(crate) batch: u64,
    paused: bool,
}

impl<R: Subsystem + Shows> SubsystemWorker<R> {
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
            firewall_gate.map(|(firewall, wards)| FirewallGate::new(firewall, wards));
        if let Some(firewall_gate) = &firewall_gate {
            subsystem.set_firewall_gate(firewall_gate.clone());
        }
        Self {
            changed_externally: subsystem.changed_externally(),
            reconciler: Reconciler::new(subsystem).waiting_at_most(R::LONGEST_WAIT),
            commands,
            backlog: VecDeque::new(),
            progress,
            news,
            firewall: firewall_gate.as_ref().map(FirewallGate::firewall),
            firewall_gate,
            behind: None,
            troubles: Troubles::new(),
            ahead: false,
            dependencies,
            cadence: Cadence::new(timing.clone()).pausing_at_most(R::LONGEST_PAUSE),
            timing,
            held: BTreeMap::new(),
            batch: 0,
            paused: false,
        }
    }

    /// Works until the engine is stopped or dropped. Does nothing to the host before the first batch: an
    /// agent that does not know what a host must have removes nothing.
    pub async fn run(mut self) {
        loop {
            let due = self.next_due();
            let holding = !self.held.is_empty();
            let failing = self.reconciler.next_retry().is_some();
            let below = failing || self.reconciler.is_deferring();
            let waiting = self.behind.is_some() || self.reconciler.is_barred();
            let active = self.is_active();
            tokio::select! {
                order = self.commands.recv() => match order {
                    None | Some(Command::Stop) => break,
                    Some(order) => self.backlog.push_back(order),
                },
                () = self.changed_externally.notified() => {
                    self.cadence.changed_externally(Instant::now());
                    self.reconciler.hurry(Instant::now());
                }
                () = any_moved(&mut self.dependencies.below), if below => self.below_moved().await,
                () = moved(self.dependencies.above.as_mut()), if holding => {}
                () = moved(self.firewall.as_mut()), if waiting => self.resume().await,
                () = moved(self.dependencies.sight.told()), if active => self.resume().await,
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            if self.work().await {
                break;
            }
        }
        // What is not finished by then is finished by the next agent.
        let _ = timeout(FAREWELL, self.reconciler.subsystem().finish()).await;
    }

    /// Does what is due; `true`: that was all.
    async fn work(&mut self) -> bool {
        while let Ok(order) = self.commands.try_recv() {
            self.backlog.push_back(order);
        }
        while let Some(order) = self.backlog.pop_front() {
            match order {
                Command::Stop => return true,
                Command::Batch(batch) => self.take(batch).await,
                Command::Query(ask, answer) => {
                    let text = self.ask(ask).await;
                    let _ = answer.send(text); // the asker may have given up
                }
            }
        }
        self.release().await;
        if self.is_active() && self.due().is_some_and(|due| due <= Instant::now()) {
            self.observe().await;
        }
        false
    }

    /// Takes this batch and all that follow it directly: one round for all of them.
    async fn take(&mut self, batch: Batch) {
        let mut batches = vec![batch];
        while let Some(Command::Batch(_)) = self.backlog.front() {
            if let Some(Command::Batch(next)) = self.backlog.pop_front() {
                batches.push(next);
            }
        }
        self.order_after_below(batches.last()).await;
        self.look_first(&batches).await;
        for batch in &batches {
            self.enter(batch);
        }
        self.settle().await;
        let batch = self.batch;
        let errors = Arc::new(self.reconciler.errors());
        let unready = self.reconciler.base_fault();
        // In one step: who sees that this batch was tried sees what came of it.
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
                self.held.insert(key.clone(), Held { batch, until });
            } else {
                self.held.remove(key);
                self.change(key, object.as_deref(), batch.number);
            }
        }
        self.batch = batch.number;
    }

    fn change(&mut self, key: &ObjectKey, object: Option<&HostObject>, batch: u64) {
        if let Some(firewall_gate) = &self.firewall_gate {
            firewall_gate.take(key, object, batch);
        }
        self.reconciler.change(key, object);
    }

    fn bar(&mut self) {
        self.look_ahead();
        if let Some(firewall_gate) = &self.firewall_gate {
            let bars = firewall_gate.bars();
            self.behind = bars.behind;
            self.reconciler.bar(bars.objects);
        }
    }

    /// The firewall or the ground has moved: what waited for it may go on, at the cost of these only.
    pub(crate) async fn resume(&mut self) {
        self.reconciler.resume();
        self.settle().await;
        self.publish();
    }

    async fn settle(&mut self) {
        if self.paused {
            return;
        }
        let began = Instant::now();
        self.bar();
        self.stand();
        let round = self.reconciler.settle(began).await;
        self.after(round, began);
    }

    async fn observe(&mut self) {
        let began = Instant::now();
        self.bar();
        self.stand();
        let round = self.reconciler.round(began).await;
        if !round.is_quiet() {
            tracing::debug!(subsystem = R::NAME, ?round, "differed");
        }
        self.after(round, began);
        self.publish();
    }

    fn after(&mut self, round: Round, began: Instant) {
        self.tell();
        let now = Instant::now();
        if round.observed {
            self.cadence.observed(began, now);
        }
        if !round.is_quiet() {
            self.cadence.changed(now);
        }
    }

    /// Lets go of removals that the worker above has done its part of, or that waited too long.
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
        let open = held.chain(self.behind).chain(deferred).min();
        let done = open.map_or(self.batch, |batch| batch - 1);
        let errors = self.reconciler.errors();
        let paused = self.paused;
        let unready = self.reconciler.base_fault();
        let warnings = self.reconciler.subsystem().warnings();
        let changed = self.progress.send_if_modified(|progress| {
            // A host that was cleaned up has nothing in force: the version stays where it was.
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
            return self.order_after_look().await;
        }
        for below in &mut self.dependencies.below {
            let left = deadline.saturating_duration_since(Instant::now());
            let reached = below.wait_for(|progress| progress.created >= number);
            // Too late or the worker is gone: the retries do what the order would have spared.
            let _ = timeout(left, reached).await;
        }
    }

    async fn ask(&mut self, ask: Query) -> Result<String, String> {
        let failed = |e: SubsystemError| format!("{}: {e}", R::NAME);
        self.stand();
        match ask {
            Query::Plan { diff: false } => Ok(render::desired(&self.reconciler)),
            Query::Plan { diff: true } => {
                let changes = self.reconciler.difference().await.map_err(failed)?;
                self.tell();
                Ok(render::difference(&self.reconciler, &changes))
            }
            Query::Show => self.reconciler.subsystem().show().await.map_err(failed),
            Query::Pause => {
                self.paused = true;
                self.publish();
                Ok(String::new())
            }
            Query::Cleanup { dry_run } => {
                let cleaned = self.clean_up(dry_run).await.map_err(failed)?;
                render::cleaned::<R>(&cleaned)
            }
            Query::InUse => self.reconciler.subsystem().in_use().await.map_err(failed),
        }
    }

    /// What counts is what is left when the subsystem has finished, not what it promised.
    async fn clean_up(&mut self, dry_run: bool) -> Result<Cleaned<R>, SubsystemError> {
        let (removed, _) = self.reconciler.cleanup(dry_run).await?;
        if dry_run {
            return Ok((removed, Vec::new()));
        }
        self.reconciler.subsystem().finish().await;
        // Another try, for what is left: its failures say why it is.
        let (left, why) = self.reconciler.cleanup(false).await?;
        if left.is_empty() {
            return Ok((removed, why));
        }
        self.reconciler.subsystem().finish().await;
        let (left, _) = self.reconciler.cleanup(true).await?;
        let mut why: BTreeMap<_, _> = why.into_iter().collect();
        let still = || SubsystemError::Refused("is still there; see the agent's log".to_owned());
        let failures = left.into_iter().map(|change| {
            let error = why.remove(&change.key).unwrap_or_else(still);
            (change.key, error)
        });
        Ok((removed, failures.collect()))
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

/// Kinds that other subsystems stand on. The rest (floating IPs, rules, members) goes at once: a
/// revoked rule does not wait for an instance that is being stopped.
fn is_structural(key: &ObjectKey) -> bool {
    // A kind that this agent does not know: assume that others need it.
    key.kind().is_none_or(ObjectKind::is_structural)
}

pub(crate) async fn moved<T>(worker: Option<&mut watch::Receiver<T>>) {
    if let Some(worker) = worker
        && worker.changed().await.is_ok()
    {
        return;
    }
    // Gone or never there: what is held goes when its time is up.
    std::future::pending::<()>().await;
}
