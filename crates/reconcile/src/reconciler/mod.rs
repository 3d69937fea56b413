//! Keeps one subsystem as it must be: the desired state, the last observation, and the holds.
//! Depends on the [`Subsystem`] contract; knows nothing of other subsystems, tasks or the server.
//!
//! The hot path ([`Reconciler::settle`]) looks at the touched keys only: it observes nothing and
//! walks over no map. It relies on the last observation; [`Reconciler::round`] observes and
//! corrects.

mod attempt;
mod availability;
mod report;

use crate::backoff::Backoff;
use crate::conflict::rejected_claims;
use crate::desired::{Change, Desired, diff};
use crate::hold::{Blocked, Failure};
use crate::holds::Holds;
use crate::network_conflicts::NetworkConflicts;
use crate::subsystem::{Subsystem, SubsystemError};
use novanet_model::{HostObject, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;
use tokio::time::Instant;

/// Pause before the second attempt of an item.
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between two attempts of an item that is made on this host: an obstacle that went
/// without an event (a port that another process had taken) costs no more than this.
pub const MAX_RETRY_PAUSE: Duration = Duration::from_secs(3);

/// The result of one round.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Changes that succeeded.
    pub applied: usize,
    /// Changes that failed.
    pub failed: usize,
    /// Whether the subsystem was observed.
    pub observed: bool,
}

impl Round {
    /// Whether no change was attempted.
    pub fn is_quiet(&self) -> bool {
        self.applied == 0 && self.failed == 0
    }
}

/// One subsystem with its desired and its last observed state.
pub struct Reconciler<R: Subsystem> {
    subsystem: R,
    desired: Desired<R::Key, R::Value>,
    /// Keys of the objects that the reconciler knows.
    objects: BTreeSet<ObjectKey>,
    /// Keys whose value may differ from the desired one; the next [`Self::settle`] takes them.
    touched: BTreeSet<R::Key>,
    /// The values that were observed or applied last; `None` before the first observation.
    last_observed: Option<BTreeMap<R::Key, R::Value>>,
    /// `last_observed` cannot be relied on: only the subsystem knows what stays of an object whose
    /// network is unavailable.
    stale: bool,
    /// The last observation failed.
    observe_failure: Option<Failure<()>>,
    holds: Holds<R::Key, R::Value>,
    /// The last owner of an item that no object claims any more: a failed removal is its error.
    previous_owner: BTreeMap<R::Key, ObjectKey>,
    /// Objects that the firewall does not protect yet. See [`Self::block`].
    blocked: BTreeMap<ObjectKey, Blocked>,
    /// See [`Self::set_below_busy`].
    below_busy: bool,
    conflicts: NetworkConflicts,
    backoff: Backoff,
}

impl<R: Subsystem> Reconciler<R> {
    /// A reconciler that knows no objects yet.
    pub fn new(subsystem: R) -> Self {
        Self {
            desired: Desired::new(subsystem.base_items()),
            subsystem,
            objects: BTreeSet::new(),
            touched: BTreeSet::new(),
            last_observed: None,
            stale: false,
            observe_failure: None,
            holds: Holds::new(),
            previous_owner: BTreeMap::new(),
            blocked: BTreeMap::new(),
            below_busy: false,
            conflicts: NetworkConflicts::default(),
            backoff: Backoff {
                first: FIRST_RETRY_PAUSE,
                longest: MAX_RETRY_PAUSE,
            },
        }
    }

    /// Sets the longest pause between two attempts of a failing item.
    #[must_use]
    pub fn with_max_retry_pause(mut self, longest: Duration) -> Self {
        self.backoff.longest = longest;
        self
    }

    /// The subsystem itself, for queries.
    pub fn subsystem(&mut self) -> &mut R {
        &mut self.subsystem
    }

    /// The subsystem and its desired state, for queries about both.
    pub fn with_desired(&mut self) -> (&mut R, &Desired<R::Key, R::Value>) {
        (&mut self.subsystem, &self.desired)
    }

    /// The desired state.
    pub fn desired(&self) -> &Desired<R::Key, R::Value> {
        &self.desired
    }

    /// The values that were observed or applied last; `None` before the first observation.
    pub fn last_observed(&self) -> Option<&BTreeMap<R::Key, R::Value>> {
        self.last_observed.as_ref()
    }

