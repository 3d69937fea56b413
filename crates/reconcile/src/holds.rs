//! The holds of all items of a subsystem: one [`Hold`] for an item, and one for each object whose
//! claim of it is rejected. Pure: keeps the books for the reconciler.

use crate::hold::{Failure, Hold};
use novanet_model::ObjectKey;
use std::collections::{BTreeMap, BTreeSet};

/// The holds of one item.
#[derive(Debug)]
struct ItemHolds<V> {
    /// Of the item, whichever object claims it.
    item: Option<Hold<V>>,
    /// Of these objects' claims only; the item itself may be on the host.
    claims: BTreeMap<ObjectKey, Hold<V>>,
}

impl<V> Default for ItemHolds<V> {
    fn default() -> Self {
        Self {
            item: None,
            claims: BTreeMap::new(),
        }
    }
}

/// All holds of a subsystem.
pub(crate) struct Holds<K, V> {
    items: BTreeMap<K, ItemHolds<V>>,
    /// Items with [`Hold::NetworkUnavailable`], by object, to lift the holds again.
    unavailable: BTreeMap<ObjectKey, BTreeSet<K>>,
    counts: Counts,
}

/// Numbers of item holds, so that a worker that has none looks at no item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    failures: usize,
    dependency: usize,
    firewall: usize,
}

impl Counts {
    fn of<V>(hold: &Hold<V>) -> Self {
        Self {
            failures: usize::from(hold.failure().is_some()),
            dependency: usize::from(matches!(hold, Hold::DependencyOrder)),
            firewall: usize::from(matches!(hold, Hold::FirewallNotReady(_))),
        }
    }

    fn add(&mut self, other: Self) {
        self.failures += other.failures;
        self.dependency += other.dependency;
        self.firewall += other.firewall;
    }

    fn subtract(&mut self, other: Self) {
        self.failures -= other.failures;
        self.dependency -= other.dependency;
        self.firewall -= other.firewall;
    }
}

