//! The netlink messages that several kinds of links send. Pure: names and indexes in, messages out.

use super::alias::host_end_mac;

use super::options;
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
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth,
    LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::{LinkUnspec, LinkVeth};
use std::net::{IpAddr, Ipv4Addr};

/// The kernel's number of its table of local addresses.
const TABLE_LOCAL: u8 = 255;
/// The kernel's number of the table that routes are in unless somebody says otherwise.
pub(crate) const TABLE_MAIN: u8 = 254;
/// The kernel gives the first device of a namespace, the loopback, this number.
const LOOPBACK: u32 = 1;

/// Makes a bridge, marks it and takes it up: two messages for one send, so that a kill between
/// them cannot leave a bridge without our mark, which we would then not dare to touch.
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
    let mark = LinkUnspec::new_with_name(name.as_str()).alias(alias).up();
    [
        Request::new(Message::NewLink(link), NLM_F_CREATE | NLM_F_EXCL),
        Request::new(Message::SetLink(mark.build()), 0),
    ]
}

fn of_bridge(options: Vec<InfoBridge>) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Bridge),
        LinkInfo::Data(InfoData::Bridge(options)),
    ])
}

/// Sets one option of a bridge. One, because the kernel stops at the first that it refuses.
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

/// Takes a device down.
pub(crate) fn take_down(index: u32) -> Request {
    let link = LinkUnspec::new_with_index(index).down();
    Request::new(Message::SetLink(link.build()), 0)
}

/// Removes a device.
pub(crate) fn remove_link(index: u32) -> Request {
    Request::new(
        Message::DelLink(LinkUnspec::new_with_index(index).build()),
        0,
    )
}

/// Puts a device into a group, to be removed with the others there.
pub(crate) fn set_group(index: u32, group: u32) -> Request {
    let link = LinkUnspec::new_with_index(index).link_group(group).build();
    Request::new(Message::SetLink(link), 0)
}

/// Removes every device of a group: one wait for the kernel instead of one for each.
pub(crate) fn remove_group(group: u32) -> Request {
    let mut link = LinkMessage::default();
    link.attributes.push(LinkAttribute::Group(group));
    Request::new(Message::DelLink(link), 0)
}

/// Plugs a device into a bridge and takes it up.
pub(crate) fn enslave(index: u32, bridge: u32) -> Request {
    let link = LinkUnspec::new_with_index(index).controller(bridge).up();
    Request::new(Message::SetLink(link.build()), 0)
}

/// Takes a device out of its bridge.
pub(crate) fn free(index: u32) -> Request {
    Request::new(
        Message::SetLink(LinkUnspec::new_with_index(index).nocontroller().build()),
        0,
    )
}

/// Sets a device's MAC.
pub(crate) fn set_mac(index: u32, mac: MacAddr) -> Request {
    let link = LinkUnspec::new_with_index(index).address(mac.0.to_vec());
    Request::new(Message::SetLink(link.build()), 0)
}

/// Marks a device.
pub(crate) fn set_alias(index: u32, alias: &str) -> Request {
    let link = LinkUnspec::new_with_index(index).alias(alias);
    Request::new(Message::SetLink(link.build()), 0)
}

/// Sets a device's MTU.
pub(crate) fn set_mtu(index: u32, mtu: u32) -> Request {
    let link = LinkUnspec::new_with_index(index).mtu(mtu);
    Request::new(Message::SetLink(link.build()), 0)
}

/// Plugs a device into a bridge.
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

/// A device by number, or by name where it is made in the same send.
pub(crate) enum Device<'a> {
    /// By number.
    Index(u32),
    /// By name.
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

/// An instance's cable.
pub(crate) struct NewVeth<'a> {
    /// Host end.
    pub(crate) name: &'a IfName,
    /// Mark of the host end.
    pub(crate) alias: &'a str,
    /// Name inside.
    pub(crate) inside: &'a str,
    /// MAC inside.
    pub(crate) mac: MacAddr,
    /// A process in the namespace of the inside end.
    pub(crate) pid: u32,
    /// The bridge of the host end.
    pub(crate) bridge: u32,
    /// Of both ends: the bridge's.
    pub(crate) mtu: u32,
}

/// Makes a cable with its inside end in the instance, marks and plugs it: one send, for the same
/// reason as [`make_bridge`]. It stays down: a bridge learns from a port that is up.
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
    // In this message: udev gives another one to a device that has the kernel's.
    let mac = host_end_mac(veth.name);
    link.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
    link.header.flags = LinkFlags::default();
    link.header.change_mask = LinkFlags::default();
    let plug = LinkUnspec::new_with_name(veth.name.as_str())
        .alias(veth.alias)
        .controller(veth.bridge);
    [
        Request::new(Message::NewLink(link), NLM_F_CREATE | NLM_F_EXCL),
        Request::new(Message::SetLink(plug.build()), 0),
        set_port_options(&Device::Name(veth.name), options::of_new_port()),
    ]
}

fn our_address(device: u32, address: Ipv4Net) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = address.prefix_len();
    message.header.index = device;
    // A link-local address must not be taken as the source of packets to elsewhere.
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

/// Puts an address of ours on a device.
pub(crate) fn add_address(device: u32, address: Ipv4Net) -> Request {
    Request::new(
        Message::NewAddress(our_address(device, address)),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

/// Takes it away.
pub(crate) fn remove_address(device: u32, address: Ipv4Net) -> Request {
    Request::new(Message::DelAddress(our_address(device, address)), 0)
}

/// A local route of ours to one address, in the table of local addresses.
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

/// Where a route leads.
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

/// Makes the host answer to a floating IP.
pub(crate) fn add_floating_ip_route(address: Ipv4Addr) -> Request {
    Request::new(
        Message::NewRoute(floating_ip_route(address)),
        NLM_F_CREATE | NLM_F_EXCL,
    )
}

/// Ends that.
pub(crate) fn remove_floating_ip_route(address: Ipv4Addr) -> Request {
    Request::new(Message::DelRoute(floating_ip_route(address)), 0)
}

/// Asks for our `local` routes only; the kernel sorts them out.
pub(crate) fn list_floating_ip_routes() -> Message {
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        scope: RouteScope::Universe,
        ..our_local_routes()
    };
    Message::GetRoute(route)
}

/// Asks for every IPv4 route outside of the local table, or every IPv6 one.
pub(crate) fn list_routes(family: AddressFamily, table: u8) -> Message {
    let mut route = RouteMessage::default();
    route.header.address_family = family;
    route.header.table = table;
    Message::GetRoute(route)
}

/// Asks for all links, without their counters.
pub(crate) fn list_links() -> Message {
    let mut link = LinkMessage::default();
    link.attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    Message::GetLink(link)
}

/// Asks for one link by name.
pub(crate) fn get_link(name: &IfName) -> Message {
    let mut link = Device::Name(name).message();
    link.attributes
        .push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    Message::GetLink(link)
}

/// Asks which number this namespace has for the network namespace of a process.
pub(crate) fn get_namespace_of(pid: u32) -> Message {
    let mut message = NsidMessage::default();
    message.attributes.push(NsidAttribute::Pid(pid));
    Message::GetNsId(message)
}
