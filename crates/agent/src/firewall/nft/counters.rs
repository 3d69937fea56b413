//! Counters of rules and elements, read from the kernel, and what is in force with them. Depends on
//! the messages of nf_tables.

use super::dump::{self, IPV4};
use super::expression::count_of;
use super::in_force::{Count, InForce};
use super::item::{ElementKey, Key, Set, Value};
use super::layout::{PROVIDER_RULES, TABLE, group_chain};
use super::types::Wanted;
use super::{Nft, script};
use crate::firewall::policy::HostPolicy;
use crate::netlink::nf_tables::{GET_RULE, SUBSYSTEM, TABLE_NAME};
use crate::netlink::nfnetlink::{Socket, text, walk};
use crate::settings::FirewallDriver;
use novanet_reconcile::{Desired, SubsystemError};
use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;

const GET_ELEMENT: u16 = SUBSYSTEM + 13;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_EXPRESSION: u16 = 7;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;

/// The maps whose elements count.
const COUNTING: [Set; 2] = [Set::FloatingToFixed, Set::FixedToFloating];

/// The count of each rule by its chain, in the chain's order.
fn of_rules(socket: &mut Socket) -> io::Result<BTreeMap<String, Vec<Option<Count>>>> {
    socket.dump(
        GET_RULE,
        IPV4,
        |a| a.text(TABLE_NAME, TABLE),
        |found: &mut BTreeMap<String, Vec<Option<Count>>>, m| {
            if !dump::is_ours(m) {
                return;
            }
            let (mut chain, mut count) = (String::new(), None);
            for (kind, data) in m.attributes() {
                match kind {
                    RULE_CHAIN => chain = text(data),
                    RULE_EXPRESSIONS => count = walk(data).find_map(|(_, one)| count_of(one)),
                    _ => {}
                }
            }
            found.entry(chain).or_default().push(count);
        },
    )
}

fn of_elements(socket: &mut Socket, set: Set) -> io::Result<BTreeMap<Key, Count>> {
    socket.dump(
        GET_ELEMENT,
        IPV4,
        |a| {
            a.text(TABLE_NAME, TABLE);
            a.text(LIST_SET, &set.name());
        },
        |found: &mut BTreeMap<Key, Count>, m| {
            let lists = m.attributes().filter(|(kind, _)| *kind == LIST_ELEMENTS);
            for (_, element) in lists.flat_map(|(_, list)| walk(list)) {
                let (mut address, mut count) = (None, None);
                for (kind, data) in walk(element) {
                    match kind {
                        ELEMENT_KEY => address = walk(data).next().and_then(|(_, b)| ipv4(b)),
                        ELEMENT_EXPRESSION => count = count_of(data),
                        _ => {}
                    }
                }
                if let (Some(address), Some(count)) = (address, count) {
                    found.insert(Key::Element(set, ElementKey::Address(address)), count);
                }
            }
        },
    )
}

fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

/// The counts by item. A chain whose rules are not those of its items has none.
fn by_item(
    rules: &BTreeMap<String, Vec<Option<Count>>>,
    items: &BTreeMap<Key, Value>,
) -> BTreeMap<Key, Count> {
    let wanted: Wanted = Desired::new(items.clone().into_iter().collect());
    let mut counts = BTreeMap::new();
    let blocks: Vec<_> = items
        .keys()
        .filter(|key| matches!(key, Key::Block(_)))
        .collect();
    if let Some(found) = rules
        .get(PROVIDER_RULES)
        .filter(|found| found.len() == blocks.len())
    {
        let counted = blocks.into_iter().zip(found);
        counts.extend(counted.filter_map(|(key, count)| Some((key.clone(), (*count)?))));
    }
    for key in items.keys() {
        let Key::Chain(group) = key else { continue };
        let lines = script::group_rules(*group, &wanted);
        let Some(found) = rules.get(&group_chain(*group)) else {
            continue;
        };
        if found.len() != lines.len() {
            continue;
        }
        for ((rule, _), count) in lines.into_iter().zip(found) {
            if let (Some(rule), Some(count)) = (rule, count) {
                counts.insert(Key::Rule(*group, rule), *count);
            }
        }
    }
    counts
}

impl Nft {
    /// What the IP families follow from; `None`: another backend has them.
    pub(in crate::firewall) fn policy(&self) -> Option<&HostPolicy> {
        self.base_ruleset.policy()
    }

    /// What is in force.
    pub(in crate::firewall) fn in_force(&mut self) -> Result<InForce, SubsystemError> {
        let fail = |error| SubsystemError::kernel("list nftables", error);
        let mut items = self.read().map_err(fail)?;
        if items.remove(&Key::BaseRuleset) == Some(Value::Damaged) {
            return Err(SubsystemError::Waits(
                "another program changed the rules; ask again when they are repaired".to_owned(),
            ));
        }
        let rules = of_rules(&mut self.socket).map_err(fail)?;
        let mut by_item = by_item(&rules, &items);
        for set in COUNTING {
            by_item.extend(of_elements(&mut self.socket, set).map_err(fail)?);
        }
        let policy = self.base_ruleset.policy().cloned();
        Ok(InForce {
            driver: FirewallDriver::Nftables,
            items,
            by_item,
            by_line: BTreeMap::new(),
            generation: self.record.valid.unwrap_or(self.record.generation),
            policy: policy.ok_or_else(|| {
                SubsystemError::Refused("this backend has the bridges only".to_owned())
            })?,
        })
    }
}
