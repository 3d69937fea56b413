//! Rules of iptables that follow from items, in the words of `iptables-save`: what is written can
//! be compared with what is listed. Pure; depends on the items and the base.

use super::ipset;
use super::names::{
    ACCEPTED, FALLBACK, FLOATING_SNAT, INSTANCE, LOCAL, OUTPUT, PREROUTING, Table, group_chain,
    instance_chain,
};
use crate::firewall::nft::item::{ElementKey, Key, Set, Value};
use crate::firewall::nft::layout::{group_comment, rule_comment, vpn_comment};
use crate::firewall::nft::types::Wanted;
use novanet_model::rule::{Ports, Source, Traffic};
use novanet_model::{CombinationId, GroupId, RuleId};
use std::net::Ipv4Addr;

/// The rules that one element is, each with its table and chain. They are independent of all
/// others.
pub(super) fn lines(key: &Key, value: &Value) -> Vec<(Table, &'static str, String)> {
    if let (Some((from, port)), Value::AddressPort(to, to_port)) = (forward(key), value) {
        let line = format!(
            "-d {from}/32 -p udp -m udp --dport {port} -j DNAT --to-destination {to}:{to_port}"
        );
        return vec![
            (Table::Nat, PREROUTING, line.clone()),
            (Table::Nat, OUTPUT, line),
        ];
    }
    let Key::Element(set, ElementKey::Address(from)) = key else {
        return Vec::new();
    };
    match (set, value) {
        (Set::FloatingToFixed, Value::Address(to)) => {
            let line = format!("-d {from}/32 -j DNAT --to-destination {to}");
            vec![
                (Table::Nat, PREROUTING, line.clone()),
                (Table::Nat, OUTPUT, line),
            ]
        }
        (Set::FixedToFloating, Value::Address(to)) => {
            let line = format!("-s {from}/32 -j SNAT --to-source {to}");
            vec![(Table::Nat, FLOATING_SNAT, line)]
        }
        (Set::PortGroups, Value::Number(instance)) => {
            let chain = instance_chain(CombinationId((*instance).into()));
            vec![(Table::Filter, LOCAL, format!("-d {from}/32 -g {chain}"))]
        }
        _ => Vec::new(),
    }
}

/// The public address and UDP port of a VPN.
fn forward(key: &Key) -> Option<(Ipv4Addr, u16)> {
    match key {
        Key::Element(Set::VpnForwards, ElementKey::AddressPort(from, port)) => Some((*from, *port)),
        _ => None,
    }
}

/// Reads the rule of a VPN's way in.
fn forward_item(line: &str) -> Option<(Key, Value)> {
    let (from, rest) = line
        .strip_prefix("-d ")?
        .split_once("/32 -p udp -m udp --dport ")?;
    let (port, to) = rest.split_once(" -j DNAT --to-destination ")?;
    let (to, to_port) = to.split_once(':')?;
    let element = ElementKey::AddressPort(from.parse().ok()?, port.parse().ok()?);
    let value = Value::AddressPort(to.parse().ok()?, to_port.parse().ok()?);
    Some((Key::Element(Set::VpnForwards, element), value))
}

/// Reads one of those rules. `None`: it is none of them.
pub(super) fn item(chain: &str, line: &str) -> Option<(Key, Value)> {
    if matches!(chain, PREROUTING | OUTPUT)
        && let Some(found) = forward_item(line)
    {
        return Some(found);
    }
    let mut words = line.split(' ');
    let mut word = |expected: &str| {
        words
            .next()
            .filter(|w| expected.is_empty() || *w == expected)
    };
    let (first, set, jump) = match chain {
        PREROUTING | OUTPUT => (
            "-d",
            Set::FloatingToFixed,
            ["-j", "DNAT", "--to-destination"],
        ),
        FLOATING_SNAT => ("-s", Set::FixedToFloating, ["-j", "SNAT", "--to-source"]),
        LOCAL => ("-d", Set::PortGroups, ["-g", "", ""]),
        _ => return None,
    };
    word(first)?;
    let from: Ipv4Addr = word("")?.strip_suffix("/32")?.parse().ok()?;
    word(jump[0])?;
    let value = if chain == LOCAL {
        Value::Number(word("")?.strip_prefix(INSTANCE)?.parse().ok()?)
    } else {
        word(jump[1])?;
        word(jump[2])?;
        Value::Address(word("")?.parse().ok()?)
    };
    let key = Key::Element(set, ElementKey::Address(from));
    let same = lines(&key, &value).into_iter().any(|(.., own)| own == line);
    same.then_some((key, value))
}

/// Why iptables cannot have this item.
pub(super) fn refusal(key: &Key, value: Option<&Value>) -> Option<String> {
    match value {
        Some(Value::Rule(traffic, _)) if is_impossible(*traffic) => Some(format!(
            "{key}: iptables has no word for ICMP type 255 (it means any there): allow another \
             type, or run this host with firewall_driver=nftables"
        )),
        _ => None,
    }
}

fn is_impossible(traffic: Traffic) -> bool {
    matches!(
        traffic,
        Traffic::Icmp {
            icmp_type: Some(255),
            ..
        }
    )
}

/// The rules of a group's chain: source groups, then the wall between projects, then addresses. See
/// the nftables backend's `script`.
pub(super) fn group_lines(group: GroupId, desired: &Wanted) -> Vec<String> {
    let rules = group_rules(group, desired).into_iter();
    rules.map(|(_, line)| line).collect()
}

