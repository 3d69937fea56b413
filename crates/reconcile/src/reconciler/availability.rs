//! What foreign devices and addresses take away from the host's objects: the claims of an object
//! whose network or address is unavailable are replaced. [`NetworkConflicts`] decides which.
//!
//! [`NetworkConflicts`]: crate::network_conflicts::NetworkConflicts

use super::Reconciler;
use crate::foreign::ForeignDevices;
use crate::subsystem::{Subsystem, SubsystemError};
use novanet_model::{NetworkId, ObjectKey};
use std::collections::BTreeMap;

impl<R: Subsystem> Reconciler<R> {
    /// Sets the foreign devices and addresses. Takes effect with the next [`Self::settle`]. Returns
    /// whether any claim changed.
    pub fn set_foreign_devices(&mut self, foreign_devices: ForeignDevices) -> bool {
        let base = self.subsystem.follow(&foreign_devices);
        let base = self.desired.set_base(base);
        let rebased = !base.is_empty();
        self.touched.extend(base);
        let changes = self.conflicts.set_foreign(foreign_devices);
        let changed = rebased || !changes.networks.is_empty() || !changes.objects.is_empty();
        self.reclaim_networks(changes.networks);
        for object in changes.objects {
            let key = object.key();
            if self.observes_foreign() {
                log(&key, self.conflicts.refusal_of(&key, &object));
            }
            self.set_claims(&key, Some(&object));
        }
        changed
    }

    /// The networks and objects that this host cannot have, with the reason. Only the subsystem
    /// that observes foreign devices reports them.
    pub fn refusals(&self) -> impl Iterator<Item = (ObjectKey, &str)> {
        let observes = self.observes_foreign();
        self.conflicts.refusals().filter(move |_| observes)
    }

    /// The availability of these networks changed: sets the claims of all their objects again.
    pub(super) fn reclaim_networks(&mut self, networks: impl IntoIterator<Item = NetworkId>) {
        for network in networks {
            if self.observes_foreign() {
                let key = ObjectKey::of_network(network);
                log(&key, self.conflicts.refusal(network));
            }
            for object in self.conflicts.objects_of(network) {
                self.set_claims(&object.key(), Some(&object));
            }
        }
    }

    /// Observes. If the foreign devices changed, other items are desired: observes once more with
    /// these in mind.
    pub(crate) async fn observe(&mut self) -> Result<BTreeMap<R::Key, R::Value>, SubsystemError> {
        let observed = self.subsystem.observe(&self.desired).await?;
        let foreign = self.subsystem.foreign_devices();
        if foreign.is_some_and(|foreign| self.set_foreign_devices(foreign)) {
            return self.subsystem.observe(&self.desired).await;
        }
        Ok(observed)
    }

    fn observes_foreign(&self) -> bool {
        self.subsystem.foreign_devices().is_some()
    }
}

fn log(key: &ObjectKey, refusal: Option<&str>) {
    if let Some(error) = refusal {
        tracing::warn!(object = %key, error, "not in force");
    } else {
        tracing::info!(object = %key, "is not refused any more");
    }
}
