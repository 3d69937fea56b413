//! Notices that a bridge was made again under a running dnsmasq, which stays bound to the old
//! device and gets no packets. Depends on rtnetlink events: notifies when a server's address
//! appears on a device that its dnsmasq is not bound to.

use crate::netlink::subscription::{Received, Subscription};
use novanet_model::IfName;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// `RTNLGRP_IPV4_IFADDR`.
const GROUP: u32 = 5;

/// The devices that the processes are bound to.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    /// Device number by bridge; `None`: not known, or nothing runs.
    pub(crate) devices: BTreeMap<IfName, Option<u32>>,
    /// The bridge of each server's address.
    pub(crate) servers: BTreeMap<Ipv4Addr, IfName>,
}

/// The watching task. Dropping this ends it.
#[derive(Debug)]
pub(crate) struct Watch {
    bound: Arc<Mutex<Bound>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Subscribes, in the network namespace of this thread.
    pub(crate) fn start(changed_externally: Arc<Notify>) -> io::Result<Self> {
        let events = Subscription::open(&[GROUP], |_| Ok(()))?;
        let bound = Arc::<Mutex<Bound>>::default();
        let task = tokio::spawn(watch(events, Arc::clone(&bound), changed_externally));
        Ok(Self { bound, task })
    }

    /// Replaces the table of bound devices.
    pub(crate) fn set(&self, bound: Bound) {
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner) = bound;
    }
}

async fn watch(
    mut events: Subscription,
    bound: Arc<Mutex<Bound>>,
    changed_externally: Arc<Notify>,
) {
    loop {
        let Received::Packet(mut messages) = events.next().await else {
            changed_externally.notify_one();
            continue;
        };
        let bound = bound.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = messages.any(|message| match message.payload {
            NetlinkPayload::InnerMessage(Message::NewAddress(message)) => {
                is_elsewhere(&bound, &message)
            }
            _ => false,
        });
        if wrong {
            changed_externally.notify_one();
        }
    }
}

/// A server's address appeared on a device that its process is not bound to.
fn is_elsewhere(bound: &Bound, message: &AddressMessage) -> bool {
    let address = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
            _ => None,
        });
    let bridge = address.and_then(|address| bound.servers.get(&address));
    bridge.is_some_and(|bridge| {
        bound.devices.get(bridge).copied().flatten() != Some(message.header.index)
    })
}
