//! Sets of addresses as the kernel's IP sets: their names and types, the commands of a script for
//! the `ipset` program, and elements read back from `ipset save`. Depends on the items only.

use crate::firewall::nft::item::{ElementKey, Key, Set, Value};
use ipnet::Ipv4Net;
use novanet_model::IfName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// The sets that every host has.
pub(super) const FIXED: [Set; 8] = [
    Set::Bridges,
    Set::UnroutedBridges,
    Set::Networks,
    Set::DirectNetworks,
    Set::Gateways,
    Set::GatewayAddresses,
    Set::FloatingIps,
    Set::FixedIps,
];

/// Fixed IPs with a floating IP: what leaves with its own address.
pub(super) const FLOATING_FIXED: &str = "nova-floating-fixed-ips";

const PREFIX: &str = "nova-";
const ANYWHERE: &str = "0.0.0.0/0";

/// The name of a set in the kernel: `nova-members-sg-0000000a`.
pub(super) fn name(set: Set) -> String {
    format!("{PREFIX}{}", set.name().replace('_', "-"))
}

/// Whether this backend keeps the set as an IP set. The others are rules.
pub(super) fn is_ipset(set: Set) -> bool {
    FIXED.contains(&set) || matches!(set, Set::Members(_) | Set::Project(_))
}

/// Whether a set in the kernel is ours.
pub(super) fn is_ours(name: &str) -> bool {
    name == FLOATING_FIXED || named(name).is_some()
}

fn named(name: &str) -> Option<Set> {
    let rest = name.strip_prefix(PREFIX)?;
    let set = Set::named(&rest.replace('-', "_"))?;
    is_ipset(set).then_some(set)
}

fn kind(set: Set) -> &'static str {
    match set {
        Set::Bridges | Set::UnroutedBridges | Set::Gateways => "hash:net,iface",
        Set::Networks | Set::DirectNetworks => "hash:net",
        _ => "hash:ip",
    }
}

/// The command that makes a set; nothing happens to one that is there.
pub(super) fn create(set: Set) -> String {
    create_text(&name(set), kind(set))
}

/// The same for [`FLOATING_FIXED`].
pub(super) fn create_floating_fixed() -> String {
    create_text(FLOATING_FIXED, "hash:ip")
}

fn create_text(name: &str, kind: &str) -> String {
    format!("create {name} {kind} family inet maxelem 1048576\n")
}

/// The elements of one item in the kernel, as set and element. Most items have one, floating IPs
/// have theirs in rules, and some have both.
pub(super) fn elements(key: &Key) -> Option<(String, String)> {
    let Key::Element(set, element) = key else {
        return None;
    };
    match (set, element) {
        (Set::FixedToFloating, ElementKey::Address(address)) => {
            Some((FLOATING_FIXED.to_owned(), address.to_string()))
        }
        (set, element) if is_ipset(*set) => Some((name(*set), element_text(*set, element)?)),
        _ => None,
    }
}

/// As `ipset save` prints it. `None`: not ours.
fn element_text(set: Set, element: &ElementKey) -> Option<String> {
    match (set, element) {
        (Set::Bridges | Set::UnroutedBridges, ElementKey::Interface(name)) => {
            Some(format!("{ANYWHERE},{name}"))
        }
        (Set::Gateways, ElementKey::InterfaceAddress(name, address)) => {
            Some(format!("{address},{name}"))
        }
        (Set::Networks | Set::DirectNetworks, range @ ElementKey::Range(..)) => {
            Some(range.to_string().trim_end_matches("/32").to_owned())
        }
        (_, ElementKey::Address(address)) => Some(address.to_string()),
        _ => None,
    }
}

