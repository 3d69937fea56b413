//! What a firewall has in force, whole or the part of one instance or address, in the words of
//! either tool. Each line has its counter and the objects that it comes from; depends on the
//! renderings of both backends.

mod origin;

use super::iptables::rows::{self, Row};
use super::nft::in_force::{Count, InForce};
use super::nft::item::{ElementKey, Key, Set, Value};
use super::nft::types::Wanted;
use super::nft::{base_text, lines as nft_lines};
use crate::settings::FirewallDriver;
use novanet_model::wire::{RulesForm, RulesView};
use novanet_model::{CombinationId, InstanceId};
use novanet_reconcile::{Desired, SubsystemError};
use origin::{Index, Origin};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

type Items = BTreeMap<Key, Value>;

/// The text of a view.
pub(super) fn render(
    found: &InForce,
    view: RulesView,
    desired: &Wanted,
) -> Result<String, SubsystemError> {
    let index = Index::new(&found.items, desired);
    let own = match found.driver {
        FirewallDriver::Nftables => RulesForm::Nft,
        FirewallDriver::Iptables => RulesForm::IptablesSave,
    };
    let form = view.form.unwrap_or(own);
    let is_iptables = form == RulesForm::IptablesSave
        || form == RulesForm::Json && own == RulesForm::IptablesSave;
    let items = if is_iptables {
        by_instance(&found.items, &index)
    } else {
        with_chains(&found.items)
    };
    let chosen = chosen(&items, &index, view, desired)?;
    let wanted = Desired::new(items.clone().into_iter().collect());
    let whole = view.instance.is_none() && view.address.is_none();
    let mut lines = Vec::new();
    if is_iptables {
        let mut all = if whole {
            rows::base_rows(&found.policy, found.generation)
        } else {
            Vec::new()
        };
        all.extend(rows::rows(&wanted, &chosen));
        lines.extend(iptables(found, &items, &index, all));
        let sets = rows::set_rows(&chosen).into_iter();
        lines.extend(sets.map(|(key, text)| Line::of("ipset", &key, text, &items, &index)));
    }
    if !is_iptables || form == RulesForm::Json {
        let of_bridge = |key: &Key| matches!(key, Key::Element(set, _) if set.is_bridge());
        let keys = chosen.iter().filter(|key| !is_iptables || of_bridge(key));
        let rendered = keys.flat_map(|key| nft_lines(key, &wanted));
        lines.extend(rendered.map(|(key, text)| {
            let count = count_of(found, &key, items.get(&key));
            Line {
                count,
                ..Line::of("nft", &key, text, &items, &index)
            }
        }));
    }
    Ok(match form {
        RulesForm::Json => lines.iter().map(Line::json).collect(),
        RulesForm::Nft if whole => base_text(&found.policy, found.generation) + &script(&lines),
        RulesForm::Nft => script(&lines),
        RulesForm::IptablesSave => saved(&lines),
    })
}

/// One line of what is in force.
struct Line {
    /// `filter`, `nat`, `raw`, `ipset`, `nft`.
    table: &'static str,
    text: String,
    count: Option<Count>,
    /// `None`: every host has it.
    origin: Option<Origin>,
}

impl Line {
    fn of(table: &'static str, key: &Key, text: String, items: &Items, index: &Index) -> Self {
        Self {
            table,
            text,
            count: None,
            origin: Some(index.origin(key, items.get(key))),
        }
    }

    fn json(&self) -> String {
        let mut object = serde_json::json!({ "table": self.table, "line": self.text });
        if let (Some(count), Some(map)) = (self.count, object.as_object_mut()) {
            map.insert("packets".to_owned(), count.packets.into());
            map.insert("bytes".to_owned(), count.bytes.into());
        }
        if let (Some(origin), Some(map)) = (&self.origin, object.as_object_mut()) {
            map.extend(origin.json());
        }
        object.to_string() + "\n"
    }
}

fn iptables(found: &InForce, items: &Items, index: &Index, mut rows: Vec<Row>) -> Vec<Line> {
    rows.sort_by(|a, b| a.chain.cmp(&b.chain)); // stable: within a chain the order counts
    let in_table = |table: &'static str| rows.iter().filter(move |row| row.table == table);
    let line = |row: &Row| {
        let place = (row.table.to_owned(), row.chain.clone(), row.line.clone());
        let of_item = row.key.as_ref().and_then(|key| found.by_item.get(key));
        Line {
            table: row.table,
            text: format!("-A {} {}", row.chain, row.line),
            count: found.by_line.get(&place).or(of_item).copied(),
            origin: row.key.as_ref().map(|key| match key {
                // Here the number of a combination is its instance's.
                Key::Combination(instance) => Origin::of_instance(InstanceId(instance.0)),
                key => index.origin(key, items.get(key)),
            }),
        }
    };
    rows::TABLES
        .into_iter()
        .flat_map(in_table)
        .map(line)
        .collect()
}

/// The counter of an item: nftables' own, or those of its rules in iptables together.
fn count_of(found: &InForce, key: &Key, value: Option<&Value>) -> Option<Count> {
    if let Some(count) = found.by_item.get(key) {
        return Some(*count);
    }
    let items = Desired::new(vec![(key.clone(), value?.clone())]);
    let rows = rows::rows(&items, &BTreeSet::from([key.clone()]));
    let counts = rows.into_iter().filter_map(|row| {
        let place = (row.table.to_owned(), row.chain, row.line);
        found.by_line.get(&place)
    });
    counts.copied().reduce(|a, b| Count {
        packets: a.packets + b.packets,
        bytes: a.bytes + b.bytes,
    })
}

