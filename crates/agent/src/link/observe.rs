//! From what the kernel says to the subsystem's items: what carries our mark, and what stands where
//! something of ours should be. Pure.

use super::item::{
    BridgeSpec, FloatingIpSpec, LinkKey, LinkValue, PORT_ALIAS_PREFIX, PORT_NAME_PREFIX, PortSpec,
    UplinkSpec, bridge_alias, host_end_mac,
};
use super::kernel_state::{Link, Snapshot};
use super::mtu::{self, Mtu};
use super::options::{self, PortKind};
use super::ownership::TaggedBridges;
use crate::netlink::ownership::{PORTS, PORTS_MASK};
use crate::settings::{FloatingAddressMode, Settings};
use crate::subsystem::{Desired, ForeignDevice};
use novanet_model::{IfName, MacAddr};
use std::collections::{BTreeMap, BTreeSet};

type Items = BTreeMap<LinkKey, LinkValue>;

/// What the host has. `uplinks` are the interfaces that our records say we enslaved.
pub(crate) fn items(
    snapshot: &Snapshot,
    desired: &Desired<LinkKey, LinkValue>,
    uplinks: &BTreeSet<IfName>,
    tagged: &TaggedBridges,
) -> Items {
    let mut items = Items::new();
    for link in snapshot.links() {
        let Ok(name) = IfName::new(link.name.as_str()) else {
            continue; // A name that we cannot have given.
        };
        let key = LinkKey::Bridge(name.clone());
        if let Some(value) = bridge(snapshot, link, &name, desired.get(&key), (uplinks, tagged)) {
            items.insert(key, value);
        }
        let key = LinkKey::Port(name.clone());
        if let Some(value) = port(snapshot, link, desired.get(&key)) {
            items.insert(key, value);
        }
    }
    as_they_must_be(desired, &mut items);
    let wanted = desired.iter().filter_map(|(key, _)| match key {
        LinkKey::Uplink(name) => Some(name),
        _ => None,
    });
    for name in wanted.chain(uplinks) {
        if let Some(value) = snapshot.link(name).map(|link| uplink(snapshot, link)) {
            items.insert(LinkKey::Uplink(name.clone()), LinkValue::Uplink(value));
        } else if uplinks.contains(name) {
            let gone = UplinkSpec {
                bridge: None,
                up: false,
                addressed: false,
                changed: Vec::new(),
            };
            items.insert(LinkKey::Uplink(name.clone()), LinkValue::Uplink(gone));
        }
    }
    addresses(snapshot, desired, &mut items);
    items
}

/// A bridge that we made.
pub(crate) fn is_our_bridge(link: &Link, name: &IfName) -> bool {
    link.is_bridge() && link.alias == bridge_alias(name)
}

/// The host end of an instance's cable, also without its mark: then by the group or the MAC that we
/// gave it. One with somebody's own words in the place of the mark is theirs.
pub(crate) fn is_our_port(link: &Link) -> bool {
    if link.alias.is_empty() {
        is_like_our_port(link)
    } else {
        link.alias.starts_with(PORT_ALIAS_PREFIX)
    }
}

fn is_like_our_port(link: &Link) -> bool {
    let named = link.kind == "veth" && link.name.starts_with(PORT_NAME_PREFIX);
    named && (link.group & PORTS_MASK == PORTS || !has_other_mac(link))
}

/// What stands under the name of a port and is not ours, in words for an error; if it may have been,
/// also how it is given back.
pub(crate) fn describe_port(link: &Link) -> String {
    if !is_like_our_port(link) {
        return link.describe();
    }
    format!(
        "a veth with alias {:?} in the place of novanet's mark \
         (give it back: ip link set dev {} alias '')",
        link.alias, link.name
    )
}

/// The MACs whose place in a bridge is asked for: those of instances, and our bridges' own.
pub(crate) fn macs(
    snapshot: &Snapshot,
    desired: &Desired<LinkKey, LinkValue>,
) -> BTreeSet<(u32, MacAddr)> {
    let of_link = |link: &Link| {
        let name = IfName::new(link.name.as_str()).ok()?;
        let wanted = || desired.get(&LinkKey::Bridge(name.clone())).is_some();
        if link.is_bridge() && (is_our_bridge(link, &name) || wanted()) {
            return Some((link.index, link.mac?));
        }
        match desired.get(&LinkKey::Port(name)) {
            Some(LinkValue::Port(spec)) if is_our_port(link) => Some((link.master?, spec.mac)),
            _ => None,
        }
    };
    snapshot.links().filter_map(of_link).collect()
}

