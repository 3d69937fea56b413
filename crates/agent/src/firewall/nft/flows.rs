//! Flows that must end because of what has changed: kept until the kernel has ended them, and found
//! again by an agent whose predecessor was killed before it could.

use super::item::{Key, Set, Slot, Value};
use crate::netlink::conntrack::{self, Cut, Ends};
use crate::netlink::nfnetlink::Socket;
use crate::settings::{FloatingAddressMode, Settings};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// A flow to it is redirected by us, and no float's.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// See the module.
#[derive(Debug)]
pub(super) struct Flows {
    /// What has not succeeded yet, by the item that it follows from.
    pending: BTreeSet<(Key, Cut)>,
    /// The flows that were there at the start have been looked at.
    checked: bool,
    own: Vec<Ipv4Addr>,
    /// What instances leave with.
    source: Option<Ipv4Addr>,
    /// Addresses of interfaces are the host's own. (With floats on an interface they may be floats.)
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

    /// These must end too.
    pub(super) fn add(&mut self, key: &Key, cuts: Vec<Cut>) {
        self.pending
            .extend(cuts.into_iter().map(|cut| (key.clone(), cut)));
    }

    /// Ends what is pending. What fails stays pending.
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

    /// Looks at all flows, the first time that it succeeds; later calls do nothing.
    pub(super) fn check_once<'a>(
        &mut self,
        socket: &mut Socket,
        items: impl Iterator<Item = (&'a Key, &'a Value)>,
    ) {
        if !self.checked {
            self.check(socket, items);
        }
    }

    /// Ends the flows that were translated by what is no longer so.
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
        match conntrack::cut_if(socket, |flow| now.contradict(flow)) {
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

/// Which address stands for which.
#[derive(Debug, Default)]
struct Translations {
    inward: HashMap<Ipv4Addr, Ipv4Addr>,
    outward: HashMap<Ipv4Addr, Ipv4Addr>,
    nets: Vec<(Ipv4Addr, Ipv4Addr)>,
    fixed: HashSet<Ipv4Addr>,
    /// Addresses of the host: what is translated to or from these is the operator's business.
    own: Vec<Ipv4Addr>,
}

impl Translations {
    fn of<'a>(items: impl Iterator<Item = (&'a Key, &'a Value)>, own: Vec<Ipv4Addr>) -> Self {
        let mut all = Self {
            own,
            ..Self::default()
        };
        for (key, value) in items {
            let Key::Element(set, slot) = key else {
                continue;
            };
            match (set, slot, value) {
                (Set::FloatIn, Slot::Address(from), Value::Address(to)) => {
                    all.inward.insert(*from, *to);
                }
                (Set::FloatOut, Slot::Address(from), Value::Address(to)) => {
                    all.outward.insert(*from, *to);
                }
                (Set::Networks, Slot::Range(first, last), _) => all.nets.push((*first, *last)),
                (Set::Fixed, Slot::Address(address), _) => {
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

    /// Whether an address outside our networks may be a float of before.
    fn may_be_float(&self, address: Ipv4Addr) -> bool {
        !self.is_ours(address) && !self.own.contains(&address)
    }

    fn contradict(&self, flow: &Ends) -> bool {
        let inward = match self.inward.get(&flow.to) {
            Some(fixed) => flow.answered_by != *fixed,
            None => {
                flow.answered_by != flow.to
                    && self.is_ours(flow.answered_by)
                    && self.may_be_float(flow.to)
            }
        };
        let outward = flow.answered_to != flow.from
            && self.is_ours(flow.from)
            && self.outward.get(&flow.from) != Some(&flow.answered_to)
            && self.may_be_float(flow.answered_to);
        inward || outward
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::nft::item::items_of;
    use novanet_model::HostObject;

    fn contradicted(from: &str, to: &str, answered_by: &str, answered_to: &str) -> bool {
        let objects: Vec<HostObject> = serde_json::from_str(
            r#"[
            {"kind":"gateway","network":1,"bridge":"br100","address":"10.0.0.1/24"},
            {"kind":"float","address":"203.0.113.13","fixed":"10.0.0.3","interface":null}
        ]"#,
        )
        .expect("objects");
        let items: Vec<_> = objects.iter().flat_map(items_of).collect();
        let own = vec![Ipv4Addr::new(203, 0, 113, 1), METADATA];
        let now = Translations::of(items.iter().map(|(key, value)| (key, value)), own);
        let address = |text: &str| text.parse().expect("an address");
        now.contradict(&Ends {
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
            let found = contradicted(from, to, answered_by, answered_to);
            assert_eq!(found, stale, "{ends:?}");
        }
    }
}
