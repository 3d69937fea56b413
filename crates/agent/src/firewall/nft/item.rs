//! Items of the nft renderer: chains, rules, sets and their elements, and which of them one intent
//! makes. Depends on the intents and on the names in `layout`.

pub use super::layout::Set;

use super::layout::{combination_chain, group_chain};
use crate::firewall::intent::Intent;
use ipnet::Ipv4Net;
use novanet_model::object::{AddressRange, Dhcp, Gateway, Port, VpnForward};
use novanet_model::rule::{Source, Traffic};
use novanet_model::{BlockId, CombinationId, GroupId, IfName, MacAddr, ProjectNumber, RuleId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;

/// Names an item; items are made in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// The tables with their fixed chains and sets.
    #[serde(rename = "Skeleton")]
    BaseRuleset,
    /// A set that comes and goes with a group or a project.
    Set(Set),
    /// The chain of a group.
    Chain(GroupId),
    /// The project of that group.
    Group(GroupId),
    /// The name of that group, for comments.
    GroupName(GroupId),
    /// The VPN clients of its project.
    GroupVpn(GroupId),
    /// A rule of that chain.
    Rule(GroupId, RuleId),
    /// The chain of a combination of groups.
    Combination(CombinationId),
    /// An element of a set or map.
    Element(Set, ElementKey),
    /// A provider rule. After the variants of the first builds: their order is on disk and in no
    /// rule's way.
    Block(BlockId),
}

/// The state of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value {
    /// It exists and has no further properties.
    Present,
    /// The base ruleset's text by its digest, in hex.
    #[serde(rename = "Skeleton")]
    BaseRuleset(String),
    /// Text of ours that another program has changed.
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
    /// A map's data: an address and a port.
    AddressPort(Ipv4Addr, u16),
    /// Addresses of VPN clients.
    Clients(AddressRange),
    /// A map's data: go to this chain.
    Goto(String),
    /// Data that we would not write, in the kernel's bytes.
    Foreign(Vec<u8>),
}

/// The key of an element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ElementKey {
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
    /// An address and a port.
    AddressPort(Ipv4Addr, u16),
    /// An interface, a MAC and an address.
    InterfaceMacAddress(IfName, MacAddr, Ipv4Addr),
    /// A key that we would not write, in the kernel's bytes.
    Foreign(Vec<u8>),
}

type Items = Vec<(Key, Value)>;

