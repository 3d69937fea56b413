//! What the firewall is made of: items, and which of them follow from a host object. The same for
//! every renderer.
//!
//! Must not know: nftables, iptables, the kernel.

use super::layout::{combination_chain, group_chain};
use ipnet::Ipv4Net;
use novanet_model::object::{Gateway, HostObject, Port};
use novanet_model::rule::{Source, Traffic};
use novanet_model::{CombinationId, GroupId, IfName, MacAddr, ProjectNumber, RuleId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;

/// Names an item. The order is the order of making them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// The tables with their fixed chains and sets.
    Skeleton,
    /// A set that comes and goes with a group or a project.
    Set(Set),
    /// The chain of a group.
    Chain(GroupId),
    /// The project of that group.
    Group(GroupId),
    /// The name of that group, for comments.
    GroupName(GroupId),
    /// A rule of that chain.
    Rule(GroupId, RuleId),
    /// The chain of a combination of groups.
    Combination(CombinationId),
    /// An element of a set or map.
    Element(Set, Slot),
}

/// What an item is like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// It exists; there is nothing more to say of it.
    Present,
    /// The fixed text by its digest.
    Skeleton(String),
    /// Text of ours that somebody has changed.
    Damaged,
    /// A group's project.
    Project(ProjectNumber),
    /// A group's name.
    Name(String),
    /// A rule.
    Rule(Traffic, Source),
    /// The groups of a combination.
    Groups(Vec<GroupId>),
    /// A map's data: an address.
    Address(Ipv4Addr),
    /// A map's data: a number.
    Number(u32),
    /// A map's data: go to this chain.
    Goto(String),
    /// Data that is none of ours, as the kernel has it.
    Foreign(Vec<u8>),
}

/// The sets and maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Set {
    /// Bridges of our networks.
    Bridges,
    /// Our networks.
    Networks,
    /// Bridge and its gateway address: where instances may ask for DNS.
    Gateways,
    /// Gateway addresses, whatever their bridge.
    GatewayAddresses,
    /// Floating to fixed address.
    FloatIn,
    /// Fixed to floating address.
    FloatOut,
    /// Floating addresses, whether translated or not: none of them is the host's own.
    Floats,
    /// Fixed addresses of the ports on this host.
    Fixed,
    /// Fixed address to number of its combination of groups.
    Combinations,
    /// That number to its chain.
    Verdicts,
    /// Port and its MAC.
    PortMac,
    /// Port and its MAC as the client address in a DHCP message.
    PortDhcp,
    /// Port, its MAC and an address of its instance.
    PortAddress,
    /// MACs of the ports on this host, for the bridges.
    PortMacs,
    /// Fixed addresses of the ports on this host, for the bridges.
    PortAddresses,
    /// Addresses of a group's members.
    Members(GroupId),
    /// Addresses of a project.
    Project(ProjectNumber),
}

/// Which element of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Slot {
    /// An address.
    Address(Ipv4Addr),
    /// First and last address of a range.
    Range(Ipv4Addr, Ipv4Addr),
    /// A number.
    Number(u32),
    /// An interface.
    Interface(IfName),
    /// A MAC.
    Mac(MacAddr),
    /// An interface and an address.
    InterfaceAddress(IfName, Ipv4Addr),
    /// An interface and a MAC.
    InterfaceMac(IfName, MacAddr),
    /// An interface, a MAC and an address.
    InterfaceMacAddress(IfName, MacAddr, Ipv4Addr),
    /// Nothing that we would write, as the kernel has it.
    Foreign(Vec<u8>),
}

type Items = Vec<(Key, Value)>;

/// Items that follow from one object.
pub(crate) fn items_of(object: &HostObject) -> Items {
    match object {
        HostObject::Gateway(gateway) => of_gateway(gateway),
        HostObject::FloatingIp(float) => vec![
            (
                Key::Element(Set::FloatIn, Slot::Address(float.address)),
                Value::Address(float.fixed),
            ),
            (
                Key::Element(Set::FloatOut, Slot::Address(float.fixed)),
                Value::Address(float.address),
            ),
            (
                Key::Element(Set::Floats, Slot::Address(float.address)),
                Value::Present,
            ),
        ],
        HostObject::Group(group) => {
            let mut items = vec![
                (Key::Set(Set::Project(group.project)), Value::Present),
                (Key::Chain(group.group), Value::Present),
                (Key::Group(group.group), Value::Project(group.project)),
            ];
            let name = group.name.iter().cloned().map(Value::Name);
            items.extend(name.map(|name| (Key::GroupName(group.group), name)));
            items
        }
        HostObject::Rule(rule) => {
            let mut items = vec![
                (Key::Chain(rule.group), Value::Present),
                (
                    Key::Rule(rule.group, rule.rule),
                    Value::Rule(rule.traffic, rule.source),
                ),
            ];
            if let Source::Group(source) = rule.source {
                items.push((Key::Set(Set::Members(source)), Value::Present));
            }
            items
        }
        HostObject::Member(member) => of_set(Set::Members(member.group), member.address),
        HostObject::ProjectAddress(one) => of_set(Set::Project(one.project), one.address),
        HostObject::Port(port) => of_port(port),
        HostObject::Bridge(_)
        | HostObject::Dhcp(_)
        | HostObject::Binding(_)
        | HostObject::Instance(_) => Vec::new(),
    }
}

