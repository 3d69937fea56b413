//! Tells which floating IPs the host still answers for, by novanet's routes and addresses. The
//! firewall asks before it removes the guard of a floating IP; depends on rtnetlink only.

use super::address;
use super::ownership::PROTOCOL;
use super::rtnetlink::Socket;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use std::io;
use std::net::Ipv4Addr;

/// A socket in the network namespace of the thread that opened it.
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

    /// Whether the host answers for this address because of a route or address of novanet's. An
    /// address of the host's own: no. An error of the kernel: yes, so that a guard stays.
    pub(crate) fn holds(&mut self, address: Ipv4Addr) -> bool {
        let route = match self.socket.get(find_route(address)) {
            Ok(Some(Message::NewRoute(route))) => route,
            Ok(_) => return false,
            Err(error) => return !leads_nowhere(&error),
        };
        if route.header.kind != RouteType::Local {
            return false;
        }
        if u8::from(route.header.protocol) == PROTOCOL {
            return true;
        }
        let addresses = address::addresses_of(&mut self.socket, 0);
        addresses.map_or(true, |all| all.iter().any(|a| a.ours && a.ip == address))
    }
}

/// Errors that mean: this address has no route, or a route that refuses.
fn leads_nowhere(error: &io::Error) -> bool {
    let nowhere = [
        libc::ENETUNREACH,
        libc::EHOSTUNREACH,
        libc::EACCES, // prohibit
        libc::EINVAL, // blackhole
        libc::EAGAIN, // throw
    ];
    error
        .raw_os_error()
        .is_some_and(|code| nowhere.contains(&code))
}

/// A request for the route of an address, as it was added (`RTM_F_FIB_MATCH`).
fn find_route(address: Ipv4Addr) -> Message {
    let mut route = RouteMessage::default();
    route.header.address_family = AddressFamily::Inet;
    route.header.destination_prefix_length = 32;
    route.header.flags = RouteFlags::FibMatch;
    route.attributes = vec![RouteAttribute::Destination(RouteAddress::Inet(address))];
    Message::GetRoute(route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_is_not_about_routes_is_no_answer() {
        let error = io::Error::from_raw_os_error;
        assert!(leads_nowhere(&error(libc::ENETUNREACH)));
        assert!(!leads_nowhere(&error(libc::ENOBUFS)));
        assert!(!leads_nowhere(&error(libc::ENOMEM)));
    }
}
