//! What is in force as lines of `iptables-save` and `ipset save`, each with its item, for people;
//! and the counters of such lines. Depends on the rules, the sets and the base.

use super::names::{PROVIDER, Table, group_chain, instance_chain};
use super::{Iptables, base, ipset, rules};
use crate::firewall::nft::in_force::{Count, InForce};
use crate::firewall::nft::item::{Key, Value};
use crate::firewall::nft::types::Wanted;
use crate::firewall::policy::HostPolicy;
use crate::settings::FirewallDriver;
use novanet_reconcile::SubsystemError;
use std::collections::{BTreeMap, BTreeSet};

/// The tables, in the order of the lines.
pub(in crate::firewall) const TABLES: [&str; 3] = ["filter", "nat", "raw"];

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::firewall) struct Row {
    pub(in crate::firewall) table: &'static str,
    pub(in crate::firewall) chain: String,
    /// Without `-A CHAIN`.
    pub(in crate::firewall) line: String,
    /// `None`: every host has it.
    pub(in crate::firewall) key: Option<Key>,
}

/// The rules that every host has, of IPv4.
pub(in crate::firewall) fn base_rows(policy: &HostPolicy, generation: u16) -> Vec<Row> {
    let jumps = base::JUMPS.iter().map(|(table, chain, to)| Row {
        table: table.name(),
        chain: (*chain).to_owned(),
        line: super::names::jump_line(to),
        key: None,
    });
    let mut rows: Vec<Row> = jumps.collect();
    for ((table, chain), lines) in base::chains(policy, generation) {
        rows.extend(lines.into_iter().map(|line| Row {
            table: table.name(),
            chain: chain.clone(),
            line,
            key: None,
        }));
    }
    rows
}

/// The rules that these items are. A chain is all its rules.
pub(in crate::firewall) fn rows(items: &Wanted, chosen: &BTreeSet<Key>) -> Vec<Row> {
    let provider = rules::provider_rules(items).into_iter();
    let provider = provider.filter(|(key, _)| chosen.contains(key));
    let mut rows: Vec<Row> = provider
        .map(|(key, line)| Row {
            table: Table::Filter.name(),
            chain: PROVIDER.to_owned(),
            line,
            key: Some(key),
        })
        .collect();
    for key in chosen {
        match key {
            Key::Chain(group) => {
                let rules = rules::group_rules(*group, items).into_iter();
                rows.extend(rules.map(|(rule, line)| Row {
                    table: Table::Filter.name(),
                    chain: group_chain(*group),
                    line,
                    key: Some(rule.map_or_else(|| key.clone(), |rule| Key::Rule(*group, rule))),
                }));
            }
            Key::Combination(instance) => {
                let lines = rules::instance_lines(*instance, items).into_iter();
                rows.extend(lines.map(|line| Row {
                    table: Table::Filter.name(),
                    chain: instance_chain(*instance),
                    line,
                    key: Some(key.clone()),
                }));
            }
            _ => {
                let value = items.get(key).cloned().unwrap_or(Value::Present);
                let lines = rules::lines(key, &value).into_iter();
                rows.extend(lines.map(|(table, chain, line)| Row {
                    table: table.name(),
                    chain: chain.to_owned(),
                    line,
                    key: Some(key.clone()),
                }));
            }
        }
    }
    rows
}

/// The elements of sets that these items are, as `ipset save` prints them.
pub(in crate::firewall) fn set_rows(chosen: &BTreeSet<Key>) -> Vec<(Key, String)> {
    let elements = chosen.iter().filter_map(|key| {
        let (set, element) = ipset::elements(key)?;
        Some((key.clone(), format!("add {set} {element}")))
    });
    elements.collect()
}

/// Reads the counters of `iptables-save -c`.
fn counters(text: &str) -> BTreeMap<(String, String, String), Count> {
    let mut counts = BTreeMap::new();
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        }
        let read = || {
            let (counts, rule) = line.strip_prefix('[')?.split_once("] -A ")?;
            let (packets, bytes) = counts.split_once(':')?;
            let (chain, rule) = rule.split_once(' ')?;
            let count = Count {
                packets: packets.parse().ok()?,
                bytes: bytes.parse().ok()?,
            };
            Some((chain, rule.trim_end(), count))
        };
        if let Some((chain, rule, count)) = read() {
            let place = (table.to_owned(), chain.to_owned(), rule.to_owned());
            counts.insert(place, count);
        }
    }
    counts
}

impl Iptables {
    /// What the base follows from.
    #[allow(clippy::unnecessary_wraps)] // as the other backend's
    pub(in crate::firewall) fn policy(&self) -> Option<&HostPolicy> {
        Some(&self.policy)
    }

    /// What is in force.
    pub(in crate::firewall) async fn in_force(&mut self) -> Result<InForce, SubsystemError> {
        let mut items = self.bridges.read_bridges()?;
        let listing = self.listing().await?;
        let found = listing.items();
        let damaged = items.remove(&Key::BaseRuleset) == Some(Value::Damaged);
        if damaged || !self.is_right(&listing, &found) {
            return Err(SubsystemError::Waits(
                "another program changed the rules; ask again when they are repaired".to_owned(),
            ));
        }
        items.extend(found);
        let (v4, _) = self.programs.text().await?;
        Ok(InForce {
            driver: FirewallDriver::Iptables,
            items,
            by_item: BTreeMap::new(),
            by_line: counters(&v4),
            generation: self.bridges.generation(),
            policy: self.policy.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_table_chain_and_rule() {
        let text = "*nat\n:OUTPUT ACCEPT [1:2]\n[3:180] -A OUTPUT -j nova-network-OUTPUT\n\
                    COMMIT\n*filter\n[0:0] -A OUTPUT -j nova-network-OUTPUT\nCOMMIT\n";
        let place = |table: &str| {
            let names = [table, "OUTPUT", "-j nova-network-OUTPUT"];
            let [table, chain, rule] = names.map(str::to_owned);
            (table, chain, rule)
        };
        let counts = counters(text);
        assert_eq!(counts.len(), 2);
        assert_eq!(counts[&place("nat")].packets, 3);
        assert_eq!(counts[&place("nat")].bytes, 180);
        assert_eq!(counts[&place("filter")].packets, 0);
    }
}
