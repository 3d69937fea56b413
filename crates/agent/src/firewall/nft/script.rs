//! Scripts for the `nft` program: chains of groups and combinations, and whole tables with their
//! elements. Formats typed values only, and reduces names to plain characters: no injection.

use super::base_ruleset::{self, BaseRuleset};
use super::element_text::{add_elements, delete_elements};
use super::families::Families;
use super::item::{Key, Set, Value};
use super::layout::{
    FAMILIES, PROVIDER_RULES, combination_chain, combination_comment, group_chain, group_comment,
    rule_comment, vpn_comment,
};
use super::types::Wanted;
use crate::firewall::policy::HostPolicy;
use novanet_model::rule::{Ports, Source, Traffic};
use novanet_model::{CombinationId, GroupId, RuleId};
use novanet_reconcile::Change;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Replaces our tables by new ones in one transaction, elements included.
pub(super) fn rebuild<'a>(
    base_ruleset: &BaseRuleset,
    generation: u16,
    desired: &Wanted,
    elements: impl Iterator<Item = (&'a Key, &'a Value)>,
) -> String {
    let mut script = remove();
    script.push_str(&base_ruleset.text(generation));
    if base_ruleset.families() == Families::Bridge {
        add_elements(
            &mut script,
            elements.filter(|(key, _)| matches!(key, Key::Element(set, _) if set.is_bridge())),
        );
        return script;
    }
    declare(&mut script, desired.iter().map(|(key, _)| key), desired);
    let (groups, combinations) = chains(desired.iter().map(|(key, _)| key));
    for group in groups {
        fill_group(&mut script, group, desired);
    }
    for combination in combinations {
        fill_combination(&mut script, combination, desired);
    }
    fill_provider_rules(&mut script, desired);
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

/// Changes of text and of elements in one transaction, in this order: new sets and chains, rules,
/// elements, removals of chains and sets.
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
        desired,
    );
    let (groups, combinations) = chains(changes.iter().map(|change| &change.key));
    // A chain is removed with its own item only, not with the last of its rules: after a failed and
    // retried removal the agent would not know that the chain is gone, and its removal would fail
    // for ever.
    let going: BTreeSet<GroupId> = changes
        .iter()
        .filter_map(|change| match (&change.key, &change.to) {
            (Key::Chain(group), None) => Some(*group),
            _ => None,
        })
        .collect();
    let (old_groups, groups): (Vec<_>, Vec<_>) =
        groups.into_iter().partition(|group| going.contains(group));
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
    if changes.iter().any(|c| matches!(c.key, Key::Block(_))) {
        let _ = writeln!(script, "flush chain ip nova {PROVIDER_RULES}");
        fill_provider_rules(&mut script, desired);
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
        script.push_str(&base_ruleset::generation_text(generation));
    }
    script
}

/// Groups and combinations whose chains `keys` touch.
pub(in crate::firewall) fn chains<'a>(
    keys: impl Iterator<Item = &'a Key>,
) -> (BTreeSet<GroupId>, BTreeSet<CombinationId>) {
    let (mut groups, mut combinations) = (BTreeSet::new(), BTreeSet::new());
    for key in keys {
        match key {
            Key::Chain(group)
            | Key::Group(group)
            | Key::GroupName(group)
            | Key::GroupVpn(group)
            | Key::Rule(group, _) => {
                groups.insert(*group);
            }
            Key::Combination(combination) => {
                combinations.insert(*combination);
            }
            Key::BaseRuleset | Key::Set(_) | Key::Block(_) | Key::Element(..) => {}
        }
    }
    (groups, combinations)
}

/// Sets and chains, empty; nothing happens to those that are there.
fn declare<'a>(script: &mut String, keys: impl Iterator<Item = &'a Key>, desired: &Wanted) {
    for key in keys {
        let _ = match key {
            Key::Set(set) => {
                let name = set.name();
                let comment = set.comment().unwrap_or_default();
                writeln!(
                    script,
                    "add set ip nova {name} {{ type ipv4_addr; comment \"{comment}\"; }}"
                )
            }
            Key::Chain(group) => {
                let name = group_chain(*group);
                let comment = group_comment(*group, name_of(*group, desired));
                writeln!(
                    script,
                    "add chain ip nova {name} {{ comment \"{comment}\"; }}"
                )
            }
            Key::Combination(one) => {
                let name = combination_chain(*one);
                let comment = combination_comment(groups_of(*one, desired));
                writeln!(
                    script,
                    "add chain ip nova {name} {{ comment \"{comment}\"; }}"
                )
            }
            _ => Ok(()),
        };
    }
}

fn name_of(group: GroupId, desired: &Wanted) -> Option<&str> {
    match desired.get(&Key::GroupName(group)) {
        Some(Value::Name(name)) => Some(name),
        _ => None,
    }
}

