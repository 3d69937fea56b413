//! One attempt of a set of changes: which the firewall holds back, which succeed, and when those
//! that failed are due again.

use super::{Reconciler, Round};
use crate::desired::Change;
use crate::hold::{Blocked, Failure, Hold};
use crate::report::action;
use crate::subsystem::{Subsystem, SubsystemError};
use novanet_model::ObjectKey;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

impl<R: Subsystem> Reconciler<R> {
    /// Makes and changes nothing for these objects until the next call. What is on the host stays,
    /// and removals go on.
    pub fn block(&mut self, objects: BTreeMap<ObjectKey, Blocked>) {
        self.blocked = objects;
    }

    /// Whether an item waits because of [`Self::block`].
    pub fn is_blocked(&self) -> bool {
        self.holds.any_firewall()
    }

    /// Whether a subsystem below still works on the batch that this one has. Then an item that
    /// waits for its part ([`SubsystemError::Waits`]) has not failed.
    pub fn set_below_busy(&mut self, busy: bool) {
        self.below_busy = busy;
    }

    /// Whether an item waits for a subsystem below.
    pub fn is_deferring(&self) -> bool {
        self.holds.any_dependency()
    }

    /// The firewall or a subsystem below has moved: the next [`Self::settle`] attempts the items
    /// that wait for either.
    pub fn resume(&mut self) {
        self.touched.extend(self.holds.end_waits());
    }

    /// When the next failed item or observation is due; `None`: nothing failed.
    pub fn next_retry(&self) -> Option<Instant> {
        if let Some(failure) = &self.observe_failure {
            return Some(failure.not_before); // no item can be attempted before that
        }
        let items = self.holds.failures();
        items.map(|(_, failure)| failure.not_before).min()
    }

    /// Makes every failed item due at once: the subsystems below were busy when the items were
    /// attempted, and are not any more.
    pub fn retry(&mut self, now: Instant) {
        self.holds
            .each_failure(|failure| failure.not_before = failure.not_before.min(now));
    }

    /// Makes every failed item due at once, or soon if the last attempt was a moment ago: something
    /// changed that the items may have failed for. A guess, which correctness never needs.
    pub fn expedite_retries(&mut self, now: Instant) {
        let longest = self.backoff.longest;
        self.holds
            .each_failure(|failure| failure.expedite(now, longest));
        if let Some(failure) = &mut self.observe_failure {
            failure.expedite(now, longest);
        }
    }

    pub(super) async fn apply(
        &mut self,
        changes: Vec<Change<R::Key, R::Value>>,
        now: Instant,
    ) -> Round {
        let mut round = Round::default();
        let changes = self.without_blocked(changes, &mut round, now);
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
                if self.below_busy && matches!(error, SubsystemError::Waits(_)) {
                    self.holds.hold(change.key, Hold::DependencyOrder);
                    continue;
                }
                round.failed += 1;
                let action = action(change.from.as_ref(), change.to.as_ref());
                let failure = self.failure(&change.key, action, &error, now);
                self.holds.hold(change.key, Hold::Retry(failure));
            } else {
                round.applied += 1;
                self.succeeded(change, &traceless);
            }
        }
        for (key, error) in failures {
            round.failed += 1;
            let failure = self.failure(&key, "keep", &error, now);
            self.holds.hold(key, Hold::Retry(failure));
        }
        if round.applied > 0 {
            self.expedite_retries(now); // a failed item may have needed one that is there now
        }
        round
    }

    fn succeeded(&mut self, change: Change<R::Key, R::Value>, traceless: &BTreeSet<R::Key>) {
        let action = action(change.from.as_ref(), change.to.as_ref());
        if traceless.is_empty() || !traceless.contains(&change.key) {
            tracing::info!(subsystem = R::NAME, key = %change.key, action, "applied");
        }
        self.holds.lift(&change.key);
        let Some(observed) = &mut self.last_observed else {
            return;
        };
        if let Some(value) = change.to {
            observed.insert(change.key, value);
        } else {
            observed.remove(&change.key);
            self.previous_owner.remove(&change.key);
        }
    }

    /// One more failure of an item; logged if its text is new.
    fn failure(
        &self,
        key: &R::Key,
        action: &str,
        error: &SubsystemError,
        now: Instant,
    ) -> Failure<R::Value> {
        let target = self.desired.get(key).cloned();
        let before = self.holds.failure(key).filter(|f| f.target == target);
        let attempts = before.map_or(1, |failure| failure.attempts.saturating_add(1));
        let message = error.to_string();
        if before.is_none_or(|failure| failure.message != message) {
            tracing::warn!(
                subsystem = R::NAME,
                key = %key,
                action,
                error = message,
                "not in force"
            );
        }
        Failure {
            target,
            message,
            attempts,
            not_before: now + self.backoff.pause(attempts),
            last_attempt: now,
            reached_host: true,
        }
    }

    pub(super) fn observe_failed(&mut self, error: &SubsystemError, now: Instant) {
        let before = self.observe_failure.as_ref();
        let attempts = before.map_or(1, |failure| failure.attempts.saturating_add(1));
        let message = error.to_string();
        if attempts == 1 {
            tracing::warn!(subsystem = R::NAME, error = message, "cannot be observed");
        }
        self.observe_failure = Some(Failure {
            target: None,
            message,
            attempts,
            not_before: now + self.backoff.pause(attempts),
            last_attempt: now,
            reached_host: true,
        });
    }

    /// Whether the next attempt of this change is not due yet.
    pub(super) fn is_early(&self, change: &Change<R::Key, R::Value>, now: Instant) -> bool {
        self.holds
            .failure(&change.key)
            .is_some_and(|failure| failure.not_before > now && failure.target == change.to)
    }

    /// Holds the creations and changes of blocked objects back; returns the rest.
    fn without_blocked(
        &mut self,
        mut changes: Vec<Change<R::Key, R::Value>>,
        round: &mut Round,
        now: Instant,
    ) -> Vec<Change<R::Key, R::Value>> {
        if self.blocked.is_empty() {
            return changes;
        }
        let mut held = Vec::new();
        changes.retain(|change| {
            let owners = self.owners(&change.key);
            let block = owners.iter().find_map(|owner| self.blocked.get(owner));
            let (Some(block), Some(value)) = (block, &change.to) else {
                return true;
            };
            if !self.subsystem.waits_for_firewall(&change.key, value) {
                return true;
            }
            if let Blocked::Refused(why) = block {
                self.subsystem.hold_back(&change.key, value, why);
            }
            let action = action(change.from.as_ref(), change.to.as_ref());
            held.push((change.key.clone(), action, block.clone()));
            false
        });
        for (key, action, block) in held {
            match block {
                Blocked::Busy => self.holds.wait_for_firewall(key),
                Blocked::Refused(why) => {
                    round.failed += 1;
                    let error = SubsystemError::Refused(why);
                    let mut failure = self.failure(&key, action, &error, now);
                    failure.reached_host = false;
                    let hold = Hold::FirewallNotReady(Some(failure));
                    self.holds.hold(key, hold);
                }
            }
        }
        changes
    }
}
