//! Keeps one subsystem as it must be: what is desired, what is believed to be there, what failed and
//! when it is tried again. Knows nothing of other subsystems, of tasks or of the server.
//!
//! The hot path ([`Reconciler::settle`]) looks at the touched keys only: no observing, no walk over
//! the maps. It trusts what the last round left; [`Reconciler::round`] observes and corrects.

use crate::failure::{Failure, summary, wait_after};
use crate::failure::{LONGEST_WAIT, action, host_key};
use crate::network_conflicts::NetworkConflicts;
use crate::subsystem::{Change, Desired, Origin, Subsystem, SubsystemError, diff};
use crate::waiting::Blocked;
use novanet_model::{HostObject, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;
use tokio::time::Instant;

/// What one round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// Changes made.
    pub applied: usize,
    /// Changes tried in vain.
    pub failed: usize,
    /// Whether the subsystem was observed.
    pub observed: bool,
}

impl Round {
    /// Nothing was tried.
    pub fn is_quiet(&self) -> bool {
        self.applied == 0 && self.failed == 0
    }
}

/// One subsystem with its desired and believed state.
pub struct Reconciler<R: Subsystem> {
    pub(crate) subsystem: R,
    pub(crate) desired: Desired<R::Key, R::Value>,
    /// `None` until the first observation: nothing can be trusted.
    believed: Option<BTreeMap<R::Key, R::Value>>,
    pub(crate) touched: BTreeSet<R::Key>,
    pub(crate) failing: BTreeMap<R::Key, Failure<R::Value>>,
    /// Whose an item was that no object wants any more: its removal is reported there.
    former: BTreeMap<R::Key, ObjectKey>,
    /// Who does not get which item, and why.
    pub(crate) disputed: BTreeMap<R::Key, BTreeMap<ObjectKey, String>>,
    pub(crate) blind: Option<Failure<()>>,
    /// See [`Self::bar`].
    pub(crate) barred: BTreeMap<ObjectKey, Blocked>,
    /// Items that wait for a moment because of that.
    pub(crate) waiting: BTreeSet<R::Key>,
    /// See [`Self::below_is_behind`].
    pub(crate) behind_below: bool,
    /// Items that wait for a subsystem below.
    pub(crate) deferred: BTreeSet<R::Key>,
    objects: BTreeSet<ObjectKey>,
    /// See [`Self::stand_among`].
    pub(crate) conflicts: NetworkConflicts,
    /// What stays without ground is as it is: only the subsystem knows how.
    doubtful: bool,
    /// Between two tries of what fails.
    pub(crate) longest_wait: Duration,
}

impl<R: Subsystem> Reconciler<R> {
    /// A subsystem whose objects are not known yet.
    pub fn new(subsystem: R) -> Self {
        Self {
            desired: Desired::new(subsystem.base_items()),
            subsystem,
            believed: None,
            touched: BTreeSet::new(),
            failing: BTreeMap::new(),
            former: BTreeMap::new(),
            disputed: BTreeMap::new(),
            blind: None,
            barred: BTreeMap::new(),
            waiting: BTreeSet::new(),
            behind_below: false,
            deferred: BTreeSet::new(),
            objects: BTreeSet::new(),
            conflicts: NetworkConflicts::default(),
            doubtful: false,
            longest_wait: LONGEST_WAIT,
        }
    }

    /// The subsystem itself, to ask it something.
    pub fn subsystem(&mut self) -> &mut R {
        &mut self.subsystem
    }

    /// The desired state.
    pub fn desired(&self) -> &Desired<R::Key, R::Value> {
        &self.desired
    }

    /// What was there after the last round, as far as is known.
    pub fn believed(&self) -> Option<&BTreeMap<R::Key, R::Value>> {
        self.believed.as_ref()
    }

    /// These are all objects of the host.
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

    /// One object is new, different or gone. Takes effect with the next [`Self::settle`].
    pub fn change(&mut self, key: &ObjectKey, object: Option<&HostObject>) {
        match object {
            Some(_) => _ = self.objects.insert(key.clone()),
            None => _ = self.objects.remove(key),
        }
        let changes = self.conflicts.take(key, object);
        self.enter(key, object);
        self.stand_anew(changes);
    }

