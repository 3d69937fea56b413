//! Rules of others that are stricter than ours: a packet that we accept still passes every other base
//! chain, and one whose policy is to drop (a host firewall, a container engine) ends it there. We
//! never touch what is not ours; we say what to do.

use super::dump;
use super::ending::Rules;
use super::layout::TABLE;
use crate::netlink::nfnetlink::{Received, Socket, big, text, walk};
use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

const NAME: u16 = 3;
const HOOK: u16 = 4;
const POLICY: u16 = 5;
const HOOK_NUMBER: u16 = 1;
const DROP: u32 = 0;
/// Others may have thousands of rules; what is told here hurries nobody.
const EVERY: Duration = Duration::from_secs(10);

/// What is in the way, by the chain's name.
pub(super) type Troubles = BTreeMap<String, String>;

/// Remembers what it has told, so that every thing is logged once.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    told: Troubles,
    /// When it looked last, and after which transaction.
    looked: Option<(Instant, u32)>,
}

impl Foreign {
    /// What was in the way at the last look.
    pub(super) fn troubles(&self) -> &Troubles {
        &self.told
    }

    /// Warns of what is new since the last look.
    pub(super) fn look(&mut self, socket: &mut Socket) {
        let before = self.looked;
        if before.is_some_and(|(at, _)| at.elapsed() < EVERY) {
            return;
        }
        let found = dump::generation(socket).and_then(|number| {
            self.looked = Some((Instant::now(), number));
            match before {
                Some((_, same)) if same == number => Ok(None),
                _ => troubles(socket).map(Some),
            }
        });
        match found {
            Ok(None) => {}
            Ok(Some(found)) => {
                for (chain, trouble) in &found {
                    if !self.told.contains_key(chain) {
                        tracing::warn!("{trouble}");
                    }
                }
                self.told = found;
            }
            Err(error) => tracing::debug!(%error, "cannot list chains of others"),
        }
    }
}

/// A chain of somebody else that packets of ours come through.
struct Chain {
    family: u8,
    table: String,
    name: String,
    hook: u32,
    drops: bool,
}

/// One text for each chain of others that drops what we would let through.
pub(super) fn troubles(socket: &mut Socket) -> io::Result<Troubles> {
    const EVERY_FAMILY: u8 = 0;
    let chains = socket.dump(
        dump::GET_CHAIN,
        EVERY_FAMILY,
        |_| {},
        |found: &mut Vec<Chain>, message| found.extend(Chain::read(message)),
    )?;
    let mut tables = BTreeMap::new();
    let mut found = Troubles::new();
    for chain in chains {
        if chain.drops {
            let trouble = chain.trouble("policy drop", "set its policy to accept");
            found.insert(chain.full_name(), trouble);
            continue;
        }
        let table = (chain.family, chain.table.clone());
        let rules = match tables.remove(&table) {
            Some(rules) => rules,
            None => rules_of(socket, &table)?,
        };
        if rules.drops(&chain.name) {
            let trouble = chain.trouble("its last rule drops", "before that rule");
            found.insert(chain.full_name(), trouble);
        }
        tables.insert(table, rules);
    }
    Ok(found)
}

fn rules_of(socket: &mut Socket, (family, table): &(u8, String)) -> io::Result<Rules> {
    socket.dump(
        dump::GET_RULE,
        *family,
        |a| a.text(dump::TABLE_NAME, table),
        |rules: &mut Rules, message| {
            let named = |(kind, name)| kind == dump::TABLE_NAME && text(name) == *table;
            if message.family() == *family && message.attributes().any(named) {
                rules.add(message);
            }
        },
    )
}

impl Chain {
    /// `None`: it is ours, or nothing of ours comes through it.
    fn read(message: Received<'_>) -> Option<Self> {
        let part = |wanted| message.attributes().find(|(kind, _)| *kind == wanted);
        let table = text(part(dump::TABLE_NAME)?.1);
        let hook = walk(part(HOOK)?.1).find(|(kind, _)| *kind == HOOK_NUMBER);
        let chain = Self {
            family: message.family(),
            name: text(part(NAME)?.1),
            hook: big(hook?.1)?,
            drops: big(part(POLICY)?.1)? == DROP,
            table,
        };
        (chain.table != TABLE && chain.family_word().is_some() && chain.hook_words().is_some())
            .then_some(chain)
    }

    fn family_word(&self) -> Option<&'static str> {
        match self.family {
            1 => Some("inet"),
            2 => Some("ip"),
            7 => Some("bridge"),
            _ => None, // instances have no IPv6
        }
    }

    /// The hook, and whom it hits.
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

    fn trouble(&self, how: &str, remedy: &str) -> String {
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
