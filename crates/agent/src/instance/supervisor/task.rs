//! The background tasks beside the subsystem's rounds: one brings an instance to its goal, one
//! watches for its end, one triggers the next try, one does housekeeping. Depends on the
//! supervisor.

use super::step::{self, Step};
use super::{InstanceSupervisor, Phase};
use crate::instance::process::{Process, ProcessId};
use novanet_model::InstanceId;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How often housekeeping removes unused images.
const COLLECT_IMAGES: Duration = Duration::from_mins(10);
/// How often housekeeping looks at consoles.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// Takes steps with one instance until the next one is to rest.
pub(super) async fn drive(supervisor: Arc<InstanceSupervisor>, id: InstanceId) {
    loop {
        let (step, phase) = {
            let mut slots = supervisor.slots();
            let Some(slot) = slots.get_mut(&id) else {
                break;
            };
            if let Phase::Running { process, .. } = &slot.phase {
                let id = process.id;
                // Its watcher may have run during the last step.
                if ProcessId::of(id.pid) != Some(id) {
                    slot.settle_if_ended(id);
                }
            }
            let step = step::next(slot.goal.as_ref(), &slot.phase, Instant::now());
            if step == Step::Rest {
                slot.busy = false;
                break;
            }
            (step, slot.phase.clone())
        };
        let next = supervisor.perform(id, step, phase).await;
        supervisor.enter(id, next);
    }
    supervisor.idle.notify_waiters();
    supervisor.changed_externally.notify_one();
}

/// Waits for the end of an instance's process.
pub(super) async fn watch(
    supervisor: Weak<InstanceSupervisor>,
    id: InstanceId,
    process: Arc<Process>,
) {
    if let Err(error) = process.ended().await {
        tracing::error!(instance = %id, %error, "cannot watch an instance");
        return;
    }
    let Some(supervisor) = supervisor.upgrade() else {
        return;
    };
    supervisor.ended(id, &process);
}

/// Triggers a round at the time of the next try.
pub(super) async fn remind(changed_externally: Arc<Notify>, again: Instant) {
    tokio::time::sleep_until(again.into()).await;
    changed_externally.notify_one();
}

pub(super) async fn housekeeping(supervisor: Weak<InstanceSupervisor>) {
    let mut every = tokio::time::interval(HOUSEKEEPING);
    let mut collected = Instant::now();
    loop {
        every.tick().await;
        let Some(supervisor) = supervisor.upgrade() else {
            return;
        };
        let collect = collected.elapsed() >= COLLECT_IMAGES;
        if collect {
            collected = Instant::now();
        }
        supervisor.keep_house(collect).await;
    }
}