/// As `iptables-save -c` and `ipset save` print it.
fn saved(lines: &[Line]) -> String {
    let mut text = String::new();
    for table in rows::TABLES.into_iter().chain(["ipset"]) {
        let mut last = None;
        let mut is_first = true;
        for line in lines.iter().filter(|line| line.table == table) {
            if is_first {
                let _ = match table {
                    "ipset" => writeln!(text, "# ipset save"),
                    table => writeln!(text, "*{table}"),
                };
                is_first = false;
            }
            comment(&mut text, line.origin.as_ref(), &mut last);
            if let Some(Count { packets, bytes }) = line.count {
                let _ = write!(text, "[{packets}:{bytes}] ");
            }
            let _ = writeln!(text, "{}", line.text);
        }
        if !is_first && table != "ipset" {
            text.push_str("COMMIT\n");
        }
    }
    text
}

/// As a script of nft.
fn script(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut last = None;
    for line in lines {
        comment(&mut text, line.origin.as_ref(), &mut last);
        text.push_str(&line.text);
        if let Some(Count { packets, bytes }) = line.count {
            let _ = write!(text, " # packets {packets} bytes {bytes}");
        }
        text.push('\n');
    }
    text
}

/// Says where the lines from here on come from, if that is not said yet.
fn comment<'a>(text: &mut String, origin: Option<&'a Origin>, last: &mut Option<&'a Origin>) {
    if let Some(origin) = origin
        && *last != Some(origin)
    {
        let _ = writeln!(text, "# {origin}");
    }
    *last = origin;
}

/// The items as the iptables backend has them: a chain for each instance instead of each
/// combination of groups.
fn by_instance(items: &Items, index: &Index) -> Items {
    let mut found = Items::new();
    for (key, value) in items {
        match (key, value) {
            (
                Key::Element(Set::PortGroups, ElementKey::Address(address)),
                Value::Number(number),
            ) => {
                let combination = Key::Combination(CombinationId((*number).into()));
                let (Some(port), Some(groups)) = (index.port(*address), items.get(&combination))
                else {
                    continue;
                };
                let number = u32::try_from(port.0).unwrap_or_default();
                found.insert(Key::Combination(CombinationId(port.0)), groups.clone());
                found.insert(key.clone(), Value::Number(number));
            }
            (Key::Combination(_) | Key::Element(Set::GroupChains, _), _) => {}
            _ => {
                found.insert(key.clone(), value.clone());
            }
        }
    }
    found
}

/// The items as the nftables backend has them: with the map that leads to the chains.
fn with_chains(items: &Items) -> Items {
    let mut found = items.clone();
    for value in items.values() {
        if let Value::Number(number) = value {
            let chain = super::nft::combination_chain(CombinationId((*number).into()));
            let key = Key::Element(Set::GroupChains, ElementKey::Number(*number));
            found.entry(key).or_insert(Value::Goto(chain));
        }
    }
    found
}

/// The items that a view asks for.
fn chosen(
    items: &Items,
    index: &Index,
    view: RulesView,
    desired: &Wanted,
) -> Result<BTreeSet<Key>, SubsystemError> {
    let mut addresses: BTreeSet<_> = view.address.into_iter().collect();
    if let Some(instance) = view.instance {
        addresses.extend(index.addresses(instance));
        if addresses.is_empty() {
            return Err(SubsystemError::Refused(format!(
                "{instance}: no port of it is on this host (nova-manage vm list shows its host)"
            )));
        }
    }
    if addresses.is_empty() {
        return Ok(items.keys().cloned().collect());
    }
    let is_of_port = |key: &Key| {
        let ports = index.objects(desired, key);
        ports.iter().any(|address| addresses.contains(address))
    };
    let mut keys: BTreeSet<Key> = items
        .iter()
        .filter(|(key, value)| names(key, value, &addresses) || is_of_port(key))
        .map(|(key, _)| key.clone())
        .collect();
    let numbers: Vec<u32> = keys
        .iter()
        .filter_map(|key| number(items.get(key)?))
        .collect();
    for number in numbers {
        let combination = Key::Combination(CombinationId(number.into()));
        if let Some(Value::Groups(groups)) = items.get(&combination) {
            keys.extend(groups.iter().map(|group| Key::Chain(*group)));
            keys.insert(combination);
        }
        let map = Key::Element(Set::GroupChains, ElementKey::Number(number));
        keys.extend(items.contains_key(&map).then_some(map));
    }
    keys.retain(|key| items.contains_key(key));
    if keys.is_empty() {
        let address = view.address.map(|address| address.to_string());
        return Err(SubsystemError::Refused(format!(
            "{}: nothing in this host's firewall is about it",
            address.unwrap_or_default()
        )));
    }
    Ok(keys)
}

fn number(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => Some(*number),
        _ => None,
    }
}

/// Whether an element has one of these addresses.
fn names(key: &Key, value: &Value, addresses: &BTreeSet<std::net::Ipv4Addr>) -> bool {
    let Key::Element(_, element) = key else {
        return false;
    };
    let of_key = match element {
        ElementKey::Address(address)
        | ElementKey::InterfaceAddress(_, address)
        | ElementKey::InterfaceMacAddress(_, _, address) => addresses.contains(address),
        _ => false,
    };
    of_key || matches!(value, Value::Address(address) if addresses.contains(address))
}

#[cfg(test)]
mod tests;
