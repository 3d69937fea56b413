//! Flows that must end because of a change: pending until the kernel has ended them. An agent whose
//! predecessor was killed before that finds them again. Depends on the items and on conntrack.

use super::item::{ElementKey, Key, Set, Value};
use crate::netlink::conntrack::{self, Cut, Ends};
use crate::netlink::nfnetlink::Socket;
use crate::settings::{FloatingAddressMode, Settings};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// Our own rules redirect flows to it; it is no floating IP.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// The pending ends of flows.
#[derive(Debug)]
pub(super) struct Flows {
    /// Not ended yet, with the item whose change ends them.
    pending: BTreeSet<(Key, Cut)>,
    /// The flows from before the agent's start were compared with the translations.
    checked: bool,
    own: Vec<Ipv4Addr>,
    /// Instances without a floating IP leave with this address.
    source: Option<Ipv4Addr>,
    /// Addresses of interfaces are the host's own. (In mode `interface` they may be floating IPs.)
    interfaces_are_own: bool,
}

impl Flows {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            pending: BTreeSet::new(),
            checked: false,
            own: vec![settings.my_ip, METADATA],
            source: Some(settings.routing_source_ip),
            interfaces_are_own: settings.floating_address_mode == FloatingAddressMode::Route,
        }
    }

    /// Instances leave with this address from now on: flows that left with the one before end when
    /// the host does not have it any more.
    pub(super) fn leave_with(&mut self, source: Option<Ipv4Addr>) {
        self.source = source;
        self.checked = false;
    }

    /// Adds flows that must end.
    pub(super) fn add(&mut self, key: &Key, cuts: Vec<Cut>) {
        self.pending
            .extend(cuts.into_iter().map(|cut| (key.clone(), cut)));
    }

    /// Ends the pending flows; those that fail stay pending.
    pub(super) fn end(&mut self, socket: &mut Socket) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let cuts: Vec<Cut> = self.pending.iter().map(|(_, cut)| *cut).collect();
        conntrack::cut(socket, &cuts)?;
        self.pending.clear();
        Ok(())
    }

    /// Items with flows that should have ended.
    pub(super) fn keys(&self) -> BTreeSet<Key> {
        self.pending.iter().map(|(key, _)| key.clone()).collect()
    }

    /// Calls [`Self::check`] until it has succeeded once.
    pub(super) fn check_once<'a>(
        &mut self,
        socket: &mut Socket,
        items: impl Iterator<Item = (&'a Key, &'a Value)>,
    ) {
        if !self.checked {
            self.check(socket, items);
        }
    }

    /// Ends the flows with a translation that is no longer in force.
    pub(super) fn check<'a>(
        &mut self,
        socket: &mut Socket,
        items: impl Iterator<Item = (&'a Key, &'a Value)>,
    ) {
        let own = self.own.iter().copied().chain(self.source);
        let mut now = Translations::of(items, own.collect());
        if self.interfaces_are_own {
            now.own.extend(interface_addresses());
        }
        match conntrack::cut_if(socket, |flow| now.is_stale(flow)) {
            Ok(0) => self.checked = true,
            Ok(count) => {
                tracing::info!(count, "flows of former floating addresses ended");
                self.checked = true;
            }
            Err(error) => {
                tracing::warn!(%error, "cannot look for flows of former floating addresses");
            }
        }
    }
}

fn interface_addresses() -> Vec<Ipv4Addr> {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    all.filter_map(
        |entry| match IpAddr::from(entry.address?.as_sockaddr_in()?.ip()) {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        },
    )
    .collect()
}

/// The translations in force.
#[derive(Debug, Default)]
struct Translations {
    inward: HashMap<Ipv4Addr, Ipv4Addr>,
    outward: HashMap<Ipv4Addr, Ipv4Addr>,
    nets: Vec<(Ipv4Addr, Ipv4Addr)>,
    fixed: HashSet<Ipv4Addr>,
    /// Addresses of the host: translations to and from these are the operator's.
    own: Vec<Ipv4Addr>,
}

