//! A host's answers in text as JSON for programs: its plan, what a cleanup removes, its rules.
//! Agents of every version answer in the same text, so this file parses it and asks for nothing
//! else.

use super::structure_iptables::Section;
use super::structure_rules::{Block, RuleTable};
use serde::Serialize;

/// An item of a host's plan, or a change of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Entry {
    /// The part of the agent that keeps it: links, firewall, dhcp, instances.
    pub(crate) subsystem: String,
    /// `create`, `change`, `remove`, `refuse`, `not in force`; absent where the item is to be
    /// there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) action: Option<String>,
    /// What it is, like `bridge br100`.
    pub(crate) item: String,
    /// What it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// What it must be; where it is refused or not in force, why.
    pub(crate) value: String,
}

/// What an item of a plan may begin with.
const ACTIONS: &[&str] = &["create", "change", "remove"];

/// Before an item that was tried in vain, with the reason.
const NOT_IN_FORCE: &str = "not in force: ";

/// The items of `host plan` and `host cleanup`.
pub(crate) fn plan(text: &str, changes: bool) -> Vec<Entry> {
    let mut subsystem = String::new();
    let mut items = Vec::new();
    for line in text.lines() {
        let Some(line) = line.strip_prefix("  ") else {
            line.trim().clone_into(&mut subsystem);
            continue;
        };
        if matches!(line, "nothing" | "nothing differs") {
            continue;
        }
        let (first, rest) = match line.strip_prefix(NOT_IN_FORCE) {
            Some(rest) => ("not in force", rest),
            None => line.split_once(' ').unwrap_or((line, "")),
        };
        let why = matches!(first, "refuse" | "not in force");
        let (action, rest) = if why || changes && ACTIONS.contains(&first) {
            (Some(first.to_owned()), rest)
        } else {
            (None, line)
        };
        let (item, value) = rest.split_once(": ").unwrap_or((rest, ""));
        let (from, value) = match value.split_once(" -> ") {
            Some((from, to)) if first == "change" => (Some(from.to_owned()), to),
            _ => (None, value),
        };
        items.push(Entry {
            subsystem: subsystem.clone(),
            action,
            item: item.to_owned(),
            from,
            value: value.to_owned(),
        });
    }
    items
}

/// A host's rules.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Rules {
    /// What of others is in their way.
    pub(crate) warnings: Vec<String>,
    pub(crate) tables: Vec<RuleTable>,
}

/// The rules of `firewall show`, as `nft list` prints them.
pub(crate) fn rules(text: &str) -> Rules {
    let mut rules = Rules::default();
    let mut elements: Option<String> = None;
    let mut section = None;
    for raw in text.lines() {
        section = Section::named(raw).or(section);
        if let Some(section) = section {
            section.read(raw, &mut rules.tables);
            continue;
        }
        let line = raw.trim();
        let depth = raw.len() - raw.trim_start_matches('\t').len();
        if let Some(so_far) = &mut elements {
            so_far.push_str(line);
            so_far.push(' ');
            if line.ends_with('}') {
                put_elements(&mut rules, elements.take().as_deref().unwrap_or(""));
            }
            continue;
        }
        if let Some(warning) = line.strip_prefix("# ").filter(|_| depth == 0) {
            rules.warnings.push(warning.to_owned());
            continue;
        }
        let mut words = line.split_whitespace();
        let (first, second, third) = (words.next(), words.next(), words.next());
        match (depth, first, second, third) {
            (_, None | Some("}"), ..) => {}
            (0, Some("table"), Some(family), Some(name)) => rules.tables.push(RuleTable {
                family: family.to_owned(),
                name: name.to_owned(),
                blocks: Vec::new(),
            }),
            (1, Some(kind), Some(name), _) if line.ends_with('{') => {
                if let Some(table) = rules.tables.last_mut() {
                    table.blocks.push(Block {
                        kind: kind.to_owned(),
                        name: name.to_owned(),
                        lines: Vec::new(),
                        elements: Vec::new(),
                    });
                }
            }
            (2, Some("elements"), ..) => match line.strip_prefix("elements = {") {
                Some(all) if all.ends_with('}') => put_elements(&mut rules, all),
                all => elements = Some(format!("{} ", all.unwrap_or(""))),
            },
            _ => {
                if let Some(block) = last(&mut rules) {
                    block.lines.push(line.to_owned());
                }
            }
        }
    }
    rules
}

