//! The netlink messages that several kinds of links send. Pure: names and indexes in, messages out.

use super::alias::host_end_mac;

use super::options::{self, PortKind};
use crate::netlink::ownership::{PORTS, PROTOCOL};
use crate::netlink::rtnetlink::Request;
use ipnet::Ipv4Net;
use novanet_model::{IfName, MacAddr};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressMessage, AddressProtocol, AddressScope,
};
use rtnetlink::packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, InfoVlan,
    LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{LinkUnspec, LinkVeth};
use std::net::{IpAddr, Ipv4Addr};

/// `RT_TABLE_LOCAL`.
const TABLE_LOCAL: u8 = 255;
/// `RT_TABLE_MAIN`: the table of a route that names none.
pub(crate) const TABLE_MAIN: u8 = 254;
/// Index of the loopback, the first device of every namespace.
const LOOPBACK: u32 = 1;

/// Makes a bridge, sets its alias and takes it up: two messages for one send, so that a kill
/// between them cannot leave a bridge without an alias, which novanet would take for foreign.
pub(crate) fn make_bridge(
    name: &IfName,
    mac: MacAddr,
    mtu: Option<u32>,
    alias: &str,
) -> [Request; 2] {
    let mut link = Device::Name(name).message();
    link.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    link.attributes.extend(mtu.map(LinkAttribute::Mtu));
    link.attributes.push(of_bridge(options::of_new_bridge()));
    let tag = LinkUnspec::new_with_name(name.as_str()).alias(alias).up();
    [
        Request::new(Message::NewLink(link), NLM_F_CREATE | NLM_F_EXCL),
        Request::new(Message::SetLink(tag.build()), 0),
    ]
}

fn of_bridge(options: Vec<InfoBridge>) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(options)),
    ])
}

/// Makes a VLAN device with its alias and takes it up, in one send as [`make_bridge`].
pub(crate) fn make_vlan(name: &IfName, parent: u32, id: u16, alias: &str) -> [Request; 2] {
    let mut link = Device::Name(name).message();
    link.attributes.push(LinkAttribute::Link(parent));
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Vlan),
        LinkInfo::Data(InfoData::Vlan(vec![InfoVlan::Id(id)])),
    ]));
    let tag = LinkUnspec::new_with_name(name.as_str()).alias(alias).up();
    [
        Request::new(Message::NewLink(link), NLM_F_CREATE | NLM_F_EXCL),
        Request::new(Message::SetLink(tag.build()), 0),
    ]
}

/// Asks for a VLAN device without a tag: a kernel without 802.1Q refuses the kind, the others refuse
/// the missing tag.
pub(crate) fn probe_vlan() -> Request {
    let mut link = LinkMessage::default();
    let kind = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vlan)]);
    link.attributes.push(kind);
    Request::new(Message::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)
}

/// Sets one option of a bridge. Only one, because the kernel stops at the first that it refuses.
pub(crate) fn set_bridge_option(index: u32, option: InfoBridge) -> Request {
    let mut link = Device::Index(index).message();
    link.attributes.push(of_bridge(vec![option]));
    Request::new(Message::NewLink(link), 0)
}

/// Takes a device up, with ARP.
pub(crate) fn take_up(index: u32) -> Request {
    let mut link = LinkUnspec::new_with_index(index).up().build();
    link.header.change_mask |= LinkFlags::Noarp;
    Request::new(Message::SetLink(link), 0)
}

pub(crate) fn take_down(index: u32) -> Request {
    let link = LinkUnspec::new_with_index(index).down();
    Request::new(Message::SetLink(link.build()), 0)
}

pub(crate) fn remove_link(index: u32) -> Request {
    Request::new(
        Message::DelLink(LinkUnspec::new_with_index(index).build()),
        0,
    )
}

pub(crate) fn set_group(index: u32, group: u32) -> Request {
    let link = LinkUnspec::new_with_index(index).link_group(group).build();
    Request::new(Message::SetLink(link), 0)
}

