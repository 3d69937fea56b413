//! Notifications of rtnetlink: which items an event is about, and leaves different from what they
//! must be. Pure, and cheap, because the kernel sends novanet's own changes too.

use super::bridge::{self, BridgeValue};
use super::expected::Expected;
use super::fdb::Entry;
use super::item::{LinkKey, LinkValue, device_keys};
use super::kernel_state::{self, Link};
use super::{metadata_route, port, uplink, vlan};
use novanet_model::{IfName, MacAddr};
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Names of devices by index, for events that have the index only.
pub(super) type Indexes = BTreeMap<u32, IfName>;

/// The items that an event may leave different from what they must be.
pub(super) fn stale_keys(
    message: Message,
    expected: &Expected,
    indexes: &mut Indexes,
) -> Vec<LinkKey> {
    match message {
        Message::NewLink(message) => of_new_link(message, expected, indexes),
        Message::DelLink(message) => {
            let link = Link::from(message);
            indexes.remove(&link.index);
            let Ok(name) = IfName::new(link.name.as_str()) else {
                return Vec::new();
            };
            missing(expected, &name)
        }
        Message::DelAddress(message) => {
            let address = message.attributes.iter().find_map(|a| match a {
                AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
                _ => None,
            });
            address.map_or(Vec::new(), |address| expected.with_address(address))
        }
        Message::NewAddress(message) => indexes
            .get(&message.header.index)
            .map(|name| LinkKey::Uplink(name.clone()))
            .into_iter()
            .filter(|key| expected.contains(key))
            .collect(),
        // A device's list of the MACs it listens to is no part of a bridge's database.
        Message::NewNeighbour(message) | Message::DelNeighbour(message)
            if message.header.flags.contains(NeighbourFlags::Own) =>
        {
            Vec::new()
        }
        Message::NewNeighbour(message) => {
            // Novanet's own entry, on the port of its instance, leaves nothing different.
            let entry = Entry::of(&message);
            let device = indexes.get(&entry.device);
            ports_of(expected, &message)
                .filter(|name| !entry.sticky || device != Some(name))
                .map(LinkKey::Port)
                .collect()
        }
        Message::DelNeighbour(message) => {
            let bridge = indexes.get(&message.header.ifindex);
            let bridge = bridge.cloned().map(LinkKey::Bridge);
            let bridge = bridge.filter(|key| expected.contains(key));
            let ports = ports_of(expected, &message).map(LinkKey::Port);
            ports.chain(bridge).collect()
        }
        Message::DelRoute(_) | Message::DelRule(_) => kernel_state::floating_ip_of(&message)
            .map(LinkKey::FloatingIp)
            .into_iter()
            .chain(metadata_route::removed_by(&message).map(LinkKey::from))
            .filter(|key| expected.contains(key))
            .collect(),
        _ => Vec::new(),
    }
}

fn of_new_link(message: LinkMessage, expected: &Expected, indexes: &mut Indexes) -> Vec<LinkKey> {
    let link = Link::from(message);
    let Ok(name) = IfName::new(link.name.as_str()) else {
        return Vec::new();
    };
    let before = indexes.insert(link.index, name.clone());
    let is_new = before.is_none();
    let wrong = device_keys(&name).into_iter();
    let wrong = wrong.filter(|key| match expected.get(key) {
        // A bridge of the administrator's may be the one that its network waits for.
        Some(LinkValue::Bridge(BridgeValue::Administrators)) => is_new,
        Some(value) => differs(value, &link, &name),
        None => false,
    });
    // After a renaming, no device has the name before.
    let renamed = before.into_iter().filter(|before| *before != name);
    let missing = renamed.flat_map(|before| missing(expected, &before));
    wrong.chain(missing).collect()
}

/// The items that miss a device of this name. A port without a device is as it must be.
fn missing(expected: &Expected, name: &IfName) -> Vec<LinkKey> {
    let mut keys = Vec::from(device_keys(name));
    keys.retain(|key| !matches!(key, LinkKey::Port(_)) && expected.contains(key));
    keys
}

/// The ports whose instance has the MAC of an fdb entry.
fn ports_of<'a>(
    expected: &'a Expected,
    message: &NeighbourMessage,
) -> impl Iterator<Item = IfName> + use<'a> {
    let mac = message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::LinkLayerAddress(mac) => mac.clone().try_into().ok().map(MacAddr),
        _ => None,
    });
    let ports = mac.into_iter().flat_map(|mac| expected.ports_with(mac));
    ports.cloned()
}

/// Whether a link is different from what it must be, by one message.
fn differs(wanted: &LinkValue, link: &Link, name: &IfName) -> bool {
    match wanted {
        LinkValue::Bridge(value) => bridge::differs(value, link, name),
        LinkValue::Vlan(value) => vlan::differs(value, link, name),
        LinkValue::Uplink(spec) => uplink::differs(spec, link),
        LinkValue::Port(value) => port::differs(value, link),
        LinkValue::Sysctl(_)
        | LinkValue::Address(_)
        | LinkValue::Metadata
        | LinkValue::FloatingIp(_) => false,
    }
}