    /// Replaces all objects of the host.
    pub fn set_objects<'a>(&mut self, objects: impl IntoIterator<Item = &'a HostObject>) {
        let mut gone = mem::take(&mut self.objects);
        for object in objects {
            let key = object.key();
            gone.remove(&key);
            self.change(&key, Some(object));
        }
        for key in gone {
            self.change(&key, None);
        }
    }

    /// One object is new, different or gone (`None`). Takes effect with the next
    /// [`Self::settle`].
    pub fn change(&mut self, key: &ObjectKey, object: Option<&HostObject>) {
        match object {
            Some(_) => _ = self.objects.insert(key.clone()),
            None => _ = self.objects.remove(key),
        }
        let changed = self.conflicts.set_object(key, object);
        self.set_claims(key, object);
        self.reclaim_networks(changed);
    }

    /// Makes the items of one object desired.
    fn set_claims(&mut self, key: &ObjectKey, object: Option<&HostObject>) {
        let refusal = object.and_then(|object| self.conflicts.refusal_of(key, object));
        let items = match (object, refusal) {
            (Some(object), Some(why)) => {
                self.stale = true;
                let rest = self.subsystem.items_when_unavailable(object, why);
                let kept: BTreeSet<_> = rest.iter().map(|(item, _)| item).collect();
                let all = self.subsystem.items(object).into_iter();
                let missing = all
                    .map(|(item, _)| item)
                    .filter(|item| !kept.contains(item));
                let missing = missing.collect();
                self.holds.set_unavailable(key, missing);
                rest
            }
            (object, _) => {
                self.holds.set_unavailable(key, BTreeSet::new());
                object.map_or(Vec::new(), |object| self.subsystem.items(object))
            }
        };
        for item in self.desired.set_object(key, items) {
            if self.desired.get(&item).is_some() {
                self.previous_owner.remove(&item);
            } else {
                self.previous_owner.insert(item.clone(), key.clone());
            }
            self.update_conflicts(&item);
            self.touched.insert(item);
        }
    }

    /// The claims of an item may have changed: rejects those that lost.
    fn update_conflicts(&mut self, item: &R::Key) {
        let rejected = rejected_claims(&self.subsystem, &self.desired, item);
        for (object, message) in self.holds.set_conflicts(item, rejected) {
            tracing::warn!(
                subsystem = R::NAME,
                key = %item,
                object = %object.0,
                error = message,
                "not in force"
            );
        }
    }

    /// Whether [`Self::settle`] has something to do.
    pub fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Applies the touched items, at the cost of these only. Observes only when the last
    /// observation cannot be relied on: the very first time, when a network became unavailable, or
    /// when an attempt of a touched item failed.
    pub async fn settle(&mut self, now: Instant) -> Round {
        // The firewall held the others back: the host has them as before.
        let failed = |item| self.holds.failure(item).is_some_and(|f| f.reached_host);
        let Some(observed) = self.last_observed.as_ref().filter(|_| !self.stale) else {
            return self.round(now).await;
        };
        if self.holds.any_failure() && self.touched.iter().any(failed) {
            return self.round(now).await;
        }
        let mut changes = Vec::with_capacity(self.touched.len());
        let mut removals = Vec::new();
        for key in mem::take(&mut self.touched) {
            let (from, to) = (observed.get(&key), self.desired.get(&key));
            if from == to {
                self.previous_owner.remove(&key);
                self.holds.lift(&key);
                continue;
            }
            self.holds.end_wait(&key);
            let (from, to) = (from.cloned(), to.cloned());
            let list = if to.is_some() {
                &mut changes
            } else {
                &mut removals
            };
            list.push(Change { key, from, to });
        }
        changes.extend(removals.into_iter().rev());
        self.apply(changes, now).await
    }

    /// Observes, and corrects every difference whose next attempt is due.
    pub async fn round(&mut self, now: Instant) -> Round {
        let observed = match self.observe().await {
            Ok(observed) => observed,
            Err(error) => {
                self.observe_failed(&error, now);
                return Round {
                    failed: 1,
                    ..Round::default()
                };
            }
        };
        self.observe_failure = None;
        self.stale = false;
        self.touched.clear();
        self.holds.end_waits();
        let desired = &self.desired;
        self.holds
            .lift_where(|item| desired.get(item) == observed.get(item));
        self.previous_owner
            .retain(|item, _| observed.contains_key(item));
        let mut changes = diff(desired, &observed);
        changes.retain(|change| !self.is_early(change, now));
        self.last_observed = Some(observed);
        Round {
            observed: true,
            ..self.apply(changes, now).await
        }
    }

    /// The difference from the desired state now; changes nothing.
    pub async fn difference(&mut self) -> Result<Vec<Change<R::Key, R::Value>>, SubsystemError> {
        let observed = self.observe().await?;
        Ok(diff(&self.desired, &observed))
    }

    /// Removes every item with novanet's ownership tag, unless `dry_run`. Returns the removals and
    /// the failures.
    pub(crate) async fn cleanup(&mut self, dry_run: bool) -> Result<Cleaned<R>, SubsystemError> {
        let nothing = Desired::new(Vec::new());
        let observed = self.subsystem.observe(&nothing).await?;
        let changes = diff(&nothing, &observed);
        let failures = if dry_run || changes.is_empty() {
            Vec::new()
        } else {
            self.subsystem.apply(&changes, &nothing).await
        };
        if !dry_run {
            self.last_observed = None;
        }
        Ok((changes, failures))
    }
}

/// The removals of a cleanup, done or planned, and the failures.
pub(crate) type Cleaned<R> = (
    Vec<Change<<R as Subsystem>::Key, <R as Subsystem>::Value>>,
    Vec<(<R as Subsystem>::Key, SubsystemError)>,
);
