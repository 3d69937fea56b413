//! Watches the kernel for changes of our links by somebody else.
//!
//! The kernel tells every change, ours too, and mostly not whose it was. So this task knows what
//! should be ([`Watch::expect`]) and looks at content: an event that leaves a thing of ours other
//! than it should be makes it wait a moment (we may be in the middle of making it), look again, and
//! only then say so. A floating IP that we set costs a comparison, never a listing.

use super::foreign::is_about_the_host;
use super::item::{LinkKey, LinkValue};
use super::kernel_state::{self, Link};
use super::observe::{is_our_bridge, must_pass};
use super::sysctl;
use super::{event, fdb, filter};
use crate::netlink::rtnetlink::{Packets, Socket};
use crate::netlink::subscription::{Received, Subscription};
use crate::subsystem::Desired;
use novanet_model::IfName;
use rtnetlink::packet_core::NetlinkPayload;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How long an event may be followed by others of the same action of ours.
const SETTLE: Duration = Duration::from_millis(50);
/// Settings under /proc/sys tell nobody that they changed.
const SETTINGS_EVERY: Duration = Duration::from_secs(2);

/// The multicast groups: links, entries of bridges (and neighbours, see `filter`), IPv4 addresses,
/// IPv4 routes, IPv4 rules (`RTNLGRP_*`).
const GROUPS: [u32; 5] = [1, 3, 5, 7, 8];

type Expected = Arc<Mutex<BTreeMap<LinkKey, LinkValue>>>;

/// The watching task, once it has started; it ends with this.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    expected: Expected,
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
    /// Subscribes, in the network namespace of this thread; the task runs on its runtime. It asks the
    /// kernel, which may take its time: the subsystem's own thread waits then, and nobody else's.
    pub(crate) fn start(&mut self) -> io::Result<()> {
        if self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return Ok(());
        }
        let events = Subscription::open(&GROUPS, filter::attach)?;
        let watcher = Watcher {
            expected: Arc::clone(&self.expected),
            changed_externally: Arc::clone(&self.changed_externally),
            queries: Socket::open()?,
            indexes: BTreeMap::new(),
        };
        self.task = Some(tokio::spawn(watcher.run(events)));
        Ok(())
    }

    pub(crate) fn changed_externally(&self) -> Arc<Notify> {
        Arc::clone(&self.changed_externally)
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

struct Watcher {
    expected: Expected,
    changed_externally: Arc<Notify>,
    queries: Socket,
    /// Names of devices by number, for events that have the number only.
    indexes: BTreeMap<u32, IfName>,
}

/// What an event calls into question.
enum Doubt {
    Key(LinkKey),
    /// The kernel had more to tell than we could take, or the host has other addresses.
    Everything,
}

impl Watcher {
    async fn run(mut self, mut events: Subscription) {
        let mut settings = tokio::time::interval(SETTINGS_EVERY);
        settings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut doubts = tokio::select! {
                received = events.next() => self.doubts_of(received),
                _ = settings.tick() => {
                    if self.a_setting_is_wrong() {
                        self.changed_externally.notify_one();
                    }
                    continue;
                }
            };
            if doubts.is_empty() {
                continue;
            }
            // Let what belongs together arrive, then look at how blockers are now.
            tokio::time::sleep(SETTLE).await;
            while let Some(received) = events.arrived() {
                doubts.extend(self.doubts_of(received));
            }
            if self.is_wrong(doubts) {
                self.changed_externally.notify_one();
            }
        }
    }

    fn doubts_of(&mut self, received: Received<'_>) -> Vec<Doubt> {
        match received {
            Received::Packet(messages) => self.doubts_in(messages),
            Received::Lost => vec![Doubt::Everything],
        }
    }

    fn doubts_in(&mut self, messages: Packets<'_>) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        for message in messages {
            if let NetlinkPayload::InnerMessage(message) = message.payload {
                if is_about_the_host(&message) {
                    doubts.push(Doubt::Everything);
                }
                let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
                let keys = event::doubts_of(message, &expected, &mut self.indexes);
                doubts.extend(keys.into_iter().map(Doubt::Key));
            }
        }
        doubts
    }

    fn a_setting_is_wrong(&mut self) -> bool {
        let off = self.wrong_confs();
        // An interface that is a stranger under a bridge's name keeps its settings.
        self.the_hosts_is_wrong()
            || off.into_iter().any(|(name, is_bridge)| {
                let link = kernel_state::link(&mut self.queries, &name).ok().flatten();
                link.is_some_and(|link| !is_bridge || is_our_bridge(&link, &name))
            })
    }

    fn the_hosts_is_wrong(&self) -> bool {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        sysctl::ALL
            .iter()
            .any(|path| is_otherwise(path, expected.get(&LinkKey::Sysctl(path))))
    }

    /// Interfaces with a wrong setting, and whether each is a bridge by its network.
    fn wrong_confs(&self) -> Vec<(IfName, bool)> {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let off = expected.iter().filter_map(|(key, wanted)| match key {
            LinkKey::Conf(name, setting) => {
                let path = sysctl::conf(name, setting);
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
                match kernel_state::link(&mut self.queries, name) {
                    Ok(Some(link)) => {
                        event::differs(wanted, &link, name)
                            || self.is_elsewhere(wanted, &link)
                            || self.is_unknown(wanted, &link, name)
                    }
                    Ok(None) => !matches!(key, LinkKey::Port(_)),
                    Err(_) => true,
                }
            }
            // Rare enough for the subsystem itself to look.
            LinkKey::Address(..)
            | LinkKey::FloatingIp(_)
            | LinkKey::MetadataRoute
            | LinkKey::MetadataRule(_) => true,
            LinkKey::Sysctl(_) | LinkKey::Conf(..) => false,
        }
    }

    /// The bridge does not know a port's instance, or itself, or has another MAC (its uplink's may be
    /// right).
    fn is_unknown(&mut self, wanted: &LinkValue, link: &Link, name: &IfName) -> bool {
        let known = match wanted {
            LinkValue::Port(spec) => fdb::knows(&mut self.queries, link, spec.mac),
            LinkValue::Bridge(spec) if link.mac != Some(spec.mac) && !self.has_uplink(name) => {
                return true;
            }
            LinkValue::Bridge(_) => fdb::knows_itself(&mut self.queries, link),
            _ => Ok(true),
        };
        !known.unwrap_or(false)
    }

    fn has_uplink(&self, bridge: &IfName) -> bool {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        expected.values().any(|value| match value {
            LinkValue::Uplink(spec) => spec.bridge.as_ref() == Some(bridge),
            _ => false,
        })
    }

    /// A port or uplink is in another bridge than its own, or blocked there; an uplink has addresses
    /// again.
    fn is_elsewhere(&mut self, wanted: &LinkValue, link: &Link) -> bool {
        let (bridge, uplink) = match wanted {
            LinkValue::Port(spec) => (&spec.bridge, false),
            LinkValue::Uplink(spec) => (&spec.bridge, true),
            _ => return false,
        };
        let Some(bridge) = bridge else {
            return false;
        };
        let master = kernel_state::link(&mut self.queries, bridge).ok().flatten();
        master.is_none_or(|master| {
            link.master != Some(master.index) || !uplink && must_pass(link, &master)
        }) || uplink
            && kernel_state::addresses_of(&mut self.queries, link.index)
                .is_ok_and(|addresses| !addresses.is_empty())
    }
}

fn is_otherwise(path: &str, wanted: Option<&LinkValue>) -> bool {
    matches!(
        (wanted, sysctl::read(path)),
        (Some(LinkValue::Setting(wanted)), Ok(Some(is))) if *wanted != is
    )
}
