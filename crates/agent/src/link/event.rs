//! What the kernel tells of links, addresses, routes and entries of bridges: which blockers of ours an
//! event is about, and leaves other than they should be. Pure, and cheap: our own changes are told too.

use super::fdb::Entry;
use super::item::{LinkKey, LinkValue};
use super::kernel_state::{self, Link};
use super::metadata;
use super::mtu::{self, Mtu};
use super::observe::{has_other_mac, is_our_bridge};
use super::options::PortKind;
use crate::netlink::ownership::PORTS;
use novanet_model::{IfName, MacAddr};
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// Which blockers of ours an event is about, and leaves other than they should be.
pub(super) fn doubts_of(
    message: Message,
    expected: &BTreeMap<LinkKey, LinkValue>,
    indexes: &mut BTreeMap<u32, IfName>,
) -> Vec<LinkKey> {
    match message {
        Message::NewLink(message) => {
            let link = Link::from(message);
            let Ok(name) = IfName::new(link.name.as_str()) else {
                return Vec::new();
            };
            let before = indexes.insert(link.index, name.clone());
            let new = before.is_none();
            let wrong = keys_of(&name)
                .into_iter()
                .filter(|key| match expected.get(key) {
                    // The one that was waited for: only the subsystem knows.
                    Some(LinkValue::AdministratorsBridge) => new,
                    Some(value) => differs(value, &link, &name),
                    None => false,
                });
            // A name that it had and has no longer is free.
            let freed = before.into_iter().filter(|before| *before != name);
            let freed = freed.flat_map(|before| gone(expected, &before));
            wrong.chain(freed).collect()
        }
        Message::DelLink(message) => {
            let link = Link::from(message);
            indexes.remove(&link.index);
            let Ok(name) = IfName::new(link.name.as_str()) else {
                return Vec::new();
            };
            gone(expected, &name)
        }
        Message::DelAddress(message) => {
            let address = message.attributes.iter().find_map(|a| match a {
                AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
                _ => None,
            });
            address
                .into_iter()
                .flat_map(|address| about_address(expected, address))
                .collect()
        }
        Message::NewAddress(message) => indexes
            .get(&message.header.index)
            .map(|name| LinkKey::Uplink(name.clone()))
            .into_iter()
            .filter(|key| expected.contains_key(key))
            .collect(),
        // What a device listens to by itself is no entry of a bridge.
        Message::NewNeighbour(message) | Message::DelNeighbour(message)
            if message.header.flags.contains(NeighbourFlags::Own) =>
        {
            Vec::new()
        }
        Message::NewNeighbour(message) => {
            // Ours are told too, where they belong.
            let entry = Entry::of(&message);
            let place = indexes.get(&entry.device);
            about_mac(expected, &message)
                .filter(|name| !entry.sticky || place != Some(name))
                .map(LinkKey::Port)
                .collect()
        }
        Message::DelNeighbour(message) => {
            let bridge = indexes.get(&message.header.ifindex);
            let bridge = bridge.cloned().map(LinkKey::Bridge);
            let bridge = bridge.filter(|key| expected.contains_key(key));
            let ports = about_mac(expected, &message).map(LinkKey::Port);
            ports.chain(bridge).collect()
        }
        Message::DelRoute(_) | Message::DelRule(_) => kernel_state::floating_ip_of(&message)
            .map(LinkKey::FloatingIp)
            .into_iter()
            .chain(metadata::of_event(&message))
            .filter(|key| expected.contains_key(key))
            .collect(),
        _ => Vec::new(),
    }
}

fn keys_of(name: &IfName) -> [LinkKey; 3] {
    [
        LinkKey::Bridge(name.clone()),
        LinkKey::Uplink(name.clone()),
        LinkKey::Port(name.clone()),
    ]
}

/// What is missing when a device of this name is gone. A port without a cable is as it should be.
fn gone(expected: &BTreeMap<LinkKey, LinkValue>, name: &IfName) -> Vec<LinkKey> {
    let mut keys = Vec::from(keys_of(name));
    keys.retain(|key| !matches!(key, LinkKey::Port(_)) && expected.contains_key(key));
    keys
}

/// The ports whose instance has the MAC of an entry.
fn about_mac<'a>(
    expected: &'a BTreeMap<LinkKey, LinkValue>,
    message: &NeighbourMessage,
) -> impl Iterator<Item = IfName> + 'a {
    let mac = message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::LinkLayerAddress(mac) => mac.clone().try_into().ok().map(MacAddr),
        _ => None,
    });
    expected
        .iter()
        .filter_map(move |(key, value)| match (key, value) {
            (LinkKey::Port(name), LinkValue::Port(spec)) if Some(spec.mac) == mac => {
                Some(name.clone())
            }
            _ => None,
        })
}

fn about_address(expected: &BTreeMap<LinkKey, LinkValue>, address: Ipv4Addr) -> Vec<LinkKey> {
    let addresses = expected
        .keys()
        .filter(|key| matches!(key, LinkKey::Address(_, a) if *a == address))
        .cloned();
    let floating_ip = LinkKey::FloatingIp(address);
    let floating_ip = expected.contains_key(&floating_ip).then_some(floating_ip);
    addresses.chain(floating_ip).collect()
}

/// Whether a link is other than it should be, as far as one message tells.
pub(super) fn differs(wanted: &LinkValue, link: &Link, name: &IfName) -> bool {
    match wanted {
        LinkValue::Bridge(spec) => {
            !is_our_bridge(link, name)
                || link.up != spec.up
                || !link.arp
                || !link.wrong_in_bridge.is_empty()
                || matches!(spec.mtu, Mtu::Fixed(mtu) if mtu != link.mtu)
        }
        LinkValue::AdministratorsBridge => true,
        LinkValue::Left => is_our_bridge(link, name), // given back
        LinkValue::Uplink(spec) => link.master.is_none() || link.up != spec.up,
        LinkValue::Port(spec) => {
            link.master.is_none()
                || link.up != spec.up
                || !link.wrong_as(PortKind::Instance).is_empty()
                || has_other_mac(link)
                || mtu::alias_without(&link.alias) != spec.alias
                || (link.group == PORTS) != spec.guarded
                || mtu::of_port(link) != spec.mtu
        }
        _ => false,
    }
}
