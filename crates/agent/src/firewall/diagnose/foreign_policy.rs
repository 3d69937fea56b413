//! Foreign chains that are stricter than ours. A packet that our rules accept still passes every
//! other base chain, and a chain that drops it (a host firewall, a container engine) has the last
//! word. Depends on nfnetlink; reports the chain and the remedy, and changes nothing.

use super::chain_end::Rules;
use crate::netlink::nf_tables::{self, GET_CHAIN, GET_RULE, TABLE_NAME};
use crate::netlink::nfnetlink::{Received, Socket, big, text, walk};
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

const NAME: u16 = 3;
const HOOK: u16 = 4;
const POLICY: u16 = 5;
const HOOK_NUMBER: u16 = 1;
const DROP: u32 = 0;
/// Others may have thousands of rules, and nothing waits for this report.
const INTERVAL: Duration = Duration::from_secs(10);

/// Whether a table (by family and name) is ours.
pub(crate) type IsOurs = fn(u8, &str) -> bool;

/// A warning with its remedy, by the chain's name.
pub(crate) type Warnings = BTreeMap<String, String>;

/// The foreign policies of this host, as last observed. Logs each of them once.
#[derive(Debug)]
pub(crate) struct ForeignPolicies {
    /// Whether a table (by family and name) is ours.
    is_ours: IsOurs,
    warnings: Warnings,
    /// Time of the last observation, and the last transaction before it.
    observed: Option<(Instant, u32)>,
}

impl ForeignPolicies {
    /// Nothing is observed yet.
    pub(crate) fn new(is_ours: IsOurs) -> Self {
        Self {
            is_ours,
            warnings: Warnings::new(),
            observed: None,
        }
    }

    /// Foreign policies at the last observation.
    pub(crate) fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// Observes once more, at most every ten seconds and only after a transaction, and logs what is
    /// new.
    pub(crate) fn observe(&mut self, socket: &mut Socket) {
        let before = self.observed;
        if before.is_some_and(|(at, _)| at.elapsed() < INTERVAL) {
            return;
        }
        let found = nf_tables::generation(socket).and_then(|number| {
            self.observed = Some((Instant::now(), number));
            match before {
                Some((_, same)) if same == number => Ok(None),
                _ => list(socket, self.is_ours).map(Some),
            }
        });
        match found {
            Ok(None) => {}
            Ok(Some(found)) => {
                for (chain, warning) in &found {
                    if !self.warnings.contains_key(chain) {
                        tracing::warn!("{warning}");
                    }
                }
                self.warnings = found;
            }
            Err(error) => tracing::debug!(%error, "cannot list chains of others"),
        }
    }
}

/// A foreign base chain that packets of instances pass.
struct Chain {
    family: u8,
    table: String,
    name: String,
    hook: u32,
    drops: bool,
}

/// One warning for each foreign chain that drops packets that our rules accept.
pub(crate) fn list(socket: &mut Socket, is_ours: IsOurs) -> io::Result<Warnings> {
    const EVERY_FAMILY: u8 = 0;
    let chains = socket.dump(
        GET_CHAIN,
        EVERY_FAMILY,
        |_| {},
        |found: &mut Vec<Chain>, message| {
            found.extend(Chain::read(message).filter(|chain| !is_ours(chain.family, &chain.table)));
        },
    )?;
    let mut tables = BTreeMap::new();
    let mut found = Warnings::new();
    for chain in chains {
        if chain.drops {
            let warning = chain.warning("policy drop", "set its policy to accept");
            found.insert(chain.full_name(), warning);
            continue;
        }
        let table = (chain.family, chain.table.clone());
        let rules = match tables.remove(&table) {
            Some(rules) => rules,
            None => rules_of(socket, &table)?,
        };
        if rules.drops(&chain.name) {
            let warning = chain.warning("its last rule drops", "before that rule");
            found.insert(chain.full_name(), warning);
        }
        tables.insert(table, rules);
    }
    Ok(found)
}

fn rules_of(socket: &mut Socket, (family, table): &(u8, String)) -> io::Result<Rules> {
    socket.dump(
        GET_RULE,
        *family,
        |a| a.text(TABLE_NAME, table),
        |rules: &mut Rules, message| {
            let named = |(kind, name)| kind == TABLE_NAME && text(name) == *table;
            if message.family() == *family && message.attributes().any(named) {
                rules.add(message);
            }
        },
    )
}

impl Chain {
    /// `None`: no packet of an instance passes it.
    fn read(message: Received<'_>) -> Option<Self> {
        let part = |wanted| message.attributes().find(|(kind, _)| *kind == wanted);
        let table = text(part(TABLE_NAME)?.1);
        let hook = walk(part(HOOK)?.1).find(|(kind, _)| *kind == HOOK_NUMBER);
        let chain = Self {
            family: message.family(),
            name: text(part(NAME)?.1),
            hook: big(hook?.1)?,
            drops: big(part(POLICY)?.1)? == DROP,
            table,
        };
        (chain.family_word().is_some() && chain.hook_words().is_some()).then_some(chain)
    }

    fn family_word(&self) -> Option<&'static str> {
        match self.family {
            1 => Some("inet"),
            2 => Some("ip"),
            7 => Some("bridge"),
            _ => None, // instances have no IPv6
        }
    }

    /// The hook, and the traffic that it sees.
    fn hook_words(&self) -> Option<(&'static str, &'static str)> {
        const ALL: &str = "traffic of instances";
        match self.hook {
            0 => Some(("prerouting", ALL)),
            1 => Some(("input", "instances' DHCP, DNS and metadata")),
            2 => Some(("forward", ALL)),
            3 => Some((
                "output",
                "the host's answers to instances: DHCP, DNS and metadata",
            )),
            4 => Some(("postrouting", ALL)),
            _ => None,
        }
    }

    fn full_name(&self) -> String {
        let family = self.family_word().unwrap_or_default();
        format!("{family} {} {}", self.table, self.name)
    }

    fn warning(&self, how: &str, remedy: &str) -> String {
        let family = self.family_word().unwrap_or_default();
        let (hook, whom) = self.hook_words().unwrap_or_default();
        let Self { table, name, .. } = self;
        let or = if self.drops { ", or " } else { " " };
        format!(
            "the chain {family} {table} {name} (hook {hook}, {how}) is not ours and drops {whom} \
             unless a rule of it accepts them: allow them there (by interface: the networks' \
             bridges){or}{remedy}"
        )
    }
}