/// The devices that are neither bridges nor cables of ours.
pub(crate) fn foreign_devices(
    snapshot: &Snapshot,
    uplinks: &BTreeSet<IfName>,
    tagged: &TaggedBridges,
) -> BTreeMap<IfName, ForeignDevice> {
    let foreign_devices = snapshot.links().filter_map(|link| {
        let name = IfName::new(link.name.as_str()).ok()?;
        let ours = is_our_bridge(link, &name)
            || tagged.has_lost_alias(link, &name, mac(snapshot, link, &name, uplinks))
            || is_our_port(link);
        if ours {
            return None;
        }
        let stranger = ForeignDevice {
            is_bridge: link.is_bridge(),
            what: tagged.describe(link, &name),
        };
        Some((name, stranger))
    });
    foreign_devices.collect()
}

fn bridge(
    snapshot: &Snapshot,
    link: &Link,
    name: &IfName,
    wanted: Option<&LinkValue>,
    (uplinks, tagged): (&BTreeSet<IfName>, &TaggedBridges),
) -> Option<LinkValue> {
    let is_tagged = is_our_bridge(link, name);
    let mac = mac(snapshot, link, name, uplinks);
    let ours = is_tagged || tagged.has_lost_alias(link, name, mac);
    let is = |mac, mtu| {
        Some(LinkValue::Bridge(BridgeSpec {
            mac,
            mtu,
            up: link.up,
            changed: changed_of_bridge(snapshot, link),
            tagged: is_tagged,
        }))
    };
    match wanted {
        Some(LinkValue::Left) if !ours => Some(LinkValue::Left),
        Some(LinkValue::AdministratorsBridge) if link.is_bridge() => {
            Some(LinkValue::AdministratorsBridge)
        }
        Some(LinkValue::Bridge(spec)) if ours => {
            let right = mtu::right(spec.mtu, link, snapshot.links());
            is(mac?, mtu::of_bridge(spec.mtu, link, right))
        }
        _ if ours => is(link.mac?, Mtu::AsMade),
        Some(_) => Some(LinkValue::Foreign(tagged.describe(link, name))),
        None => None,
    }
}

/// The bridge's MAC; its uplink's, which it has when it carries that one's addresses, is as good
/// as its own.
fn mac(
    snapshot: &Snapshot,
    link: &Link,
    name: &IfName,
    uplinks: &BTreeSet<IfName>,
) -> Option<MacAddr> {
    let borrowed = uplinks
        .iter()
        .filter_map(|uplink| snapshot.link(uplink))
        .any(|uplink| uplink.master == Some(link.index) && uplink.mac == link.mac);
    if borrowed {
        Some(Settings::bridge_mac(name))
    } else {
        link.mac
    }
}

fn port(snapshot: &Snapshot, link: &Link, wanted: Option<&LinkValue>) -> Option<LinkValue> {
    if wanted == Some(&LinkValue::Left) {
        return Some(LinkValue::Left);
    }
    if is_our_port(link) {
        let wanted = match wanted {
            Some(LinkValue::Port(spec)) => Some(spec),
            _ => None,
        };
        Some(LinkValue::Port(PortSpec {
            bridge: snapshot.bridge_of(link),
            up: link.up,
            mac: wanted.map_or(MacAddr([0; 6]), |spec| spec.mac),
            alias: mtu::alias_without(&link.alias).to_owned(),
            changed: wanted.map_or(Vec::new(), |spec| changed_of_port(snapshot, link, spec)),
            guarded: link.group == PORTS,
            mtu: mtu::of_port(link),
        }))
    } else {
        wanted.map(|_| LinkValue::Foreign(describe_port(link)))
    }
}

/// What somebody changed of a bridge of ours, in words for the plan.
fn changed_of_bridge(snapshot: &Snapshot, link: &Link) -> Vec<&'static str> {
    let mut changed: Vec<_> = link
        .wrong_in_bridge
        .iter()
        .map(|wrong| wrong.name)
        .collect();
    let own = link
        .mac
        .and_then(|mac| snapshot.entries.get(&(link.index, mac)));
    if !own.is_some_and(|entry| entry.local) {
        changed.push("fdb entry of its own MAC");
    }
    if !link.arp {
        changed.push("arp");
    }
    changed
}

