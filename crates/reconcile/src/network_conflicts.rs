//! Networks and addresses that this host cannot have: a bridge's name is somebody else's, or the
//! host itself lives at an address. Nothing of such a network or address is made, in no subsystem, and
//! one error says why. Unlike what waits ([`crate::barrier`]) other items are wanted then, so that
//! what was made goes again. Pure.
//!
//! Must not know: subsystems, the kernel, when it is looked at again.

use crate::failure::host_key;
use crate::subsystem::{Foreign, ForeignDevices};
use novanet_model::host_addresses::{Claim, When};
use novanet_model::object::Bridge;
use novanet_model::{HostObject, Ipv4Net, NetworkId, ObjectKey};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The networks of a host, and what it cannot have.
#[derive(Debug, Default)]
pub(crate) struct NetworkConflicts {
    foreign_devices: ForeignDevices,
    /// From `foreign_devices`: addresses that the cloud cannot have on this host, and why.
    reserved: BTreeMap<Ipv4Addr, String>,
    networks: BTreeMap<ObjectKey, NetworkId>,
    standing: BTreeMap<NetworkId, Standing>,
    floats: BTreeMap<Ipv4Addr, HostObject>,
    /// Objects whose address the host has itself, and what to say.
    refused: BTreeMap<ObjectKey, String>,
}

/// A network's bridge and range, and what stands on it.
#[derive(Debug, Default)]
struct Standing {
    bridge: Option<Bridge>,
    /// The bridge's address and, by its prefix length, the network's range.
    gateway: Option<Ipv4Net>,
    refused: Option<String>,
    objects: BTreeMap<ObjectKey, HostObject>,
}

/// What is refused now and was not, or was and is not, or for another reason.
#[derive(Debug, Default)]
pub(crate) struct ConflictChanges {
    pub(crate) networks: Vec<NetworkId>,
    pub(crate) objects: Vec<HostObject>,
}

impl NetworkConflicts {
    /// An object is new, different or gone. Answers with its network if that is refused now and was
    /// not, or was and is not, or for another reason.
    pub(crate) fn take(
        &mut self,
        key: &ObjectKey,
        object: Option<&HostObject>,
    ) -> Option<NetworkId> {
        match object.and_then(|object| self.address_refusal(object)) {
            Some(why) => _ = self.refused.insert(key.clone(), why),
            None if self.refused.is_empty() => {}
            None => _ = self.refused.remove(key),
        }
        match object {
            Some(HostObject::FloatingIp(float)) => {
                let kept = HostObject::FloatingIp(float.clone());
                self.floats.insert(float.address, kept);
                return None;
            }
            None => self.forget_float(key),
            Some(_) => {}
        }
        let network = object.and_then(network_of);
        if self.networks.get(key).copied() != network {
            self.forget(key);
        }
        let (object, network) = (object?, network?);
        self.networks.insert(key.clone(), network);
        let standing = self.standing.entry(network).or_default();
        standing.objects.insert(key.clone(), object.clone());
        match object {
            HostObject::Bridge(bridge) => standing.bridge = Some(bridge.clone()),
            HostObject::Gateway(gateway) => standing.gateway = Some(gateway.address),
            _ => return None,
        }
        standing.assess(&self.foreign_devices).then_some(network)
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

    fn forget_float(&mut self, key: &ObjectKey) {
        let address = key.0.strip_prefix("float/").and_then(|a| a.parse().ok());
        if let Some(address) = address {
            self.floats.remove(&address);
        }
    }

    /// This of the host is not ours.
    pub(crate) fn look(&mut self, foreign_devices: ForeignDevices) -> ConflictChanges {
        if self.foreign_devices == foreign_devices {
            return ConflictChanges::default();
        }
        let moved = self.foreign_devices.addresses != foreign_devices.addresses;
        self.foreign_devices = foreign_devices;
        let foreign_devices = &self.foreign_devices;
        let changed = self
            .standing
            .iter_mut()
            .filter_map(|(network, standing)| standing.assess(foreign_devices).then_some(*network));
        ConflictChanges {
            networks: changed.collect(),
            objects: if moved {
                self.assess_addresses()
            } else {
                Vec::new()
            },
        }
    }

    /// The host has other addresses: objects that are refused for another reason than before.
    fn assess_addresses(&mut self) -> Vec<HostObject> {
        self.reserved = self.foreign_devices.addresses.reserved();
        let floats = self.reserved.keys().filter_map(|ip| self.floats.get(ip));
        let others = self.standing.values().flat_map(|s| s.objects.values());
        let refused = floats.chain(others).filter_map(|object| {
            let why = self.address_refusal(object)?;
            Some((object.key(), why))
        });
        let refused: BTreeMap<_, _> = refused.collect();
        let before = std::mem::replace(&mut self.refused, refused);
        let keys = before.keys().chain(self.refused.keys());
        let changed = keys.filter(|key| before.get(*key) != self.refused.get(*key));
        let mut changed: Vec<_> = changed.collect();
        changed.sort();
        changed.dedup();
        changed
            .into_iter()
            .filter_map(|key| self.object(key))
            .collect()
    }

    fn object(&self, key: &ObjectKey) -> Option<HostObject> {
        if let Some(network) = self.networks.get(key) {
            return self.standing.get(network)?.objects.get(key).cloned();
        }
        let address = key.0.strip_prefix("float/")?.parse().ok()?;
        self.floats.get(&address).cloned()
    }

    /// Why this host cannot have the address of an object.
    fn address_refusal(&self, object: &HostObject) -> Option<String> {
        if self.reserved.is_empty() {
            return None;
        }
        let own = |ip| self.foreign_devices.addresses.own(ip);
        match object {
            HostObject::FloatingIp(float) => {
                let (ip, has) = (float.address, self.reserved.get(&float.address)?);
                Some(format!(
                    "floating address {ip}: the host has {has}: take it off the host, or release \
                     the floating IP (nova-manage floating disassociate {ip})"
                ))
            }
            HostObject::Port(port) => Some(fixed_refusal(
                port.address,
                &port.instance.to_string(),
                &own(port.address)?,
            )),
            HostObject::Binding(binding) => Some(fixed_refusal(
                binding.address,
                &binding.instance.to_string(),
                &own(binding.address)?,
            )),
            _ => None,
        }
    }

    /// Why nothing may be made for this object; `None`: it may.
    pub(crate) fn refusal_of(&self, key: &ObjectKey, object: &HostObject) -> Option<&str> {
        let network = network_of(object).and_then(|network| self.refusal(network));
        network.or_else(|| self.refused.get(key).map(String::as_str))
    }

    /// Why this host cannot have a network; `None`: it can.
    pub(crate) fn refusal(&self, network: NetworkId) -> Option<&str> {
        self.standing.get(&network)?.refused.as_deref()
    }

    /// What stands on a network.
    pub(crate) fn objects_of(&self, network: NetworkId) -> Vec<HostObject> {
        let standing = self.standing.get(&network);
        standing.map_or(Vec::new(), |s| s.objects.values().cloned().collect())
    }

    /// What this host cannot have, and why: networks, and objects of the others. And what the host
    /// itself waits for.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (ObjectKey, &str)> {
        let networks = self.standing.iter().filter_map(|(network, standing)| {
            let why = standing.refused.as_deref()?;
            Some((ObjectKey::of_network(*network), why))
        });
        let in_force = |key: &ObjectKey| {
            let network = self.networks.get(key);
            network.is_none_or(|network| self.refusal(*network).is_none())
        };
        let objects = self.refused.iter().filter(move |(key, _)| in_force(key));
        let waits = self.foreign_devices.waits.as_deref();
        let waits = waits.map(|why| (host_key("public_interface"), why));
        let objects = objects.map(|(key, why)| (key.clone(), why.as_str()));
        waits.into_iter().chain(networks).chain(objects)
    }
}

