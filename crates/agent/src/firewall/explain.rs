//! Says whether a packet from one address to another passes, and which rule decides or is missing:
//! what the rules of every backend do, as a function of the items. Pure; depends on the items.

use super::nft::item::{ElementKey, Key, Set, Value};
use super::nft::types::Wanted;
use super::policy::HostPolicy;
use novanet_model::rule::{Ports, Source, Traffic};
use novanet_model::wire::{Explanation, Packet, PacketEnd};
use novanet_model::{GroupId, InstanceId, RuleId};
use novanet_reconcile::{Origin, SubsystemError};
use std::net::Ipv4Addr;

/// AWS's word for a group without a matching rule (VPC Reachability Analyzer).
const NO_RULE: &str = "ENI_SG_RULES_MISMATCH";

/// Whether this packet passes. `desired` are the items of one host.
pub(super) fn explain(
    desired: &Wanted,
    policy: &HostPolicy,
    packet: Packet,
) -> Result<Explanation, SubsystemError> {
    let host = Host(desired);
    let from = host.address(packet.from)?;
    let to = host.address(packet.to)?;
    let floating = host.element(Set::FloatingToFixed, to);
    let (fixed, translated) = match floating {
        Some(Value::Address(fixed)) => (*fixed, true),
        _ => (to, false),
    };
    let way = if translated {
        format!("floating IP {to} leads to {fixed}; ")
    } else {
        String::new()
    };
    let (allowed, code, why) = host.verdict(policy, packet.traffic, (from, fixed), translated);
    Ok(Explanation {
        allowed,
        code: code.map(str::to_owned),
        why: format!("{way}{why}"),
    })
}

/// Whether it passes, AWS's code if it does not, and why.
type Verdict = (bool, Option<&'static str>, String);

fn denied(code: Option<&'static str>, why: String) -> Verdict {
    (false, code, why)
}

struct Host<'a>(&'a Wanted);

