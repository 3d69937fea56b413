//! The verdict of a foreign chain on a packet that matches none of its rules. Many firewalls leave
//! a chain's policy at accept and drop the rest by a last rule. Depends on nfnetlink only.
//!
//! Only rules without a condition count: a rule with one may be about other packets.

use crate::netlink::nf_tables::{DATA_VERDICT, GOTO, VERDICT_CHAIN, VERDICT_CODE};
use crate::netlink::nfnetlink::{Received, big, text, walk};
use std::collections::{BTreeMap, BTreeSet};

const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const NAME: u16 = 1;
const DATA: u16 = 2;
const IMMEDIATE_DATA: u16 = 2;
const DROP: i32 = 0;
const ACCEPT: i32 = 1;
const JUMP: i32 = -3;
const RETURN: i32 = -5;

/// What a rule does with every packet that reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    /// Nothing for certain: it has a condition, or only counts.
    Open,
    Dropped,
    Accepted,
    Returned,
    Sent {
        to: String,
        for_good: bool,
    },
}

/// The rules of one table, by chain.
#[derive(Debug, Default)]
pub(super) struct Rules(BTreeMap<String, Vec<Verdict>>);

impl Rules {
    /// Adds one rule as the kernel lists it.
    pub(super) fn add(&mut self, rule: Received<'_>) {
        let part = |wanted| rule.attributes().find(|(kind, _)| *kind == wanted);
        if let (Some((_, chain)), Some((_, expressions))) =
            (part(RULE_CHAIN), part(RULE_EXPRESSIONS))
        {
            let verdicts = self.0.entry(text(chain)).or_default();
            verdicts.push(verdict_of_rule(expressions));
        }
    }

    /// Whether the chain drops a packet that no condition of its rules matches.
    pub(super) fn drops(&self, chain: &str) -> bool {
        self.end_of(chain, &mut BTreeSet::new()) == Verdict::Dropped
    }

    /// `Open`: the packet reaches the end of the chain.
    fn end_of<'a>(&'a self, chain: &'a str, seen: &mut BTreeSet<&'a str>) -> Verdict {
        // The kernel allows no loops, but the list may be of two moments.
        if !seen.insert(chain) {
            return Verdict::Open;
        }
        for verdict in self.0.get(chain).into_iter().flatten() {
            match verdict {
                Verdict::Open => {}
                Verdict::Returned => return Verdict::Open,
                Verdict::Dropped | Verdict::Accepted => return verdict.clone(),
                Verdict::Sent { to, for_good } => {
                    let end = self.end_of(to, seen);
                    if end != Verdict::Open || *for_good {
                        return end;
                    }
                }
            }
        }
        Verdict::Open
    }
}

fn verdict_of_rule(expressions: &[u8]) -> Verdict {
    for (_, expression) in walk(expressions) {
        let part = |wanted| walk(expression).find(|(kind, _)| *kind == wanted);
        let name = part(NAME).map_or_else(String::new, |(_, name)| text(name));
        let data = part(DATA).map_or(&[][..], |(_, data)| data);
        match name.as_str() {
            "counter" | "log" => {}
            "reject" => return Verdict::Dropped,
            "immediate" => return immediate_verdict(data),
            // Expressions of iptables: a comment is no condition, REJECT is a target.
            "match" if inner_name(data) == "comment" => {}
            "target" if inner_name(data) == "REJECT" => return Verdict::Dropped,
            "target" if inner_name(data) == "LOG" => {}
            _ => return Verdict::Open,
        }
    }
    Verdict::Open
}

fn inner_name(data: &[u8]) -> String {
    let name = walk(data).find(|(kind, _)| *kind == NAME);
    name.map_or_else(String::new, |(_, name)| text(name))
}

fn immediate_verdict(immediate: &[u8]) -> Verdict {
    let inner = |data, wanted| walk(data).find(|(kind, _)| *kind == wanted).map(|a| a.1);
    let verdict = inner(immediate, IMMEDIATE_DATA).and_then(|data| inner(data, DATA_VERDICT));
    let Some(verdict) = verdict else {
        return Verdict::Open;
    };
    let to = inner(verdict, VERDICT_CHAIN).map(text);
    let code = inner(verdict, VERDICT_CODE).and_then(big);
    match (code.map(u32::cast_signed), to) {
        (Some(DROP), _) => Verdict::Dropped,
        (Some(ACCEPT), _) => Verdict::Accepted,
        (Some(RETURN), _) => Verdict::Returned,
        (Some(JUMP), Some(to)) => Verdict::Sent {
            to,
            for_good: false,
        },
        (Some(GOTO), Some(to)) => Verdict::Sent { to, for_good: true },
        _ => Verdict::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(chain: &str, for_good: bool) -> Verdict {
        Verdict::Sent {
            to: chain.to_owned(),
            for_good,
        }
    }

    fn drops(chains: &[(&str, &[Verdict])]) -> bool {
        let chains = chains.iter();
        let chains = chains.map(|(name, verdicts)| ((*name).to_owned(), verdicts.to_vec()));
        Rules(chains.collect()).drops("in")
    }

    #[test]
    fn a_chain_ends_where_its_rules_send_everything() {
        use Verdict::*;
        assert!(!drops(&[]));
        assert!(!drops(&[("in", &[Open])]));
        assert!(drops(&[("in", &[Open, Dropped])]));
        assert!(!drops(&[("in", &[Open, Accepted, Dropped])]));
        assert!(!drops(&[("in", &[Returned, Dropped])]));
        let zone: (&str, &[Verdict]) = ("zone", &[Open, Dropped]);
        assert!(drops(&[("in", &[to("zone", false), Accepted]), zone]));
        assert!(drops(&[("in", &[to("a", false), Dropped]), ("a", &[Open])]));
        assert!(!drops(&[("in", &[to("a", true), Dropped]), ("a", &[Open])]));
        assert!(!drops(&[("in", &[to("in", false)])]));
    }
}