/// Removes every device of a group: the kernel waits once instead of once for each device.
pub(crate) fn remove_group(group: u32) -> Request {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::Group(group));
    Request::new(Message::DelLink(link), 0)
}

/// Makes a device a port of a bridge and takes it up.
pub(crate) fn enslave(index: u32, bridge: u32) -> Request {
    let link = LinkUnspec::new_with_index(index).controller(bridge).up();
    Request::new(Message::SetLink(link.build()), 0)
}

/// Takes a port out of its bridge.
pub(crate) fn unset_controller(index: u32) -> Request {
    Request::new(
        Message::SetLink(LinkUnspec::new_with_index(index).nocontroller().build()),
        0,
    )
}

pub(crate) fn set_mac(index: u32, mac: MacAddr) -> Request {
    let link = LinkUnspec::new_with_index(index).address(mac.0.to_vec());
    Request::new(Message::SetLink(link.build()), 0)
}

pub(crate) fn set_alias(index: u32, alias: &str) -> Request {
    let link = LinkUnspec::new_with_index(index).alias(alias);
    Request::new(Message::SetLink(link.build()), 0)
}

pub(crate) fn set_mtu(index: u32, mtu: u32) -> Request {
    let link = LinkUnspec::new_with_index(index).mtu(mtu);
    Request::new(Message::SetLink(link.build()), 0)
}

/// Makes a device a port of a bridge.
pub(crate) fn set_controller(index: u32, bridge: u32) -> Request {
    let link = LinkUnspec::new_with_index(index).controller(bridge);
    Request::new(Message::SetLink(link.build()), 0)
}

/// Sets options of a bridge's port.
pub(crate) fn set_port_options(device: &Device<'_>, options: Vec<InfoBridgePort>) -> Request {
    let mut link = device.message();
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(options)),
    ]));
    Request::new(Message::NewLink(link), 0)
}

/// A device by index, or by name if the same send makes it.
pub(crate) enum Device<'a> {
    Index(u32),
    Name(&'a IfName),
}

impl Device<'_> {
    fn message(&self) -> LinkMessage {
        let mut link = LinkMessage::default();
        match self {
            Self::Index(index) => link.header.index = *index,
            Self::Name(name) => link
                .attributes
                .push(LinkAttribute::IfName(name.as_str().to_owned())),
        }
        link
    }
}

/// A veth pair to make for an instance.
pub(crate) struct NewVeth<'a> {
    /// Name of the host end.
    pub(crate) name: &'a IfName,
    /// Alias of the host end.
    pub(crate) alias: &'a str,
    /// Name of the inside end.
    pub(crate) inside: &'a str,
    /// MAC of the inside end.
    pub(crate) mac: MacAddr,
    /// A process in the namespace of the inside end.
    pub(crate) pid: u32,
    /// Index of the bridge of the host end.
    pub(crate) bridge: u32,
    /// MTU of both ends.
    pub(crate) mtu: u32,
    /// What is behind it.
    pub(crate) kind: PortKind,
}

/// Makes a veth pair with its inside end in the instance, sets the alias and attaches the host end
/// to its bridge: one send, for the same reason as [`make_bridge`]. The host end stays down,
/// because a bridge learns from a port that is up.
pub(crate) fn make_veth(veth: &NewVeth<'_>) -> [Request; 3] {
    let mut peer = LinkMessage::default();
    peer.attributes = vec![
        LinkAttribute::IfName(veth.inside.to_owned()),
        LinkAttribute::Address(veth.mac.0.to_vec()),
        LinkAttribute::Mtu(veth.mtu),
        LinkAttribute::NetNsPid(veth.pid),
    ];
    let mut link = LinkVeth::new(veth.name.as_str(), veth.inside)
        .mtu(veth.mtu)
        .build();
    for attribute in &mut link.attributes {
        if let LinkAttribute::LinkInfo(_) = attribute {
            *attribute = LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer.clone()))),
            ]);
        }
    }
    link.attributes.push(LinkAttribute::Group(PORTS));
    // In this message, because udev changes a MAC that the kernel chose.
    let mac = host_end_mac(veth.name);
    link.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    link.header.flags = LinkFlags::default();
    link.header.change_mask = LinkFlags::default();
    let attach = LinkUnspec::new_with_name(veth.name.as_str())
        .alias(veth.alias)
        .controller(veth.bridge);
    [
        Request::new(Message::NewLink(link), NLM_F_CREATE | NLM_F_EXCL),
        Request::new(Message::SetLink(attach.build()), 0),
        set_port_options(&Device::Name(veth.name), options::of_new_port(veth.kind)),
    ]
}

