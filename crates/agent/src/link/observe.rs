//! From what the kernel says to the room's items: what carries our mark, and what stands where
//! something of ours should be. Pure.

use super::item::{
    BridgeSpec, FloatSpec, LinkKey, LinkValue, PORT_ALIAS_PREFIX, PortSpec, UplinkSpec,
    bridge_alias,
};
use super::mark::Marked;
use super::message::PORTS;
use super::mtu::{self, Mtu};
use super::seen::{Link, Snapshot};
use crate::room::{Desired, Stranger, Strangers};
use crate::settings::{FloatingAddressMode, Settings};
use novanet_model::IfName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Items = BTreeMap<LinkKey, LinkValue>;

/// What the host has. `uplinks` are the interfaces that our records say we enslaved.
pub(crate) fn items(
    seen: &Snapshot,
    desired: &Desired<LinkKey, LinkValue>,
    uplinks: &BTreeSet<IfName>,
    marked: &Marked,
) -> Items {
    let mut items = Items::new();
    for link in seen.links() {
        let Ok(name) = IfName::new(link.name.as_str()) else {
            continue; // A name that we cannot have given.
        };
        let key = LinkKey::Bridge(name.clone());
        if let Some(value) = bridge(seen, link, &name, desired.get(&key), (uplinks, marked)) {
            items.insert(key, value);
        }
        let key = LinkKey::Port(name.clone());
        if let Some(value) = port(seen, link, desired.get(&key)) {
            items.insert(key, value);
        }
    }
    as_they_must_be(desired, &mut items);
    let wanted = desired.iter().filter_map(|(key, _)| match key {
        LinkKey::Uplink(name) => Some(name),
        _ => None,
    });
    for name in wanted.chain(uplinks) {
        if let Some(value) = seen.link(name).map(|link| uplink(seen, link)) {
            items.insert(LinkKey::Uplink(name.clone()), LinkValue::Uplink(value));
        } else if uplinks.contains(name) {
            let gone = UplinkSpec {
                bridge: None,
                up: false,
                addressed: false,
            };
            items.insert(LinkKey::Uplink(name.clone()), LinkValue::Uplink(gone));
        }
    }
    addresses(seen, desired, &mut items);
    items
}

/// A bridge that we made.
pub(crate) fn is_our_bridge(link: &Link, name: &IfName) -> bool {
    link.is_bridge() && link.alias == bridge_alias(name)
}

/// The devices that are neither bridges nor cables of ours.
pub(crate) fn strangers(seen: &Snapshot, uplinks: &BTreeSet<IfName>, marked: &Marked) -> Strangers {
    let strangers = seen.links().filter_map(|link| {
        let name = IfName::new(link.name.as_str()).ok()?;
        let ours = is_our_bridge(link, &name)
            || marked.lost(link, &name, mac(seen, link, &name, uplinks))
            || link.alias.starts_with(PORT_ALIAS_PREFIX);
        if ours {
            return None;
        }
        let stranger = Stranger {
            is_bridge: link.is_bridge(),
            what: marked.describe(link, &name),
        };
        Some((name, stranger))
    });
    Arc::new(strangers.collect())
}

fn bridge(
    seen: &Snapshot,
    link: &Link,
    name: &IfName,
    wanted: Option<&LinkValue>,
    (uplinks, marked): (&BTreeSet<IfName>, &Marked),
) -> Option<LinkValue> {
    let is_marked = is_our_bridge(link, name);
    let mac = mac(seen, link, name, uplinks);
    let ours = is_marked || marked.lost(link, name, mac);
    let is = |mac, mtu| {
        Some(LinkValue::Bridge(BridgeSpec {
            mac,
            mtu,
            up: link.up,
            plain: link.plain,
            marked: is_marked,
        }))
    };
    match wanted {
        Some(LinkValue::Left) if !ours => Some(LinkValue::Left),
        Some(LinkValue::AdministratorsBridge) if link.is_bridge() => {
            Some(LinkValue::AdministratorsBridge)
        }
        Some(LinkValue::Bridge(spec)) if ours => {
            let right = mtu::right(spec.mtu, link, seen.links());
            is(mac?, mtu::of_bridge(spec.mtu, link, right))
        }
        _ if ours => is(link.mac?, Mtu::AsMade),
        Some(_) => Some(LinkValue::Foreign(marked.describe(link, name))),
        None => None,
    }
}

