//! How subsystems and their workers learn what they may stand on: the links subsystem sees which names and
//! addresses of the host are somebody else's, before it makes anything, and the others are told.
//! It carries what [`crate::network_conflicts`] judges by, and decides nothing itself.

use crate::command::{Batch, ForeignView, Shows};
use crate::reconcile::Reconciler;
use crate::subsystem::{ForeignDevices, Subsystem, SubsystemError};
use crate::worker::SubsystemWorker;
use novanet_model::{HostObject, NetworkId, ObjectKey};
use std::collections::BTreeMap;
use tokio::sync::watch;
use tokio::time::timeout;

impl<R: Subsystem> Reconciler<R> {
    /// Nothing of ours is made on bridges that this host cannot have, in no subsystem: what follows from
    /// their networks' objects is replaced. Takes effect with the next [`Self::settle`]. Answers
    /// whether something did change.
    pub fn stand_among(&mut self, foreign_devices: ForeignDevices) -> bool {
        let base = self.subsystem.follow(&foreign_devices);
        let base = self.desired.set_base(base);
        let rebased = !base.is_empty();
        self.touched.extend(base);
        let changes = self.conflicts.look(foreign_devices);
        let changed = rebased || !changes.networks.is_empty() || !changes.objects.is_empty();
        self.stand_anew(changes.networks);
        for object in changes.objects {
            let key = object.key();
            if self.subsystem.foreign_devices().is_some() {
                log(&key, self.conflicts.refusal_of(&key, &object));
            }
            self.enter(&key, Some(&object));
        }
        changed
    }

    /// What this host cannot have; only the subsystem that sees what is foreign says so, the others are
    /// silent.
    pub fn refusals(&self) -> impl Iterator<Item = (ObjectKey, &str)> {
        let sees = self.subsystem.foreign_devices().is_some();
        self.conflicts.refusals().filter(move |_| sees)
    }

    /// The standing of these networks is another.
    pub(crate) fn stand_anew(&mut self, networks: impl IntoIterator<Item = NetworkId>) {
        for network in networks {
            if self.subsystem.foreign_devices().is_some() {
                log(
                    &ObjectKey::of_network(network),
                    self.conflicts.refusal(network),
                );
            }
            for object in self.conflicts.objects_of(network) {
                self.enter(&object.key(), Some(&object));
            }
        }
    }

    /// What is there. If it has a stranger more or less, other things are desired: then it is looked
    /// at once more, with these in mind.
    pub(crate) async fn look(&mut self) -> Result<BTreeMap<R::Key, R::Value>, SubsystemError> {
        let observed = self.subsystem.observe(&self.desired).await?;
        let foreign_devices = self.subsystem.foreign_devices();
        if foreign_devices.is_some_and(|foreign_devices| self.stand_among(foreign_devices)) {
            return self.subsystem.observe(&self.desired).await;
        }
        Ok(observed)
    }
}

fn log(key: &ObjectKey, refusal: Option<&str>) {
    if let Some(error) = refusal {
        tracing::warn!(object = %key, error, "not in force");
    } else {
        tracing::info!(object = %key, "is not refused any more");
    }
}

impl ForeignView {
    /// What is seen, and one for each worker, in their order: the first sees, the others are told.
    pub(crate) fn of_workers() -> (
        watch::Receiver<Option<ForeignDevices>>,
        impl FnMut() -> Self,
    ) {
        let (seer, told) = watch::channel(None);
        let mut seer = Some(seer);
        let foreign = told.clone();
        let sights = move || match seer.take() {
            Some(seer) => Self::Source(seer),
            None => Self::Subscriber(told.clone()),
        };
        (foreign, sights)
    }

    /// What to wait for to be told.
    pub(crate) fn told(&mut self) -> Option<&mut watch::Receiver<Option<ForeignDevices>>> {
        match self {
            Self::Subscriber(foreign_devices) => Some(foreign_devices),
            Self::Source(_) => None,
        }
    }
}

impl<R: Subsystem + Shows> SubsystemWorker<R> {
    /// Takes in what this worker was told.
    pub(crate) fn stand(&mut self) {
        let Some(told) = self.dependencies.sight.told() else {
            return;
        };
        let foreign_devices = told.borrow_and_update().clone();
        if let Some(foreign_devices) = foreign_devices {
            self.reconciler.stand_among(foreign_devices);
        }
    }

    /// Tells the others what this one saw.
    pub(crate) fn tell(&mut self) {
        let ForeignView::Source(others) = &self.dependencies.sight else {
            return;
        };
        let seen = Some(
            self.reconciler
                .subsystem()
                .foreign_devices()
                .unwrap_or_default(),
        );
        let others = others.clone();
        others.send_if_modified(|told| {
            let news = *told != seen;
            if news {
                *told = seen;
            }
            news
        });
    }

    /// Whoever sees looks before it makes anything, and when networks come or change: a name that
    /// nobody asked for before may be anybody's.
    pub(crate) async fn look_first(&mut self, batches: &[Batch]) {
        if !matches!(self.dependencies.sight, ForeignView::Source(_)) {
            return;
        }
        let mut objects = batches.iter().flat_map(|batch| batch.objects.iter());
        let bridges =
            objects.any(|(_, object)| matches!(object.as_deref(), Some(HostObject::Bridge(_))));
        if self.batch == 0 || bridges {
            // What cannot be observed is said by the round that follows.
            let _ = self.reconciler.look().await;
            self.tell();
        }
    }

    /// The firewall goes first, but not before it is known which bridges are ours.
    pub(crate) async fn order_after_look(&mut self) {
        let limit = self.timing.order_limit;
        if let Some(told) = self.dependencies.sight.told() {
            let _ = timeout(limit, told.wait_for(Option::is_some)).await;
        }
    }
}
