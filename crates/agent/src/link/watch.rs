//! Watches the kernel for changes of our links by somebody else.
//!
//! The kernel tells every change, ours too, and mostly not whose it was. So this task knows what
//! should be ([`Watch::expect`]) and looks at content: an event that leaves a thing of ours other
//! than it should be makes it wait a moment (we may be in the middle of making it), look again, and
//! only then say so. A floating IP that we set costs a comparison, never a listing.

use super::item::{LinkKey, LinkValue};
use super::message::PORTS;
use super::mtu::{self, Mtu};
use super::netlink::{Packets, Socket};
use super::observe::is_our_bridge;
use super::seen::{self, Link};
use super::sysctl;
use crate::room::Desired;
use novanet_model::IfName;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::sys::{
    AsyncSocket, AsyncSocketExt, Socket as RawSocket, SocketAddr, TokioSocket,
    protocols::NETLINK_ROUTE,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How long an event may be followed by others of the same action of ours.
const SETTLE: Duration = Duration::from_millis(50);
/// Settings under /proc/sys tell nobody that they changed.
const SETTINGS_EVERY: Duration = Duration::from_secs(2);

/// Between two tries to subscribe.
const AGAIN: Duration = Duration::from_secs(1);
/// A packet of events is smaller.
const BUFFER: usize = 64 * 1024;

/// The multicast groups: links, IPv4 addresses, IPv4 routes (`RTNLGRP_*`).
const GROUPS: [u32; 3] = [1, 5, 7];

type Expected = Arc<Mutex<BTreeMap<LinkKey, LinkValue>>>;

/// The watching task; it ends with this.
#[derive(Debug)]
pub(crate) struct Watch {
    expected: Expected,
    disturbed: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Subscribes, in the network namespace of this thread.
    pub(crate) fn start() -> io::Result<Self> {
        let events = subscribe()?;
        let expected = Expected::default();
        let disturbed = Arc::new(Notify::new());
        let watcher = Watcher {
            expected: Arc::clone(&expected),
            disturbed: Arc::clone(&disturbed),
            queries: Socket::open()?,
            indexes: BTreeMap::new(),
        };
        Ok(Self {
            expected,
            disturbed,
            task: tokio::spawn(watcher.run(events)),
        })
    }

    pub(crate) fn disturbed(&self) -> Arc<Notify> {
        Arc::clone(&self.disturbed)
    }

    /// What should be, whole.
    pub(crate) fn expect_all(&self, desired: &Desired<LinkKey, LinkValue>) {
        let all = desired.iter().map(|(k, v)| (k.clone(), v.clone()));
        *self.lock() = all.collect();
    }

    /// What one thing should be from now on.
    pub(crate) fn expect(&self, key: &LinkKey, value: Option<&LinkValue>) {
        match value {
            Some(value) => self.lock().insert(key.clone(), value.clone()),
            None => self.lock().remove(key),
        };
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<LinkKey, LinkValue>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn subscribe() -> io::Result<TokioSocket> {
    let mut events = TokioSocket::new(NETLINK_ROUTE)?;
    let socket = events.socket_mut();
    socket.bind(&SocketAddr::new(0, 0))?;
    for group in GROUPS {
        socket.add_membership(group)?;
    }
    Ok(events)
}

struct Watcher {
    expected: Expected,
    disturbed: Arc<Notify>,
    queries: Socket,
    /// Names of devices by number, for events that have the number only.
    indexes: BTreeMap<u32, IfName>,
}

/// What an event calls into question.
enum Doubt {
    Key(LinkKey),
    /// The kernel had more to tell than we could take.
    Everything,
}

impl Watcher {
    async fn run(mut self, mut events: TokioSocket) {
        let mut settings = tokio::time::interval(SETTINGS_EVERY);
        settings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            buffer.clear();
            let mut doubts = tokio::select! {
                received = events.recv(&mut buffer) => match received {
                    Ok(()) => self.doubts_in(&buffer),
                    Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => vec![Doubt::Everything],
                    Err(error) => {
                        tracing::error!(%error, "rtnetlink: subscribing again");
                        tokio::time::sleep(AGAIN).await;
                        if let Ok(new) = subscribe() {
                            events = new;
                            self.disturbed.notify_one(); // nobody told us what happened meanwhile
                        }
                        continue;
                    }
                },
                _ = settings.tick() => {
                    if self.a_setting_is_wrong() {
                        self.disturbed.notify_one();
                    }
                    continue;
                }
            };
            if doubts.is_empty() {
                continue;
            }
            // Let what belongs together arrive, then look at how things are now.
            tokio::time::sleep(SETTLE).await;
            doubts.extend(self.read(events.socket_ref()));
            if self.is_wrong(doubts) {
                self.disturbed.notify_one();
            }
        }
    }

    /// Everything that has arrived by now.
    fn read(&mut self, events: &RawSocket) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            buffer.clear();
            match events.recv(&mut buffer, 0) {
                Ok(_) => doubts.extend(self.doubts_in(&buffer)),
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => doubts.push(Doubt::Everything),
                Err(_) => return doubts,
            }
        }
    }

    fn doubts_in(&mut self, packet: &[u8]) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        for message in Packets(packet) {
            if let NetlinkPayload::InnerMessage(message) = message.payload {
                doubts.extend(self.doubts_of(message).into_iter().map(Doubt::Key));
            }
        }
        doubts
    }

    /// Which things of ours an event is about, and leaves other than they should be.
    fn doubts_of(&mut self, message: Message) -> Vec<LinkKey> {
        let expected = Arc::clone(&self.expected);
        let expected = expected.lock().unwrap_or_else(PoisonError::into_inner);
        match message {
            Message::NewLink(message) => {
                let link = Link::from(message);
                let Ok(name) = IfName::new(link.name.as_str()) else {
                    return Vec::new();
                };
                let before = self.indexes.insert(link.index, name.clone());
                let new = before.is_none();
                let wrong = keys_of(&name)
                    .into_iter()
                    .filter(|key| match expected.get(key) {
                        // The one that was waited for: only the room knows.
                        Some(LinkValue::AdministratorsBridge) => new,
                        Some(value) => differs(value, &link, &name),
                        None => false,
                    });
                // A name that it had and has no longer is free.
                let freed = before.into_iter().filter(|before| *before != name);
                let freed = freed.flat_map(|before| gone(&expected, &before));
                wrong.chain(freed).collect()
            }
            Message::DelLink(message) => {
                let link = Link::from(message);
                self.indexes.remove(&link.index);
                let Ok(name) = IfName::new(link.name.as_str()) else {
                    return Vec::new();
                };
                gone(&expected, &name)
            }
            Message::DelAddress(message) => {
                let address = message.attributes.iter().find_map(|a| match a {
                    AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
                    _ => None,
                });
                address
                    .into_iter()
                    .flat_map(|address| about_address(&expected, address))
                    .collect()
            }
            Message::NewAddress(message) => self
                .indexes
                .get(&message.header.index)
                .map(|name| LinkKey::Uplink(name.clone()))
                .into_iter()
                .filter(|key| expected.contains_key(key))
                .collect(),
            Message::DelRoute(_) => seen::float_of(&message)
                .map(LinkKey::Float)
                .into_iter()
                .filter(|key| expected.contains_key(key))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn a_setting_is_wrong(&mut self) -> bool {
        let off = self.forwarding_off();
        // An interface that is a stranger under a bridge's name keeps its settings.
        self.the_hosts_is_wrong()
            || off.into_iter().any(|(name, is_bridge)| {
                let link = seen::link(&mut self.queries, &name).ok().flatten();
                link.is_some_and(|link| !is_bridge || is_our_bridge(&link, &name))
            })
    }

    fn the_hosts_is_wrong(&self) -> bool {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        sysctl::ALL
            .iter()
            .any(|path| is_otherwise(path, expected.get(&LinkKey::Sysctl(path))))
    }

    /// Interfaces that do not forward and should, and whether each is a bridge by its network.
    fn forwarding_off(&self) -> Vec<(IfName, bool)> {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let off = expected.iter().filter_map(|(key, wanted)| match key {
            LinkKey::Forwarding(name) => {
                let path = sysctl::forwarding(name);
                let bridge = LinkKey::Bridge(name.clone());
                is_otherwise(&path, Some(wanted))
                    .then(|| (name.clone(), expected.contains_key(&bridge)))
            }
            _ => None,
        });
        off.collect()
    }

    /// Whether something is still other than it should be.
    fn is_wrong(&mut self, doubts: Vec<Doubt>) -> bool {
        let mut keys = BTreeSet::new();
        for doubt in doubts {
            match doubt {
                Doubt::Key(key) => keys.insert(key),
                Doubt::Everything => return true,
            };
        }
        keys.into_iter().any(|key| {
            let wanted = {
                let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
                expected.get(&key).cloned()
            };
            wanted.is_some_and(|wanted| self.is_missing(&key, &wanted))
        })
    }

    fn is_missing(&mut self, key: &LinkKey, wanted: &LinkValue) -> bool {
        match key {
            LinkKey::Bridge(name) | LinkKey::Uplink(name) | LinkKey::Port(name) => {
                match seen::link(&mut self.queries, name) {
                    Ok(Some(link)) => {
                        differs(wanted, &link, name) || self.is_elsewhere(wanted, &link)
                    }
                    Ok(None) => !matches!(key, LinkKey::Port(_)),
                    Err(_) => true,
                }
            }
            // Rare enough for the room itself to look.
            LinkKey::Address(..) | LinkKey::Float(_) => true,
            LinkKey::Sysctl(_) | LinkKey::Forwarding(_) => false,
        }
    }

    /// A port or uplink is in another bridge than its own; an uplink has addresses again.
    fn is_elsewhere(&mut self, wanted: &LinkValue, link: &Link) -> bool {
        let (bridge, uplink) = match wanted {
            LinkValue::Port(spec) => (&spec.bridge, false),
            LinkValue::Uplink(spec) => (&spec.bridge, true),
            _ => return false,
        };
        let Some(bridge) = bridge else {
            return false;
        };
        let master = seen::link(&mut self.queries, bridge).ok().flatten();
        master.is_none_or(|master| link.master != Some(master.index))
            || uplink
                && seen::addresses_of(&mut self.queries, link.index)
                    .is_ok_and(|addresses| !addresses.is_empty())
    }
}

fn is_otherwise(path: &str, wanted: Option<&LinkValue>) -> bool {
    matches!(
        (wanted, sysctl::read(path)),
        (Some(LinkValue::Setting(wanted)), Ok(Some(is))) if *wanted != is
    )
}

fn keys_of(name: &IfName) -> [LinkKey; 3] {
    [
        LinkKey::Bridge(name.clone()),
        LinkKey::Uplink(name.clone()),
        LinkKey::Port(name.clone()),
    ]
}

/// What is missing when a device of this name is gone. A port without a cable is as it should be.
fn gone(expected: &BTreeMap<LinkKey, LinkValue>, name: &IfName) -> Vec<LinkKey> {
    let mut keys = Vec::from(keys_of(name));
    keys.retain(|key| !matches!(key, LinkKey::Port(_)) && expected.contains_key(key));
    keys
}

fn about_address(expected: &BTreeMap<LinkKey, LinkValue>, address: Ipv4Addr) -> Vec<LinkKey> {
    let addresses = expected
        .keys()
        .filter(|key| matches!(key, LinkKey::Address(_, a) if *a == address))
        .cloned();
    let float = LinkKey::Float(address);
    let float = expected.contains_key(&float).then_some(float);
    addresses.chain(float).collect()
}

/// Whether a link is other than it should be, as far as one message tells.
fn differs(wanted: &LinkValue, link: &Link, name: &IfName) -> bool {
    match wanted {
        LinkValue::Bridge(spec) => {
            !is_our_bridge(link, name)
                || link.up != spec.up
                || link.plain != spec.plain
                || matches!(spec.mtu, Mtu::Fixed(mtu) if mtu != link.mtu)
        }
        LinkValue::AdministratorsBridge => true,
        LinkValue::Left => is_our_bridge(link, name), // given back
        LinkValue::Uplink(spec) => link.master.is_none() || link.up != spec.up,
        LinkValue::Port(spec) => {
            link.master.is_none()
                || link.up != spec.up
                || link.hairpin != spec.hairpin
                || link.isolated != spec.isolated
                || (link.group == PORTS) != spec.guarded
                || mtu::of_port(link) != spec.mtu
        }
        _ => false,
    }
}
