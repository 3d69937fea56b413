//! Which floating IPs the host still answers for, by our own routes and addresses. For the
//! firewall, which must not open the host under a floating IP that is on its way out.

use super::message::{self, PROTOCOL};
use super::netlink::Socket;
use super::seen;
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::route::RouteType;
use std::io;
use std::net::Ipv4Addr;

/// Asks the kernel, in the network namespace of the thread that made it.
#[derive(Debug)]
pub(crate) struct Answers {
    socket: Socket,
}

impl Answers {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            socket: Socket::open()?,
        })
    }

    /// Whether what comes for this address is the host's because of what we made. The host's own
    /// addresses are none of ours.
    pub(crate) fn holds(&mut self, address: Ipv4Addr) -> bool {
        // An address that leads nowhere is an error here, and nobody's.
        let Ok(Some(Message::NewRoute(route))) = self.socket.get(message::find_route(address))
        else {
            return false;
        };
        if route.header.kind != RouteType::Local {
            return false;
        }
        if u8::from(route.header.protocol) == PROTOCOL {
            return true;
        }
        let addresses = seen::addresses_of(&mut self.socket, 0).unwrap_or_default();
        addresses.iter().any(|a| a.ours && a.ip == address)
    }
}