fn groups_of(combination: CombinationId, desired: &Wanted) -> &[GroupId] {
    match desired.get(&Key::Combination(combination)) {
        Some(Value::Groups(groups)) => groups,
        _ => &[],
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
/// project's private address passes the wall by a rule with a source group or through a floating
/// IP, and not otherwise.
fn fill_group(script: &mut String, group: GroupId, desired: &Wanted) {
    let chain = group_chain(group);
    for (_, rule) in group_rules(group, desired) {
        let _ = writeln!(script, "add rule ip nova {chain} {rule}");
    }
}

/// The rules of a group's chain, each with the rule of the group that it is.
pub(super) fn group_rules(group: GroupId, desired: &Wanted) -> Vec<(Option<RuleId>, String)> {
    let rules: Vec<(RuleId, Traffic, Source)> = desired
        .range(Key::Rule(group, RuleId(i64::MIN))..=Key::Rule(group, RuleId(i64::MAX)))
        .filter_map(|(key, value)| match (key, value) {
            (Key::Rule(_, rule), Value::Rule(traffic, source)) => Some((*rule, *traffic, *source)),
            _ => None,
        })
        .collect();
    let name = name_of(group, desired);
    let with_comment = |(rule, traffic, source)| {
        let comment = rule_comment(group, name, traffic, source);
        let text = rule_text(traffic, source);
        (Some(rule), format!("{text} comment \"{comment}\""))
    };
    let clients = match desired.get(&Key::GroupVpn(group)) {
        Some(Value::Clients(clients)) => {
            let comment = vpn_comment(group, name);
            let rule = format!("ip saddr {clients} goto accepted comment \"{comment}\"");
            Some((None, rule))
        }
        _ => None,
    };
    let (by_group, by_address): (Vec<_>, Vec<_>) = rules
        .into_iter()
        .partition(|(_, _, source)| matches!(source, Source::Group(_)));
    let mut lines: Vec<_> = clients.into_iter().collect();
    lines.extend(by_group.into_iter().map(with_comment));
    if by_address.is_empty() {
        return lines;
    }
    let not_own = match desired.get(&Key::Group(group)) {
        Some(Value::Project(project)) => {
            format!(" ip saddr != @{}", Set::Project(*project).name())
        }
        _ => String::new(), // its project is not known yet: no private address passes
    };
    for ours in [Set::Networks, Set::FixedIps] {
        let wall = format!(
            "ip saddr @{}{not_own} ct status & dnat != dnat return",
            ours.name()
        );
        lines.push((None, wall));
    }
    lines.extend(by_address.into_iter().map(with_comment));
    lines
}

/// The base ruleset of such a host.
pub(in crate::firewall) fn base_text(policy: &HostPolicy, generation: u16) -> String {
    BaseRuleset::new(policy.clone()).text(generation)
}

/// What an item is in nft's words, as commands: a chain is all its rules, each with the item that
/// it is.
pub(in crate::firewall) fn lines(key: &Key, desired: &Wanted) -> Vec<(Key, String)> {
    let mut script = String::new();
    match key {
        Key::Set(_) => declare(&mut script, std::iter::once(key), desired),
        Key::Chain(group) => {
            declare(&mut script, std::iter::once(key), desired);
            let mut all = vec![(key.clone(), script.trim_end().to_owned())];
            let chain = group_chain(*group);
            all.extend(
                group_rules(*group, desired)
                    .into_iter()
                    .map(|(rule, text)| {
                        let item = rule.map_or_else(|| key.clone(), |rule| Key::Rule(*group, rule));
                        (item, format!("add rule ip nova {chain} {text}"))
                    }),
            );
            return all;
        }
        Key::Combination(one) => {
            declare(&mut script, std::iter::once(key), desired);
            fill_combination(&mut script, *one, desired);
        }
        Key::Block(_) => {
            let value = desired.get(key).cloned();
            let one = Wanted::new(
                value
                    .into_iter()
                    .map(|value| (key.clone(), value))
                    .collect(),
            );
            fill_provider_rules(&mut script, &one);
        }
        Key::Element(..) => {
            let value = desired.get(key).into_iter();
            add_elements(&mut script, value.map(|value| (key, value)));
        }
        _ => {}
    }
    let each = script.lines().map(|line| (key.clone(), line.to_owned()));
    each.collect()
}

fn fill_provider_rules(script: &mut String, desired: &Wanted) {
    for (key, value) in desired.iter() {
        if let (Key::Block(_), Value::Rule(traffic, source)) = (key, value) {
            let text = match_text(*traffic, *source);
            let rule = format!("{text}counter drop comment \"{key}\"");
            let _ = writeln!(script, "add rule ip nova {PROVIDER_RULES} {rule}");
        }
    }
}

fn fill_combination(script: &mut String, combination: CombinationId, desired: &Wanted) {
    let chain = combination_chain(combination);
    for group in groups_of(combination, desired) {
        let comment = group_comment(*group, name_of(*group, desired));
        let group = group_chain(*group);
        let _ = writeln!(
            script,
            "add rule ip nova {chain} jump {group} comment \"{comment}\""
        );
    }
    let _ = writeln!(script, "add rule ip nova {chain} goto denied");
}

fn rule_text(traffic: Traffic, source: Source) -> String {
    format!("{}counter goto accepted", match_text(traffic, source))
}

fn match_text(traffic: Traffic, source: Source) -> String {
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
    format!("{source}{traffic}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::nft::item::items_of_object;
    use novanet_model::HostObject;
    use novanet_reconcile::{Desired, diff};
    use std::collections::BTreeMap;

    /// As it comes from the server.
    const OBJECTS: &str = r#"[
        {"kind":"gateway","network":1,"bridge":"br100","address":"10.0.0.1/24"},
        {"kind":"float","address":"203.0.113.13","fixed":"10.0.0.3","interface":null},
        {"kind":"group","group":1,"project":1,"name":"web","vpn_clients":{"first":"10.0.0.250","last":"10.0.0.251"}},
        {"kind":"rule","rule":1,"group":1,"traffic":{"protocol":"any"},"source":{"group":1}},
        {"kind":"rule","rule":2,"group":1,"traffic":{"protocol":"tcp","from":22,"to":22},"source":{"cidr":"0.0.0.0/0"}},
        {"kind":"rule","rule":3,"group":1,"traffic":{"protocol":"icmp","icmp_type":8,"code":null},"source":{"cidr":"192.0.2.7/24"}},
        {"kind":"rule","rule":4,"group":1,"traffic":{"protocol":"icmp","icmp_type":3,"code":4},"source":{"cidr":"0.0.0.0/0"}},
        {"kind":"rule","rule":5,"group":1,"traffic":{"protocol":"icmp","icmp_type":null,"code":null},"source":{"group":7}},
        {"kind":"rule","rule":6,"group":1,"traffic":{"protocol":"udp","from":0,"to":65535},"source":{"cidr":"192.0.2.1/32"}},
        {"kind":"rule","rule":7,"group":1,"traffic":{"protocol":"tcp","from":8000,"to":8099},"source":{"cidr":"0.0.0.0/0"}},
        {"kind":"member","group":1,"address":"10.0.0.3"},
        {"kind":"project_address","project":1,"address":"10.0.0.3"},
        {"kind":"port","instance":3,"index":0,"network":1,"name":"nv3","bridge":"br100","mac":"02:16:3e:00:00:03","address":"10.0.0.3","combination":5,"groups":[1,2]},
        {"kind":"port","instance":2,"index":0,"network":1,"name":"nv2","bridge":"br100","mac":"02:16:3e:00:00:02","address":"10.0.0.2","combination":5,"groups":[1,2],"vpn_clients":{"first":"10.0.0.250","last":"10.0.0.251"}},
        {"kind":"vpn_forward","network":1,"address":"203.0.113.1","port":1000,"to_address":"10.0.0.2","to_port":1194}
    ]"#;

    fn desired(objects: &[HostObject], base_ruleset: &BaseRuleset) -> Wanted {
        let mut desired = Desired::new(vec![(
            Key::BaseRuleset,
            Value::BaseRuleset(base_ruleset.digest()),
        )]);
        for object in objects {
            desired.set_object(&object.key(), items_of_object(object));
        }
        desired
    }

    fn objects() -> Vec<HostObject> {
        serde_json::from_str(OBJECTS).expect("objects")
    }

    #[test]
    fn a_host_is_written_in_one_script() {
        let base_ruleset = BaseRuleset::example();
        let desired = desired(&objects(), &base_ruleset);
        insta::assert_snapshot!(rebuild(&base_ruleset, 1, &desired, desired.iter()));
    }

    #[test]
    fn a_change_touches_its_own_chains_and_elements_only() {
        let base_ruleset = BaseRuleset::example();
        let before = desired(&objects(), &base_ruleset);
        let observed: BTreeMap<Key, Value> =
            before.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        // A rule less, a float elsewhere, the instance in another combination.
        let mut objects = objects();
        objects.retain(|object| object.key().0 != "rule/1/5");
        for object in &mut objects {
            match object {
                HostObject::Port(port) => {
                    port.combination = CombinationId(6);
                    port.groups = vec![GroupId(1)];
                }
                HostObject::FloatingIp(float) => float.fixed = std::net::Ipv4Addr::new(10, 0, 0, 4),
                _ => {}
            }
        }
        let after = desired(&objects, &base_ruleset);
        insta::assert_snapshot!(change(&diff(&after, &observed), &after, Some(2)));
    }
}
