//! The instance at each address of this host's networks: the metadata service identifies an
//! instance by the address of its request. Depends on the objects, whose changes it follows.

use novanet_model::object::NO_INSTANCE;
use novanet_model::{HostObject, InstanceId, ObjectKey};
use novanet_reconcile::ObjectChange;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Addresses of instances, from their bindings (on the gateway host) and ports (on their own).
#[derive(Debug, Default)]
pub(super) struct Addresses {
    by_address: BTreeMap<Ipv4Addr, BTreeMap<ObjectKey, InstanceId>>,
    by_object: BTreeMap<ObjectKey, Ipv4Addr>,
}

impl Addresses {
    /// Follows changes of objects.
    pub(super) fn update(&mut self, changes: &[ObjectChange]) {
        for (key, object) in changes {
            self.forget(key);
            if let Some((address, instance)) = object.as_deref().and_then(owner) {
                self.by_object.insert(key.clone(), address);
                let owners = self.by_address.entry(address).or_default();
                owners.insert(key.clone(), instance);
            }
        }
    }

    /// The instance with this address; `None` if two instances claim it.
    pub(super) fn instance(&self, address: Ipv4Addr) -> Option<InstanceId> {
        let mut owners = self.by_address.get(&address)?.values();
        let first = owners.next()?;
        owners.all(|other| other == first).then_some(*first)
    }

    fn forget(&mut self, key: &ObjectKey) {
        let Some(address) = self.by_object.remove(key) else {
            return;
        };
        if let Some(owners) = self.by_address.get_mut(&address) {
            owners.remove(key);
            if owners.is_empty() {
                self.by_address.remove(&address);
            }
        }
    }
}

fn owner(object: &HostObject) -> Option<(Ipv4Addr, InstanceId)> {
    match object {
        // A reserved address is no instance's: the metadata service does not know it.
        HostObject::Binding(o) if o.instance == NO_INSTANCE => None,
        HostObject::Binding(o) => Some((o.address, o.instance)),
        HostObject::Port(o) => Some((o.address, o.instance)),
        _ => None,
    }
}
