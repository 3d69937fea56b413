//! Networks of one host that overlap: the later one is not in force. Pure; depends on the items
//! only.

use super::item::{ElementKey, Key, Set};
use super::types::{Changes, Wanted};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Networks that overlap an earlier network of the same host, with that one. The kernel refuses a
/// transaction that adds two overlapping ranges to a set.
pub(super) fn overlaps(changes: Changes<'_>, desired: &Wanted) -> BTreeMap<Key, Key> {
    let network = |key: &Key| {
        let is_range = |set: &Set| matches!(set, Set::Networks | Set::DirectNetworks);
        matches!(key, Key::Element(set, _) if is_range(set)) || *key == Key::BaseRuleset
    };
    let mut overlaps = BTreeMap::new();
    if !changes.iter().any(|change| network(&change.key)) {
        return overlaps;
    }
    let mut before: Option<(&Key, Set, Ipv4Addr)> = None;
    for (key, _) in desired.iter() {
        let Key::Element(
            set @ (Set::Networks | Set::DirectNetworks),
            ElementKey::Range(first, last),
        ) = key
        else {
            continue;
        };
        match before {
            Some((other, of, end)) if of == *set && *first <= end => {
                overlaps.insert(key.clone(), other.clone());
            }
            _ => before = Some((key, *set, *last)),
        }
    }
    overlaps
}
