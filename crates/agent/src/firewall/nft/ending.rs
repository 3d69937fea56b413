//! How a chain of others ends for a packet that none of its rules was about: a firewall that lets
//! nothing through mostly says so by a last rule, and leaves the policy of the chain at accept.
//!
//! Only what holds for every packet counts: a rule that asks for something may be about others.

use crate::netlink::nfnetlink::{Received, big, text, walk};
use std::collections::{BTreeMap, BTreeSet};

const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const NAME: u16 = 1;
const DATA: u16 = 2;
const IMMEDIATE_DATA: u16 = 2;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const DROP: i32 = 0;
const ACCEPT: i32 = 1;
const JUMP: i32 = -3;
const GOTO: i32 = -4;
const RETURN: i32 = -5;

/// What a rule does with every packet that comes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// Nothing for certain: it asks for something, or only counts.
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
pub(super) struct Rules(BTreeMap<String, Vec<Fate>>);

impl Rules {
    /// Takes in one rule as the kernel lists it.
    pub(super) fn add(&mut self, rule: Received<'_>) {
        let part = |wanted| rule.attributes().find(|(kind, _)| *kind == wanted);
        if let (Some((_, chain)), Some((_, expressions))) =
            (part(RULE_CHAIN), part(RULE_EXPRESSIONS))
        {
            let fates = self.0.entry(text(chain)).or_default();
            fates.push(fate(expressions));
        }
    }

    /// Whether the chain drops what none of its rules is about.
    pub(super) fn drops(&self, chain: &str) -> bool {
        self.end_of(chain, &mut BTreeSet::new()) == Fate::Dropped
    }

    /// `Open`: the packet comes out at its end.
    fn end_of<'a>(&'a self, chain: &'a str, seen: &mut BTreeSet<&'a str>) -> Fate {
        // The kernel allows no loops, but the list may be of two moments.
        if !seen.insert(chain) {
            return Fate::Open;
        }
        for fate in self.0.get(chain).into_iter().flatten() {
            match fate {
                Fate::Open => {}
                Fate::Returned => return Fate::Open,
                Fate::Dropped | Fate::Accepted => return fate.clone(),
                Fate::Sent { to, for_good } => {
                    let end = self.end_of(to, seen);
                    if end != Fate::Open || *for_good {
                        return end;
                    }
                }
            }
        }
        Fate::Open
    }
}

fn fate(expressions: &[u8]) -> Fate {
    for (_, expression) in walk(expressions) {
        let part = |wanted| walk(expression).find(|(kind, _)| *kind == wanted);
        let name = part(NAME).map_or_else(String::new, |(_, name)| text(name));
        let data = part(DATA).map_or(&[][..], |(_, data)| data);
        match name.as_str() {
            "counter" | "log" => {}
            "reject" => return Fate::Dropped,
            "immediate" => return verdict(data),
            // Those of iptables: a comment asks for nothing, REJECT is a target.
            "match" if inner_name(data) == "comment" => {}
            "target" if inner_name(data) == "REJECT" => return Fate::Dropped,
            "target" if inner_name(data) == "LOG" => {}
            _ => return Fate::Open,
        }
    }
    Fate::Open
}

fn inner_name(data: &[u8]) -> String {
    let name = walk(data).find(|(kind, _)| *kind == NAME);
    name.map_or_else(String::new, |(_, name)| text(name))
}

fn verdict(immediate: &[u8]) -> Fate {
    let inner = |data, wanted| walk(data).find(|(kind, _)| *kind == wanted).map(|a| a.1);
    let verdict = inner(immediate, IMMEDIATE_DATA).and_then(|data| inner(data, DATA_VERDICT));
    let Some(verdict) = verdict else {
        return Fate::Open;
    };
    let to = inner(verdict, VERDICT_CHAIN).map(text);
    let code = inner(verdict, VERDICT_CODE).and_then(big);
    match (code.map(u32::cast_signed), to) {
        (Some(DROP), _) => Fate::Dropped,
        (Some(ACCEPT), _) => Fate::Accepted,
        (Some(RETURN), _) => Fate::Returned,
        (Some(JUMP), Some(to)) => Fate::Sent {
            to,
            for_good: false,
        },
        (Some(GOTO), Some(to)) => Fate::Sent { to, for_good: true },
        _ => Fate::Open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(chain: &str, for_good: bool) -> Fate {
        Fate::Sent {
            to: chain.to_owned(),
            for_good,
        }
    }

    fn drops(chains: &[(&str, &[Fate])]) -> bool {
        let chains = chains.iter();
        let chains = chains.map(|(name, fates)| ((*name).to_owned(), fates.to_vec()));
        Rules(chains.collect()).drops("in")
    }

    #[test]
    fn a_chain_ends_where_its_rules_send_everything() {
        use Fate::*;
        assert!(!drops(&[]));
        assert!(!drops(&[("in", &[Open])]));
        assert!(drops(&[("in", &[Open, Dropped])]));
        assert!(!drops(&[("in", &[Open, Accepted, Dropped])]));
        assert!(!drops(&[("in", &[Returned, Dropped])]));
        let zone: (&str, &[Fate]) = ("zone", &[Open, Dropped]);
        assert!(drops(&[("in", &[to("zone", false), Accepted]), zone]));
        assert!(drops(&[("in", &[to("a", false), Dropped]), ("a", &[Open])]));
        assert!(!drops(&[("in", &[to("a", true), Dropped]), ("a", &[Open])]));
        assert!(!drops(&[("in", &[to("in", false)])]));
    }
}
