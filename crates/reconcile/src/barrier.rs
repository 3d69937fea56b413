//! Holds back what needs the firewall around it until it is there: instances until it has closed
//! around them, floating IPs until it knows them (until then the host itself would answer). The
//! order of workers alone does not: it ends after a time, and a firewall that failed has "tried" too.
//! This has no time limit. Unlike a network without ground ([`crate::network_conflicts`]) what waits here is still
//! wanted as it is, and only made later; how it is kept from being made is [`crate::waiting`]'s.
//!
//! Must not know: what rules are, how instances are started. What is there already stays.

use crate::command::Progress;
use crate::waiting::Blocked;
use novanet_model::{HostObject, InstanceId, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// What a worker makes only behind the firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guarded {
    /// Instances with their ports.
    Instances,
    /// Floating IPs.
    Floats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Instance(InstanceId),
    FloatingIp(Ipv4Addr),
}

/// An instance and its ports, or a floating IP.
#[derive(Default)]
struct Ward {
    objects: BTreeSet<ObjectKey>,
    /// When one of them changed last.
    batch: u64,
}

/// The firewall's progress, and what each ward needs of it.
struct Barrier {
    firewall: watch::Receiver<Progress>,
    kind: Guarded,
    wards: BTreeMap<Name, Ward>,
    names: BTreeMap<ObjectKey, Name>,
    /// Guarded by their batch: one change does not look at all of them.
    batches: BTreeMap<u64, BTreeSet<Name>>,
}

/// What may not be made now.
#[derive(Debug, Default)]
pub(crate) struct BlockedObjects {
    /// Why, by object.
    pub(crate) objects: BTreeMap<ObjectKey, Blocked>,
    /// The first batch that the firewall is still busy with.
    pub(crate) behind: Option<u64>,
}

/// The firewall around what stands behind it, for whoever has to ask once more: between a worker's
/// go-ahead and an instance's first instruction there may be a long download.
#[derive(Clone)]
pub struct FirewallGate(Arc<Mutex<Barrier>>);

impl FirewallGate {
    pub(crate) fn new(firewall: watch::Receiver<Progress>, kind: Guarded) -> Self {
        Self(Arc::new(Mutex::new(Barrier {
            firewall,
            kind,
            wards: BTreeMap::new(),
            names: BTreeMap::new(),
            batches: BTreeMap::new(),
        })))
    }

    /// Why the firewall is not around this instance now; `None`: it is.
    pub fn gap(&self, instance: InstanceId) -> Option<String> {
        self.barrier().gap(Name::Instance(instance))
    }

    /// Waits until the firewall is around this instance.
    pub async fn closed(&self, instance: InstanceId) {
        let mut firewall = self.firewall();
        while self.gap(instance).is_some() {
            if firewall.changed().await.is_err() {
                // The engine has ended; nothing will be started any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The firewall's progress from now on.
    pub(crate) fn firewall(&self) -> watch::Receiver<Progress> {
        self.barrier().firewall.clone()
    }

    /// An object is new, different or gone.
    pub(crate) fn take(&self, key: &ObjectKey, object: Option<&HostObject>, batch: u64) {
        self.barrier().take(key, object, batch);
    }

    pub(crate) fn bars(&self) -> BlockedObjects {
        self.barrier().bars()
    }

    fn barrier(&self) -> MutexGuard<'_, Barrier> {
        // No step of it can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Barrier {
    fn take(&mut self, key: &ObjectKey, object: Option<&HostObject>, batch: u64) {
        let name = match (self.kind, object) {
            (Guarded::Instances, Some(HostObject::Instance(one))) => Name::Instance(one.instance),
            (Guarded::Instances, Some(HostObject::Port(port))) => Name::Instance(port.instance),
            (Guarded::Floats, Some(HostObject::FloatingIp(float))) => {
                Name::FloatingIp(float.address)
            }
            _ => return self.forget(key),
        };
        if self.names.get(key) != Some(&name) {
            self.forget(key);
            self.names.insert(key.clone(), name);
        }
        let ward = self.wards.entry(name).or_default();
        ward.objects.insert(key.clone());
        let before = std::mem::replace(&mut ward.batch, batch);
        self.leave(before, name);
        self.batches.entry(batch).or_default().insert(name);
    }

    fn forget(&mut self, key: &ObjectKey) {
        let Some(name) = self.names.remove(key) else {
            return;
        };
        let Some(ward) = self.wards.get_mut(&name) else {
            return;
        };
        ward.objects.remove(key);
        if ward.objects.is_empty() {
            let batch = ward.batch;
            self.wards.remove(&name);
            self.leave(batch, name);
        }
    }

    fn leave(&mut self, batch: u64, name: Name) {
        if let Some(names) = self.batches.get_mut(&batch) {
            names.remove(&name);
            if names.is_empty() {
                self.batches.remove(&batch);
            }
        }
    }

    fn gap(&self, name: Name) -> Option<String> {
        let firewall = self.firewall.borrow();
        let Some(ward) = self.wards.get(&name) else {
            return Some("is not to be on this host any more".to_owned());
        };
        match why(ward, &firewall)? {
            Blocked::Busy => {
                Some("waits for the firewall, which is busy with its change".to_owned())
            }
            Blocked::Refused(why) => Some(why),
        }
    }

    fn bars(&self) -> BlockedObjects {
        let firewall = self.firewall.borrow();
        let late = self.batches.range(firewall.created + 1..);
        let mut bars = BlockedObjects {
            behind: late.clone().next().map(|(batch, _)| *batch),
            ..BlockedObjects::default()
        };
        let names: BTreeSet<Name> = if firewall.unready.is_some() {
            self.wards.keys().copied().collect()
        } else {
            let failed = firewall.errors.keys();
            let failed = failed.filter_map(|object| self.names.get(object));
            late.flat_map(|(_, names)| names)
                .chain(failed)
                .copied()
                .collect()
        };
        for ward in names.iter().filter_map(|name| self.wards.get(name)) {
            if let Some(why) = why(ward, &firewall) {
                let objects = ward.objects.iter();
                bars.objects
                    .extend(objects.map(|object| (object.clone(), why.clone())));
            }
        }
        bars
    }
}

fn why(ward: &Ward, firewall: &Progress) -> Option<Blocked> {
    let refused = |why: &String| Blocked::Refused(format!("waits for the firewall: {why}"));
    if let Some(why) = &firewall.unready {
        return Some(refused(why));
    }
    if firewall.created < ward.batch {
        return Some(Blocked::Busy);
    }
    let mut errors = ward.objects.iter().filter_map(|o| firewall.errors.get(o));
    errors.next().map(refused)
}
