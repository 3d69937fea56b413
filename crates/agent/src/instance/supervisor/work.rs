//! The steps that bring an instance up, by driver, folders and port attacher. The agent may be killed after any
//! action of a step: the next one reads the folder ([`super::InstanceSupervisor::adopt`]) and goes
//! on.

use super::phase::{Failing, pending};
use super::step::Step;
use super::{Goal, InstanceSupervisor, MAX_IMAGE_AGE, Phase, Spec, blocking};
use crate::boot::boot_id;
use crate::instance::console;
use crate::instance::disk;
use crate::instance::driver::{Driver, InjectedFile, Machine};
use crate::instance::files::{Folder, State};
use crate::instance::inject::{first_boot_files, interfaces, interfaces_file};
use crate::instance::process::{Process, ProcessId};
use novanet_model::InstanceId;
use novanet_model::wire::{InstanceReport, InstanceState};
use novanet_reconcile::SubsystemError;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a made instance waits for the firewall before the step removes it again.
const GATE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the server may take to say what an instance must know at its first boot.
const FIRST_BOOT_TIMEOUT: Duration = Duration::from_secs(10);
/// One of the files that are written before the first boot only.
const FIRST_BOOT_FILE: &str = "etc/hostname";
/// Limit of the delay between two tries.
const MAX_RETRY_DELAY_SECONDS: u64 = 60;

impl InstanceSupervisor {
    /// Takes one step. Returns the phase after it.
    pub(super) async fn perform(&self, id: InstanceId, step: Step, phase: Phase) -> Phase {
        let (spec, boot) = (phase.spec().cloned(), phase.boot());
        let what = step.name();
        let during = match step {
            Step::Remove => Failing::Removal,
            Step::Halt | Step::Clean => Failing::Halt,
            Step::Boot(_) | Step::Attach | Step::Rest => Failing::Boot,
        };
        let began = Instant::now();
        let (result, about) = match step {
            Step::Rest => return phase,
            Step::Boot(want) => {
                let boot = Some(want.instance.boot);
                self.report_booting(id, want.instance.boot);
                (self.boot(id, &want, &phase).await, (Some(want), boot))
            }
            Step::Attach => (Ok(self.reattach(id, &phase).await), (spec, boot)),
            Step::Halt => (self.halt(id, &phase).await, (spec, boot)),
            Step::Clean => (self.clean(id, &phase).await, (spec, boot)),
            Step::Remove => (self.remove(id, &phase).await, (spec, boot)),
        };
        let ms = began.elapsed().as_millis();
        match result {
            Ok(next) => {
                tracing::info!(instance = %id, action = what, boot = next.boot(), ms, "instance");
                next
            }
            Err(error) => {
                tracing::warn!(instance = %id, action = what, ms, %error, "instance");
                let tries = match phase {
                    Phase::Failed { tries, .. } => tries.saturating_add(1),
                    _ => 0,
                };
                let pause = Duration::from_secs((1 << tries.min(10)).min(MAX_RETRY_DELAY_SECONDS));
                Phase::Failed {
                    spec: about.0,
                    boot: about.1,
                    error: error.to_string(),
                    tries,
                    again: Instant::now() + pause,
                    during,
                }
            }
        }
    }

    /// Reports a boot, but not another try of a failed one: the state would seem to come and go.
    fn report_booting(&self, id: InstanceId, boot: i64) {
        let failed = |r: &InstanceReport| r.state == InstanceState::Error && r.boot == boot;
        let mut slots = self.slots();
        if let Some(slot) = slots.get_mut(&id)
            && !slot.reported.as_ref().is_some_and(failed)
        {
            self.report(slot, Some(pending(id, boot, None)));
        }
    }

    fn report_blocked(&self, id: InstanceId, boot: i64, why: &str) {
        if let Some(slot) = self.slots().get_mut(&id) {
            self.report(slot, Some(pending(id, boot, Some(why))));
        }
    }

    pub(super) fn driver(&self) -> Result<&dyn Driver, SubsystemError> {
        self.driver
            .as_deref()
            .map_err(|why| SubsystemError::Refused(why.clone()))
    }

    pub(super) async fn permit(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.permits.acquire().await.ok()
    }