fn of_set(set: Set, address: Ipv4Addr) -> Items {
    vec![
        (Key::Set(set), Value::Present),
        (Key::Element(set, Slot::Address(address)), Value::Present),
    ]
}

fn of_gateway(gateway: &Gateway) -> Items {
    let net = gateway.address;
    let present = |set, slot| (Key::Element(set, slot), Value::Present);
    vec![
        present(Set::Bridges, Slot::Interface(gateway.bridge.clone())),
        present(Set::Networks, Slot::Range(net.network(), net.broadcast())),
        present(
            Set::Gateways,
            Slot::InterfaceAddress(gateway.bridge.clone(), net.addr()),
        ),
        present(Set::GatewayAddresses, Slot::Address(net.addr())),
    ]
}

fn of_port(port: &Port) -> Items {
    let number = combination_number(port.combination);
    let mut items: Items = port
        .groups
        .iter()
        .map(|group| (Key::Chain(*group), Value::Present))
        .collect();
    let mut element = |set, slot, value| items.push((Key::Element(set, slot), value));
    element(Set::Fixed, Slot::Address(port.address), Value::Present);
    element(
        Set::Combinations,
        Slot::Address(port.address),
        Value::Number(number),
    );
    element(
        Set::Verdicts,
        Slot::Number(number),
        Value::Goto(combination_chain(port.combination)),
    );
    element(
        Set::PortMac,
        Slot::InterfaceMac(port.name.clone(), port.mac),
        Value::Present,
    );
    element(
        Set::PortDhcp,
        Slot::InterfaceMac(port.name.clone(), port.mac),
        Value::Present,
    );
    element(
        Set::PortAddress,
        Slot::InterfaceMacAddress(port.name.clone(), port.mac, port.address),
        Value::Present,
    );
    for sibling in &port.siblings {
        element(
            Set::PortAddress,
            Slot::InterfaceMacAddress(port.name.clone(), port.mac, *sibling),
            Value::Present,
        );
    }
    element(Set::PortMacs, Slot::Mac(port.mac), Value::Present);
    element(
        Set::PortAddresses,
        Slot::Address(port.address),
        Value::Present,
    );
    items.push((
        Key::Combination(port.combination),
        Value::Groups(port.groups.clone()),
    ));
    items
}

/// The number of a combination in the packet mark, whose bits 28 and up are the guards'.
fn combination_number(combination: CombinationId) -> u32 {
    u32::try_from(combination.0 & 0x0fff_ffff).unwrap_or(0)
}

impl Set {
    /// Whether it belongs to the bridge family; all others are IPv4.
    pub(crate) fn is_bridge(self) -> bool {
        matches!(
            self,
            Self::PortMac
                | Self::PortDhcp
                | Self::PortAddress
                | Self::PortMacs
                | Self::PortAddresses
        )
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skeleton => f.write_str("tables"),
            Self::Set(set) => write!(f, "set {}", set.name()),
            Self::Chain(group) => write!(f, "chain {}", group_chain(*group)),
            Self::Group(group) => write!(f, "chain {} project", group_chain(*group)),
            Self::GroupName(group) => write!(f, "chain {} name", group_chain(*group)),
            Self::Rule(group, rule) => write!(f, "chain {} rule {rule}", group_chain(*group)),
            Self::Combination(c) => write!(f, "chain {}", combination_chain(*c)),
            Self::Element(set, slot) => write!(f, "{} {slot}", set.name()),
        }
    }
}

impl fmt::Display for Slot {
    /// As nft writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Range(first, last) => match one_net(*first, *last) {
                Some(net) => net.fmt(f),
                None => write!(f, "{first}-{last}"),
            },
            Self::Number(number) => number.fmt(f),
            Self::Interface(name) => write!(f, "\"{name}\""),
            Self::Mac(mac) => mac.fmt(f),
            Self::InterfaceAddress(name, address) => write!(f, "\"{name}\" . {address}"),
            Self::InterfaceMac(name, mac) => write!(f, "\"{name}\" . {mac}"),
            Self::InterfaceMacAddress(name, mac, address) => {
                write!(f, "\"{name}\" . {mac} . {address}")
            }
            Self::Foreign(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

/// The network that a range is, if it is one.
fn one_net(first: Ipv4Addr, last: Ipv4Addr) -> Option<Ipv4Net> {
    let mut nets = ipnet::Ipv4Subnets::new(first, last, 0);
    let net = nets.next()?;
    nets.next().is_none().then_some(net)
}
