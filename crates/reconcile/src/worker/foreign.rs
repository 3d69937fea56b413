//! How workers share the foreign devices: the links worker observes them before it makes anything
//! and publishes them; the others subscribe. Decides nothing itself.

use super::SubsystemWorker;
use crate::command::{Batch, ForeignView, Inspect};
use crate::subsystem::Subsystem;
use novanet_model::HostObject;
use tokio::time::timeout;

impl<R: Subsystem + Inspect> SubsystemWorker<R> {
    /// Takes in the foreign devices that another worker published.
    pub(super) fn take_foreign(&mut self) {
        let Some(subscriber) = self.dependencies.foreign_view.subscriber() else {
            return;
        };
        let foreign_devices = subscriber.borrow_and_update().clone();
        if let Some(foreign_devices) = foreign_devices {
            self.reconciler.set_foreign_devices(foreign_devices);
        }
    }

    /// Publishes the foreign devices that this worker observed.
    pub(super) fn publish_foreign(&mut self) {
        let ForeignView::Source(others) = &self.dependencies.foreign_view else {
            return;
        };
        let observed = Some(
            self.reconciler
                .subsystem()
                .foreign_devices()
                .unwrap_or_default(),
        );
        let others = others.clone();
        others.send_if_modified(|published| {
            let differs = *published != observed;
            if differs {
                *published = observed;
            }
            differs
        });
    }

    /// The source of foreign devices observes before it makes anything, and when networks come or
    /// change: a foreign device may have a name that no network had before.
    pub(super) async fn observe_foreign_first(&mut self, batches: &[Batch]) {
        if !matches!(self.dependencies.foreign_view, ForeignView::Source(_)) {
            return;
        }
        let mut objects = batches.iter().flat_map(|batch| batch.objects.iter());
        let bridges =
            objects.any(|(_, object)| matches!(object.as_deref(), Some(HostObject::Bridge(_))));
        if self.batch == 0 || bridges {
            // The round that follows reports an error.
            let _ = self.reconciler.observe().await;
            self.publish_foreign();
        }
    }

    /// The firewall's first batch waits for no worker, but until the links worker has observed
    /// which bridges are foreign.
    pub(super) async fn order_after_foreign(&mut self) {
        let limit = self.timing.order_limit;
        if let Some(subscriber) = self.dependencies.foreign_view.subscriber() {
            let _ = timeout(limit, subscriber.wait_for(Option::is_some)).await;
        }
    }
}