fn last(rules: &mut Rules) -> Option<&mut Block> {
    rules.tables.last_mut()?.blocks.last_mut()
}

fn put_elements(rules: &mut Rules, text: &str) {
    let text = text.trim().trim_end_matches('}').trim();
    let all = text.split(", ").map(|e| e.trim_end_matches(',').trim());
    let all = all.filter(|e| !e.is_empty()).map(str::to_owned);
    if let Some(block) = last(rules) {
        block.elements.extend(all);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_items_with_their_subsystem_and_a_difference_says_what_is_done() {
        let text = "links\n  bridge br100: mac 02:16:3e:00:00:01 mtu 1400 up\ndhcp\n  nothing\n";
        let item =
            |subsystem: &str, action: Option<&str>, item: &str, from: Option<&str>, value: &str| {
                Entry {
                    subsystem: subsystem.to_owned(),
                    action: action.map(str::to_owned),
                    item: item.to_owned(),
                    from: from.map(str::to_owned),
                    value: value.to_owned(),
                }
            };
        let mac = "mac 02:16:3e:00:00:01 mtu 1400 up";
        assert_eq!(
            plan(text, false),
            [item("links", None, "bridge br100", None, mac)]
        );
        let text = "links\n  refuse network 10.0.0.0/24: br100 is foreign\n  change bridge br100: up -> down\n  \
                    create address 10.0.0.1 on br100: there\n  not in force: float 203.0.113.9: arp_ignore: 1\nfirewall\n  nothing differs\n";
        assert_eq!(
            plan(text, true),
            [
                item(
                    "links",
                    Some("refuse"),
                    "network 10.0.0.0/24",
                    None,
                    "br100 is foreign"
                ),
                item("links", Some("change"), "bridge br100", Some("up"), "down"),
                item(
                    "links",
                    Some("create"),
                    "address 10.0.0.1 on br100",
                    None,
                    "there"
                ),
                item(
                    "links",
                    Some("not in force"),
                    "float 203.0.113.9",
                    None,
                    "arp_ignore: 1"
                ),
            ]
        );
    }

    #[test]
    fn rules_are_tables_with_chains_and_sets() {
        let text = "# table ip other: drops what is forwarded\ntable ip nova {\n\tset gws {\n\t\ttype ipv4_addr\n\
                    \t\telements = { 10.0.0.1, 10.0.1.1,\n\t\t\t     10.0.2.1 }\n\t}\n\n\tmap one {\n\t\ttype mark : verdict\n\
                    \t\telements = { 0x1 : goto k1 }\n\t}\n\n\tchain c_host {\n\t\ttype filter hook input priority filter; policy accept;\n\
                    \t\tiifname { \"br100\", \"br101\" } accept\n\t}\n}\n";
        let expected = serde_json::json!({
            "warnings": ["table ip other: drops what is forwarded"],
            "tables": [{
                "family": "ip",
                "name": "nova",
                "blocks": [
                    {
                        "kind": "set",
                        "name": "gws",
                        "lines": ["type ipv4_addr"],
                        "elements": ["10.0.0.1", "10.0.1.1", "10.0.2.1"],
                    },
                    {
                        "kind": "map",
                        "name": "one",
                        "lines": ["type mark : verdict"],
                        "elements": ["0x1 : goto k1"],
                    },
                    {
                        "kind": "chain",
                        "name": "c_host",
                        "lines": [
                            "type filter hook input priority filter; policy accept;",
                            "iifname { \"br100\", \"br101\" } accept",
                        ],
                    },
                ],
            }],
        });
        assert_eq!(serde_json::to_value(rules(text)).unwrap(), expected);
    }
}
