//! Networks and addresses that this host cannot have: a foreign device has the bridge's name, or
//! the host itself has the address. No subsystem makes anything of such a network or address, and
//! one error says why. Pure: depends on the model and on [`Foreign`].

use crate::foreign::{Foreign, ForeignDevices};
use crate::report::host_key;
use novanet_model::host_addresses::{Claim, When};
use novanet_model::object::{Bridge, NO_INSTANCE};
use novanet_model::{HostObject, IfName, Ipv4Net, NetworkId, ObjectKey};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// The networks of a host, and those and the addresses that it cannot have.
#[derive(Debug, Default)]
pub(crate) struct NetworkConflicts {
    foreign_devices: ForeignDevices,
    /// From `foreign_devices`: addresses that the cloud cannot have on this host, and why.
    reserved: BTreeMap<Ipv4Addr, String>,
    /// The network of each object that belongs to one.
    networks: BTreeMap<ObjectKey, NetworkId>,
    by_network: BTreeMap<NetworkId, Network>,
    floating_ips: BTreeMap<Ipv4Addr, HostObject>,
    /// Objects whose address the host has itself, with the reason.
    refused: BTreeMap<ObjectKey, String>,
}

/// One network: its bridge, its range and its objects.
#[derive(Debug, Default)]
struct Network {
    bridge: Option<Bridge>,
    /// The bridge's address and, by its prefix length, the network's range.
    gateway: Option<Ipv4Net>,
    refused: Option<String>,
    objects: BTreeMap<ObjectKey, HostObject>,
}

/// Networks and objects whose refusal is new, gone or has another reason.
#[derive(Debug, Default)]
pub(crate) struct ConflictChanges {
    pub(crate) networks: Vec<NetworkId>,
    pub(crate) objects: Vec<HostObject>,
}

