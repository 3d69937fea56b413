//! The desired state of a subsystem, and its difference from the observed state. Pure: depends on
//! the keys of host objects only.

use novanet_model::ObjectKey;
use std::collections::{BTreeMap, BTreeSet};

/// One item whose desired and observed values differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<K, V> {
    /// The item.
    pub key: K,
    /// The observed value; `None`: the item is not on the host.
    pub from: Option<V>,
    /// The desired value; `None`: no object asks for the item.
    pub to: Option<V>,
}

/// The desired state of a subsystem: for each item, the value that each object claims.
#[derive(Debug, Clone)]
pub struct Desired<K, V> {
    items: BTreeMap<K, BTreeMap<Origin, V>>,
    by_object: BTreeMap<ObjectKey, BTreeSet<K>>,
}

/// The source of a claim. `Base` sorts first, so a host's own items win over an object's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Every host has the item.
    Base,
    /// The item follows from this object.
    Object(ObjectKey),
}

impl<K: Ord + Clone, V: Clone + Eq> Desired<K, V> {
    /// A desired state of base items only.
    pub fn new(base: Vec<(K, V)>) -> Self {
        let mut items: BTreeMap<K, BTreeMap<Origin, V>> = BTreeMap::new();
        for (key, value) in base {
            items.entry(key).or_default().insert(Origin::Base, value);
        }
        Self {
            items,
            by_object: BTreeMap::new(),
        }
    }

    /// Replaces the values of these base items. Returns the keys whose value changed.
    pub fn set_base(&mut self, items: Vec<(K, V)>) -> BTreeSet<K> {
        let mut touched = BTreeSet::new();
        for (key, value) in items {
            let by = self.items.entry(key.clone()).or_default();
            if by.get(&Origin::Base) != Some(&value) {
                by.insert(Origin::Base, value);
                touched.insert(key);
            }
        }
        touched
    }

    /// The value of the first claim by [`Origin`]; `None`: no claim.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.items.get(key).and_then(|by| by.values().next())
    }

    /// All items with their desired values, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.items
            .iter()
            .filter_map(|(k, by)| by.values().next().map(|v| (k, v)))
    }

    /// The items of a range of keys, with their desired values.
    pub fn range<'a>(
        &'a self,
        range: impl std::ops::RangeBounds<K>,
    ) -> impl Iterator<Item = (&'a K, &'a V)>
    where
        K: 'a,
        V: 'a,
    {
        self.items
            .range(range)
            .filter_map(|(k, by)| by.values().next().map(|v| (k, v)))
    }

    /// All claims of an item. The first one is the desired value.
    pub fn claims<'a>(&'a self, key: &K) -> impl Iterator<Item = (&'a Origin, &'a V)> {
        self.items.get(key).into_iter().flatten()
    }

    /// The origins of all claims of an item.
    pub fn origins<'a>(&'a self, key: &K) -> impl Iterator<Item = &'a Origin> {
        self.items.get(key).into_iter().flat_map(BTreeMap::keys)
    }

    /// Replaces the claims of one object (empty: the object is gone). Returns the keys whose value
    /// may have changed.
    pub fn set_object(&mut self, object: &ObjectKey, new: Vec<(K, V)>) -> BTreeSet<K> {
        let origin = Origin::Object(object.clone());
        let mut touched = BTreeSet::new();
        for key in self.by_object.remove(object).unwrap_or_default() {
            if let Some(by) = self.items.get_mut(&key) {
                by.remove(&origin);
                if by.is_empty() {
                    self.items.remove(&key);
                }
            }
            touched.insert(key);
        }
        let mut keys = BTreeSet::new();
        for (key, value) in new {
            self.items
                .entry(key.clone())
                .or_default()
                .insert(origin.clone(), value);
            touched.insert(key.clone());
            keys.insert(key);
        }
        if !keys.is_empty() {
            self.by_object.insert(object.clone(), keys);
        }
        touched
    }
}

/// The difference of a desired and an observed state: changes and creations in key order, then
/// removals in reverse order.
pub fn diff<K: Ord + Clone, V: Clone + Eq>(
    desired: &Desired<K, V>,
    observed: &BTreeMap<K, V>,
) -> Vec<Change<K, V>> {
    let mut changes: Vec<_> = desired
        .iter()
        .filter(|(key, value)| observed.get(key) != Some(value))
        .map(|(key, value)| Change {
            key: key.clone(),
            from: observed.get(key).cloned(),
            to: Some(value.clone()),
        })
        .collect();
    changes.extend(
        observed
            .iter()
            .rev()
            .filter(|(key, _)| desired.get(key).is_none())
            .map(|(key, value)| Change {
                key: key.clone(),
                from: Some(value.clone()),
                to: None,
            }),
    );
    changes
}