/// Items that one intent makes.
pub(in crate::firewall) fn items_of(intent: Intent<'_>) -> Items {
    match intent {
        Intent::Gateway(gateway) => of_gateway(gateway),
        Intent::Unrouted(dhcp) => of_unrouted(dhcp),
        Intent::FloatingIp(floating) => {
            let (floating, fixed) = (floating.address, floating.fixed);
            let element = |set, address, value| {
                let key = Key::Element(set, ElementKey::Address(address));
                (key, value)
            };
            vec![
                element(Set::FloatingToFixed, floating, Value::Address(fixed)),
                element(Set::FixedToFloating, fixed, Value::Address(floating)),
                element(Set::FloatingIps, floating, Value::Present),
            ]
        }
        Intent::Group(group) => {
            let mut items = vec![
                (Key::Set(Set::Project(group.project)), Value::Present),
                (Key::Chain(group.group), Value::Present),
                (Key::Group(group.group), Value::Project(group.project)),
            ];
            let name = group.name.iter().cloned().map(Value::Name);
            items.extend(name.map(|name| (Key::GroupName(group.group), name)));
            let clients = group.vpn_clients.map(Value::Clients);
            items.extend(clients.map(|clients| (Key::GroupVpn(group.group), clients)));
            items
        }
        Intent::Rule(rule) => {
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
        Intent::Block(block) => vec![(
            Key::Block(block.block),
            Value::Rule(block.traffic, Source::Cidr(block.source)),
        )],
        Intent::Member(member) => of_set(Set::Members(member.group), member.address),
        Intent::ProjectAddress(one) => of_set(Set::Project(one.project), one.address),
        Intent::Port(port) => of_port(port),
        Intent::VpnForward(forward) => vec![of_forward(forward)],
    }
}

/// The items of one host object, for tests of the text.
#[cfg(test)]
pub(in crate::firewall) fn items_of_object(object: &novanet_model::HostObject) -> Items {
    Intent::of(object).map_or_else(Vec::new, items_of)
}

fn of_set(set: Set, address: Ipv4Addr) -> Items {
    vec![
        (Key::Set(set), Value::Present),
        (
            Key::Element(set, ElementKey::Address(address)),
            Value::Present,
        ),
    ]
}

fn of_gateway(gateway: &Gateway) -> Items {
    let net = gateway.address;
    let present = |set, element| (Key::Element(set, element), Value::Present);
    let range = ElementKey::Range(net.network(), net.broadcast());
    let direct = gateway.no_snat.then(|| present(Set::DirectNetworks, range));
    let mut items = vec![
        present(Set::Bridges, ElementKey::Interface(gateway.bridge.clone())),
        present(
            Set::Networks,
            ElementKey::Range(net.network(), net.broadcast()),
        ),
        present(
            Set::Gateways,
            ElementKey::InterfaceAddress(gateway.bridge.clone(), net.addr()),
        ),
        present(Set::GatewayAddresses, ElementKey::Address(net.addr())),
    ];
    items.extend(direct);
    items
}

/// Without its range in the networks, nothing of it is translated.
fn of_unrouted(dhcp: &Dhcp) -> Items {
    let (bridge, server) = (&dhcp.bridge, dhcp.server);
    let present = |set, element| (Key::Element(set, element), Value::Present);
    let address = ElementKey::InterfaceAddress(bridge.clone(), server);
    vec![
        present(Set::Bridges, ElementKey::Interface(bridge.clone())),
        present(Set::UnroutedBridges, ElementKey::Interface(bridge.clone())),
        present(Set::Gateways, address),
        present(Set::GatewayAddresses, ElementKey::Address(server)),
    ]
}

fn of_port(port: &Port) -> Items {
    let number = combination_number(port.combination);
    let mut items: Items = port
        .groups
        .iter()
        .map(|group| (Key::Chain(*group), Value::Present))
        .collect();
    let mut element = |set, element, value| items.push((Key::Element(set, element), value));
    element(
        Set::FixedIps,
        ElementKey::Address(port.address),
        Value::Present,
    );
    element(
        Set::PortGroups,
        ElementKey::Address(port.address),
        Value::Number(number),
    );
    element(
        Set::GroupChains,
        ElementKey::Number(number),
        Value::Goto(combination_chain(port.combination)),
    );
    element(
        Set::PortMac,
        ElementKey::InterfaceMac(port.name.clone(), port.mac),
        Value::Present,
    );
    element(
        Set::PortDhcpMac,
        ElementKey::InterfaceMac(port.name.clone(), port.mac),
        Value::Present,
    );
    element(
        Set::PortMacIp,
        ElementKey::InterfaceMacAddress(port.name.clone(), port.mac, port.address),
        Value::Present,
    );
    for sibling in &port.siblings {
        element(
            Set::PortMacIp,
            ElementKey::InterfaceMacAddress(port.name.clone(), port.mac, *sibling),
            Value::Present,
        );
    }
    element(Set::PortMacs, ElementKey::Mac(port.mac), Value::Present);
    element(
        Set::PortIps,
        ElementKey::Address(port.address),
        Value::Present,
    );
    if let Some(clients) = port.vpn_clients {
        of_vpn_clients(port, clients, &mut element);
    }
    items.push((
        Key::Combination(port.combination),
        Value::Groups(port.groups.clone()),
    ));
    items
}

/// To others, the VPN clients behind a Cloudpipe's port are members of its groups.
fn of_vpn_clients(
    port: &Port,
    clients: AddressRange,
    element: &mut impl FnMut(Set, ElementKey, Value),
) {
    let number = combination_number(port.combination);
    let name = || port.name.clone();
    element(Set::VpnPorts, ElementKey::Interface(name()), Value::Present);
    for client in clients.addresses() {
        let address = || ElementKey::Address(client);
        element(Set::FixedIps, address(), Value::Present);
        element(Set::PortGroups, address(), Value::Number(number));
        element(Set::PortIps, address(), Value::Present);
        element(
            Set::VpnPortIps,
            ElementKey::InterfaceAddress(name(), client),
            Value::Present,
        );
    }
}

fn of_forward(forward: &VpnForward) -> (Key, Value) {
    let from = ElementKey::AddressPort(forward.address, forward.port);
    let to = Value::AddressPort(forward.to_address, forward.to_port);
    (Key::Element(Set::VpnForwards, from), to)
}

/// The number of a combination in the packet mark; bits 28 and up have other meanings.
fn combination_number(combination: CombinationId) -> u32 {
    u32::try_from(combination.0 & 0x0fff_ffff).unwrap_or(0)
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BaseRuleset => f.write_str("tables"),
            Self::Set(set) => write!(f, "set {}", set.name()),
            Self::Chain(group) => write!(f, "chain {}", group_chain(*group)),
            Self::Group(group) => write!(f, "chain {} project", group_chain(*group)),
            Self::GroupName(group) => write!(f, "chain {} name", group_chain(*group)),
            Self::GroupVpn(group) => write!(f, "chain {} VPN clients", group_chain(*group)),
            Self::Rule(group, rule) => write!(f, "chain {} rule {rule}", group_chain(*group)),
            Self::Combination(c) => write!(f, "chain {}", combination_chain(*c)),
            Self::Block(block) => write!(f, "provider rule {block}"),
            Self::Element(set, element) => write!(f, "{} {element}", set.name()),
        }
    }
}

