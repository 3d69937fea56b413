//! Holds instances back until the firewall has closed around them. The order of lanes alone does
//! not: it ends after a time, and a firewall that failed has "tried" too. This has no time limit,
//! because an instance without rules can be anybody and reach everybody.
//!
//! Must not know: what rules are, how instances are started. What runs already is not stopped.

use super::lane::Progress;
use novanet_model::{HostObject, InstanceId, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;

/// The firewall's progress, and what each instance needs of it.
pub(super) struct Barrier {
    pub(super) firewall: watch::Receiver<Progress>,
    wards: BTreeMap<InstanceId, Ward>,
    instances: BTreeMap<ObjectKey, InstanceId>,
    latest: u64,
}

/// An instance and its ports.
#[derive(Default)]
struct Ward {
    objects: BTreeSet<ObjectKey>,
    /// When one of them changed last.
    batch: u64,
}

impl Barrier {
    pub(super) fn new(firewall: watch::Receiver<Progress>) -> Self {
        Self {
            firewall,
            wards: BTreeMap::new(),
            instances: BTreeMap::new(),
            latest: 0,
        }
    }

    /// An object is new, different or gone.
    pub(super) fn take(&mut self, key: &ObjectKey, object: Option<&HostObject>, batch: u64) {
        let instance = match object {
            Some(HostObject::Instance(one)) => one.instance,
            Some(HostObject::Port(port)) => port.instance,
            _ => return self.forget(key),
        };
        if self.instances.insert(key.clone(), instance) != Some(instance) {
            self.forget(key);
            self.instances.insert(key.clone(), instance);
        }
        let ward = self.wards.entry(instance).or_default();
        ward.objects.insert(key.clone());
        ward.batch = batch;
        self.latest = batch;
    }

    fn forget(&mut self, key: &ObjectKey) {
        self.instances.remove(key);
        self.wards.retain(|_, ward| {
            ward.objects.remove(key);
            !ward.objects.is_empty()
        });
    }

    /// The objects that nothing may be started or plugged for now, and why.
    pub(super) fn barred(&self) -> BTreeMap<ObjectKey, String> {
        let firewall = self.firewall.borrow();
        let open = firewall.unready.is_none() && firewall.errors.is_empty();
        if open && firewall.created >= self.latest {
            return BTreeMap::new();
        }
        let mut barred = BTreeMap::new();
        for ward in self.wards.values() {
            if let Some(why) = why(ward, &firewall) {
                let message = format!("waits for the firewall: {why}");
                let objects = ward.objects.iter();
                barred.extend(objects.map(|object| (object.clone(), message.clone())));
            }
        }
        barred
    }
}

fn why(ward: &Ward, firewall: &Progress) -> Option<String> {
    if let Some(why) = &firewall.unready {
        return Some(why.clone());
    }
    if firewall.created < ward.batch {
        return Some("it is still busy with this change".to_owned());
    }
    let mut errors = ward.objects.iter().filter_map(|o| firewall.errors.get(o));
    errors.next().cloned()
}