fn our_address(device: u32, address: Ipv4Net) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = address.prefix_len();
    message.header.index = device;
    // The kernel must not use a link-local address as the source of packets to other networks.
    if address.addr().is_link_local() {
        message.header.scope = AddressScope::Link;
    }
    message.attributes = vec![
        AddressAttribute::Local(IpAddr::V4(address.addr())),
        AddressAttribute::Address(IpAddr::V4(address.addr())),
    ];
    if address.prefix_len() < 31 {
        message
            .attributes
            .push(AddressAttribute::Broadcast(address.broadcast()));
    }
    message
        .attributes
        .push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
    message
}

/// Adds an address to a device, with novanet's protocol number.
pub(crate) fn add_address(device: u32, address: Ipv4Net) -> Request {
    Request::new(
        Message::NewAddress(our_address(device, address)),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

pub(crate) fn remove_address(device: u32, address: Ipv4Net) -> Request {
    Request::new(Message::DelAddress(our_address(device, address)), 0)
}

/// A route of novanet's to one address, in the table of local addresses.
pub(crate) fn floating_ip_route(address: Ipv4Addr) -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header = our_local_routes();
    route.header.destination_prefix_length = 32;
    route.attributes = vec![
        RouteAttribute::Destination(RouteAddress::Inet(address)),
        RouteAttribute::Oif(LOOPBACK),
    ];
    route
}

/// Destination of a route; `None`: a default route.
pub(crate) fn destination(route: &RouteMessage) -> Option<Ipv4Addr> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(*address),
            _ => None,
        })
}

fn our_local_routes() -> RouteHeader {
    RouteHeader {
        address_family: AddressFamily::Inet,
        table: TABLE_LOCAL,
        protocol: RouteProtocol::from(PROTOCOL),
        scope: RouteScope::Host,
        kind: RouteType::Local,
        ..RouteHeader::default()
    }
}

/// Makes the host answer for a floating IP.
pub(crate) fn add_floating_ip_route(address: Ipv4Addr) -> Request {
    Request::new(
        Message::NewRoute(floating_ip_route(address)),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

pub(crate) fn remove_floating_ip_route(address: Ipv4Addr) -> Request {
    Request::new(Message::DelRoute(floating_ip_route(address)), 0)
}

/// A request for novanet's routes of floating IPs only; the kernel filters them.
pub(crate) fn list_floating_ip_routes() -> Message {
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        scope: RouteScope::Universe,
        ..our_local_routes()
    };
    Message::GetRoute(route)
}

/// A request for the routes of a family in a table (0: in all but the local one).
pub(crate) fn list_routes(family: AddressFamily, table: u8) -> Message {
    let mut route = RouteMessage::default();
    route.header.address_family = family;
    route.header.table = table;
    Message::GetRoute(route)
}

/// A request for all links, without their counters.
pub(crate) fn list_links() -> Message {
    let mut link = LinkMessage::default();
    link.attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    Message::GetLink(link)
}

/// A request for one link.
pub(crate) fn get_link(name: &IfName) -> Message {
    let mut link = Device::Name(name).message();
    link.attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    Message::GetLink(link)
}

/// A request for the id that this namespace has for the network namespace of a process.
pub(crate) fn get_namespace_of(pid: u32) -> Message {
    let mut message = NsidMessage::default();
    message.attributes.push(NsidAttribute::Pid(pid));
    Message::GetNsId(message)
}