impl NetworkConflicts {
    /// An object is new, different or gone. Returns its network if the refusal of the network is
    /// new, gone or has another reason.
    pub(crate) fn set_object(
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
            Some(HostObject::FloatingIp(floating)) => {
                let object = HostObject::FloatingIp(floating.clone());
                self.floating_ips.insert(floating.address, object);
                return None;
            }
            None => self.forget_floating_ip(key),
            Some(_) => {}
        }
        let network = object.and_then(network_of);
        if self.networks.get(key).copied() != network {
            self.forget(key);
        }
        let (object, network) = (object?, network?);
        self.networks.insert(key.clone(), network);
        let state = self.by_network.entry(network).or_default();
        state.objects.insert(key.clone(), object.clone());
        match object {
            HostObject::Bridge(bridge) => state.bridge = Some(bridge.clone()),
            HostObject::Gateway(gateway) => state.gateway = Some(gateway.address),
            _ => return None,
        }
        state.assess(&self.foreign_devices).then_some(network)
    }

    /// If a network's bridge goes before its other objects, its refusal stays as it was.
    fn forget(&mut self, key: &ObjectKey) {
        let Some(network) = self.networks.remove(key) else {
            return;
        };
        if let Some(state) = self.by_network.get_mut(&network) {
            state.objects.remove(key);
            if state.objects.is_empty() {
                self.by_network.remove(&network);
            }
        }
    }

    fn forget_floating_ip(&mut self, key: &ObjectKey) {
        let address = key.0.strip_prefix("float/").and_then(|a| a.parse().ok());
        if let Some(address) = address {
            self.floating_ips.remove(&address);
        }
    }

    /// Sets the foreign devices and addresses. Returns what is refused now and was not, or the other
    /// way round, or for another reason.
    pub(crate) fn set_foreign(&mut self, foreign_devices: ForeignDevices) -> ConflictChanges {
        if self.foreign_devices == foreign_devices {
            return ConflictChanges::default();
        }
        let readdressed = self.foreign_devices.addresses != foreign_devices.addresses;
        self.foreign_devices = foreign_devices;
        let foreign_devices = &self.foreign_devices;
        let changed = self
            .by_network
            .iter_mut()
            .filter_map(|(network, state)| state.assess(foreign_devices).then_some(*network));
        ConflictChanges {
            networks: changed.collect(),
            objects: if readdressed {
                self.assess_addresses()
            } else {
                Vec::new()
            },
        }
    }

    /// The host's addresses changed: returns the objects whose refusal changed.
    fn assess_addresses(&mut self) -> Vec<HostObject> {
        self.reserved = self.foreign_devices.addresses.reserved();
        let floating = self
            .reserved
            .keys()
            .filter_map(|ip| self.floating_ips.get(ip));
        let others = self.by_network.values().flat_map(|s| s.objects.values());
        let refused = floating.chain(others).filter_map(|object| {
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
            return self.by_network.get(network)?.objects.get(key).cloned();
        }
        let address = key.0.strip_prefix("float/")?.parse().ok()?;
        self.floating_ips.get(&address).cloned()
    }

    /// Why this host cannot have the address of an object.
    fn address_refusal(&self, object: &HostObject) -> Option<String> {
        if self.reserved.is_empty() {
            return None;
        }
        let own = |ip| self.foreign_devices.addresses.own(ip);
        match object {
            HostObject::FloatingIp(floating) => {
                let (ip, has) = (floating.address, self.reserved.get(&floating.address)?);
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
            HostObject::Binding(binding) if binding.instance == NO_INSTANCE => {
                let (ip, has) = (binding.address, own(binding.address)?);
                Some(format!(
                    "reserved address {ip}: the host has {has}: take it off the host, or: \
                     nova-manage fixed unreserve {ip}"
                ))
            }
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
        self.by_network.get(&network)?.refused.as_deref()
    }

    /// The objects of a network.
    pub(crate) fn objects_of(&self, network: NetworkId) -> Vec<HostObject> {
        let state = self.by_network.get(&network);
        state.map_or(Vec::new(), |s| s.objects.values().cloned().collect())
    }

    /// The refused networks, the refused objects of other networks, and what the host itself waits
    /// for, each with the reason.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (ObjectKey, &str)> {
        let networks = self.by_network.iter().filter_map(|(network, state)| {
            let why = state.refused.as_deref()?;
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

impl Network {
    /// Returns whether the refusal changed.
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
    if let Some(why) = bridge.vlan.and_then(|id| vlan_refusal(id, bridge, foreign)) {
        return Some(why);
    }
    let device = foreign.devices.get(name)?;
    if !bridge.foreign {
        let remedy = if device.is_bridge {
            format!(
                "remove it (ifconfig {name} down; brctl delbr {name}), give it to novanet \
                 (nova-manage host adopt {name})"
            )
        } else {
            "rename or remove that device".to_owned()
        };
        return Some(format!(
            "bridge {name} of network {network}: the name is taken by {}, which is left alone: \
             {remedy}, or give the network another bridge (nova-manage network modify {network} \
             --bridge=NAME)",
            device.what
        ));
    }
    (!device.is_bridge).then(|| {
        format!(
            "bridge {name} of network {network}: it is {}, not a bridge, and is left alone: \
             make the network with another bridge (network create --bridge=NAME), \
             or rename or remove that device and make a bridge",
            device.what
        )
    })
}

/// Why this host cannot have a network's VLAN device.
fn vlan_refusal(id: u16, bridge: &Bridge, foreign: &Foreign) -> Option<String> {
    let (name, network) = (&bridge.bridge, bridge.network);
    if !foreign.vlans {
        return Some(format!(
            "bridge {name}: network {network} is a VLAN network (VLAN {id}), and this host's kernel has no 802.1Q: \
             modprobe 8021q and restart the agent, or use a flatdhcp or flat network"
        ));
    }
    let device = IfName::vlan_device(id);
    let existing = foreign.devices.get(&device)?;
    Some(format!(
        "bridge {name} of network {network}: the name {device} of its VLAN device is taken by {}, which is left alone: \
         remove it (vconfig rem {device}), give it to novanet (nova-manage host adopt {device}), or give \
         the network another VLAN id (nova-manage network modify {network} --vlan=ID)",
        existing.what
    ))
}

/// The network that an object belongs to.
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
        | HostObject::Block(_)
        | HostObject::Member(_)
        | HostObject::ProjectAddress(_)
        | HostObject::VpnForward(_)
        | HostObject::Instance(_) => None,
    }
}