/// The bridge's MAC; its uplink's, which it has when it carries that one's addresses, is as good
/// as its own.
fn mac(
    seen: &Snapshot,
    link: &Link,
    name: &IfName,
    uplinks: &BTreeSet<IfName>,
) -> Option<novanet_model::MacAddr> {
    let borrowed = uplinks
        .iter()
        .filter_map(|uplink| seen.link(uplink))
        .any(|uplink| uplink.master == Some(link.index) && uplink.mac == link.mac);
    if borrowed {
        Some(Settings::bridge_mac(name))
    } else {
        link.mac
    }
}

fn port(seen: &Snapshot, link: &Link, wanted: Option<&LinkValue>) -> Option<LinkValue> {
    if wanted == Some(&LinkValue::Left) {
        return Some(LinkValue::Left);
    }
    if link.alias.starts_with(PORT_ALIAS_PREFIX) {
        Some(LinkValue::Port(PortSpec {
            bridge: seen.bridge_of(link),
            up: link.up,
            hairpin: link.hairpin,
            isolated: link.isolated,
            guarded: link.group == PORTS,
            mtu: mtu::of_port(link),
        }))
    } else {
        wanted.map(|_| LinkValue::Foreign(link.describe()))
    }
}

/// A port whose instance has no cable yet is as it must be: the instance's driver makes the cable.
/// So is what is left as it is, there or not.
fn as_they_must_be(desired: &Desired<LinkKey, LinkValue>, items: &mut Items) {
    for (key, value) in desired.iter() {
        let free = matches!(key, LinkKey::Port(_)) || *value == LinkValue::Left;
        if free && !items.contains_key(key) {
            items.insert(key.clone(), value.clone());
        }
    }
}

fn uplink(seen: &Snapshot, link: &Link) -> UplinkSpec {
    UplinkSpec {
        bridge: seen.bridge_of(link),
        up: link.up,
        addressed: seen
            .addresses
            .iter()
            .any(|address| address.device == link.index),
    }
}

fn addresses(seen: &Snapshot, desired: &Desired<LinkKey, LinkValue>, items: &mut Items) {
    for address in &seen.addresses {
        let Some(name) = seen.name(address.device).and_then(|n| IfName::new(n).ok()) else {
            continue;
        };
        let key = LinkKey::Address(name.clone(), address.ip);
        if desired.get(&key).is_some() {
            if address.ours || !items.contains_key(&key) {
                items.insert(key, LinkValue::Address(address.prefix));
            }
        } else if address.ours && address.prefix == 32 && name.as_str() != "lo" {
            let key = LinkKey::Float(address.ip);
            let value = float(seen, desired.get(&key), FloatingAddressMode::Address, &name);
            items.insert(key, LinkValue::Float(value));
        } else if address.ours {
            items.insert(key, LinkValue::Address(address.prefix));
        }
    }
    for address in &seen.floats {
        let key = LinkKey::Float(*address);
        let lo = || IfName::new("lo").ok();
        let wanted = desired.get(&key);
        let name = match wanted {
            Some(LinkValue::Float(spec)) => Some(spec.interface.clone()),
            _ => lo(),
        };
        // Both a route and an address of ours: report the one that is wrong, to be removed.
        let right =
            matches!(wanted, Some(LinkValue::Float(s)) if s.mode == FloatingAddressMode::Route);
        if let Some(name) = name
            && !(right && items.contains_key(&key))
        {
            let value = float(seen, wanted, FloatingAddressMode::Route, &name);
            items.insert(key, LinkValue::Float(value));
        }
    }
}

/// A floating IP as it is. An address that should be on an enslaved interface is on its bridge.
fn float(
    seen: &Snapshot,
    wanted: Option<&LinkValue>,
    mode: FloatingAddressMode,
    device: &IfName,
) -> FloatSpec {
    if let Some(LinkValue::Float(spec)) = wanted
        && spec.mode == mode
        && (spec.interface == *device
            || seen
                .link(&spec.interface)
                .and_then(|l| seen.bridge_of(l))
                .as_ref()
                == Some(device))
    {
        return spec.clone();
    }
    FloatSpec {
        mode,
        interface: device.clone(),
    }
}
