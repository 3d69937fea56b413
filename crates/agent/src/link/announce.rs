//! Gratuitous ARP: tells the neighbours on the public side where a floating IP is now. A request,
//! not a reply: that is what updates neighbours at once (RFC 5227 calls it an announcement).

use super::netlink::Socket;
use super::seen::{self, Snapshot};
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};
use novanet_model::IfName;
use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

/// Sends announcements; keeps one packet socket and the interfaces it has looked up.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    socket: Option<OwnedFd>,
    /// By the name in the configuration: an enslaved interface's entry is its bridge.
    interfaces: HashMap<IfName, LinkAddr>,
}

impl Announcer {
    /// Forgets the interfaces: they may have been made again.
    pub(crate) fn forget(&mut self) {
        self.interfaces.clear();
    }

    /// Forgets the interfaces that are other than they were: made again, with another MAC, or
    /// enslaved since. The others stay: looking one up lists all links.
    pub(crate) fn check(&mut self, seen: &Snapshot) {
        self.interfaces.retain(|name, known| {
            let link = seen.link(name);
            let sender = link.and_then(|link| match seen.bridge_of(link) {
                Some(bridge) => seen.link(&bridge),
                None => Some(link),
            });
            sender.is_some_and(|sender| {
                sender.index as usize == known.ifindex()
                    && sender.mac.map(|mac| mac.0) == known.addr()
            })
        });
    }

    /// Announces an address on an interface (or the bridge that it is enslaved to).
    pub(crate) fn announce(
        &mut self,
        netlink: &mut Socket,
        interface: &IfName,
        address: Ipv4Addr,
    ) -> io::Result<()> {
        let device = if let Some(device) = self.interfaces.get(interface) {
            *device
        } else {
            let device = look_up(netlink, interface)?;
            self.interfaces.insert(interface.clone(), device);
            device
        };
        let mac = device.addr().unwrap_or_default();
        let socket = if let Some(socket) = &self.socket {
            socket
        } else {
            self.socket.insert(packet_socket()?)
        };
        sendto(
            socket.as_raw_fd(),
            &announcement(mac, address),
            &device,
            MsgFlags::empty(),
        )?;
        Ok(())
    }
}

/// Of no protocol: it sends only, no packet of the host is copied to it.
fn packet_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Packet, SockType::Raw, flags, None)?)
}

/// The link-layer address to send from, in the form that packet sockets take.
fn look_up(netlink: &mut Socket, interface: &IfName) -> io::Result<LinkAddr> {
    let no_device = || io::Error::from_raw_os_error(libc::ENODEV);
    let link = seen::link(netlink, interface)
        .map_err(io::Error::other)?
        .ok_or_else(no_device)?;
    let index = link.master.unwrap_or(link.index) as usize;
    nix::ifaddrs::getifaddrs()?
        .filter_map(|entry| entry.address?.as_link_addr().copied())
        .find(|address| address.ifindex() == index)
        .ok_or_else(no_device)
}

/// The frame, to everybody (RFC 826; sender and target are the announced address, RFC 5227 §3).
fn announcement(mac: [u8; 6], address: Ipv4Addr) -> [u8; 42] {
    let mut frame = [0; 42];
    let ip = address.octets();
    let parts: [&[u8]; 8] = [
        &[0xff; 6],
        &mac,
        &[0x08, 0x06],
        &[0, 1, 0x08, 0, 6, 4, 0, 1], // Ethernet, IPv4, lengths, request
        &mac,
        &ip,
        &[0; 6],
        &ip,
    ];
    let mut at = 0;
    for part in parts {
        frame[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_asks_everybody_for_the_address_itself() {
        let frame = announcement([2, 0, 0, 0, 0, 1], Ipv4Addr::new(203, 0, 113, 9));
        let (ethernet, arp) = frame.split_at(14);
        assert_eq!(ethernet[..6], [0xff; 6]);
        assert_eq!(ethernet[6..], [2, 0, 0, 0, 0, 1, 0x08, 0x06]);
        assert_eq!(arp[..8], [0, 1, 0x08, 0, 6, 4, 0, 1]);
        let (sender, target) = arp[8..].split_at(10);
        assert_eq!(sender, [2, 0, 0, 0, 0, 1, 203, 0, 113, 9]);
        assert_eq!(target, [0, 0, 0, 0, 0, 0, 203, 0, 113, 9]);
    }
}
