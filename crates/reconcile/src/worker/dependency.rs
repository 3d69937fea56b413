//! What a worker makes of the progress of the workers below: it waits for them in order, and
//! attempts failed items again when they have moved.

use super::{DependencyErrors, SubsystemWorker};
use crate::command::Inspect;
use crate::subsystem::Subsystem;
use std::sync::Arc;
use tokio::time::Instant;

impl<R: Subsystem + Inspect> SubsystemWorker<R> {
    /// An item of this worker failed or waits, and a worker below has moved.
    pub(super) async fn below_moved(&mut self) {
        self.compare_errors_below();
        if self.reconciler.is_deferring() {
            self.resume().await;
        }
    }

    /// If the errors below changed, the failed items here may be possible now.
    fn compare_errors_below(&mut self) {
        let below = self.dependencies.below.iter_mut();
        let errors: DependencyErrors = below
            .map(|worker| Arc::clone(&worker.borrow_and_update().errors))
            .collect();
        if self.ran_ahead && !self.is_below_busy() {
            self.ran_ahead = false;
            self.reconciler.retry(Instant::now());
        }
        if errors != self.errors_below {
            self.errors_below = errors;
            self.reconciler.expedite_retries(Instant::now());
        }
    }

    /// Before an attempt: notes whether a worker below is still busy with its batch, because then
    /// something that an item needs may be missing.
    pub(super) fn note_below_busy(&mut self) {
        let busy = self.is_below_busy();
        self.ran_ahead |= busy;
        self.reconciler.set_below_busy(busy);
    }

    /// Whether a worker below has not attempted the batch that this one has.
    fn is_below_busy(&self) -> bool {
        let below = self.dependencies.below.iter();
        let mut created = below.map(|worker| worker.borrow().created);
        created.any(|batch| batch < self.batch)
    }
}