fn changed_of_port(snapshot: &Snapshot, link: &Link, wanted: &PortSpec) -> Vec<&'static str> {
    let mut changed = wrong_names(link, PortKind::Instance);
    let Some(bridge) = link.master else {
        return changed; // A port of none has no options.
    };
    let entry = snapshot.entries.get(&(bridge, wanted.mac));
    if !entry.is_some_and(|entry| entry.is_instances_on(link.index)) {
        changed.push("fdb entry of the instance's MAC");
    }
    if has_other_mac(link) {
        changed.push("address");
    }
    if snapshot
        .numbered(bridge)
        .is_some_and(|bridge| must_pass(link, bridge))
    {
        changed.push("state");
    }
    changed
}

fn wrong_names(link: &Link, kind: PortKind) -> Vec<&'static str> {
    let wrong = link.wrong_as(kind).into_iter();
    wrong.map(|wrong| wrong.name).collect()
}

/// A port whose host end has another MAC than we give it.
pub(crate) fn has_other_mac(link: &Link) -> bool {
    let name = IfName::new(link.name.as_str());
    name.is_ok_and(|name| link.mac != Some(host_end_mac(&name)))
}

/// A port that passes nothing, though both are up and there is no spanning tree to say so.
pub(crate) fn must_pass(link: &Link, bridge: &Link) -> bool {
    let tree = bridge.wrong_in_bridge.iter();
    let tree = tree.map(|wrong| wrong.name).any(|name| name == "stp_state");
    options::is_blocked(&link.port_options) && link.up && link.running && bridge.up && !tree
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

fn uplink(snapshot: &Snapshot, link: &Link) -> UplinkSpec {
    let bridge = link.master.and_then(|master| snapshot.numbered(master));
    let mut changed = wrong_names(link, PortKind::Uplink);
    if bridge.is_some_and(|bridge| must_pass(link, bridge)) {
        changed.push("state");
    }
    UplinkSpec {
        bridge: snapshot.bridge_of(link),
        up: link.up,
        addressed: snapshot
            .addresses
            .iter()
            .any(|address| address.device == link.index),
        changed,
    }
}

fn addresses(snapshot: &Snapshot, desired: &Desired<LinkKey, LinkValue>, items: &mut Items) {
    for address in &snapshot.addresses {
        let Some(name) = snapshot
            .name(address.device)
            .and_then(|n| IfName::new(n).ok())
        else {
            continue;
        };
        let key = LinkKey::Address(name.clone(), address.ip);
        if desired.get(&key).is_some() {
            if address.ours || !items.contains_key(&key) {
                items.insert(key, LinkValue::Address(address.prefix));
            }
        } else if address.ours && address.prefix == 32 && name.as_str() != "lo" {
            let key = LinkKey::FloatingIp(address.ip);
            let value = floating_ip(
                snapshot,
                desired.get(&key),
                FloatingAddressMode::Address,
                &name,
            );
            items.insert(key, LinkValue::FloatingIp(value));
        } else if address.ours {
            items.insert(key, LinkValue::Address(address.prefix));
        }
    }
    for address in &snapshot.floating_ips {
        let key = LinkKey::FloatingIp(*address);
        let lo = || IfName::new("lo").ok();
        let wanted = desired.get(&key);
        let name = match wanted {
            Some(LinkValue::FloatingIp(spec)) => Some(spec.interface.clone()),
            _ => lo(),
        };
        // Both a route and an address of ours: report the one that is wrong, to be removed.
        let right = matches!(wanted, Some(LinkValue::FloatingIp(s)) if s.mode == FloatingAddressMode::Route);
        if let Some(name) = name
            && !(right && items.contains_key(&key))
        {
            let value = floating_ip(snapshot, wanted, FloatingAddressMode::Route, &name);
            items.insert(key, LinkValue::FloatingIp(value));
        }
    }
}

/// A floating IP as it is. An address that should be on an enslaved interface is on its bridge.
fn floating_ip(
    snapshot: &Snapshot,
    wanted: Option<&LinkValue>,
    mode: FloatingAddressMode,
    device: &IfName,
) -> FloatingIpSpec {
    if let Some(LinkValue::FloatingIp(spec)) = wanted
        && spec.mode == mode
        && (spec.interface == *device
            || snapshot
                .link(&spec.interface)
                .and_then(|l| snapshot.bridge_of(l))
                .as_ref()
                == Some(device))
    {
        return spec.clone();
    }
    FloatingIpSpec {
        mode,
        interface: device.clone(),
    }
}
