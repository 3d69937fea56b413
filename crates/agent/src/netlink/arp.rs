//! Sends gratuitous ARP: neighbours learn at once where an address is now. Depends on a packet
//! socket, which needs `CAP_NET_RAW`.
//!
//! Each announcement is a request and a reply: a request updates neighbours at once (RFC 5227 calls
//! it an announcement), and some routers learn from replies only (nova sent these, `arping -A`).

use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, sendto, socket};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// A packet socket, opened by the first announcement.
#[derive(Debug, Default, Clone)]
pub(crate) struct ArpSender {
    socket: Option<Arc<OwnedFd>>,
}

impl ArpSender {
    /// Announces `address` on `device`, with the MAC of `device` as its owner.
    pub(crate) fn announce(&mut self, device: &LinkAddr, address: Ipv4Addr) -> io::Result<()> {
        let socket = if let Some(socket) = &self.socket {
            socket
        } else {
            self.socket.insert(Arc::new(packet_socket()?))
        };
        let mac = device.addr().unwrap_or_default();
        for form in [Form::Request, Form::Reply] {
            let frame = announcement(form, mac, address);
            sendto(socket.as_raw_fd(), &frame, device, MsgFlags::empty())?;
        }
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

/// The two operations of ARP.
#[derive(Debug, Clone, Copy)]
enum Form {
    Request,
    Reply,
}

/// A broadcast frame (RFC 826). Sender and target are the announced address (RFC 5227 §3); a reply
/// has the sender's MAC as its target too.
fn announcement(form: Form, mac: [u8; 6], address: Ipv4Addr) -> [u8; 42] {
    let mut frame = [0; 42];
    let ip = address.octets();
    let (operation, target) = match form {
        Form::Request => (1, [0; 6]),
        Form::Reply => (2, mac),
    };
    let parts: [&[u8]; 8] = [
        &[0xff; 6],
        &mac,
        &[0x08, 0x06],
        &[0, 1, 0x08, 0, 6, 4, 0, operation], // Ethernet, IPv4, lengths
        &mac,
        &ip,
        &target,
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
        let address = Ipv4Addr::new(203, 0, 113, 9);
        let frame = announcement(Form::Request, [2, 0, 0, 0, 0, 1], address);
        let (ethernet, arp) = frame.split_at(14);
        assert_eq!(ethernet[..6], [0xff; 6]);
        assert_eq!(ethernet[6..], [2, 0, 0, 0, 0, 1, 0x08, 0x06]);
        assert_eq!(arp[..8], [0, 1, 0x08, 0, 6, 4, 0, 1]);
        let (sender, target) = arp[8..].split_at(10);
        assert_eq!(sender, [2, 0, 0, 0, 0, 1, 203, 0, 113, 9]);
        assert_eq!(target, [0, 0, 0, 0, 0, 0, 203, 0, 113, 9]);

        let frame = announcement(Form::Reply, [2, 0, 0, 0, 0, 1], address);
        assert_eq!(frame[20..22], [0, 2]);
        assert_eq!(frame[32..38], [2, 0, 0, 0, 0, 1]);
    }
}