impl Host<'_> {
    fn element(&self, set: Set, address: Ipv4Addr) -> Option<&Value> {
        self.0.get(&Key::Element(set, ElementKey::Address(address)))
    }

    fn has(&self, set: Set, address: Ipv4Addr) -> bool {
        self.element(set, address).is_some()
    }

    fn in_networks(&self, address: Ipv4Addr) -> bool {
        self.0.iter().any(|(key, _)| match key {
            Key::Element(Set::Networks, ElementKey::Range(first, last)) => {
                (*first..=*last).contains(&address)
            }
            _ => false,
        })
    }

    /// The address of an end: an instance's first one on this host.
    fn address(&self, end: PacketEnd) -> Result<Ipv4Addr, SubsystemError> {
        let instance = match end {
            PacketEnd::Address(address) => return Ok(address),
            PacketEnd::Instance(instance) => instance,
        };
        let port = format!("port/{}/", instance.0);
        let is_of_port = |key: &Key| {
            let mut origins = self.0.origins(key);
            origins.any(|origin| matches!(origin, Origin::Object(o) if o.0.starts_with(&port)))
        };
        let mut addresses = self.0.iter().filter_map(|(key, _)| match key {
            Key::Element(Set::FixedIps, ElementKey::Address(address)) if is_of_port(key) => {
                Some(*address)
            }
            _ => None,
        });
        addresses.next().ok_or_else(|| unknown(instance))
    }

    fn verdict(
        &self,
        policy: &HostPolicy,
        traffic: Traffic,
        (from, to): (Ipv4Addr, Ipv4Addr),
        translated: bool,
    ) -> Verdict {
        if let Some(block) = self.provider_rule(traffic, from) {
            return denied(
                Some("FIREWALL_RULES_RESTRICTION"),
                format!("{block} drops it"),
            );
        }
        if let Some(block) = self.provider_rule(answer(traffic), to) {
            let why = format!("{block} drops the answers of {to}");
            return denied(Some("FIREWALL_RULES_RESTRICTION"), why);
        }
        if !self.has(Set::FixedIps, to) {
            return self.without_port(policy, (from, to));
        }
        let Some(Value::Number(number)) = self.element(Set::PortGroups, to) else {
            return denied(Some(NO_RULE), format!("{to} has no security group"));
        };
        let combination = Key::Combination(novanet_model::CombinationId((*number).into()));
        let groups = match self.0.get(&combination) {
            Some(Value::Groups(groups)) => &groups[..],
            _ => &[],
        };
        for group in groups {
            if let Some(rule) = self.accepting(*group, traffic, from, translated) {
                let name = self.name(*group);
                return (true, None, format!("rule {rule} of {name} accepts it"));
            }
        }
        let names: Vec<String> = groups.iter().map(|group| self.name(*group)).collect();
        let hidden = groups.iter().find(|group| {
            !translated
                && self.is_elsewhere(**group, from)
                && self.by_address(**group, traffic, from)
        });
        let why = match hidden {
            Some(group) => format!(
                "rules by address do not open {to} to private addresses of other projects, and \
                 {from} is one: a rule with a source group is missing in {}",
                self.name(*group)
            ),
            None if names.is_empty() => format!("{to} is in no security group"),
            None => format!("no rule of {} accepts it from {from}", names.join(", ")),
        };
        denied(Some(NO_RULE), why)
    }

    /// To an address that no instance of this host has.
    fn without_port(&self, policy: &HostPolicy, (from, to): (Ipv4Addr, Ipv4Addr)) -> Verdict {
        let is_own = self.has(Set::FixedIps, from);
        if self.in_networks(to) {
            let why = format!("{to} is an address of a network, but of no instance on this host");
            return denied(None, why + ": ask the host of the instance");
        }
        if !is_own {
            let why = format!("neither {from} nor {to} is of an instance on this host");
            return denied(None, why);
        }
        match policy.blocked.iter().find(|net| net.contains(&to)) {
            Some(net) => denied(None, format!("instances do not reach {net} (blocked_cidr)")),
            None => (true, None, "everything may leave an instance".to_owned()),
        }
    }

    fn provider_rule(&self, traffic: Traffic, from: Ipv4Addr) -> Option<Key> {
        let mut all = self.0.iter();
        let found = all.find(|(key, value)| match (key, value) {
            (Key::Block(_), Value::Rule(rule, Source::Cidr(net))) => {
                net.contains(&from) && covers(*rule, traffic)
            }
            _ => false,
        });
        found.map(|(key, _)| key.clone())
    }

    fn rules(&self, group: GroupId) -> impl Iterator<Item = (RuleId, Traffic, Source)> {
        let range = Key::Rule(group, RuleId(i64::MIN))..=Key::Rule(group, RuleId(i64::MAX));
        self.0
            .range(range)
            .filter_map(|(key, value)| match (key, value) {
                (Key::Rule(_, rule), Value::Rule(traffic, source)) => {
                    Some((*rule, *traffic, *source))
                }
                _ => None,
            })
    }

    /// The rule of a group that accepts, in the order of its chain: source groups, then the wall
    /// between projects, then addresses.
    fn accepting(
        &self,
        group: GroupId,
        traffic: Traffic,
        from: Ipv4Addr,
        translated: bool,
    ) -> Option<RuleId> {
        let by_group = self.rules(group).find(|(_, rule, source)| match source {
            Source::Group(members) => {
                self.has(Set::Members(*members), from) && covers(*rule, traffic)
            }
            Source::Cidr(_) => false,
        });
        if let Some((rule, ..)) = by_group {
            return Some(rule);
        }
        if !translated && self.is_elsewhere(group, from) {
            return None;
        }
        let mut rules = self.rules(group);
        let by_address = rules.find(|(_, rule, source)| match source {
            Source::Cidr(net) => net.trunc().contains(&from) && covers(*rule, traffic),
            Source::Group(_) => false,
        });
        by_address.map(|(rule, ..)| rule)
    }

    fn by_address(&self, group: GroupId, traffic: Traffic, from: Ipv4Addr) -> bool {
        self.rules(group).any(|(_, rule, source)| match source {
            Source::Cidr(net) => net.trunc().contains(&from) && covers(rule, traffic),
            Source::Group(_) => false,
        })
    }

    /// Whether an address is one of ours and not of the group's project.
    fn is_elsewhere(&self, group: GroupId, from: Ipv4Addr) -> bool {
        let of_ours = self.in_networks(from) || self.has(Set::FixedIps, from);
        let of_project = match self.0.get(&Key::Group(group)) {
            Some(Value::Project(project)) => self.has(Set::Project(*project), from),
            _ => false,
        };
        of_ours && !of_project
    }

    fn name(&self, group: GroupId) -> String {
        match self.0.get(&Key::GroupName(group)) {
            Some(Value::Name(name)) => format!("{group} {}", name.escape_default()),
            _ => group.to_string(),
        }
    }
}

/// What comes back: to any port, as nothing says which one the sender has.
fn answer(traffic: Traffic) -> Traffic {
    let every = Ports {
        from: 1,
        to: u16::MAX,
    };
    match traffic {
        Traffic::Tcp(_) => Traffic::Tcp(every),
        Traffic::Udp(_) => Traffic::Udp(every),
        Traffic::Icmp { .. } => Traffic::Icmp {
            icmp_type: Some(0),
            code: Some(0),
        },
        Traffic::Any => Traffic::Any,
    }
}

/// Whether a rule is about this traffic, whose ICMP type and code are known.
fn covers(rule: Traffic, traffic: Traffic) -> bool {
    match (rule, traffic) {
        (Traffic::Any, _) => true,
        (Traffic::Tcp(range), Traffic::Tcp(port)) | (Traffic::Udp(range), Traffic::Udp(port)) => {
            range.from <= port.from && port.to <= range.to
        }
        (
            Traffic::Icmp { icmp_type, code },
            Traffic::Icmp {
                icmp_type: sent,
                code: with,
            },
        ) => (icmp_type.is_none() || icmp_type == sent) && (code.is_none() || code == with),
        _ => false,
    }
}

fn unknown(instance: InstanceId) -> SubsystemError {
    SubsystemError::Refused(format!(
        "{instance}: no port of it is on this host (nova-manage vm list shows its host)"
    ))
}
