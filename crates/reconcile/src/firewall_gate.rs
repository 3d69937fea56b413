//! Says whether the firewall protects an object: instances wait until it does, floating IPs until
//! the firewall knows them (until then the host itself would answer). The order of workers alone
//! does not ensure this: it has a time limit, and a firewall that failed has also "tried".
//!
//! There is no time limit here. Depends on the firewall's [`Progress`]; the reconciler keeps the
//! items back ([`crate::hold`]).

use crate::hold::Blocked;
use crate::progress::Progress;
use novanet_model::{HostObject, InstanceId, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The objects that a worker makes only while the firewall protects them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guarded {
    /// Instances with their ports.
    Instances,
    /// Floating IPs.
    FloatingIps,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum GuardedId {
    Instance(InstanceId),
    FloatingIp(Ipv4Addr),
}

/// The objects of an instance (itself and its ports), or of a floating IP.
#[derive(Default)]
struct GuardedSet {
    objects: BTreeSet<ObjectKey>,
    /// The batch in which one of them changed last.
    batch: u64,
}

/// The firewall's progress, and the batch that each guarded set needs.
struct State {
    firewall: watch::Receiver<Progress>,
    kind: Guarded,
    guarded: BTreeMap<GuardedId, GuardedSet>,
    names: BTreeMap<ObjectKey, GuardedId>,
    /// Guarded sets by their batch, so that one change does not look at all of them.
    batches: BTreeMap<u64, BTreeSet<GuardedId>>,
}

/// Objects that must not be made now.
#[derive(Debug, Default)]
pub(crate) struct BlockedObjects {
    pub(crate) objects: BTreeMap<ObjectKey, Blocked>,
    /// The first batch that the firewall is still busy with.
    pub(crate) busy_with: Option<u64>,
}

/// Says whether the firewall protects an instance. A subsystem asks again just before it starts the
/// instance: since the worker let it go, a long download may have passed.
#[derive(Clone)]
pub struct FirewallGate(Arc<Mutex<State>>);

impl FirewallGate {
    pub(crate) fn new(firewall: watch::Receiver<Progress>, kind: Guarded) -> Self {
        Self(Arc::new(Mutex::new(State {
            firewall,
            kind,
            guarded: BTreeMap::new(),
            names: BTreeMap::new(),
            batches: BTreeMap::new(),
        })))
    }

    /// Why the firewall does not protect this instance now; `None`: it does.
    pub fn reason_not_ready(&self, instance: InstanceId) -> Option<String> {
        self.state().reason_not_ready(GuardedId::Instance(instance))
    }

    /// Waits until the firewall protects this instance.
    pub async fn ready(&self, instance: InstanceId) {
        let mut firewall = self.firewall();
        while self.reason_not_ready(instance).is_some() {
            if firewall.changed().await.is_err() {
                // The engine has ended; nothing will be started any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// A receiver of the firewall's progress.
    pub(crate) fn firewall(&self) -> watch::Receiver<Progress> {
        self.state().firewall.clone()
    }

    /// An object is new, different or gone.
    pub(crate) fn set_object(&self, key: &ObjectKey, object: Option<&HostObject>, batch: u64) {
        self.state().set_object(key, object, batch);
    }

    pub(crate) fn blocked(&self) -> BlockedObjects {
        self.state().blocked()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step of it can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn set_object(&mut self, key: &ObjectKey, object: Option<&HostObject>, batch: u64) {
        let name = match (self.kind, object) {
            (Guarded::Instances, Some(HostObject::Instance(one))) => {
                GuardedId::Instance(one.instance)
            }
            (Guarded::Instances, Some(HostObject::Port(port))) => {
                GuardedId::Instance(port.instance)
            }
            (Guarded::FloatingIps, Some(HostObject::FloatingIp(floating))) => {
                GuardedId::FloatingIp(floating.address)
            }
            _ => return self.forget(key),
        };
        if self.names.get(key) != Some(&name) {
            self.forget(key);
            self.names.insert(key.clone(), name);
        }
        let set = self.guarded.entry(name).or_default();
        set.objects.insert(key.clone());
        let before = std::mem::replace(&mut set.batch, batch);
        self.leave(before, name);
        self.batches.entry(batch).or_default().insert(name);
    }

    fn forget(&mut self, key: &ObjectKey) {
        let Some(name) = self.names.remove(key) else {
            return;
        };
        let Some(set) = self.guarded.get_mut(&name) else {
            return;
        };
        set.objects.remove(key);
        if set.objects.is_empty() {
            let batch = set.batch;
            self.guarded.remove(&name);
            self.leave(batch, name);
        }
    }

    fn leave(&mut self, batch: u64, name: GuardedId) {
        if let Some(names) = self.batches.get_mut(&batch) {
            names.remove(&name);
            if names.is_empty() {
                self.batches.remove(&batch);
            }
        }
    }

    fn reason_not_ready(&self, name: GuardedId) -> Option<String> {
        let firewall = self.firewall.borrow();
        let Some(set) = self.guarded.get(&name) else {
            return Some("is not to be on this host any more".to_owned());
        };
        match why(set, &firewall)? {
            Blocked::Busy => {
                Some("waits for the firewall, which is busy with its change".to_owned())
            }
            Blocked::Refused(why) => Some(why),
        }
    }

    fn blocked(&self) -> BlockedObjects {
        let firewall = self.firewall.borrow();
        let late = self.batches.range(firewall.created + 1..);
        let mut blocked = BlockedObjects {
            busy_with: late.clone().next().map(|(batch, _)| *batch),
            ..BlockedObjects::default()
        };
        let names: BTreeSet<GuardedId> = if firewall.unready.is_some() {
            self.guarded.keys().copied().collect()
        } else {
            let failed = firewall.errors.keys();
            let failed = failed.filter_map(|object| self.names.get(object));
            late.flat_map(|(_, names)| names)
                .chain(failed)
                .copied()
                .collect()
        };
        for set in names.iter().filter_map(|name| self.guarded.get(name)) {
            if let Some(why) = why(set, &firewall) {
                let objects = set.objects.iter();
                blocked
                    .objects
                    .extend(objects.map(|object| (object.clone(), why.clone())));
            }
        }
        blocked
    }
}

fn why(set: &GuardedSet, firewall: &Progress) -> Option<Blocked> {
    let refused = |why: &String| Blocked::Refused(format!("waits for the firewall: {why}"));
    if let Some(why) = &firewall.unready {
        return Some(refused(why));
    }
    if firewall.created < set.batch {
        return Some(Blocked::Busy);
    }
    let mut errors = set.objects.iter().filter_map(|o| firewall.errors.get(o));
    errors.next().map(refused)
}