    /// What follows from one object is desired.
    pub(crate) fn enter(&mut self, key: &ObjectKey, object: Option<&HostObject>) {
        let refusal = object.and_then(|object| self.conflicts.refusal_of(key, object));
        let items = match (object, refusal) {
            (Some(object), Some(why)) => {
                self.doubtful = true;
                self.subsystem.items_when_unavailable(object, why)
            }
            (Some(object), None) => self.subsystem.items(object),
            (None, _) => Vec::new(),
        };
        for item in self.desired.set_object(key, items) {
            if self.desired.get(&item).is_some() {
                self.former.remove(&item);
            } else {
                self.former.insert(item.clone(), key.clone());
            }
            self.judge(&item);
            self.touched.insert(item);
        }
    }

    /// Whether something waits for [`Self::settle`].
    pub fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Why the items that every host has are not in force; `None`: they are, as far as is known.
    pub fn base_fault(&self) -> Option<String> {
        if let Some(blind) = &self.blind {
            return Some(format!("cannot be observed: {}", blind.message));
        }
        if self.believed.is_none() {
            return Some("was not looked at yet".to_owned());
        }
        let is_base = |item| self.desired.origins(item).any(|by| *by == Origin::Base);
        let mut faults = self.failing.iter().filter(|(item, _)| is_base(item));
        let (item, failure) = faults.next()?;
        Some(format!("{item}: {}", failure.message))
    }

    /// Makes the touched items true, at the cost of these only. Observes only when it cannot trust
    /// what it believes: at the very first time, or when a touched item failed before.
    pub async fn settle(&mut self, now: Instant) -> Round {
        // What was barred was not tried: as much is known of it as before.
        let doubtful = |key| self.failing.get(key).is_some_and(|f| !f.barred);
        let Some(believed) = self.believed.as_ref().filter(|_| !self.doubtful) else {
            return self.round(now).await;
        };
        if !self.failing.is_empty() && self.touched.iter().any(doubtful) {
            return self.round(now).await;
        }
        let mut changes = Vec::with_capacity(self.touched.len());
        let mut removals = Vec::new();
        for key in mem::take(&mut self.touched) {
            let (from, to) = (believed.get(&key), self.desired.get(&key));
            self.waiting.remove(&key);
            self.deferred.remove(&key);
            if from == to {
                self.former.remove(&key);
                self.failing.remove(&key);
                continue;
            }
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

    /// Observes and corrects everything that differs and is not waiting for its next try.
    pub async fn round(&mut self, now: Instant) -> Round {
        let observed = match self.look().await {
            Ok(observed) => observed,
            Err(error) => {
                self.blinded(&error, now);
                return Round {
                    failed: 1,
                    ..Round::default()
                };
            }
        };
        self.blind = None;
        self.doubtful = false;
        self.touched.clear();
        self.waiting.clear();
        self.deferred.clear();
        let desired = &self.desired;
        self.failing
            .retain(|key, _| desired.get(key) != observed.get(key));
        self.former.retain(|key, _| observed.contains_key(key));
        let mut changes = diff(desired, &observed);
        changes.retain(|change| !self.waits(change, now));
        self.believed = Some(observed);
        Round {
            observed: true,
            ..self.apply(changes, now).await
        }
    }

    /// What is not in force, by object. Trouble that belongs to no object is under `host/<subsystem>`.
    pub fn errors(&self) -> BTreeMap<ObjectKey, String> {
        let mut by_object: BTreeMap<ObjectKey, Vec<String>> = BTreeMap::new();
        for (item, failure) in &self.failing {
            for object in self.owners(item) {
                by_object.entry(object).or_default().push(format!(
                    "{} {item}: {}",
                    R::NAME,
                    failure.message
                ));
            }
        }
        for (key, why) in self.refusals() {
            by_object.entry(key).or_default().push(why.to_owned());
        }
        for (item, object, why) in self.disputes() {
            let messages = by_object.entry(object.clone()).or_default();
            messages.push(format!("{} {item}: {why}", R::NAME));
        }
        if let Some(blind) = &self.blind {
            by_object
                .entry(host_key(R::NAME))
                .or_default()
                .push(format!(
                    "{}: cannot be observed: {}",
                    R::NAME,
                    blind.message
                ));
        }
        by_object
            .into_iter()
            .map(|(object, messages)| (object, summary(&messages)))
            .collect()
    }

    /// What differs from the desired state now; changes nothing.
    pub async fn difference(&mut self) -> Result<Vec<Change<R::Key, R::Value>>, SubsystemError> {
        let observed = self.look().await?;
        Ok(diff(&self.desired, &observed))
    }

    /// Everything of ours that is there, as removals; carried out unless `dry_run`. Answers with
    /// the removals and what went wrong.
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
            self.believed = None;
        }
        Ok((changes, failures))
    }

