//! What the objects of a network stand on: its bridge, on this host. Where the host cannot have
//! that bridge, nothing of the network is made, in no room, and one error says why. Unlike what waits
//! ([`super::barrier`]) other items are wanted then, so that what was made goes again. Pure.
//!
//! Must not know: rooms, the kernel, when it is looked at again.

use crate::room::Strangers;
use novanet_model::object::Bridge;
use novanet_model::{HostObject, NetworkId, ObjectKey};
use std::collections::BTreeMap;

/// The networks of a host, and which of them it cannot have.
#[derive(Debug, Default)]
pub(super) struct Ground {
    strangers: Strangers,
    networks: BTreeMap<ObjectKey, NetworkId>,
    standing: BTreeMap<NetworkId, Standing>,
}

/// A network's bridge, and what stands on it.
#[derive(Debug, Default)]
struct Standing {
    bridge: Option<Bridge>,
    refused: Option<String>,
    objects: BTreeMap<ObjectKey, HostObject>,
}

impl Ground {
    /// An object is new, different or gone. Answers with its network if that is refused now and was
    /// not, or was and is not, or for another reason.
    pub(super) fn take(
        &mut self,
        key: &ObjectKey,
        object: Option<&HostObject>,
    ) -> Option<NetworkId> {
        let network = object.and_then(network_of);
        if self.networks.get(key).copied() != network {
            self.forget(key);
        }
        let (object, network) = (object?, network?);
        self.networks.insert(key.clone(), network);
        let standing = self.standing.entry(network).or_default();
        standing.objects.insert(key.clone(), object.clone());
        let HostObject::Bridge(bridge) = object else {
            return None;
        };
        standing.bridge = Some(bridge.clone());
        standing.assess(&self.strangers).then_some(network)
    }

    /// A network whose bridge goes before the rest of it stays as it was: refused or not.
    fn forget(&mut self, key: &ObjectKey) {
        let Some(network) = self.networks.remove(key) else {
            return;
        };
        if let Some(standing) = self.standing.get_mut(&network) {
            standing.objects.remove(key);
            if standing.objects.is_empty() {
                self.standing.remove(&network);
            }
        }
    }

    /// These are the host's devices that are not ours. Answers as [`Self::take`].
    pub(super) fn look(&mut self, strangers: Strangers) -> Vec<NetworkId> {
        if self.strangers == strangers {
            return Vec::new();
        }
        self.strangers = strangers;
        let strangers = &self.strangers;
        let changed = self
            .standing
            .iter_mut()
            .filter_map(|(network, standing)| standing.assess(strangers).then_some(*network));
        changed.collect()
    }

    /// Why nothing may be made for this object; `None`: it may.
    pub(super) fn refusal_of(&self, object: &HostObject) -> Option<&str> {
        self.refusal(network_of(object)?)
    }

    /// Why this host cannot have a network; `None`: it can.
    pub(super) fn refusal(&self, network: NetworkId) -> Option<&str> {
        self.standing.get(&network)?.refused.as_deref()
    }

    /// What stands on a network.
    pub(super) fn objects_of(&self, network: NetworkId) -> Vec<HostObject> {
        let standing = self.standing.get(&network);
        standing.map_or(Vec::new(), |s| s.objects.values().cloned().collect())
    }

    /// The networks that this host cannot have, and why.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (NetworkId, &str)> {
        self.standing.iter().filter_map(|(network, standing)| {
            let why = standing.refused.as_deref()?;
            Some((*network, why))
        })
    }
}

impl Standing {
    /// Answers whether it is other than before.
    fn assess(&mut self, strangers: &Strangers) -> bool {
        let bridge = self.bridge.as_ref();
        let refused = bridge.and_then(|bridge| refusal(bridge, strangers));
        let changed = self.refused != refused;
        self.refused = refused;
        changed
    }
}

/// Why this host cannot have this bridge.
fn refusal(bridge: &Bridge, strangers: &Strangers) -> Option<String> {
    let (name, network) = (&bridge.bridge, bridge.network);
    if let (Some(vlan), false) = (bridge.vlan, bridge.foreign) {
        return Some(format!(
            "bridge {name}: network {network} is a VLAN network (VLAN {vlan}), which hosts cannot run yet: \
             use a flatdhcp or flat network"
        ));
    }
    let stranger = strangers.get(name)?;
    if !bridge.foreign {
        return Some(format!(
            "bridge {name} of network {network}: the name is taken by {}, which is left alone: \
             make the network with another bridge (network create --bridge=NAME), \
             or rename or remove that device",
            stranger.what
        ));
    }
    (!stranger.is_bridge).then(|| {
        format!(
            "bridge {name} of network {network}: it is {}, not a bridge, and is left alone: \
             make the network with another bridge (network create --bridge=NAME), \
             or rename or remove that device and make a bridge",
            stranger.what
        )
    })
}

/// The network that an object stands on.
fn network_of(object: &HostObject) -> Option<NetworkId> {
    match object {
        HostObject::Bridge(o) => Some(o.network),
        HostObject::Gateway(o) => Some(o.network),
        HostObject::Dhcp(o) => Some(o.network),
        HostObject::Binding(o) => Some(o.network),
        HostObject::Port(o) => Some(o.network),
        HostObject::Float(_)
        | HostObject::Group(_)
        | HostObject::Rule(_)
        | HostObject::Member(_)
        | HostObject::ProjectAddress(_)
        | HostObject::Instance(_) => None,
    }
}
