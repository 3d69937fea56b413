//! Watches the kernel for changes of novanet's links by others. Depends on rtnetlink notifications;
//! settings below /proc/sys have none and are read every two seconds.
//!
//! The kernel sends every change, novanet's too, and mostly without its author. So the watch
//! compares content: an event that leaves an item different from what is expected
//! ([`Watch::expect`]) makes it wait a moment, because novanet may be changing that item, and read
//! it again; only then it notifies. A floating IP that novanet sets costs a comparison, never a
//! listing.

use super::expected::Expected;
use super::foreign::is_about_the_host;
use super::item::{LinkKey, LinkValue};
use super::kernel_state::{self, Link};
use super::ownership::is_our_bridge;
use super::{bridge, event, event_filter, port, procfs, sysctl, uplink, vlan};
use crate::netlink::rtnetlink::{Packets, Socket};
use crate::netlink::subscription::{Received, Subscription};
use novanet_model::IfName;
use novanet_reconcile::Desired;
use rtnetlink::packet_core::NetlinkPayload;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How long other events of the same action may follow an event.
const SETTLE: Duration = Duration::from_millis(50);
/// Period of reading settings.
const SYSCTL_INTERVAL: Duration = Duration::from_secs(2);

/// The multicast groups: links, fdb entries (and neighbours, see `event_filter`), IPv4 addresses,
/// IPv4 routes, IPv4 rules (`RTNLGRP_*`).
const GROUPS: [u32; 5] = [1, 3, 5, 7, 8];

/// The watching task, once it has started. Dropping this ends it.
#[derive(Debug, Default)]
pub(super) struct Watch {
    expected: Arc<Mutex<Expected>>,
    changed_externally: Arc<Notify>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Watch {
    /// Subscribes, in the network namespace of this thread; the task runs on the runtime of this
    /// thread. Its queries block: they keep only the subsystem's own thread waiting.
    pub(super) fn start(&mut self) -> io::Result<()> {
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        let events = Subscription::open(&GROUPS, event_filter::attach)?;
        let watcher = Watcher {
            expected: Arc::clone(&self.expected),
            changed_externally: Arc::clone(&self.changed_externally),
            queries: Socket::open()?,
            indexes: event::Indexes::new(),
        };
        self.task = Some(tokio::spawn(watcher.run(events)));
        Ok(())
    }

    pub(super) fn changed_externally(&self) -> Arc<Notify> {
        Arc::clone(&self.changed_externally)
    }

    /// Expects exactly the wanted items from now on.
    pub(super) fn expect_all(&self, desired: &Desired<LinkKey, LinkValue>) {
        let all = desired.iter().map(|(k, v)| (k.clone(), v.clone()));
        lock(&self.expected).replace_all(all);
    }

    /// Expects this value of an item from now on; `None`: the item is not expected.
    pub(super) fn expect(&self, key: &LinkKey, value: Option<&LinkValue>) {
        lock(&self.expected).set(key, value);
    }
}

fn lock(expected: &Mutex<Expected>) -> MutexGuard<'_, Expected> {
    expected.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Watcher {
    expected: Arc<Mutex<Expected>>,
    changed_externally: Arc<Notify>,
    queries: Socket,
    indexes: event::Indexes,
}

/// Items that may have changed, by an event.
enum Stale {
    Key(LinkKey),
    /// Notifications are missing, or the host has other addresses.
    Everything,
}

impl Watcher {
    async fn run(mut self, mut events: Subscription) {
        let mut sysctls = tokio::time::interval(SYSCTL_INTERVAL);
        sysctls.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut stale = tokio::select! {
                received = events.next() => self.stale_of(received),
                _ = sysctls.tick() => {
                    if self.a_sysctl_is_changed() {
                        self.changed_externally.notify_one();
                    }
                    continue;
                }
            };
            if stale.is_empty() {
                continue;
            }
            // Other events of the same action arrive meanwhile; then the state counts as it is now.
            tokio::time::sleep(SETTLE).await;
            while let Some(received) = events.arrived() {
                stale.extend(self.stale_of(received));
            }
            if self.is_any_changed(stale) {
                self.changed_externally.notify_one();
            }
        }
    }

    fn stale_of(&mut self, received: Received<'_>) -> Vec<Stale> {
        match received {
            Received::Packet(messages) => self.stale_in(messages),
            Received::Lost => vec![Stale::Everything],
        }
    }