impl Translations {
    fn of<'a>(items: impl Iterator<Item = (&'a Key, &'a Value)>, own: Vec<Ipv4Addr>) -> Self {
        let mut all = Self {
            own,
            ..Self::default()
        };
        for (key, value) in items {
            let Key::Element(set, element) = key else {
                continue;
            };
            match (set, element, value) {
                (Set::FloatingToFixed, ElementKey::Address(from), Value::Address(to)) => {
                    all.inward.insert(*from, *to);
                }
                (Set::FixedToFloating, ElementKey::Address(from), Value::Address(to)) => {
                    all.outward.insert(*from, *to);
                }
                (Set::Networks, ElementKey::Range(first, last), _) => {
                    all.nets.push((*first, *last));
                }
                (Set::FixedIps, ElementKey::Address(address), _) => {
                    all.fixed.insert(*address);
                }
                _ => {}
            }
        }
        all
    }

    fn is_ours(&self, address: Ipv4Addr) -> bool {
        let within = |(first, last): &(Ipv4Addr, Ipv4Addr)| (*first..=*last).contains(&address);
        self.fixed.contains(&address) || self.nets.iter().any(within)
    }

    /// Whether an address outside our networks may be a former floating IP.
    fn may_be_floating(&self, address: Ipv4Addr) -> bool {
        !self.is_ours(address) && !self.own.contains(&address)
    }

    fn is_stale(&self, flow: &Ends) -> bool {
        let inward = match self.inward.get(&flow.to) {
            Some(fixed) => flow.answered_by != *fixed,
            None => {
                flow.answered_by != flow.to
                    && self.is_ours(flow.answered_by)
                    && self.may_be_floating(flow.to)
            }
        };
        let outward = flow.answered_to != flow.from
            && self.is_ours(flow.from)
            && self.outward.get(&flow.from) != Some(&flow.answered_to)
            && self.may_be_floating(flow.answered_to);
        inward || outward
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::nft::item::items_of_object;
    use novanet_model::HostObject;

    fn is_stale_flow(from: &str, to: &str, answered_by: &str, answered_to: &str) -> bool {
        let objects: Vec<HostObject> = serde_json::from_str(
            r#"[
            {"kind":"gateway","network":1,"bridge":"br100","address":"10.0.0.1/24"},
            {"kind":"float","address":"203.0.113.13","fixed":"10.0.0.3","interface":null}
        ]"#,
        )
        .expect("objects");
        let items: Vec<_> = objects.iter().flat_map(items_of_object).collect();
        let own = vec![Ipv4Addr::new(203, 0, 113, 1), METADATA];
        let now = Translations::of(items.iter().map(|(key, value)| (key, value)), own);
        let address = |text: &str| text.parse().expect("an address");
        now.is_stale(&Ends {
            from: address(from),
            to: address(to),
            answered_by: address(answered_by),
            answered_to: address(answered_to),
        })
    }

    #[test]
    fn flows_of_a_float_that_is_elsewhere_now_are_found_and_those_of_others_are_not() {
        let far = "198.51.100.7";
        for (ends, stale) in [
            ((far, "203.0.113.13", "10.0.0.3", far), false),
            ((far, "203.0.113.13", "10.0.0.4", far), true),
            ((far, "203.0.113.13", "203.0.113.13", far), true),
            ((far, "203.0.113.99", "10.0.0.3", far), true),
            ((far, "203.0.113.1", "10.0.0.3", far), false), // a forward by the operator
            ((far, "192.0.2.1", "192.0.2.2", far), false),  // none of our business
            (
                ("10.0.0.4", "169.254.169.254", "10.0.0.1", "10.0.0.4"),
                false,
            ),
            (("10.0.0.3", far, far, "203.0.113.13"), false),
            (("10.0.0.3", far, far, "203.0.113.1"), false), // from before it had a float
            (("10.0.0.3", far, far, "203.0.113.99"), true),
            (("10.0.0.4", far, far, "203.0.113.13"), true),
            (("10.0.0.4", far, far, "10.0.0.4"), false),
            (("172.16.0.4", far, far, "192.0.2.9"), false), // another NAT on this host
        ] {
            let (from, to, answered_by, answered_to) = ends;
            let found = is_stale_flow(from, to, answered_by, answered_to);
            assert_eq!(found, stale, "{ends:?}");
        }
    }
}
