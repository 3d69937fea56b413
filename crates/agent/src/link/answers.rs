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
    /// addresses are none of ours. When the kernel does not say, it may be.
    pub(crate) fn holds(&mut self, address: Ipv4Addr) -> bool {
        let route = match self.socket.get(message::find_route(address)) {
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
        let addresses = seen::addresses_of(&mut self.socket, 0);
        addresses.map_or(true, |all| all.iter().any(|a| a.ours && a.ip == address))
    }
}

/// The kernel's words for an address without a route, or with one that refuses: it is nobody's.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_says_nothing_of_routes_is_no_no() {
        let error = io::Error::from_raw_os_error;
        assert!(leads_nowhere(&error(libc::ENETUNREACH)));
        assert!(!leads_nowhere(&error(libc::ENOBUFS)));
        assert!(!leads_nowhere(&error(libc::ENOMEM)));
    }
}