/// The same, each with the rule of the group that it is.
pub(super) fn group_rules(group: GroupId, desired: &Wanted) -> Vec<(Option<RuleId>, String)> {
    let rules: Vec<(RuleId, Traffic, Source)> = desired
        .range(Key::Rule(group, RuleId(i64::MIN))..=Key::Rule(group, RuleId(i64::MAX)))
        .filter_map(|(key, value)| match (key, value) {
            (Key::Rule(_, rule), Value::Rule(traffic, source)) if !is_impossible(*traffic) => {
                Some((*rule, *traffic, *source))
            }
            _ => None,
        })
        .collect();
    let name = name_of(group, desired);
    let line = |(rule, traffic, source): &(RuleId, Traffic, Source)| {
        let comment = quoted(&rule_comment(group, name, *traffic, *source));
        let text = format!(
            "{}-m comment --comment {comment} -g {ACCEPTED}",
            match_text(*traffic, *source)
        );
        (Some(*rule), text)
    };
    let (by_group, by_address): (Vec<_>, Vec<_>) = rules
        .iter()
        .partition(|(_, _, source)| matches!(source, Source::Group(_)));
    let clients = match desired.get(&Key::GroupVpn(group)) {
        Some(Value::Clients(clients)) => Some(*clients),
        _ => None,
    };
    let comment = quoted(&vpn_comment(group, name));
    let clients = clients.map(|clients| {
        let text = format!(
            "-m iprange --src-range {clients} -m comment --comment {comment} -g {ACCEPTED}"
        );
        (None, text)
    });
    let mut lines: Vec<_> = clients.into_iter().collect();
    lines.extend(by_group.into_iter().map(line));
    if by_address.is_empty() {
        return lines;
    }
    let not_own = match desired.get(&Key::Group(group)) {
        Some(Value::Project(project)) => {
            let set = ipset::name(Set::Project(*project));
            format!(" -m set ! --match-set {set} src")
        }
        _ => String::new(), // its project is not known yet: no private address passes
    };
    for ours in [Set::Networks, Set::FixedIps] {
        let wall = format!(
            "-m set --match-set {} src{not_own} -m conntrack ! --ctstate DNAT -j RETURN",
            ipset::name(ours)
        );
        lines.push((None, wall));
    }
    lines.extend(by_address.into_iter().map(line));
    lines
}

/// The provider rules that these items are, each with its item.
pub(super) fn provider_rules(items: &Wanted) -> Vec<(Key, String)> {
    let rule = |(key, value): (&Key, &Value)| match (key, value) {
        (Key::Block(_), Value::Rule(traffic, source)) if !is_impossible(*traffic) => {
            let text = match_text(*traffic, *source);
            let line = format!(
                "{text}-m comment --comment {} -j DROP",
                quoted(&key.to_string())
            );
            Some((key.clone(), line))
        }
        _ => None,
    };
    items.iter().filter_map(rule).collect()
}

/// The rules of an instance's chain: a jump for each of its groups.
pub(super) fn instance_lines(instance: CombinationId, desired: &Wanted) -> Vec<String> {
    let groups = match desired.get(&Key::Combination(instance)) {
        Some(Value::Groups(groups)) => &groups[..],
        _ => &[],
    };
    let jump = |group: &GroupId| {
        let comment = quoted(&group_comment(*group, name_of(*group, desired)));
        format!("-m comment --comment {comment} -j {}", group_chain(*group))
    };
    let mut lines: Vec<String> = groups.iter().map(jump).collect();
    lines.push(format!("-g {FALLBACK}"));
    lines
}

fn name_of(group: GroupId, desired: &Wanted) -> Option<&str> {
    match desired.get(&Key::GroupName(group)) {
        Some(Value::Name(name)) => Some(name),
        _ => None,
    }
}

/// As `iptables-save` quotes a word.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("\"{text}\"")
    }
}

fn match_text(traffic: Traffic, source: Source) -> String {
    let (address, members) = match source {
        Source::Cidr(net) if net.prefix_len() == 0 => (String::new(), String::new()),
        Source::Cidr(net) => (format!("-s {} ", net.trunc()), String::new()),
        Source::Group(group) => {
            let set = ipset::name(Set::Members(group));
            (String::new(), format!("-m set --match-set {set} src "))
        }
    };
    let ports = |protocol: &str, ports: Ports| {
        let range = match (ports.from, ports.to) {
            (0, u16::MAX) => String::new(),
            (from, to) if from == to => format!("-m {protocol} --dport {from} "),
            (from, to) => format!("-m {protocol} --dport {from}:{to} "),
        };
        (format!("-p {protocol} "), range)
    };
    let (protocol, range) = match traffic {
        Traffic::Any => (String::new(), String::new()),
        Traffic::Tcp(range) => ports("tcp", range),
        Traffic::Udp(range) => ports("udp", range),
        Traffic::Icmp { icmp_type, code } => {
            let kind = match (icmp_type, code) {
                (None, _) => String::new(),
                (Some(t), None) => format!("-m icmp --icmp-type {t} "),
                (Some(t), Some(c)) => format!("-m icmp --icmp-type {t}/{c} "),
            };
            ("-p icmp ".to_owned(), kind)
        }
    };
    format!("{address}{protocol}{members}{range}")
}