    fn stale_in(&mut self, messages: Packets<'_>) -> Vec<Stale> {
        let mut stale = Vec::new();
        for message in messages {
            if let NetlinkPayload::InnerMessage(message) = message.payload {
                if is_about_the_host(&message) {
                    stale.push(Stale::Everything);
                }
                let keys = event::stale_keys(message, &lock(&self.expected), &mut self.indexes);
                stale.extend(keys.into_iter().map(Stale::Key));
            }
        }
        stale
    }

    fn a_sysctl_is_changed(&mut self) -> bool {
        let (of_host, interfaces) = self.changed_sysctls();
        // A foreign interface under a bridge's name keeps its settings.
        of_host
            || interfaces.into_iter().any(|(name, is_bridge)| {
                let link = kernel_state::link(&mut self.queries, &name).ok().flatten();
                link.is_some_and(|link| !is_bridge || is_our_bridge(&link, &name))
            })
    }

    /// Whether a setting of the host is changed, and the interfaces with a changed setting: each
    /// with whether it is expected as a bridge.
    fn changed_sysctls(&self) -> (bool, Vec<(IfName, bool)>) {
        let expected = lock(&self.expected);
        let of_host = sysctl::ALL.iter().any(|path| {
            let wanted = expected.get(&LinkKey::Sysctl(path));
            matches!(wanted, Some(LinkValue::Sysctl(value)) if sysctl::is_changed(path, value))
        });
        let interfaces = expected.iter().filter_map(|(key, wanted)| {
            let (LinkKey::Conf(name, setting), LinkValue::Sysctl(value)) = (key, wanted) else {
                return None;
            };
            let bridge = LinkKey::Bridge(name.clone());
            sysctl::is_changed(&procfs::conf(name, setting), value)
                .then(|| (name.clone(), expected.contains(&bridge)))
        });
        (of_host, interfaces.collect())
    }

    /// Whether an item is still different from what is expected.
    fn is_any_changed(&mut self, stale: Vec<Stale>) -> bool {
        let mut keys = BTreeSet::new();
        for item in stale {
            match item {
                Stale::Key(key) => keys.insert(key),
                Stale::Everything => return true,
            };
        }
        keys.into_iter().any(|key| {
            let wanted = lock(&self.expected).get(&key).cloned();
            wanted.is_some_and(|wanted| self.is_changed(&key, &wanted))
        })
    }

    fn is_changed(&mut self, key: &LinkKey, wanted: &LinkValue) -> bool {
        match key {
            LinkKey::Vlan(name) | LinkKey::Bridge(name) | LinkKey::Uplink(name) => {
                match kernel_state::link(&mut self.queries, name) {
                    Ok(Some(link)) => self.is_link_changed(wanted, &link, name),
                    Ok(None) | Err(_) => true,
                }
            }
            LinkKey::Port(name) => match kernel_state::link(&mut self.queries, name) {
                Ok(Some(link)) => self.is_link_changed(wanted, &link, name),
                Ok(None) => false, // the instance's driver makes it
                Err(_) => true,
            },
            // Rare: the subsystem observes again.
            LinkKey::Address(..)
            | LinkKey::FloatingIp(_)
            | LinkKey::MetadataRoute
            | LinkKey::MetadataRule(_) => true,
            LinkKey::Sysctl(_) | LinkKey::Conf(..) => false,
        }
    }

    fn is_link_changed(&mut self, wanted: &LinkValue, link: &Link, name: &IfName) -> bool {
        let (queries, expected) = (&mut self.queries, &self.expected);
        match wanted {
            LinkValue::Bridge(value) => {
                let has_uplink = || has_uplink(&lock(expected), name);
                bridge::is_changed(queries, value, link, name, has_uplink)
            }
            LinkValue::Vlan(value) => vlan::differs(value, link, name),
            LinkValue::Uplink(spec) => uplink::is_changed(queries, spec, link),
            LinkValue::Port(value) => port::is_changed(queries, value, link),
            LinkValue::Sysctl(_)
            | LinkValue::Address(_)
            | LinkValue::Metadata
            | LinkValue::FloatingIp(_) => false,
        }
    }
}

fn has_uplink(expected: &Expected, bridge: &IfName) -> bool {
    expected.iter().any(|(_, value)| match value {
        LinkValue::Uplink(spec) => spec.bridge.as_ref() == Some(bridge),
        _ => false,
    })
}
