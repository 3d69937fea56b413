//! Supervises each instance: holds its phase and its goal, and runs the one task that brings it to
//! the goal. Depends on the driver, the folders, the image cache and the port attacher.
//!
//! The next step is a pure function of goal and phase ([`step::next`]); the task repeats it until
//! the step is to rest. A goal that changes while the task makes an instance takes effect at the
//! next step.

mod end;
mod phase;
mod step;
mod task;
mod work;

use super::PortAttacher;
use super::console::{self, Copiers};
use super::driver::{Driver, FirstBootSource, Gate};
use super::files::{Folders, Spec};
use super::process::ProcessId;
use crate::boot::boot_id;
use crate::image::Images;
use novanet_model::InstanceId;
use novanet_model::object::Instance;
use novanet_model::wire::{InstanceReport, InstanceState};
use novanet_reconcile::SubsystemError;
use phase::{Phase, pending};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use step::Step;
use task::{drive, housekeeping, remind, watch};
use tokio::sync::{Notify, Semaphore, mpsc};

/// The desired state of an instance.
#[derive(Debug, Clone)]
pub(super) enum Goal {
    /// Run this boot of this spec; if it is halted: exist, and not run.
    Run(Arc<Spec>),
    /// Not exist on this host.
    Gone,
}

struct Slot {
    goal: Option<Goal>,
    phase: Phase,
    /// A task works on it.
    busy: bool,
    reported: Option<InstanceReport>,
}

/// All instances of the host.
pub(super) struct InstanceSupervisor {
    folders: Folders,
    driver: Result<Arc<dyn Driver>, String>,
    images: Arc<Images>,
    /// See [`crate::settings::Settings::tiny_disk_mb`].
    tiny_disk_mb: u64,
    attacher: Arc<dyn PortAttacher>,
    gate: OnceLock<Arc<dyn Gate>>,
    first_boot: OnceLock<Arc<dyn FirstBootSource>>,
    reports: mpsc::UnboundedSender<InstanceReport>,
    changed_externally: Arc<Notify>,
    idle: Notify,
    slots: Mutex<BTreeMap<InstanceId, Slot>>,
    /// Copiers of the consoles of all instances that print into a FIFO.
    copiers: Copiers,
    /// Limits how many instances the tasks make or remove at a time.
    permits: Semaphore,
}

/// Age of an unused image at which housekeeping removes it.
const MAX_IMAGE_AGE: Duration = Duration::from_hours(24);

impl InstanceSupervisor {
    pub(super) fn new(
        folders: Folders,
        driver: Result<Arc<dyn Driver>, String>,
        images: Arc<Images>,
        tiny_disk_mb: u64,
        attacher: Arc<dyn PortAttacher>,
        reports: mpsc::UnboundedSender<InstanceReport>,
    ) -> Arc<Self> {
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        Arc::new(Self {
            folders,
            driver,
            images,
            tiny_disk_mb,
            attacher,
            gate: OnceLock::new(),
            first_boot: OnceLock::new(),
            reports,
            changed_externally: Arc::default(),
            idle: Notify::new(),
            slots: Mutex::default(),
            copiers: Copiers::default(),
            permits: Semaphore::new(processors * 2),
        })
    }

    pub(super) fn set_gate(&self, gate: Arc<dyn Gate>) {
        let _ = self.gate.set(gate);
    }

    pub(super) fn set_first_boot_source(&self, source: Arc<dyn FirstBootSource>) {
        let _ = self.first_boot.set(source);
    }

    pub(super) fn changed_externally(&self) -> Arc<Notify> {
        Arc::clone(&self.changed_externally)
    }

    pub(super) fn problem(&self) -> Option<&str> {
        self.driver.as_ref().err().map(String::as_str)
    }