    async fn apply(&mut self, changes: Vec<Change<R::Key, R::Value>>, now: Instant) -> Round {
        let mut round = Round::default();
        let changes = self.without_barred(changes, &mut round, now);
        if changes.is_empty() {
            return round;
        }
        let removals = changes.iter().filter(|change| change.to.is_none());
        let traceless: BTreeSet<R::Key> = removals
            .filter(|removal| !self.subsystem.takes_away(removal))
            .map(|removal| removal.key.clone())
            .collect();
        let failures = self.subsystem.apply(&changes, &self.desired).await;
        let mut failures: BTreeMap<_, _> = failures.into_iter().collect();
        for change in changes {
            if let Some(error) = failures.remove(&change.key) {
                if self.is_deferred(&change.key, &error) {
                    continue;
                }
                round.failed += 1;
                self.failed(
                    change.key,
                    action(change.from.as_ref(), change.to.as_ref()),
                    &error,
                    now,
                );
            } else {
                round.applied += 1;
                self.succeeded(change, &traceless);
            }
        }
        for (key, error) in failures {
            round.failed += 1;
            self.failed(key, "keep", &error, now);
        }
        if round.applied > 0 {
            self.hurry(now); // what failed may have stood on it
        }
        round
    }

    fn succeeded(&mut self, change: Change<R::Key, R::Value>, traceless: &BTreeSet<R::Key>) {
        let action = action(change.from.as_ref(), change.to.as_ref());
        if traceless.is_empty() || !traceless.contains(&change.key) {
            tracing::info!(subsystem = R::NAME, key = %change.key, action, "applied");
        }
        if !self.failing.is_empty() {
            self.failing.remove(&change.key);
        }
        let Some(believed) = &mut self.believed else {
            return;
        };
        if let Some(value) = change.to {
            believed.insert(change.key, value);
        } else {
            believed.remove(&change.key);
            self.former.remove(&change.key);
        }
    }

    pub(crate) fn failed(
        &mut self,
        key: R::Key,
        action: &str,
        error: &SubsystemError,
        now: Instant,
    ) {
        let target = self.desired.get(&key).cloned();
        let before = self.failing.get(&key).filter(|f| f.target == target);
        let attempts = before.map_or(1, |failure| failure.attempts.saturating_add(1));
        let message = error.to_string();
        if before.is_none_or(|failure| failure.message != message) {
            tracing::warn!(subsystem = R::NAME, key = %key, action, error = message, "not in force");
        }
        let failure = Failure {
            target,
            message,
            attempts,
            not_before: now + wait_after(attempts, self.longest_wait),
            tried: now,
            barred: false,
        };
        self.failing.insert(key, failure);
    }

    fn blinded(&mut self, error: &SubsystemError, now: Instant) {
        let attempts = self.blind.as_ref().map_or(1, |f| f.attempts + 1);
        let message = error.to_string();
        if attempts == 1 {
            tracing::warn!(subsystem = R::NAME, error = message, "cannot be observed");
        }
        self.blind = Some(Failure {
            target: None,
            message,
            attempts,
            not_before: now + wait_after(attempts, self.longest_wait),
            tried: now,
            barred: false,
        });
    }

    fn waits(&self, change: &Change<R::Key, R::Value>, now: Instant) -> bool {
        self.failing
            .get(&change.key)
            .is_some_and(|failure| failure.not_before > now && failure.target == change.to)
    }

    pub(crate) fn owners(&self, item: &R::Key) -> BTreeSet<ObjectKey> {
        let owner = |origin: &Origin| match origin {
            Origin::Base => host_key(R::NAME),
            Origin::Object(object) => object.clone(),
        };
        let owners: BTreeSet<_> = self.desired.origins(item).map(owner).collect();
        if owners.is_empty() {
            let former = self.former.get(item).cloned();
            return BTreeSet::from([former.unwrap_or_else(|| host_key(R::NAME))]);
        }
        owners
    }
}

/// What a cleanup removed (or would), and which of it failed.
pub(crate) type Cleaned<R> = (
    Vec<Change<<R as Subsystem>::Key, <R as Subsystem>::Value>>,
    Vec<(<R as Subsystem>::Key, SubsystemError)>,
);
