//! Announces floating IPs on the public side by gratuitous ARP, again each second as often as the
//! settings say. Keeps the link-layer address of each interface between announcements; depends on
//! `netlink::arp`.

use super::kernel_state::{self, Snapshot};
use crate::netlink::arp::{self, ArpSender};
use crate::netlink::rtnetlink::Socket;
use nix::sys::socket::LinkAddr;
use novanet_model::IfName;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Between two announcements of an address.
const INTERVAL: Duration = Duration::from_secs(1);

/// Sends announcements and caches the interfaces that it has looked up.
#[derive(Debug)]
pub(crate) struct Announcer {
    sender: ArpSender,
    repeats: Repeats,
    /// By the name in the configuration. The entry of an enslaved interface is its bridge.
    interfaces: HashMap<IfName, LinkAddr>,
}

impl Announcer {
    /// Announces each address `count` times: a frame may be lost, and a neighbour keeps its entry
    /// for minutes then.
    pub(crate) fn new(count: u32) -> Self {
        Self {
            sender: ArpSender::default(),
            repeats: Repeats {
                count: count.saturating_sub(1),
                pending: Arc::default(),
            },
            interfaces: HashMap::new(),
        }
    }

    /// Announces an address no longer: it may be on another host now.
    pub(crate) fn withdraw(&self, address: Ipv4Addr) {
        self.repeats.withdraw(address);
    }

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
        self.sender.announce(&device, address)?;
        self.repeats.add(address, device, &self.sender);
        Ok(())
    }
}

/// An address that is announced again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Repeat {
    device: LinkAddr,
    left: u32,
}

type Pending = BTreeMap<Ipv4Addr, Repeat>;

/// The addresses that are announced again, by a task that ends with the last of them.
#[derive(Debug)]
struct Repeats {
    /// Announcements of each address after its first.
    count: u32,
    /// `None`: no task runs.
    pending: Arc<Mutex<Option<Pending>>>,
}

impl Repeats {
    /// `sender` has a socket: the task may run in a thread of another network namespace.
    fn add(&self, address: Ipv4Addr, device: LinkAddr, sender: &ArpSender) {
        if self.count == 0 {
            return;
        }
        let left = self.count;
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let runs = pending.is_some();
        let all = pending.get_or_insert_default();
        all.insert(address, Repeat { device, left });
        if !runs {
            tokio::spawn(repeat(Arc::clone(&self.pending), sender.clone()));
        }
    }

    fn withdraw(&self, address: Ipv4Addr) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(all) = pending.as_mut() {
            all.remove(&address);
        }
    }
}

/// Sends what is due each second. The lock is held while it sends, so that no frame follows a
/// withdrawal.
async fn repeat(pending: Arc<Mutex<Option<Pending>>>, mut sender: ArpSender) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
        let all = pending.take().unwrap_or_default();
        for (address, repeat) in &all {
            if let Err(error) = sender.announce(&repeat.device, *address) {
                tracing::debug!(%address, %error, "no repeated gratuitous ARP");
            }
        }
        let left = after(all);
        if left.is_empty() {
            return;
        }
        *pending = Some(left);
    }
}

/// What is left when all of them were announced once more.
fn after(pending: Pending) -> Pending {
    let once_less = |(address, repeat): (Ipv4Addr, Repeat)| {
        let left = repeat.left.checked_sub(1).filter(|left| *left > 0)?;
        Some((address, Repeat { left, ..repeat }))
    };
    pending.into_iter().filter_map(once_less).collect()
}

/// The link-layer address to send from, in the form that packet sockets take.
fn look_up(netlink: &mut Socket, interface: &IfName) -> io::Result<LinkAddr> {
    let link = kernel_state::link(netlink, interface)
        .map_err(io::Error::other)?
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
    arp::link_address(link.master.unwrap_or(link.index))
}
