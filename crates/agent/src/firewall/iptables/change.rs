//! What a change of some items changes in IP sets and chains: those of its own, and no others.
//! Pure; depends on the rules.

use super::ipset;
use super::names::{self, Table};
use super::rules;
use super::script::Script;
use crate::firewall::nft;
use crate::firewall::nft::item::{Key, Set};
use crate::firewall::nft::types::{Changes, Wanted};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Whether nftables has it under this driver too.
pub(super) fn is_of_bridge(key: &Key) -> bool {
    matches!(key, Key::Element(set, _) if set.is_bridge())
}

/// The set that an item is.
pub(super) fn variable_set(key: &Key) -> Option<Set> {
    match key {
        Key::Set(set) => Some(*set),
        _ => None,
    }
}

/// Names of the sets that a host with these items has.
pub(super) fn set_names<'a>(keys: impl Iterator<Item = &'a Key>) -> BTreeSet<String> {
    let sets = ipset::FIXED
        .into_iter()
        .chain(keys.filter_map(variable_set));
    let mut names: BTreeSet<String> = sets.map(ipset::name).collect();
    names.insert(ipset::FLOATING_FIXED.to_owned());
    names
}

/// The scripts for `ipset` before and after the rules change.
pub(super) fn sets_of(changes: Changes<'_>, desired: &Wanted) -> (String, String) {
    let (mut grow, mut shrink) = (String::new(), String::new());
    let mut destroy = String::new();
    for change in changes {
        match (&change.key, &change.to) {
            (Key::Set(set), Some(_)) => grow.insert_str(0, &ipset::create(*set)),
            (Key::Set(set), None) => {
                let _ = writeln!(destroy, "destroy {}", ipset::name(*set));
            }
            (key, to) => {
                let Some((set, element)) = ipset::elements(key) else {
                    continue;
                };
                let _ = match (to, &change.from) {
                    (Some(_), None) => writeln!(grow, "add {set} {element}"),
                    (None, _) if !set_goes(key, desired) => {
                        writeln!(shrink, "del {set} {element}")
                    }
                    _ => Ok(()),
                };
            }
        }
    }
    shrink += &destroy;
    (grow, shrink)
}

/// A set that goes takes its elements along.
fn set_goes(key: &Key, desired: &Wanted) -> bool {
    match key {
        Key::Element(set @ (Set::Members(_) | Set::Project(_)), _) => {
            desired.get(&Key::Set(*set)).is_none()
        }
        _ => false,
    }
}

/// The rules that these changes touch.
pub(super) fn rules_of(changes: Changes<'_>, desired: &Wanted) -> Script {
    let mut script = Script::default();
    let (groups, instances) = nft::chains_of(changes.iter().map(|change| &change.key));
    let goes = |group| {
        let key = Key::Chain(group);
        let mut all = changes.iter();
        all.any(|change| change.key == key && change.to.is_none())
    };
    let mut dropped: Vec<String> = Vec::new();
    for instance in instances {
        let chain = names::instance_chain(instance);
        match desired.get(&Key::Combination(instance)) {
            Some(_) => {
                let lines = rules::instance_lines(instance, desired);
                script.fill(Table::Filter, &chain, lines);
            }
            None => dropped.push(chain),
        }
    }
    for group in groups {
        let chain = names::group_chain(group);
        if goes(group) {
            dropped.push(chain);
        } else {
            let lines = rules::group_lines(group, desired);
            script.fill(Table::Filter, &chain, lines);
        }
    }
    if changes.iter().any(|c| matches!(c.key, Key::Block(_))) {
        let rules = rules::provider_rules(desired).into_iter();
        let lines = rules.map(|(_, line)| line).collect();
        script.fill(Table::Filter, names::PROVIDER, lines);
    }
    for change in changes {
        for (value, deletes) in [(&change.from, true), (&change.to, false)] {
            let lines = value
                .iter()
                .flat_map(|value| rules::lines(&change.key, value));
            for (table, chain, line) in lines {
                if deletes {
                    script.delete(table, chain, &line);
                } else {
                    script.append(table, chain, &line);
                }
            }
        }
    }
    for chain in dropped {
        script.drop_chain(Table::Filter, &chain);
    }
    script
}
