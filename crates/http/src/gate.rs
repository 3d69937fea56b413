//! How many connections a listener has at a time, in all and from each source.
//!
//! A source may hold a third of what is free beside it, and never more than a fixed number. So one
//! source alone ends at a quarter of the total, and each further one at a quarter of what the
//! others left: a few sources cannot take everything, however many connections they open, and the
//! last places are for sources that have none.

use crate::seldom::Seldom;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limits of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub total: usize,
    /// Connections of one source. A source also never has more than a third of the free ones.
    pub each: usize,
    /// What becomes of a connection beyond `total`.
    pub when_full: WhenFull,
}

/// See [`Limits::when_full`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// The listener accepts it, answers "busy" and closes it: for unauthenticated clients.
    Refuse,
    /// It waits in the kernel's queue until another one ends: for clients on the same host.
    Wait,
}

/// What a gate has seen since the process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open now.
    pub open: u64,
    /// Accepted in all.
    pub accepted: u64,
    /// Refused because their source had its share.
    pub refused_source: u64,
    /// Refused because all sources together had the total.
    pub refused_total: u64,
    /// Ended because the client was too slow or silent.
    pub too_slow: u64,
}

/// The count of a listener's connections. Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: &'static str,
    limits: Limits,
    slots: Arc<Semaphore>,
    sources: Mutex<HashMap<IpAddr, usize>>,
    open: AtomicU64,
    accepted: AtomicU64,
    refused_source: AtomicU64,
    refused_total: AtomicU64,
    too_slow: AtomicU64,
    log: Seldom,
}

/// A place that is kept for a connection which has not come yet.
#[derive(Debug)]
pub(crate) struct Slot(OwnedSemaphorePermit);

/// One connection, counted while it lives.
#[derive(Debug)]
pub(crate) struct Admitted {
    gate: Gate,
    source: Option<IpAddr>,
    _slot: OwnedSemaphorePermit,
}

impl Gate {
    /// A gate; `name` is the listener's name in log lines.
    pub fn new(name: &'static str, limits: Limits) -> Self {
        Self(Arc::new(Inner {
            name,
            limits,
            slots: Arc::new(Semaphore::new(limits.total)),
            sources: Mutex::default(),
            open: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused_source: AtomicU64::new(0),
            refused_total: AtomicU64::new(0),
            too_slow: AtomicU64::new(0),
            log: Seldom::default(),
        }))
    }

    /// The listener's name.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// What it has seen.
    pub fn counts(&self) -> Counts {
        let inner = &*self.0;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            open: get(&inner.open),
            accepted: get(&inner.accepted),
            refused_source: get(&inner.refused_source),
            refused_total: get(&inner.refused_total),
            too_slow: get(&inner.too_slow),
        }
    }

    /// Before accepting: waits for a free place where the limits say so.
    pub(crate) async fn ready(&self) -> Option<Slot> {
        if self.0.limits.when_full == WhenFull::Refuse {
            return None;
        }
        let slots = Arc::clone(&self.0.slots);
        // The semaphore is never closed.
        slots.acquire_owned().await.ok().map(Slot)
    }

    /// Lets a connection in, or counts its refusal. `source`: `None` for a unix socket.
    pub(crate) fn admit(&self, source: Option<IpAddr>, slot: Option<Slot>) -> Option<Admitted> {
        let inner = &*self.0;
        let source = source.map(network_of);
        let mut sources = inner.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let free = inner.slots.available_permits();
        let slot = slot.map(|slot| slot.0);
        let Some(slot) = slot.or_else(|| Arc::clone(&inner.slots).try_acquire_owned().ok()) else {
            inner.refused_total.fetch_add(1, Ordering::Relaxed);
            self.log_refusal(source, inner.limits.total, "this service's limit");
            return None;
        };
        if let Some(source) = source {
            let held = sources.get(&source).copied().unwrap_or(0);
            let share = (free / 3).min(inner.limits.each).max(1);
            if held >= share {
                inner.refused_source.fetch_add(1, Ordering::Relaxed);
                self.log_refusal(Some(source), held, "its source's share");
                return None;
            }
            sources.insert(source, held + 1);
        }
        inner.open.fetch_add(1, Ordering::Relaxed);
        inner.accepted.fetch_add(1, Ordering::Relaxed);
        Some(Admitted {
            gate: self.clone(),
            source,
            _slot: slot,
        })
    }

    /// A connection was ended because its client was too slow.
    pub(crate) fn count_slow(&self) {
        self.0.too_slow.fetch_add(1, Ordering::Relaxed);
    }

    fn log_refusal(&self, source: Option<IpAddr>, open: usize, limit: &str) {
        let Some(refused) = self.0.log.event() else {
            return;
        };
        let source = source.map(tracing::field::display);
        let service = self.0.name;
        tracing::warn!(
            service,
            source,
            open,
            refused,
            "connection refused: {limit} is reached; further refusals are counted and logged once \
             a minute"
        );
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.gate.0.open.fetch_sub(1, Ordering::Relaxed);
        let Some(source) = self.source else {
            return;
        };
        let sources = self.gate.0.sources.lock();
        let mut sources = sources.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&source);
            }
        }
    }
}

/// What counts as one source: an IPv4 address, or the /64 of an IPv6 one, since a host has all
/// addresses of its /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Admitted, Gate, Limits, WhenFull, network_of};
    use std::net::{IpAddr, Ipv4Addr};

    fn gate(total: usize, each: usize) -> Gate {
        let when_full = WhenFull::Refuse;
        Gate::new(
            "test",
            Limits {
                total,
                each,
                when_full,
            },
        )
    }

    fn admit(gate: &Gate, host: u32) -> Option<Admitted> {
        let address: IpAddr = Ipv4Addr::from_bits(0x0a00_0000 + host).into();
        gate.admit(Some(address), None)
    }

    #[test]
    fn one_source_gets_a_quarter_and_others_still_get_in() {
        let gate = gate(256, 256);
        let mut held: Vec<_> = (0..1200).filter_map(|_| admit(&gate, 1)).collect();
        assert_eq!(held.len(), 64);
        assert_eq!(gate.counts().refused_source, 1200 - 64);
        held.extend((0..1200).filter_map(|_| admit(&gate, 2)));
        assert!(held.len() < 128, "{}", held.len());
        // A dozen sources that take all they can leave room for the next one.
        for n in 3..13 {
            held.extend((0..1200).filter_map(|_| admit(&gate, n)));
        }
        held.push(admit(&gate, 99).unwrap());
        assert_eq!(gate.counts().refused_total, 0);
        // What ends is free again, and nothing is remembered of the sources.
        held.clear();
        assert_eq!(gate.counts().open, 0);
        assert!(gate.0.sources.lock().unwrap().is_empty());
        assert!(admit(&gate, 1).is_some());
    }

    #[test]
    fn nobody_gets_more_than_the_fixed_share_or_the_total() {
        let small = gate(1024, 16);
        let held: Vec<_> = (0..40).filter_map(|_| admit(&small, 1)).collect();
        assert_eq!(held.len(), 16);
        let full = gate(8, 8);
        let held: Vec<_> = (0..20).filter_map(|n| admit(&full, n)).collect();
        assert_eq!((held.len(), full.counts().refused_total), (8, 12));
    }

    #[test]
    fn a_source_is_an_address_or_a_slash_64() {
        let of = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(of("192.0.2.1"), "192.0.2.1");
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
