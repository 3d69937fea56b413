//! What the watch expects of the host: the wanted items, with indexes by which an event finds its
//! own in a few steps. Pure; depends on the items.

use super::item::{LinkKey, LinkValue};
use super::port::PortValue;
use novanet_model::{IfName, MacAddr};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Expected {
    items: BTreeMap<LinkKey, LinkValue>,
    ports: BTreeMap<MacAddr, BTreeSet<IfName>>,
    addresses: BTreeMap<Ipv4Addr, BTreeSet<IfName>>,
}

impl Expected {
    /// Expects exactly these items.
    pub(super) fn replace_all(&mut self, items: impl Iterator<Item = (LinkKey, LinkValue)>) {
        *self = Self::default();
        for (key, value) in items {
            self.add_to_indexes(&key, &value);
            self.items.insert(key, value);
        }
    }

    /// Expects this value of an item; `None`: the item is not expected any more.
    pub(super) fn set(&mut self, key: &LinkKey, value: Option<&LinkValue>) {
        let old = match value {
            Some(value) => self.items.insert(key.clone(), value.clone()),
            None => self.items.remove(key),
        };
        if let Some(old) = old {
            self.remove_from_indexes(key, &old);
        }
        if let Some(value) = value {
            self.add_to_indexes(key, value);
        }
    }

    pub(super) fn get(&self, key: &LinkKey) -> Option<&LinkValue> {
        self.items.get(key)
    }

    pub(super) fn contains(&self, key: &LinkKey) -> bool {
        self.items.contains_key(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&LinkKey, &LinkValue)> {
        self.items.iter()
    }

    /// Ports whose instance has this MAC.
    pub(super) fn ports_with(&self, mac: MacAddr) -> impl Iterator<Item = &IfName> {
        self.ports.get(&mac).into_iter().flatten()
    }

    /// Items of [`LinkKey::Address`] and [`LinkKey::FloatingIp`] with this address.
    pub(super) fn with_address(&self, address: Ipv4Addr) -> Vec<LinkKey> {
        let devices = self.addresses.get(&address).into_iter().flatten();
        let addresses = devices.map(|device| LinkKey::Address(device.clone(), address));
        let floating_ip = LinkKey::FloatingIp(address);
        let floating_ip = self.contains(&floating_ip).then_some(floating_ip);
        addresses.chain(floating_ip).collect()
    }

    fn add_to_indexes(&mut self, key: &LinkKey, value: &LinkValue) {
        if let Some((mac, name)) = port(key, value) {
            self.ports.entry(mac).or_default().insert(name.clone());
        }
        if let LinkKey::Address(device, address) = key {
            let devices = self.addresses.entry(*address).or_default();
            devices.insert(device.clone());
        }
    }

    fn remove_from_indexes(&mut self, key: &LinkKey, value: &LinkValue) {
        if let Some((mac, name)) = port(key, value)
            && let Some(names) = self.ports.get_mut(&mac)
        {
            names.remove(name);
            if names.is_empty() {
                self.ports.remove(&mac);
            }
        }
        if let LinkKey::Address(device, address) = key
            && let Some(devices) = self.addresses.get_mut(address)
        {
            devices.remove(device);
            if devices.is_empty() {
                self.addresses.remove(address);
            }
        }
    }
}

fn port<'a>(key: &'a LinkKey, value: &LinkValue) -> Option<(MacAddr, &'a IfName)> {
    match (key, value) {
        (LinkKey::Port(name), LinkValue::Port(PortValue::Ours(spec))) => Some((spec.mac, name)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::mtu::Mtu;
    use super::super::port::PortSpec;
    use super::*;

    fn port(mac: MacAddr) -> LinkValue {
        LinkValue::Port(PortValue::Ours(PortSpec {
            bridge: None,
            up: true,
            mac,
            alias: String::new(),
            changed: Vec::new(),
            guarded: true,
            vpn: false,
            mtu: Mtu::AsMade,
        }))
    }

    #[test]
    fn an_event_about_a_mac_finds_the_ports_that_are_expected_now() {
        let [old, new] = [1, 2].map(|n| MacAddr([2, 0, 0, 0, 0, n]));
        let name = IfName::new("nv1").unwrap();
        let key = LinkKey::Port(name.clone());
        let mut expected = Expected::default();
        expected.set(&key, Some(&port(old)));
        assert_eq!(expected.ports_with(old).collect::<Vec<_>>(), [&name]);
        // The instance has another MAC now.
        expected.set(&key, Some(&port(new)));
        assert_eq!(expected.ports_with(old).count(), 0);
        assert_eq!(expected.ports_with(new).count(), 1);
        // Its network became unavailable on this host.
        expected.set(&key, Some(&LinkValue::Port(PortValue::Unmanaged)));
        assert_eq!(expected.ports_with(new).count(), 0);
        expected.replace_all([(key.clone(), port(old))].into_iter());
        assert_eq!(expected.ports_with(old).count(), 1);
        expected.set(&key, None);
        assert_eq!(expected.ports_with(old).count(), 0);
    }
}
