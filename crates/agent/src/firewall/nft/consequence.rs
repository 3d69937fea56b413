//! What follows from a change beyond itself: networks that cannot be together, flows that must end.
//! Pure.

use super::item::{Key, Set, Slot, Value};
use crate::netlink::conntrack::Cut;
use crate::subsystem::{Change, Desired};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Networks that overlap an earlier one of the same host, and that one: a set of ranges takes no
/// two that overlap, and one such pair would fail the whole transaction.
pub(super) fn clashes(
    changes: &[Change<Key, Value>],
    desired: &Desired<Key, Value>,
) -> BTreeMap<Key, Key> {
    let network = |key: &Key| matches!(key, Key::Element(Set::Networks, _) | Key::Skeleton);
    let mut clashes = BTreeMap::new();
    if !changes.iter().any(|change| network(&change.key)) {
        return clashes;
    }
    let mut before: Option<(&Key, Ipv4Addr)> = None;
    for (key, _) in desired.iter() {
        let Key::Element(Set::Networks, Slot::Range(first, last)) = key else {
            continue;
        };
        match before {
            Some((other, end)) if *first <= end => {
                clashes.insert(key.clone(), other.clone());
            }
            _ => before = Some((key, *last)),
        }
    }
    clashes
}

/// Which flows a change ends. A floating address: those that went to or came from its old fixed
/// address, and those that went past it before there was one (older UDP flows would go on past it).
/// A port: its address may be somebody else's next.
pub(super) fn cuts(change: &Change<Key, Value>) -> Vec<Cut> {
    let Key::Element(set, Slot::Address(address)) = change.key else {
        return Vec::new();
    };
    match (set, &change.from, &change.to) {
        (Set::FloatIn, Some(Value::Address(old)), _) => vec![
            Cut::to(address).answered_by(*old),
            Cut::from(*old).answered_to(address),
        ],
        (Set::FloatIn, None, Some(_)) => vec![Cut::to(address).answered_by(address)],
        (Set::Fixed, Some(_), None) => vec![Cut::from(address), Cut::to_real(address)],
        _ => Vec::new(),
    }
}

/// Whether a change lets less through than before: flows that it alone allowed must end. (A member
/// that goes is not among them: mostly its instance goes, and its flows with it.)
pub(super) fn narrows(changes: &[Change<Key, Value>]) -> bool {
    changes.iter().any(|change| match change.key {
        Key::Rule(..) | Key::Group(_) => change.from.is_some(),
        Key::Combination(_) | Key::Element(Set::Combinations, _) => {
            change.from.is_some() && change.to.is_some()
        }
        _ => false,
    })
}