    fn slots(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the instances of an earlier agent. Returns the specs of all that exist.
    pub(super) async fn adopt(self: &Arc<Self>) -> Result<Vec<Spec>, SubsystemError> {
        tokio::spawn(housekeeping(Arc::downgrade(self)));
        let this = Arc::clone(self);
        let ids = blocking(move || this.folders.list()).await?;
        let host_boot = boot_id();
        let mut specs = Vec::new();
        for id in ids {
            let folder = self.folders.of(id);
            let spec = folder.spec().map(Arc::new);
            let state = folder.state().filter(|s| s.host_boot == host_boot);
            let process = state.as_ref().and_then(|s| s.process);
            let phase = match (&spec, &state, process.and_then(ProcessId::open)) {
                (Some(spec), Some(_), Some(process)) => Phase::Running {
                    spec: Arc::clone(spec),
                    process: Arc::new(process),
                    plugged: true,
                    fault: None,
                },
                (_, Some(state), None) if process.is_some() => Phase::Stopped {
                    spec: spec.clone(),
                    boot: Some(state.boot),
                    clean: false,
                },
                // The agent was killed while it made it, or the host restarted: it did not end by
                // itself.
                _ => Phase::Stopped {
                    spec: spec.clone(),
                    boot: None,
                    clean: false,
                },
            };
            specs.extend(spec.as_deref().cloned());
            if console::fifo(folder.path()).exists() {
                self.copiers.start(id, folder.path());
            }
            self.enter(id, phase);
            self.kick(id);
        }
        Ok(specs)
    }

    /// Puts an instance into a phase, reports it, and watches its process.
    fn enter(self: &Arc<Self>, id: InstanceId, phase: Phase) {
        let mut slots = self.slots();
        if let Phase::Failed { again, .. } = &phase {
            tokio::spawn(remind(Arc::clone(&self.changed_externally), *again));
        }
        let gone = matches!(phase, Phase::Absent);
        let slot = slots.entry(id).or_insert_with(Slot::new);
        if let Phase::Running { process, .. } = &phase
            && slot.phase.process() != Some(process.id)
        {
            tokio::spawn(watch(Arc::downgrade(self), id, Arc::clone(process)));
        }
        slot.phase = phase;
        self.report_phase(id, slot);
        if gone && !matches!(slot.goal, Some(Goal::Run(_))) {
            slots.remove(&id);
            // Not before the removal: of two removals at once, each would leave the sweep to the
            // other.
            if slots.values().all(Slot::is_idle)
                && let Ok(driver) = &self.driver
            {
                driver.sweep();
            }
        }
    }

    /// Starts the task of an instance if it has a step to take and none runs.
    fn kick(self: &Arc<Self>, id: InstanceId) {
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(&id) else {
            return;
        };
        let step = step::next(slot.goal.as_ref(), &slot.phase, Instant::now());
        if step != Step::Rest && !slot.busy {
            slot.busy = true;
            tokio::spawn(drive(Arc::clone(self), id));
        }
    }

    fn report(&self, slot: &mut Slot, report: Option<InstanceReport>) {
        if report.is_some() && slot.reported != report {
            slot.reported.clone_from(&report);
            if let Some(report) = report {
                let _ = self.reports.send(report);
            }
        }
    }

    /// Reports the phase; of an instance that is stopped as its user wants, that it is.
    fn report_phase(&self, id: InstanceId, slot: &mut Slot) {
        let report = match slot.halted() {
            Some(spec) => Some(InstanceReport {
                instance: id,
                state: InstanceState::Stopped,
                boot: spec.instance.boot,
                detail: None,
            }),
            None => slot.phase.report(id, slot.reported.as_ref()),
        };
        self.report(slot, report);
    }

    /// Reports the end of an instance that the server heard of and that never existed here.
    fn report_gone(&self, id: InstanceId, slot: &mut Slot) {
        if slot.reported.is_some() {
            let report = Phase::Absent.report(id, slot.reported.as_ref());
            self.report(slot, report);
        }
    }

    pub(super) fn report_all(&self) {
        for slot in self.slots().values() {
            if let Some(report) = slot.reported.clone() {
                let _ = self.reports.send(report);
            }
        }
    }

    /// Whether an instance has anything on the host, or a task works on it.
    pub(super) fn is_made(&self, id: InstanceId) -> bool {
        let slots = self.slots();
        slots
            .get(&id)
            .is_some_and(|slot| slot.busy || slot.phase.spec().is_some())
    }

    /// The observed instances. An instance that a task works on counts as its goal.
    pub(super) fn observe<'a>(
        &self,
        wanted: impl Fn(InstanceId) -> Option<&'a Instance>,
    ) -> Vec<(Instance, bool)> {
        let mut there = Vec::new();
        let mut slots = self.slots();
        slots.retain(|&id, slot| {
            // It waited, and is no longer desired.
            let over = slot.is_idle() && wanted(id).is_none();
            if over {
                self.report_gone(id, slot);
            }
            !over
        });
        for (&id, slot) in slots.iter_mut() {
            let want = wanted(id);
            if slot.busy {
                if let Some(Goal::Run(spec)) = &slot.goal {
                    there.push((spec.instance.clone(), true));
                }
                continue;
            }
            if let Phase::Running { spec, plugged, .. } = &mut slot.phase {
                *plugged = spec
                    .ports
                    .iter()
                    .all(|port| self.attacher.is_attached(port));
            }
            there.extend(match want.filter(|want| want.halted) {
                // Until the goal is set, and while it runs, it differs.
                Some(want) if slot.halted().is_some() => Some((want.clone(), true)),
                Some(_) => slot.phase.observed(id, None),
                None => slot.phase.observed(id, want),
            });
        }
        there
    }

