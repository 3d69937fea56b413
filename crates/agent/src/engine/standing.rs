//! How rooms and their lanes learn what they may stand on: the links room sees which names and
//! addresses of the host are somebody else's, before it makes anything, and the others are told.
//! It carries what [`super::ground`] judges by, and decides nothing itself.

use super::lane::{Batch, Lane, Shows, Sight};
use super::reconcile::Reconciler;
use crate::room::{Room, RoomError, Strangers};
use novanet_model::{HostObject, NetworkId, ObjectKey};
use std::collections::BTreeMap;
use tokio::sync::watch;
use tokio::time::timeout;

impl<R: Room> Reconciler<R> {
    /// Nothing of ours is made on bridges that this host cannot have, in no room: what follows from
    /// their networks' objects is replaced. Takes effect with the next [`Self::settle`]. Answers
    /// whether something did change.
    pub fn stand_among(&mut self, strangers: Strangers) -> bool {
        let base = self.room.follow(&strangers);
        let base = self.desired.set_base(base);
        let rebased = !base.is_empty();
        self.touched.extend(base);
        let shaken = self.ground.look(strangers);
        let changed = rebased || !shaken.networks.is_empty() || !shaken.objects.is_empty();
        self.stand_anew(shaken.networks);
        for object in shaken.objects {
            let key = object.key();
            if self.room.strangers().is_some() {
                log(&key, self.ground.refusal_of(&key, &object));
            }
            self.enter(&key, Some(&object));
        }
        changed
    }

    /// What this host cannot have; only the room that sees what is foreign says so, the others are
    /// silent.
    pub fn refusals(&self) -> impl Iterator<Item = (ObjectKey, &str)> {
        let sees = self.room.strangers().is_some();
        self.ground.refusals().filter(move |_| sees)
    }

    /// The standing of these networks is another.
    pub(super) fn stand_anew(&mut self, networks: impl IntoIterator<Item = NetworkId>) {
        for network in networks {
            if self.room.strangers().is_some() {
                log(
                    &ObjectKey::of_network(network),
                    self.ground.refusal(network),
                );
            }
            for object in self.ground.objects_of(network) {
                self.enter(&object.key(), Some(&object));
            }
        }
    }

    /// What is there. If it has a stranger more or less, other things are desired: then it is looked
    /// at once more, with these in mind.
    pub(super) async fn look(&mut self) -> Result<BTreeMap<R::Key, R::Value>, RoomError> {
        let observed = self.room.observe(&self.desired).await?;
        let strangers = self.room.strangers();
        if strangers.is_some_and(|strangers| self.stand_among(strangers)) {
            return self.room.observe(&self.desired).await;
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

impl Sight {
    /// What is seen, and one for each lane, in their order: the first sees, the others are told.
    pub(super) fn of_lanes() -> (watch::Receiver<Option<Strangers>>, impl FnMut() -> Self) {
        let (seer, told) = watch::channel(None);
        let mut seer = Some(seer);
        let foreign = told.clone();
        let sights = move || match seer.take() {
            Some(seer) => Self::Sees(seer),
            None => Self::Told(told.clone()),
        };
        (foreign, sights)
    }

    /// What to wait for to be told.
    pub(super) fn told(&mut self) -> Option<&mut watch::Receiver<Option<Strangers>>> {
        match self {
            Self::Told(strangers) => Some(strangers),
            Self::Sees(_) => None,
        }
    }
}

impl<R: Room + Shows> Lane<R> {
    /// Takes in what this lane was told.
    pub(super) fn stand(&mut self) {
        let Some(told) = self.neighbours.sight.told() else {
            return;
        };
        let strangers = told.borrow_and_update().clone();
        if let Some(strangers) = strangers {
            self.reconciler.stand_among(strangers);
        }
    }

    /// Tells the others what this one saw.
    pub(super) fn tell(&mut self) {
        let Sight::Sees(others) = &self.neighbours.sight else {
            return;
        };
        let seen = Some(self.reconciler.room().strangers().unwrap_or_default());
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
    pub(super) async fn look_first(&mut self, batches: &[Batch]) {
        if !matches!(self.neighbours.sight, Sight::Sees(_)) {
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
    pub(super) async fn order_after_look(&mut self) {
        let limit = self.timing.order_limit;
        if let Some(told) = self.neighbours.sight.told() {
            let _ = timeout(limit, told.wait_for(Option::is_some)).await;
        }
    }
}
