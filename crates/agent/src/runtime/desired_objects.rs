//! The objects of a host as the server last sent them, and how news change them. Pure: depends on
//! the wire types of the model.

use novanet_model::wire::{Change, Digest, Follow, Objects, fingerprint};
use novanet_model::{HostObject, ObjectKey};
use novanet_reconcile::ObjectChange;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One object with the version of its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The database's version at the object's last change.
    pub version: i64,
    /// Shared with the workers' batches.
    pub object: Arc<HostObject>,
}

/// All objects of a host, of one snapshot of the server's database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredObjects {
    epoch: String,
    version: i64,
    objects: BTreeMap<ObjectKey, Entry>,
    sum: i64,
}

/// The result of merging the server's news.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeResult {
    /// These objects differ from before (maybe none).
    Changed(Vec<ObjectChange>),
    /// The news do not continue these objects: ask for the whole list.
    ListAgain,
}

impl DesiredObjects {
    /// The position for the next request to the server. Empty epoch: no list was received yet.
    pub fn position(&self) -> Follow {
        Follow {
            epoch: self.epoch.clone(),
            after: self.version,
            wait_ms: 0,
        }
    }

    /// Whether a list was ever received.
    pub fn is_known(&self) -> bool {
        !self.epoch.is_empty()
    }

    /// Objects in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Entry)> {
        self.objects.iter()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<&HostObject> {
        self.objects.get(key).map(|entry| &*entry.object)
    }

    /// One object with its version.
    pub fn entry(&self, key: &ObjectKey) -> Option<&Entry> {
        self.objects.get(key)
    }

    /// Merges the server's news. The cost grows with the news, not with the objects.
    pub fn merge(&mut self, news: Objects) -> MergeResult {
        if news.whole {
            return MergeResult::Changed(self.replace(news));
        }
        if news.epoch != self.epoch || news.version < self.version {
            return MergeResult::ListAgain;
        }
        self.version = news.version;
        let changed = news
            .changes
            .into_iter()
            .filter_map(|change| self.set(change));
        MergeResult::Changed(changed.collect())
    }

    /// Whether the objects match the server's digest; `None` if the two are of different versions.
    pub fn agrees(&self, digest: &Digest) -> Option<bool> {
        if digest.epoch != self.epoch {
            return Some(false);
        }
        if digest.version != self.version {
            return None;
        }
        let max = self.objects.values().map(|entry| entry.version).max();
        Some(
            i64::try_from(self.objects.len()) == Ok(digest.count)
                && max.unwrap_or(0) == digest.max
                && self.sum == digest.sum
                && digest
                    .fingerprint
                    .is_none_or(|print| print == self.fingerprint()),
        )
    }

    fn fingerprint(&self) -> u64 {
        let all = self.objects.iter();
        fingerprint(all.map(|(key, entry)| (key.0.as_str(), entry.version)))
    }

    /// All objects as the server would send them.
    pub fn to_objects(&self) -> Objects {
        let change = |(key, entry): (&ObjectKey, &Entry)| Change {
            key: key.clone(),
            version: entry.version,
            object: Some(HostObject::clone(&entry.object)),
        };
        Objects {
            epoch: self.epoch.clone(),
            version: self.version,
            whole: true,
            changes: self.objects.iter().map(change).collect(),
            accepts: Vec::new(),
            questions: Vec::new(),
        }
    }

    fn replace(&mut self, news: Objects) -> Vec<ObjectChange> {
        let mut gone = std::mem::take(&mut self.objects);
        self.sum = 0;
        self.epoch = news.epoch;
        self.version = news.version;
        let mut changed = Vec::new();
        for change in news.changes {
            let before = gone.remove(&change.key);
            let Some((key, object)) = self.set(change) else {
                continue;
            };
            if before.map(|entry| entry.object) != object {
                changed.push((key, object));
            }
        }
        changed.extend(gone.into_keys().map(|key| (key, None)));
        changed
    }

    fn set(&mut self, change: Change) -> Option<ObjectChange> {
        let object = change.object.map(Arc::new);
        let before = match &object {
            Some(object) => {
                let entry = Entry {
                    version: change.version,
                    object: Arc::clone(object),
                };
                self.sum = self.sum.wrapping_add(change.version);
                self.objects.insert(change.key.clone(), entry)
            }
            None => self.objects.remove(&change.key),
        };
        if let Some(before) = &before {
            self.sum = self.sum.wrapping_sub(before.version);
        }
        (before.map(|entry| entry.object) != object).then_some((change.key, object))
    }
}
