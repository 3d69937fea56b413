//! IPv4 addresses of devices, as rtnetlink lists them. Depends on the rtnetlink socket and on
//! novanet's protocol number.

use super::ownership::PROTOCOL;
use super::rtnetlink::Socket;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// An IPv4 address on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Index of the device.
    pub(crate) device: u32,
    pub(crate) ip: Ipv4Addr,
    /// Prefix length.
    pub(crate) prefix: u8,
    /// Has novanet's protocol number.
    pub(crate) ours: bool,
}

impl Address {
    fn read(message: &AddressMessage) -> Option<Self> {
        let mut address = Self {
            device: message.header.index,
            ip: Ipv4Addr::UNSPECIFIED,
            prefix: message.header.prefix_len,
            ours: is_ours(message),
        };
        let mut local = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(IpAddr::V4(ip)) => local = Some(*ip),
                AddressAttribute::Address(IpAddr::V4(ip)) => address.ip = *ip,
                _ => {}
            }
        }
        address.ip = local.unwrap_or(address.ip);
        (!address.ip.is_unspecified()).then_some(address)
    }
}

/// Whether an address has novanet's protocol number.
pub(crate) fn is_ours(message: &AddressMessage) -> bool {
    message
        .attributes
        .contains(&AddressAttribute::Protocol(AddressProtocol::Other(
            PROTOCOL,
        )))
}

/// A request for all addresses of a family, on one device (0: on all).
pub(crate) fn list(family: AddressFamily, device: u32) -> Message {
    let mut message = AddressMessage::default();
    message.header.family = family;
    message.header.index = device;
    Message::GetAddress(message)
}

/// The IPv4 addresses of a device (0: of all).
pub(crate) fn addresses_of(socket: &mut Socket, device: u32) -> io::Result<Vec<Address>> {
    let messages = socket.dump(&list(AddressFamily::Inet, device))?;
    let read = |message: &Message| match message {
        Message::NewAddress(message) => Address::read(message),
        _ => None,
    };
    Ok(messages.iter().filter_map(read).collect())
}