fn parse(set: Set, text: &str) -> Option<ElementKey> {
    let found = match set {
        Set::Bridges | Set::UnroutedBridges => {
            let name = text.strip_prefix(ANYWHERE)?.strip_prefix(',')?;
            ElementKey::Interface(IfName::new(name).ok()?)
        }
        Set::Gateways => {
            let (address, name) = text.split_once(',')?;
            let name = IfName::new(name).ok()?;
            ElementKey::InterfaceAddress(name, address.parse().ok()?)
        }
        Set::Networks | Set::DirectNetworks => {
            let net: Ipv4Net = match text.parse() {
                Ok(net) => net,
                Err(_) => Ipv4Net::new_assert(text.parse().ok()?, 32),
            };
            ElementKey::Range(net.network(), net.broadcast())
        }
        _ => ElementKey::Address(text.parse().ok()?),
    };
    // Anything else (a port, `nomatch`) is another program's.
    (element_text(set, &found).as_deref() == Some(text)).then_some(found)
}

/// Our sets in the kernel.
#[derive(Debug, Default, Clone)]
pub(super) struct Saved {
    /// Elements by the set's name; also of empty sets.
    pub(super) sets: BTreeMap<String, BTreeSet<String>>,
    /// A set has another type, or an element that we would not write.
    pub(super) is_odd: bool,
}

impl Saved {
    /// Reads what `ipset save` prints.
    pub(super) fn read(text: &str) -> Self {
        let mut saved = Self::default();
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (Some(word), Some(set), Some(rest)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            if !is_ours(set) {
                continue;
            }
            match word {
                "create" => {
                    let wanted = named(set).map_or("hash:ip", kind);
                    saved.is_odd |= rest.split(' ').next() != Some(wanted);
                    saved.sets.entry(set.to_owned()).or_default();
                }
                "add" => {
                    saved.is_odd |= named(set).is_some_and(|s| parse(s, rest).is_none());
                    let elements = saved.sets.entry(set.to_owned()).or_default();
                    elements.insert(rest.to_owned());
                }
                _ => {}
            }
        }
        saved
    }

    /// Its elements as items.
    pub(super) fn items(&self) -> BTreeMap<Key, Value> {
        let mut items = BTreeMap::new();
        for (name, elements) in &self.sets {
            let Some(set) = named(name) else { continue };
            let found = elements.iter().filter_map(|text| parse(set, text));
            items.extend(found.map(|one| (Key::Element(set, one), Value::Present)));
        }
        items
    }

    /// Fixed IPs with a floating IP.
    pub(super) fn floating_fixed(&self) -> BTreeSet<Ipv4Addr> {
        let found = self.sets.get(FLOATING_FIXED).into_iter().flatten();
        found.filter_map(|text| text.parse().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_come_back_from_a_listing_and_what_is_not_ours_is_odd() {
        let text = "create nova-bridges hash:net,iface family inet hashsize 1024 maxelem 1048576\n\
                    add nova-bridges 0.0.0.0/0,br100\n\
                    create nova-networks hash:net family inet\nadd nova-networks 10.0.0.0/24\n\
                    add nova-networks 10.1.0.1\n\
                    create nova-gateways hash:net,iface family inet\n\
                    add nova-gateways 10.0.0.1,br100\n\
                    create nova-members-sg-0000000a hash:ip family inet\n\
                    add nova-members-sg-0000000a 10.0.0.3\n\
                    create friends hash:ip family inet\nadd friends 10.0.0.3\n";
        let saved = Saved::read(text);
        assert!(!saved.is_odd);
        let items = saved.items();
        let texts: Vec<_> = items.keys().filter_map(elements).collect();
        let expected = [
            ("nova-bridges", "0.0.0.0/0,br100"),
            ("nova-networks", "10.0.0.0/24"),
            ("nova-networks", "10.1.0.1"),
            ("nova-gateways", "10.0.0.1,br100"),
            ("nova-members-sg-0000000a", "10.0.0.3"),
        ];
        assert_eq!(texts, expected.map(|(s, e)| (s.to_owned(), e.to_owned())));
        for odd in [
            "create nova-fixed-ips hash:net family inet\n",
            "create nova-bridges hash:net,iface family inet\nadd nova-bridges 10.0.0.0/8,br100\n",
            "create nova-gateways hash:net,iface family inet\n\
             add nova-gateways 10.0.0.1,br100 nomatch\n",
        ] {
            assert!(Saved::read(odd).is_odd, "{odd}");
        }
    }
}
