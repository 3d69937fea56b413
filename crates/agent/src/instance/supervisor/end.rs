//! The steps that end an instance: power off, free what it holds, remove its folder. Depends on
//! the driver and the folders.

use super::{InstanceSupervisor, Phase, blocking};
use crate::instance::process::Process;
use novanet_model::InstanceId;
use novanet_reconcile::SubsystemError;
use rustix::process::Signal;
use std::time::Duration;

/// How long an instance may take to shut down before the agent kills it.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the kernel may take to end a killed instance.
const KILL_TIMEOUT: Duration = Duration::from_secs(20);

impl InstanceSupervisor {
    pub(super) async fn halt(
        &self,
        id: InstanceId,
        phase: &Phase,
    ) -> Result<Phase, SubsystemError> {
        if let Phase::Running { process, .. } = phase {
            process.signal(Signal::POWER);
            if !process.ended_within(SHUTDOWN_TIMEOUT).await {
                kill(id, process).await?;
            }
        }
        let _permit = self.permit().await;
        self.driver()?.clean(id).await?;
        Ok(Phase::Stopped {
            spec: phase.spec().cloned(),
            boot: None,
            clean: true,
        })
    }

    pub(super) async fn clean(
        &self,
        id: InstanceId,
        phase: &Phase,
    ) -> Result<Phase, SubsystemError> {
        let _permit = self.permit().await;
        self.driver()?.clean(id).await?;
        Ok(Phase::Stopped {
            spec: phase.spec().cloned(),
            boot: phase.boot(),
            clean: true,
        })
    }

    pub(super) async fn remove(
        &self,
        id: InstanceId,
        phase: &Phase,
    ) -> Result<Phase, SubsystemError> {
        if let Phase::Running { process, .. } = phase {
            kill(id, process).await?;
        }
        let _permit = self.permit().await;
        if let Ok(driver) = self.driver() {
            driver.clean(id).await?;
        }
        self.copiers.stop(id);
        let folders = self.folders.clone();
        blocking(move || folders.remove(&folders.of(id))).await?;
        Ok(Phase::Absent)
    }
}

async fn kill(id: InstanceId, process: &Process) -> Result<(), SubsystemError> {
    process.signal(Signal::KILL);
    if process.ended_within(KILL_TIMEOUT).await {
        Ok(())
    } else {
        Err(SubsystemError::Refused(format!(
            "{id}: process {} does not end",
            process.id.pid
        )))
    }
}