impl<K: Ord + Clone, V: Eq> Holds<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            items: BTreeMap::new(),
            unavailable: BTreeMap::new(),
            counts: Counts::default(),
        }
    }

    /// Holds an item; replaces the item's former hold.
    pub(crate) fn hold(&mut self, item: K, hold: Hold<V>) {
        self.counts.add(Counts::of(&hold));
        let before = self.items.entry(item).or_default().item.replace(hold);
        if let Some(before) = before {
            self.counts.subtract(Counts::of(&before));
        }
    }

    /// Lifts the hold of an item.
    pub(crate) fn lift(&mut self, item: &K) -> Option<Hold<V>> {
        let holds = self.items.get_mut(item)?;
        let hold = holds.item.take();
        if holds.claims.is_empty() {
            self.items.remove(item);
        }
        if let Some(hold) = &hold {
            self.counts.subtract(Counts::of(hold));
        }
        hold
    }

    /// An attempt of this item is due: it waits for no event any more. A failure stays until an
    /// attempt succeeds.
    pub(crate) fn end_wait(&mut self, item: &K) {
        match self.items.get(item).and_then(|holds| holds.item.as_ref()) {
            Some(Hold::DependencyOrder | Hold::FirewallNotReady(_)) => {}
            _ => return,
        }
        match self.lift(item) {
            Some(Hold::FirewallNotReady(Some(failure))) if failure.reached_host => {
                self.hold(item.clone(), Hold::Retry(failure));
            }
            Some(hold @ Hold::FirewallNotReady(Some(_))) => self.hold(item.clone(), hold),
            _ => {}
        }
    }

    /// As [`Self::end_wait`], for all items. Returns the items that waited.
    pub(crate) fn end_waits(&mut self) -> Vec<K> {
        if self.counts.dependency == 0 && self.counts.firewall == 0 {
            return Vec::new();
        }
        let waiting =
            |hold: &Hold<V>| matches!(hold, Hold::DependencyOrder | Hold::FirewallNotReady(_));
        let waited = self
            .items
            .iter()
            .filter(|(_, holds)| holds.item.as_ref().is_some_and(waiting));
        let waited: Vec<K> = waited.map(|(item, _)| item.clone()).collect();
        for item in &waited {
            self.end_wait(item);
        }
        waited
    }

    /// Holds an item until the firewall has done its change; keeps the item's failure.
    pub(crate) fn wait_for_firewall(&mut self, item: K) {
        let failure = match self.lift(&item) {
            Some(Hold::Retry(failure) | Hold::FirewallNotReady(Some(failure))) => Some(failure),
            _ => None,
        };
        self.hold(item, Hold::FirewallNotReady(failure));
    }

    /// The failure of an item.
    pub(crate) fn failure(&self, item: &K) -> Option<&Failure<V>> {
        if self.counts.failures == 0 {
            return None;
        }
        self.items.get(item)?.item.as_ref()?.failure()
    }

    /// Items whose last attempt failed, or that the firewall refuses.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&K, &Failure<V>)> {
        let some = self.counts.failures > 0;
        let items = some.then(|| self.items.iter()).into_iter().flatten();
        items.filter_map(|(item, holds)| Some((item, holds.item.as_ref()?.failure()?)))
    }

    /// Changes every failure.
    pub(crate) fn each_failure(&mut self, mut change: impl FnMut(&mut Failure<V>)) {
        if self.counts.failures == 0 {
            return;
        }
        let holds = self.items.values_mut();
        holds
            .filter_map(|holds| holds.item.as_mut()?.failure_mut())
            .for_each(&mut change);
    }

    /// Whether any item has a failure.
    pub(crate) fn any_failure(&self) -> bool {
        self.counts.failures > 0
    }

    /// Lifts the holds of the items with a failure that `is_reached` accepts.
    pub(crate) fn lift_where(&mut self, is_reached: impl Fn(&K) -> bool) {
        let reached = self.failures().map(|(item, _)| item);
        let reached: Vec<K> = reached.filter(|item| is_reached(item)).cloned().collect();
        for item in &reached {
            self.lift(item);
        }
    }

    /// Whether an item waits for a subsystem below.
    pub(crate) fn any_dependency(&self) -> bool {
        self.counts.dependency > 0
    }

    /// Whether an item waits for the firewall.
    pub(crate) fn any_firewall(&self) -> bool {
        self.counts.firewall > 0
    }

    /// The rejected claims: the item, the object that lost, and the message.
    pub(crate) fn conflicts(&self) -> impl Iterator<Item = (&K, &ObjectKey, &str)> {
        self.items.iter().flat_map(|(item, holds)| {
            holds
                .claims
                .iter()
                .filter_map(move |(object, hold)| match hold {
                    Hold::Conflict(message) => Some((item, object, message.as_str())),
                    _ => None,
                })
        })
    }

    /// Replaces the conflicts of an item. Returns those that are new or have another message.
    pub(crate) fn set_conflicts(
        &mut self,
        item: &K,
        rejected: BTreeMap<ObjectKey, String>,
    ) -> Vec<(ObjectKey, String)> {
        if rejected.is_empty() && self.items.is_empty() {
            return Vec::new();
        }
        let mut before = BTreeMap::new();
        if let Some(holds) = self.items.get_mut(item) {
            holds.claims.retain(|object, hold| match hold {
                Hold::Conflict(message) => {
                    before.insert(object.clone(), std::mem::take(message));
                    false
                }
                _ => true,
            });
        }
        let mut fresh = Vec::new();
        for (object, message) in rejected {
            if before.get(&object) != Some(&message) {
                fresh.push((object.clone(), message.clone()));
            }
            self.hold_claim(item, object, Hold::Conflict(message));
        }
        self.forget_if_empty(item);
        fresh
    }

    /// Holds these claims of an object, because the host cannot have its network or address; empty:
    /// lifts the holds.
    pub(crate) fn set_unavailable(&mut self, object: &ObjectKey, items: BTreeSet<K>) {
        if let Some(before) = self.unavailable.remove(object) {
            for item in before.difference(&items) {
                if let Some(holds) = self.items.get_mut(item) {
                    holds.claims.remove(object);
                }
                self.forget_if_empty(item);
            }
        }
        for item in &items {
            self.hold_claim(item, object.clone(), Hold::NetworkUnavailable);
        }
        if !items.is_empty() {
            self.unavailable.insert(object.clone(), items);
        }
    }

    /// The reason why an item is not on the host as this object claims it.
    pub(crate) fn reason(&self, item: &K, object: &ObjectKey) -> Option<&'static str> {
        let holds = self.items.get(item)?;
        let hold = holds.claims.get(object).or(holds.item.as_ref())?;
        Some(hold.name())
    }

    fn hold_claim(&mut self, item: &K, object: ObjectKey, hold: Hold<V>) {
        let holds = self.items.entry(item.clone()).or_default();
        holds.claims.insert(object, hold);
    }

    fn forget_if_empty(&mut self, item: &K) {
        let holds = self.items.get(item);
        if holds.is_some_and(|holds| holds.item.is_none() && holds.claims.is_empty()) {
            self.items.remove(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    type Books = Holds<u8, u8>;

    fn failure(reached_host: bool) -> Failure<u8> {
        Failure {
            target: Some(1),
            message: "no".to_owned(),
            attempts: 3,
            not_before: Instant::now(),
            last_attempt: Instant::now(),
            reached_host,
        }
    }

    #[test]
    fn an_item_has_one_hold_and_the_counts_follow_it() {
        let mut holds = Books::new();
        holds.hold(1, Hold::DependencyOrder);
        assert!(holds.any_dependency() && !holds.any_firewall());
        holds.hold(1, Hold::Retry(failure(true)));
        assert!(!holds.any_dependency());
        assert_eq!(holds.failures().count(), 1);
        assert!(holds.lift(&1).is_some());
        assert_eq!(holds.counts, Counts::default());
        assert!(holds.items.is_empty());
    }

    #[test]
    fn a_failure_outlives_the_wait_for_the_firewall() {
        let mut holds = Books::new();
        holds.hold(1, Hold::Retry(failure(true)));
        holds.wait_for_firewall(1);
        holds.wait_for_firewall(2);
        assert!(holds.any_firewall());
        assert_eq!(holds.failures().count(), 1, "it is still reported");
        assert_eq!(holds.end_waits(), [1, 2]);
        assert!(!holds.any_firewall());
        assert_eq!(holds.failure(&1).map(|failure| failure.attempts), Some(3));
        assert!(holds.failure(&2).is_none());
    }

    #[test]
    fn what_the_firewall_refuses_waits_until_an_attempt_succeeds() {
        let mut holds = Books::new();
        holds.hold(1, Hold::FirewallNotReady(Some(failure(false))));
        assert_eq!(holds.end_waits(), [1]);
        assert!(holds.any_firewall());
    }

    #[test]
    fn claims_are_held_apart_from_the_item() {
        let object = |name: &str| ObjectKey(name.to_owned());
        let mut holds = Books::new();
        let rejected = || BTreeMap::from([(object("b"), "taken".to_owned())]);
        assert_eq!(holds.set_conflicts(&1, rejected()).len(), 1);
        assert!(holds.set_conflicts(&1, rejected()).is_empty(), "not news");
        holds.set_unavailable(&object("c"), BTreeSet::from([1, 2]));
        holds.hold(1, Hold::Retry(failure(true)));
        assert_eq!(holds.reason(&1, &object("a")), Some("Retry"));
        assert_eq!(holds.reason(&1, &object("b")), Some("Conflict"));
        assert_eq!(holds.reason(&2, &object("c")), Some("NetworkUnavailable"));
        holds.set_unavailable(&object("c"), BTreeSet::new());
        holds.set_conflicts(&1, BTreeMap::new());
        holds.lift(&1);
        assert!(holds.items.is_empty() && holds.unavailable.is_empty());
    }
}
