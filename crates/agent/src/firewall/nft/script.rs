//! Scripts for the `nft` program: chains of groups and combinations, and whole tables with their
//! elements. Only typed values are formatted, so nothing can be injected.

use super::super::item::{Key, Set, Slot, Value, combination_chain, group_chain};
use super::skeleton::{self, FAMILIES, Skeleton};
use crate::room::{Change, Desired};
use novanet_model::rule::{Ports, Source, Traffic};
use novanet_model::{CombinationId, GroupId, RuleId};
use std::collections::BTreeSet;
use std::fmt::Write as _;

type Wanted = Desired<Key, Value>;

/// Everything from nothing, in one transaction: what is there of ours is replaced at the same
/// moment, elements included.
pub(super) fn rebuild<'a>(
    skeleton: &Skeleton,
    generation: u16,
    desired: &Wanted,
    elements: impl Iterator<Item = (&'a Key, &'a Value)>,
) -> String {
    let mut script = remove();
    script.push_str(&skeleton.text(generation));
    declare(&mut script, desired.iter().map(|(key, _)| key));
    let (groups, combinations) = chains(desired.iter().map(|(key, _)| key));
    for group in groups {
        fill_group(&mut script, group, desired);
    }
    for combination in combinations {
        fill_combination(&mut script, combination, desired);
    }
    add_elements(&mut script, elements);
    script
}

/// Removes our tables, whether they are there or not (an `add` of a table that is there does
/// nothing, a `delete` of one that is not would fail).
pub(super) fn remove() -> String {
    FAMILIES.iter().fold(String::new(), |mut script, family| {
        let _ = writeln!(
            script,
            "add table {family} nova\ndelete table {family} nova"
        );
        script
    })
}

/// Changes of text and of elements in one transaction: sets and chains, what is in the chains,
/// elements, then what nobody wants any more.
pub(super) fn change(
    changes: &[Change<Key, Value>],
    desired: &Wanted,
    generation: Option<u16>,
) -> String {
    let mut script = String::new();
    let stays = |change: &&Change<Key, Value>| change.to.is_some();
    declare(
        &mut script,
        changes.iter().filter(stays).map(|change| &change.key),
    );
    let (groups, combinations) = chains(changes.iter().map(|change| &change.key));
    let (old_groups, groups): (Vec<_>, Vec<_>) = groups
        .into_iter()
        .partition(|group| desired.get(&Key::Chain(*group)).is_none());
    let (old_combinations, combinations): (Vec<_>, Vec<_>) = combinations
        .into_iter()
        .partition(|one| desired.get(&Key::Combination(*one)).is_none());
    for group in groups {
        let _ = writeln!(script, "flush chain ip nova {}", group_chain(group));
        fill_group(&mut script, group, desired);
    }
    for combination in combinations {
        let _ = writeln!(
            script,
            "flush chain ip nova {}",
            combination_chain(combination)
        );
        fill_combination(&mut script, combination, desired);
    }
    delete_elements(&mut script, changes, desired);
    add_elements(
        &mut script,
        changes
            .iter()
            .filter_map(|change| Some((&change.key, change.to.as_ref()?))),
    );
    drop_chains(&mut script, &old_groups, &old_combinations);
    for change in changes {
        if let (Key::Set(set), None) = (&change.key, &change.to) {
            let _ = writeln!(script, "delete set ip nova {}", set.name());
        }
    }
    if let Some(generation) = generation {
        script.push_str(&skeleton::generation_text(generation));
    }
    script
}

/// Chains that `keys` touch.
fn chains<'a>(keys: impl Iterator<Item = &'a Key>) -> (BTreeSet<GroupId>, BTreeSet<CombinationId>) {
    let (mut groups, mut combinations) = (BTreeSet::new(), BTreeSet::new());
    for key in keys {
        match key {
            Key::Chain(group) | Key::Group(group) | Key::Rule(group, _) => {
                groups.insert(*group);
            }
            Key::Combination(combination) => {
                combinations.insert(*combination);
            }
            Key::Skeleton | Key::Set(_) | Key::Element(..) => {}
        }
    }
    (groups, combinations)
}

/// Sets and chains, empty; nothing happens to those that are there.
fn declare<'a>(script: &mut String, keys: impl Iterator<Item = &'a Key>) {
    for key in keys {
        let _ = match key {
            Key::Set(set) => {
                writeln!(
                    script,
                    "add set ip nova {} {{ type ipv4_addr; }}",
                    set.name()
                )
            }
            Key::Chain(group) => writeln!(script, "add chain ip nova {}", group_chain(*group)),
            Key::Combination(one) => {
                writeln!(script, "add chain ip nova {}", combination_chain(*one))
            }
            _ => Ok(()),
        };
    }
}

/// Combinations first: they jump to groups.
fn drop_chains(script: &mut String, groups: &[GroupId], combinations: &[CombinationId]) {
    let names: Vec<_> = combinations
        .iter()
        .map(|one| combination_chain(*one))
        .chain(groups.iter().map(|group| group_chain(*group)))
        .collect();
    for name in &names {
        let _ = writeln!(script, "flush chain ip nova {name}");
    }
    for name in &names {
        let _ = writeln!(script, "delete chain ip nova {name}");
    }
}

