//! The contract between the engine and the subsystems of a host.
//!
//! A subsystem's state is a map from keys to values, both desired and observed. That makes diffing
//! generic, gives every subsystem a fake for free, and lets one changed object touch only its own items.

use novanet_model::{HostAddresses, HostObject, IfName, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};
use std::net::Ipv4Addr;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::Notify;

/// A part of the host: links, firewall, DHCP …
///
/// Rules for implementors: `items` is pure and row-local (it sees one object); several objects may
/// contribute the same key (the engine counts); if they do not agree on the value, the first by key
/// has it, and `detect_conflict` says what the others are told. `observe` reports only
/// what carries our mark, plus foreign things that stand where a key of `desired` wants to be (as a
/// value that differs). `apply` gets changes in key order, creations and changes before removals,
/// does as many as it can, and reports each failure under its key; it may be killed after any step,
/// and the next `observe` + `apply` must end in the same state.
#[allow(async_fn_in_trait)] // subsystems are used as concrete types only
pub trait Subsystem {
    /// Names an item; the order is the order of applying.
    type Key: Ord + Clone + Display + Debug + Send + Sync + 'static;
    /// What the item is like.
    type Value: Clone + Eq + Debug + Send + Sync + 'static;

    /// Name of the subsystem, for logs and `plan --diff`.
    const NAME: &'static str;

    /// Items that every host has, whatever its objects.
    fn base_items(&self) -> Vec<(Self::Key, Self::Value)>;

    /// Items that follow from one object.
    fn items(&self, object: &HostObject) -> Vec<(Self::Key, Self::Value)>;

    /// Items of an object that this host cannot have, or whose network it cannot have: a name or an
    /// address is somebody else's, as `_why` says. Nothing is made then; what must not go with it
    /// (an instance that runs) stays.
    fn items_when_unavailable(
        &self,
        _object: &HostObject,
        _why: &str,
    ) -> Vec<(Self::Key, Self::Value)> {
        Vec::new()
    }

    /// An item is not made for now: what must protect it is not there.
    fn hold_back(&mut self, _key: &Self::Key, _value: &Self::Value, _why: &str) {}

    /// What of the host is not ours, as last observed. Only the links subsystem sees any.
    fn foreign_devices(&self) -> Option<ForeignDevices> {
        None
    }

    /// The host's own addresses are these from now on. Answers with the items that every host has and
    /// that are others because of it.
    fn follow(&mut self, _foreign: &Foreign) -> Vec<(Self::Key, Self::Value)> {
        Vec::new()
    }

    /// What to tell an object that wants `key` to be something else than `first`, who has it: the
    /// item is what the first object by key wants. `None`: it can live with that.
    fn detect_conflict(
        &self,
        _key: &Self::Key,
        _first: (&ObjectKey, &Self::Value),
        _other: (&ObjectKey, &Self::Value),
    ) -> Option<String> {
        None
    }

    /// Notified when the subsystem has reason to believe that something of ours was changed by somebody
    /// else (a kernel notification, a process that ended): the engine observes again at once.
    fn changed_externally(&self) -> Arc<Notify>;

    /// Whether a removal has something to take from the host. An item that is left alone or only waits
    /// goes without a trace, and the log does not say that it was removed.
    fn takes_away(&self, _removal: &Change<Self::Key, Self::Value>) -> bool {
        true
    }

    /// What is there now.
    async fn observe(
        &mut self,
        desired: &Desired<Self::Key, Self::Value>,
    ) -> Result<BTreeMap<Self::Key, Self::Value>, SubsystemError>;

    /// Makes these changes true. `desired` is the whole desired state, for renderings that need
    /// the neighbours of an item (a chain is all its rules).
    async fn apply(
        &mut self,
        changes: &[Change<Self::Key, Self::Value>],
        desired: &Desired<Self::Key, Self::Value>,
    ) -> Vec<(Self::Key, SubsystemError)>;
}

/// What of the host is not ours.
pub type ForeignDevices = Arc<Foreign>;

/// Devices, addresses and routes that are not ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Devices by name.
    pub devices: BTreeMap<IfName, ForeignDevice>,
    /// Addresses and routes.
    pub addresses: HostAddresses,
    /// The address that the host uses towards others; `None`: it has none yet.
    pub source: Option<Ipv4Addr>,
    /// What the host waits for, with the remedy: the public interface, or its address.
    pub waits: Option<String>,
}

impl std::ops::Deref for Foreign {
    type Target = BTreeMap<IfName, ForeignDevice>;

    fn deref(&self) -> &Self::Target {
        &self.devices
    }
}

/// A device of [`Foreign`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignDevice {
    /// A bridge; a flat network's is one that the administrator made.
    pub is_bridge: bool,
    /// What it is, in words for an error.
    pub what: String,
}

/// One item that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<K, V> {
    /// Which.
    pub key: K,
    /// What is there; `None`: nothing.
    pub from: Option<V>,
    /// What must be; `None`: nothing.
    pub to: Option<V>,
}

/// What went wrong with one item. The text has the object or command and the remedy.
#[derive(Debug, Error)]
pub enum SubsystemError {
    /// A program failed.
    #[error("{command}: {message}")]
    Command {
        /// The command line, without secrets.
        command: String,
        /// Its stderr, or why it could not be started.
        message: String,
    },
    /// The kernel refused.
    #[error("{what}: {source}")]
    Kernel {
        /// The operation and its object.
        what: String,
        /// errno.
        source: std::io::Error,
    },
    /// Something foreign is in the way, or the host cannot do it.
    #[error("{0}")]
    Refused(String),
    /// A subsystem that this one stands on must do its part first. While that subsystem is at it, this is no
    /// fault: the engine tries again when it has moved.
    #[error("{0}")]
    Waits(String),
}

impl SubsystemError {
    /// The kernel (or a file) refused `what`.
    pub fn kernel(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Kernel {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// The desired state of a subsystem: items, and which objects want them.
#[derive(Debug, Clone)]
pub struct Desired<K, V> {
    items: BTreeMap<K, BTreeMap<Origin, V>>,
    by_object: BTreeMap<ObjectKey, BTreeSet<K>>,
}

/// Who wants an item. `Base` sorts first, so a host's own items win over an object's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Every host has it.
    Base,
    /// It follows from this object.
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

    /// Some items that every host has are others; answers with the keys whose value changed.
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

    /// The value an item must have.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.items.get(key).and_then(|by| by.values().next())
    }

    /// All items in order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.items
            .iter()
            .filter_map(|(k, by)| by.values().next().map(|v| (k, v)))
    }

    /// Items from `first` up to, and without, `end`.
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

    /// Who wants an item to be what; the first gets it.
    pub fn claims<'a>(&'a self, key: &K) -> impl Iterator<Item = (&'a Origin, &'a V)> {
        self.items.get(key).into_iter().flatten()
    }

    /// Which objects want an item.
    pub fn origins<'a>(&'a self, key: &K) -> impl Iterator<Item = &'a Origin> {
        self.items.get(key).into_iter().flat_map(BTreeMap::keys)
    }

    /// Replaces what one object contributes (empty: the object is gone) and answers with the keys
    /// whose value may have changed.
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