    /// Sets the goal of an instance and starts its task. The error is the one of its last step.
    pub(super) fn set_goal(
        self: &Arc<Self>,
        id: InstanceId,
        goal: Goal,
    ) -> Result<(), SubsystemError> {
        let failed = {
            let mut slots = self.slots();
            let slot = slots.entry(id).or_insert_with(Slot::new);
            if let (Goal::Gone, Phase::Running { process, .. }) = (&goal, &slot.phase) {
                // At once: another instance may get its addresses in a moment.
                process.signal(Signal::KILL);
            }
            slot.goal = Some(goal);
            if !slot.busy && slot.halted().is_some() {
                self.report_phase(id, slot);
            }
            match &mut slot.phase {
                Phase::Failed { error, .. } if !slot.busy => Some(error.clone()),
                Phase::Running { fault, .. } => fault.take(),
                Phase::Absent if matches!(slot.goal, Some(Goal::Gone)) && !slot.busy => {
                    self.report_gone(id, slot);
                    slots.remove(&id);
                    None
                }
                _ => None,
            }
        };
        self.kick(id);
        failed.map_or(Ok(()), |error| Err(SubsystemError::Refused(error)))
    }

    /// Reports that an instance waits, and for what. Not if this boot of it runs or has run, nor
    /// while a task works on it.
    pub(super) fn report_waiting(&self, instance: &Instance, why: &str) {
        if instance.halted {
            return;
        }
        let mut slots = self.slots();
        let slot = slots.entry(instance.instance).or_insert_with(Slot::new);
        let failed = matches!(slot.phase, Phase::Failed { .. });
        if !slot.busy && (failed || slot.phase.boot() != Some(instance.boot)) {
            self.report(
                slot,
                Some(pending(instance.instance, instance.boot, Some(why))),
            );
        }
    }

    pub(super) fn console(&self, id: InstanceId) -> Option<std::io::Result<String>> {
        let folder = self.folders.of(id);
        folder
            .path()
            .exists()
            .then(|| console::tail(&console::log(folder.path())))
    }

    pub(super) async fn wait_idle(&self) {
        loop {
            let idle = self.idle.notified();
            if !self.slots().values().any(|slot| slot.busy) {
                return;
            }
            let _ = tokio::time::timeout(Duration::from_millis(100), idle).await;
        }
    }
}

impl Slot {
    fn new() -> Self {
        Self {
            goal: None,
            phase: Phase::Absent,
            busy: false,
            reported: None,
        }
    }

    /// The spec, if the goal is not to run and it does not; also if it never did.
    fn halted(&self) -> Option<&Arc<Spec>> {
        match (&self.goal, &self.phase) {
            (Some(Goal::Run(spec)), Phase::Absent | Phase::Stopped { clean: true, .. })
                if spec.instance.halted =>
            {
                Some(spec)
            }
            _ => None,
        }
    }

    /// Whether it has no phase, no goal and no task.
    fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Absent) && self.goal.is_none() && !self.busy
    }

    /// Sets the phase to stopped if this process was the running one. Returns whether it was.
    fn settle_if_ended(&mut self, id: ProcessId) -> bool {
        let Phase::Running { spec, process, .. } = &self.phase else {
            return false;
        };
        if process.id != id {
            return false;
        }
        self.phase = Phase::Stopped {
            boot: Some(spec.instance.boot),
            spec: Some(Arc::clone(spec)),
            clean: false,
        };
        true
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SubsystemError> + Send + 'static,
) -> Result<T, SubsystemError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| SubsystemError::Refused(format!("a task of the instances subsystem: {e}")))?
}