/// The rules of a group: source groups, then the wall between projects, then addresses. Another
/// project's private address gets past the wall only by a source-group rule, or as somebody who
/// comes through a floating address.
fn fill_group(script: &mut String, group: GroupId, desired: &Wanted) {
    let chain = group_chain(group);
    let rules: Vec<(Traffic, Source)> = desired
        .range(Key::Rule(group, RuleId(i64::MIN))..=Key::Rule(group, RuleId(i64::MAX)))
        .filter_map(|(_, value)| match value {
            Value::Rule(traffic, source) => Some((*traffic, *source)),
            _ => None,
        })
        .collect();
    let mut add = |rule: String| {
        let _ = writeln!(script, "add rule ip nova {chain} {rule}");
    };
    let (by_group, by_address): (Vec<_>, Vec<_>) = rules
        .into_iter()
        .partition(|(_, source)| matches!(source, Source::Group(_)));
    for (traffic, source) in by_group {
        add(rule_text(traffic, source));
    }
    if by_address.is_empty() {
        return;
    }
    let not_own = match desired.get(&Key::Group(group)) {
        Some(Value::Project(project)) => {
            format!(" ip saddr != @{}", Set::Project(*project).name())
        }
        _ => String::new(), // whose it is, is not known yet: then nobody's private addresses
    };
    for ours in [Set::Networks, Set::Fixed] {
        add(format!(
            "ip saddr @{}{not_own} ct status & dnat != dnat return",
            ours.name()
        ));
    }
    for (traffic, source) in by_address {
        add(rule_text(traffic, source));
    }
}

fn fill_combination(script: &mut String, combination: CombinationId, desired: &Wanted) {
    let chain = combination_chain(combination);
    if let Some(Value::Groups(groups)) = desired.get(&Key::Combination(combination)) {
        for group in groups {
            let group = group_chain(*group);
            let _ = writeln!(script, "add rule ip nova {chain} jump {group}");
        }
    }
    let _ = writeln!(script, "add rule ip nova {chain} goto c_deny");
}

fn rule_text(traffic: Traffic, source: Source) -> String {
    let source = match source {
        Source::Cidr(net) if net.prefix_len() == 0 => String::new(),
        Source::Cidr(net) => format!("ip saddr {} ", net.trunc()),
        Source::Group(group) => format!("ip saddr @{} ", Set::Members(group).name()),
    };
    let ports = |protocol, ports: Ports| match (ports.from, ports.to) {
        (0, u16::MAX) => format!("meta l4proto {protocol} "),
        _ => format!("{protocol} dport {ports} "),
    };
    let traffic = match traffic {
        Traffic::Any => String::new(),
        Traffic::Tcp(range) => ports("tcp", range),
        Traffic::Udp(range) => ports("udp", range),
        Traffic::Icmp { icmp_type, code } => match (icmp_type, code) {
            (None, _) => "meta l4proto icmp ".to_owned(),
            (Some(t), None) => format!("icmp type {t} "),
            (Some(t), Some(c)) => format!("icmp type {t} icmp code {c} "),
        },
    };
    format!("{source}{traffic}goto c_accept")
}

/// Whether nft's language has words for it. What has none is foreign, and goes by netlink.
fn has_words(slot: &Slot) -> bool {
    !matches!(slot, Slot::Foreign(_))
}

fn delete_elements(script: &mut String, changes: &[Change<Key, Value>], desired: &Wanted) {
    for change in changes {
        let Key::Element(set, slot) = &change.key else {
            continue;
        };
        // A set that goes takes its elements along.
        let goes = matches!(set, Set::Members(_) | Set::Project(_))
            && desired.get(&Key::Set(*set)).is_none();
        if change.from.is_some() && has_words(slot) && !goes {
            let _ = writeln!(
                script,
                "delete element {} nova {} {{ {slot} }}",
                family(*set),
                set.name()
            );
        }
    }
}

/// One command for each set: a thousand elements in one are much cheaper than a thousand commands.
fn add_elements<'a>(script: &mut String, items: impl Iterator<Item = (&'a Key, &'a Value)>) {
    let mut current = None;
    for (key, value) in items {
        let Key::Element(set, slot) = key else {
            continue;
        };
        if !has_words(slot) {
            continue;
        }
        if current == Some(*set) {
            script.push_str(",\n\t");
        } else {
            if current.is_some() {
                script.push_str(" }\n");
            }
            let _ = write!(
                script,
                "add element {} nova {} {{ ",
                family(*set),
                set.name()
            );
            current = Some(*set);
        }
        let _ = write!(script, "{slot}");
        let _ = match value {
            Value::Address(address) => write!(script, " : {address}"),
            Value::Number(number) => write!(script, " : {number}"),
            Value::Goto(chain) => write!(script, " : goto {chain}"),
            _ => Ok(()),
        };
    }
    if current.is_some() {
        script.push_str(" }\n");
    }
}

fn family(set: Set) -> &'static str {
    if set.is_bridge() { "bridge" } else { "ip" }
}
