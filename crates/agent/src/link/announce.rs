//! Announces floating IPs on the public side by gratuitous ARP. Keeps the link-layer address of
//! each interface between announcements; depends on `netlink::arp`.

use super::kernel_state::{self, Snapshot};
use crate::netlink::arp::{self, ArpSender};
use crate::netlink::rtnetlink::Socket;
use nix::sys::socket::LinkAddr;
use novanet_model::IfName;
use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;

/// Sends announcements and caches the interfaces that it has looked up.
#[derive(Debug, Default)]
pub(crate) struct Announcer {
    sender: ArpSender,
    /// By the name in the configuration. The entry of an enslaved interface is its bridge.
    interfaces: HashMap<IfName, LinkAddr>,
}

impl Announcer {
    /// Drops all cached interfaces: they may have been made again.
    pub(crate) fn forget(&mut self) {
        self.interfaces.clear();
    }

    /// Drops cached interfaces that were made again, have another MAC or are enslaved since. The
    /// others stay, because looking one up lists all links.
    pub(crate) fn check(&mut self, snapshot: &Snapshot) {
        self.interfaces.retain(|name, known| {
            let link = snapshot.link(name);
            let sender = link.and_then(|link| match snapshot.bridge_of(link) {
                Some(bridge) => snapshot.link(&bridge),
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
        self.sender.announce(&device, address)
    }
}

/// The link-layer address to send from, in the form that packet sockets take.
fn look_up(netlink: &mut Socket, interface: &IfName) -> io::Result<LinkAddr> {
    let link = kernel_state::link(netlink, interface)
        .map_err(io::Error::other)?
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
    arp::link_address(link.master.unwrap_or(link.index))
}
