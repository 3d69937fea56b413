//! Sends gratuitous ARP: neighbours learn at once where an address is now. Depends on a packet
//! socket, which needs `CAP_NET_RAW`.
//!
//! The frame is a request, not a reply: a request updates neighbours at once (RFC 5227 calls it an
//! announcement).

use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

/// A packet socket, opened by the first announcement.
#[derive(Debug, Default)]
pub(crate) struct ArpSender {
    socket: Option<OwnedFd>,
}

impl ArpSender {
    /// Announces `address` on `device`, with the MAC of `device` as its owner.
    pub(crate) fn announce(&mut self, device: &LinkAddr, address: Ipv4Addr) -> io::Result<()> {
        let socket = if let Some(socket) = &self.socket {
            socket
        } else {
            self.socket.insert(packet_socket()?)
        };
        let mac = device.addr().unwrap_or_default();
        sendto(
            socket.as_raw_fd(),
            &announcement(mac, address),
            device,
            MsgFlags::empty(),
        )?;
        Ok(())
    }
}

/// Protocol 0: the kernel copies no received packet to this socket.
fn packet_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Packet, SockType::Raw, flags, None)?)
}

/// The link-layer address of the device with this index, in the form that packet sockets take.
pub(crate) fn link_address(index: u32) -> io::Result<LinkAddr> {
    nix::ifaddrs::getifaddrs()?
        .filter_map(|entry| entry.address?.as_link_addr().copied())
        .find(|address| address.ifindex() == index as usize)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
}

/// A broadcast frame (RFC 826). Sender and target are the announced address (RFC 5227 §3).
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
