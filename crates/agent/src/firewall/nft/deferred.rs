//! Changes that cannot be made now, each with its reason; the other changes are made without them.
//! Depends on the items, and asks rtnetlink which addresses the host answers for.

use super::item::{ElementKey, Key, Set, Value};
use super::overlap::overlaps;
use super::types::{Changes, Errors, Wanted};
use crate::netlink::answers::Answers;
use novanet_reconcile::SubsystemError;
use std::collections::{BTreeMap, BTreeSet};

/// The changes that wait.
#[derive(Debug)]
pub(in crate::firewall) struct Deferred {
    /// Networks that overlap another one of this host.
    overlaps: BTreeMap<Key, Key>,
    /// Guards of floating addresses that the host still answers for: without its guard such an
    /// address would be the host's own, with all that listens there.
    guards: BTreeSet<Key>,
}

impl Deferred {
    pub(in crate::firewall) fn of(
        changes: Changes<'_>,
        desired: &Wanted,
        answers: &mut Answers,
    ) -> Self {
        let guards = changes.iter().filter(|change| match &change.key {
            Key::Element(Set::FloatingIps, ElementKey::Address(address)) => {
                change.to.is_none() && answers.holds(*address)
            }
            _ => false,
        });
        Self {
            guards: guards.map(|change| change.key.clone()).collect(),
            overlaps: overlaps(changes, desired),
        }
    }

    pub(in crate::firewall) fn holds(&self, key: &Key) -> bool {
        self.overlaps.contains_key(key) || self.guards.contains(key)
    }

    /// The desired state without the changes that wait.
    pub(in crate::firewall) fn wanted<'a>(
        &'a self,
        desired: &'a Wanted,
    ) -> impl Iterator<Item = (&'a Key, &'a Value)> {
        let possible = desired
            .iter()
            .filter(|(key, _)| !self.overlaps.contains_key(key));
        let stays = self.guards.iter().map(|key| (key, &Value::Present));
        possible.chain(stays)
    }

    pub(in crate::firewall) fn errors(&self, changes: Changes<'_>) -> Errors {
        let why = |key: &Key| match self.overlaps.get(key) {
            Some(other) => {
                let why = format!("{key} overlaps {other}, which this host has too");
                Some(SubsystemError::Refused(why))
            }
            None => self.guards.contains(key).then(|| {
                SubsystemError::Waits(format!(
                    "{key} stays until the host does not answer for that address any more"
                ))
            }),
        };
        let error = |key: &Key| Some((key.clone(), why(key)?));
        changes
            .iter()
            .filter_map(|change| error(&change.key))
            .collect()
    }
}