impl fmt::Display for Value {
    /// In the words of a plan.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present => f.write_str("there"),
            Self::Damaged => f.write_str("changed by somebody else"),
            Self::BaseRuleset(digest) => {
                write!(f, "text {}", digest.get(..12).unwrap_or(digest))
            }
            Self::Project(project) => write!(f, "project {project}"),
            Self::Name(name) => f.write_str(name),
            Self::Rule(traffic, source) => write!(f, "{} from {}", what(*traffic), whence(source)),
            Self::Groups(groups) => {
                let names: Vec<_> = groups.iter().map(ToString::to_string).collect();
                f.write_str(&names.join(", "))
            }
            Self::Address(address) => address.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::AddressPort(address, port) => write!(f, "{address} . {port}"),
            Self::Clients(range) => range.fmt(f),
            Self::Goto(chain) => write!(f, "goto {chain}"),
            Self::Foreign(bytes) => write!(f, "none of ours: {bytes:02x?}"),
        }
    }
}

fn what(traffic: Traffic) -> String {
    let or_any = |number: &Option<u8>| number.map_or("any".to_owned(), |n| n.to_string());
    match traffic {
        Traffic::Any => "anything".to_owned(),
        Traffic::Tcp(ports) => format!("tcp {ports}"),
        Traffic::Udp(ports) => format!("udp {ports}"),
        Traffic::Icmp { icmp_type, code } => {
            format!("icmp type {} code {}", or_any(&icmp_type), or_any(&code))
        }
    }
}

fn whence(source: &Source) -> String {
    match source {
        Source::Cidr(cidr) => cidr.to_string(),
        Source::Group(group) => group.to_string(),
    }
}

impl fmt::Display for ElementKey {
    /// As nft writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Range(first, last) => match one_net(*first, *last) {
                Some(net) => net.fmt(f),
                None => write!(f, "{first}-{last}"),
            },
            Self::Number(number) => number.fmt(f),
            Self::AddressPort(address, port) => write!(f, "{address} . {port}"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use novanet_model::rule::Ports;

    #[test]
    fn a_plan_is_in_the_words_of_an_administrator() {
        let ports = Ports { from: 80, to: 80 };
        let source = Source::Cidr("0.0.0.0/0".parse().expect("a network"));
        let rule = Value::Rule(Traffic::Tcp(ports), source);
        assert_eq!(rule.to_string(), "tcp 80 from 0.0.0.0/0");
    }
}
