//! Items that are not even tried, because their objects wait for another subsystem: the subsystem's side of
//! [`crate::barrier`], which says whose they are and knows nothing of items. And items that the subsystem
//! itself finds to wait for one that it stands on: the guard of a floating IP, until links answer for
//! it no more. Unlike what failed ([`crate::failure`]) they wait for a word and not for a time.

use crate::failure::action;
use crate::reconcile::{Reconciler, Round};
use crate::subsystem::{Change, Subsystem, SubsystemError};
use novanet_model::ObjectKey;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Why nothing may be made for an object now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// The other subsystem is at it and will be done in a moment: nobody is told.
    Busy,
    /// The other subsystem cannot do its part; the text says why.
    Refused(String),
}

impl<R: Subsystem> Reconciler<R> {
    /// Nothing is made or changed for these objects until the next call. What is there stays, and
    /// removals go on.
    pub fn bar(&mut self, objects: BTreeMap<ObjectKey, Blocked>) {
        self.barred = objects;
    }

    /// Whether an item waits because of [`Self::bar`].
    pub fn is_barred(&self) -> bool {
        !self.waiting.is_empty() || self.failing.values().any(|failure| failure.barred)
    }

    /// What waits because of [`Self::bar`], or for a subsystem below, is looked at again by the next [`Self::settle`].
    pub fn resume(&mut self) {
        self.touched.append(&mut self.waiting);
        self.touched.append(&mut self.deferred);
        let barred = self.failing.iter().filter(|(_, failure)| failure.barred);
        self.touched.extend(barred.map(|(key, _)| key.clone()));
    }

    /// Whether a subsystem below is still busy with what this one was told. What waits for its part
    /// ([`SubsystemError::Waits`]) has not failed then.
    pub fn below_is_behind(&mut self, behind: bool) {
        self.behind_below = behind;
    }

    /// Whether an item waits for a subsystem below.
    pub fn is_deferring(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Notes an item that waits for a subsystem below, if this is why it was not made.
    pub(crate) fn is_deferred(&mut self, key: &R::Key, error: &SubsystemError) -> bool {
        let deferred = self.behind_below && matches!(error, SubsystemError::Waits(_));
        if deferred {
            self.failing.remove(key);
            self.deferred.insert(key.clone());
        }
        deferred
    }

    /// The changes that may be made now; what may not is noted.
    pub(crate) fn without_barred(
        &mut self,
        mut changes: Vec<Change<R::Key, R::Value>>,
        round: &mut Round,
        now: Instant,
    ) -> Vec<Change<R::Key, R::Value>> {
        if self.barred.is_empty() {
            return changes;
        }
        let mut refused = Vec::new();
        changes.retain(|change| {
            let owners = self.owners(&change.key);
            let bar = owners.iter().find_map(|owner| self.barred.get(owner));
            match bar.filter(|_| change.to.is_some()) {
                None => return true,
                Some(Blocked::Busy) => _ = self.waiting.insert(change.key.clone()),
                Some(Blocked::Refused(why)) => {
                    if let Some(value) = &change.to {
                        self.subsystem.hold_back(&change.key, value, why);
                    }
                    let word = action(change.from.as_ref(), change.to.as_ref());
                    refused.push((
                        change.key.clone(),
                        word,
                        SubsystemError::Refused(why.clone()),
                    ));
                }
            }
            false
        });
        for (key, action, error) in refused {
            round.failed += 1;
            self.failed(key.clone(), action, &error, now);
            if let Some(failure) = self.failing.get_mut(&key) {
                failure.barred = true;
            }
        }
        changes
    }
}
