//! Releases a lease in its owner's name, as `dhcp_release` of dnsmasq-utils does: sends a
//! DHCPRELEASE (RFC 2131 §4.4.6) from this host to the server on the same bridge. Without it the
//! server would refuse the address to its next owner until the lease ends.

use nix::sys::socket::{setsockopt, sockopt};
use novanet_model::{IfName, MacAddr};
use std::io;
use std::net::{Ipv4Addr, UdpSocket};

/// The smallest packet that every server takes (BOOTP's).
const LENGTH: usize = 300;

/// Releases `address`, leased to `mac` by `server` on `bridge`.
pub(crate) fn release(
    bridge: &IfName,
    server: Ipv4Addr,
    mac: MacAddr,
    address: Ipv4Addr,
) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // The server checks on which interface a packet came in.
    setsockopt(&socket, sockopt::BindToDevice, &bridge.as_str().into())?;
    socket.send_to(&packet(server, mac, address), (server, 67))?;
    Ok(())
}

fn packet(server: Ipv4Addr, mac: MacAddr, address: Ipv4Addr) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    let mut put = |at: usize, bytes: &[u8]| packet[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &[1, 1, 6]); // request, Ethernet, length of its addresses
    put(4, &mac.0[2..]); // transaction: the server does not answer
    put(12, &address.octets());
    put(28, &mac.0);
    put(236, &[99, 130, 83, 99]); // the magic cookie
    put(240, &[53, 1, 7]); // message type: release
    put(243, &[54, 4]); // server identifier
    put(245, &server.octets());
    put(249, &[255]);
    packet
}