    /// Returns when the goal is that the instance does not exist, or does not run.
    async fn unwanted(&self, id: InstanceId) {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            match self.slots().get(&id).and_then(|slot| slot.goal.as_ref()) {
                Some(Goal::Gone) => return,
                Some(Goal::Run(spec)) if spec.instance.halted => return,
                _ => {}
            }
        }
    }

    /// Why the gate is not ready for an instance. `None`: it is, or there is none.
    fn reason_not_ready(&self, id: InstanceId) -> Option<String> {
        self.gate.get()?.reason_not_ready(id)
    }

    /// Returns when the gate is ready for an instance. Reports what it waits for.
    async fn ready(&self, id: InstanceId, boot: i64) {
        let Some(gate) = self.gate.get() else {
            return;
        };
        if let Some(why) = gate.reason_not_ready(id) {
            tracing::warn!(instance = %id, why, "not started yet");
            self.report_blocked(id, boot, &why);
        }
        gate.ready(id).await;
    }

    async fn boot(
        &self,
        id: InstanceId,
        spec: &Arc<Spec>,
        phase: &Phase,
    ) -> Result<Phase, SubsystemError> {
        let driver = self.driver()?;
        let image = tokio::select! {
            image = self.images.ensure(&spec.instance.image) => {
                image.map_err(|e| SubsystemError::Refused(e.to_string()))?
            }
            // A removal does not wait for a download.
            () = self.unwanted(id) => return Ok(phase.clone()),
        };
        loop {
            // Without a permit, so that this wait does not block other instances.
            let ready = async {
                tokio::select! {
                    () = self.ready(id, spec.instance.boot) => true,
                    () = self.unwanted(id) => false,
                }
            };
            // Makes the disk meanwhile.
            let (folder, ready) = tokio::join!(self.make_folder(spec), ready);
            if !ready {
                // The removal has to find the folder.
                return Ok(unmade(spec));
            }
            let folder = folder?;
            let _permit = self.permit().await;
            let made = self
                .boot_from(id, spec, driver, image.clone(), folder)
                .await;
            if let Ok(Some(process)) = made {
                return Ok(Phase::Running {
                    spec: Arc::clone(spec),
                    process: Arc::new(process),
                    plugged: true,
                    fault: None,
                });
            }
            if let Err(second) = driver.clean(id).await {
                tracing::warn!(instance = %id, error = %second, "cannot clean up");
            }
            made?;
        }
    }

    async fn make_folder(&self, spec: &Arc<Spec>) -> Result<Folder, SubsystemError> {
        let _permit = self.permit().await;
        let image = self.images.size(&spec.instance.image);
        let bytes = disk::size(spec.instance.disk_gb, image, self.tiny_disk_mb);
        let (folders, spec) = (self.folders.clone(), Arc::clone(spec));
        let driver = self.driver.clone();
        let own_ids = move || driver.is_ok_and(|driver| driver.has_id_ranges());
        blocking(move || folders.ensure(&spec, bytes, own_ids)).await
    }

    /// Makes an instance and starts it. `None`: not started, because the gate is not ready.
    async fn boot_from(
        &self,
        id: InstanceId,
        spec: &Arc<Spec>,
        driver: &dyn Driver,
        image: std::path::PathBuf,
        folder: Folder,
    ) -> Result<Option<Process>, SubsystemError> {
        let mut state = State {
            boot: spec.instance.boot,
            host_boot: boot_id(),
            process: None,
        };
        let first = state.clone();
        let folder = blocking(move || {
            folder.set_state(&first)?;
            console::make_fifo(folder.path())
                .map_err(|e| SubsystemError::kernel(format!("{id}: make its console"), e))?;
            Ok(folder)
        })
        .await?;
        self.copiers.start(id, folder.path());
        let files = self.files(id, spec, &folder).await?;
        let first = files.iter().any(|file| file.path == FIRST_BOOT_FILE);
        let machine = Machine {
            instance: id,
            hostname: spec.instance.hostname.clone(),
            memory_mb: spec.instance.memory_mb,
            vcpus: spec.instance.vcpus,
            image,
            root_id: self.folders.root_id(&folder),
            folder: folder.path().to_owned(),
            files,
        };
        let pid = driver.create(&machine).await?;
        if first {
            let folder = folder.clone();
            blocking(move || folder.set_first_boot_done()).await?;
        }
        let process = ProcessId::of(pid)
            .and_then(ProcessId::open)
            .ok_or_else(|| SubsystemError::Refused(format!("{id}: ended before it was started")))?;
        self.attach_all(spec, &process).await?;
        // The firewall may be changing its rules: waits a moment before giving the instance up.
        let ready = self.ready(id, spec.instance.boot);
        tokio::select! {
            ready = tokio::time::timeout(GATE_TIMEOUT, ready) => if ready.is_err() {
                return Ok(None);
            },
            () = self.unwanted(id) => return Ok(None),
        }
        driver.start(id).await?;
        state.process = Some(process.id);
        blocking(move || folder.set_state(&state)).await?;
        Ok(Some(process))
    }

    /// The files that an instance of flat networks finds on its disk at this boot.
    async fn files(
        &self,
        id: InstanceId,
        spec: &Spec,
        folder: &Folder,
    ) -> Result<Vec<InjectedFile>, SubsystemError> {
        let injected = spec.instance.injected.iter();
        let injected: Vec<_> = injected.chain(&spec.instance.more_injected).collect();
        if injected.is_empty() {
            return Ok(Vec::new());
        }
        let of_flat = |index: &u32| injected.iter().any(|net| net.port == *index);
        let ports = spec.ports.iter().map(|port| port.index);
        let text = interfaces(&injected, &ports.filter(|index| !of_flat(index)).collect());
        let mut files = vec![interfaces_file(text)];
        if let Some(source) = self.first_boot.get()
            && !folder.is_first_boot_done()
        {
            let asked = tokio::time::timeout(FIRST_BOOT_TIMEOUT, source.first_boot(id)).await;
            let first = asked.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            let first = first.map_err(|why| {
                let what = "its host name, keys and user-data";
                SubsystemError::Refused(format!("{id}: {what}: {why}"))
            })?;
            files.extend(first_boot_files(id, &spec.instance.hostname, &first));
        }
        Ok(files)
    }

    async fn attach_all(&self, spec: &Spec, process: &Process) -> Result<(), SubsystemError> {
        for port in &spec.ports {
            let card = format!("eth{}", port.index);
            self.attacher.attach(port, process.id.pid, &card).await?;
        }
        Ok(())
    }

    /// Attaches missing ports. A port that cannot be attached is a fault of the running instance,
    /// and does not end it; the next observation finds it missing again.
    async fn reattach(&self, id: InstanceId, phase: &Phase) -> Phase {
        let Phase::Running { spec, process, .. } = phase else {
            return phase.clone();
        };
        let mut fault = None;
        for port in &spec.ports {
            if !self.attacher.is_attached(port) {
                let card = format!("eth{}", port.index);
                if let Some(why) = self.reason_not_ready(id) {
                    fault = Some(why);
                    break;
                }
                if let Err(error) = self.attacher.attach(port, process.id.pid, &card).await {
                    tracing::warn!(instance = %id, port = %port.name, %error, "cannot plug");
                    fault = Some(error.to_string());
                }
            }
        }
        Phase::Running {
            spec: Arc::clone(spec),
            process: Arc::clone(process),
            plugged: true,
            fault,
        }
    }

    /// Handles the end of an instance's process.
    pub(super) fn ended(self: &Arc<Self>, id: InstanceId, process: &Process) {
        {
            let mut slots = self.slots();
            let Some(slot) = slots.get_mut(&id) else {
                return;
            };
            // If a task works on it, the task notices the end itself.
            if slot.busy || !slot.settle_if_ended(process.id) {
                return;
            }
            let report = slot.phase.report(id, slot.reported.as_ref());
            self.report(slot, report);
        }
        self.kick(id);
        self.changed_externally.notify_one();
    }

    /// Shortens console logs, and removes unused images if `collect`.
    pub(super) async fn keep_house(&self, collect: bool) {
        let ids: Vec<_> = self.slots().keys().copied().collect();
        let mut used = BTreeSet::new();
        for slot in self.slots().values() {
            used.extend(slot.phase.spec().map(|spec| spec.instance.image.clone()));
        }
        let (folders, images) = (self.folders.clone(), Arc::clone(&self.images));
        let done = blocking(move || {
            for id in ids {
                let folder = folders.of(id);
                // Instances of an older agent print into a file.
                if !console::fifo(folder.path()).exists() {
                    console::cut(id, &console::log(folder.path()));
                }
            }
            if collect {
                for digest in images
                    .collect(&used, MAX_IMAGE_AGE)
                    .map_err(|e| SubsystemError::Refused(e.to_string()))?
                {
                    tracing::info!(digest, "image removed: not used any more");
                }
            }
            Ok(())
        })
        .await;
        if let Err(error) = done {
            tracing::warn!(%error, "housekeeping");
        }
    }
}

/// The phase of an instance that was not started: it may have a folder, and the driver has nothing.
fn unmade(spec: &Arc<Spec>) -> Phase {
    Phase::Stopped {
        spec: Some(Arc::clone(spec)),
        boot: None,
        clean: true,
    }
}
