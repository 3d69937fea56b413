//! What `iptables-save` lists: the rules of all chains, counters apart, and whether ours are as
//! they should be. Pure; depends on the rules and the base.

use super::base::{JUMPS, JUMPS6, TAG};
use super::ipset;
use super::names::{Chains, Jump, TOP, Table, is_built_in, is_ours, is_unordered, lines_are_right};
use super::rules::item;
use crate::firewall::nft::item::{ElementKey, Key, Set, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The rules of one family by table and chain, foreign ones too.
#[derive(Debug, Default, Clone)]
pub(super) struct Saved {
    /// Without `-A CHAIN` and without counters.
    pub(super) chains: Chains,
}

impl Saved {
    /// Reads what `iptables-save` prints. Tables that this backend does not use are left out.
    pub(super) fn read(text: &str) -> Self {
        let mut saved = Self::default();
        let mut table = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = Table::ALL.into_iter().find(|table| table.name() == name);
                continue;
            }
            let Some(table) = table else { continue };
            if let Some(chain) = line.strip_prefix(':') {
                let chain = chain.split(' ').next().unwrap_or_default();
                saved.chains.entry((table, chain.to_owned())).or_default();
            } else if let Some(rule) = line.strip_prefix("-A ") {
                let (chain, rule) = rule.split_once(' ').unwrap_or((rule, ""));
                let lines = saved.chains.entry((table, chain.to_owned())).or_default();
                lines.push(rule.trim_end().to_owned());
            }
        }
        saved
    }

    fn ours(&self) -> impl Iterator<Item = (&(Table, String), &Vec<String>)> {
        self.chains.iter().filter(|((_, chain), _)| is_ours(chain))
    }

    /// Whether chains with our names are there.
    pub(super) fn has_ours(&self) -> bool {
        self.ours().next().is_some()
    }

    fn has_tag(&self) -> bool {
        let top = self.chains.get(&(Table::Filter, TOP.to_owned()));
        top.is_some_and(|lines| lines.iter().any(|line| line == TAG))
    }

    /// A chain with a name and rules that are not novanet's, or may not be.
    pub(super) fn foreign(&self) -> Option<&str> {
        if self.has_tag() {
            return None;
        }
        let mut with_rules = self.ours().filter(|(_, lines)| !lines.is_empty());
        with_rules.next().map(|((_, chain), _)| &chain[..])
    }

    /// Whether our chains are exactly `wanted`, with the jumps in the first places.
    fn is_right(&self, wanted: &Chains, jumps: &[Jump]) -> bool {
        let ours: BTreeMap<_, _> = self.ours().collect();
        let same = ours.len() == wanted.len()
            && wanted.iter().all(|(place, lines)| {
                ours.get(place).is_some_and(|found| {
                    if is_unordered(&place.1) {
                        in_order(found) == in_order(lines)
                    } else {
                        *found == lines
                    }
                })
            });
        let jumps_there = jumps
            .iter()
            .all(|(table, chain, _)| self.chains.contains_key(&(*table, (*chain).to_owned())));
        let built_in = self
            .chains
            .iter()
            .filter(|((_, chain), _)| is_built_in(chain));
        let mut all = built_in.map(|((t, chain), lines)| ((*t, &chain[..]), lines));
        same && jumps_there && all.all(|(place, lines)| lines_are_right(place, lines, jumps))
    }
}

fn in_order(lines: &[String]) -> Vec<&String> {
    let mut all: Vec<_> = lines.iter().collect();
    all.sort_unstable();
    all
}

/// Everything of ours in the kernel, besides the bridge family.
#[derive(Debug, Default, Clone)]
pub(super) struct Listing {
    /// IPv4.
    pub(super) v4: Saved,
    /// IPv6.
    pub(super) v6: Saved,
    /// Sets.
    pub(super) sets: ipset::Saved,
}

impl Listing {
    /// Whether anything with our names is there.
    pub(super) fn has_ours(&self) -> bool {
        self.v4.has_ours() || self.v6.has_ours() || !self.sets.sets.is_empty()
    }

    /// The elements that are there: of sets, and the rules that stand for an element each.
    pub(super) fn items(&self) -> BTreeMap<Key, Value> {
        let mut items = self.sets.items();
        for ((_, chain), lines) in self.v4.ours() {
            items.extend(lines.iter().filter_map(|line| item(chain, line)));
        }
        items
    }

    /// Whether the rules are `v4` and `v6`, and the sets `sets`. Elements are not compared: they
    /// are items of their own.
    pub(super) fn is_right(&self, v4: &Chains, v6: &Chains, sets: &BTreeSet<String>) -> bool {
        self.v4.is_right(v4, &JUMPS)
            && self.v6.is_right(v6, &JUMPS6)
            && !self.sets.is_odd
            && self.sets.sets.keys().eq(sets)
            && self.sets.floating_fixed() == with_floating_ip(&self.items())
    }
}

fn with_floating_ip(items: &BTreeMap<Key, Value>) -> BTreeSet<std::net::Ipv4Addr> {
    let address = |key: &Key| match key {
        Key::Element(Set::FixedToFloating, ElementKey::Address(address)) => Some(*address),
        _ => None,
    };
    items.keys().filter_map(address).collect()
}