fn fixed_refusal(ip: Ipv4Addr, instance: &str, has: &str) -> String {
    format!(
        "address {ip} of {instance}: the host has {has}: take it off the host, or terminate the \
         instance, which gets another address when it is run again"
    )
}

impl Standing {
    /// Answers whether it is other than before.
    fn assess(&mut self, foreign: &Foreign) -> bool {
        let bridge = self.bridge.as_ref();
        let refused = bridge.and_then(|bridge| {
            name_refusal(bridge, foreign).or_else(|| range_refusal(bridge, self.gateway, foreign))
        });
        let changed = self.refused != refused;
        self.refused = refused;
        changed
    }
}

/// Why this host cannot have this network's range.
fn range_refusal(bridge: &Bridge, gateway: Option<Ipv4Net>, foreign: &Foreign) -> Option<String> {
    let cidr = bridge.cidr.or(gateway.map(|net| net.trunc()))?;
    let claim = Claim {
        cidr,
        gateway: gateway.map(|net| net.addr()),
        bridge: &bridge.bridge,
        interface: bridge.interface.as_ref(),
    };
    let has = foreign.addresses.conflict(&claim, When::Keep)?;
    Some(format!(
        "bridge {} of network {}: its range {cidr} is in use by the host, which has {has}: \
         make the network with another range (network create), or take that off the host",
        bridge.bridge, bridge.network
    ))
}

/// Why this host cannot have this bridge.
fn name_refusal(bridge: &Bridge, foreign: &Foreign) -> Option<String> {
    let (name, network) = (&bridge.bridge, bridge.network);
    if let (Some(vlan), false) = (bridge.vlan, bridge.foreign) {
        return Some(format!(
            "bridge {name}: network {network} is a VLAN network (VLAN {vlan}), which hosts cannot run yet: \
             use a flatdhcp or flat network"
        ));
    }
    let stranger = foreign.devices.get(name)?;
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
        HostObject::FloatingIp(_)
        | HostObject::Group(_)
        | HostObject::Rule(_)
        | HostObject::Member(_)
        | HostObject::ProjectAddress(_)
        | HostObject::Instance(_) => None,
    }
}
