//! The parts of `firewall show` on a host with the iptables driver, as JSON for programs. Depends on
//! the words of `iptables-save` and `ipset save`.

use super::structure_rules::{Block, RuleTable};

/// A part of the text, after its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// Rules of this family.
    Rules(&'static str),
    /// IP sets.
    Sets,
}

impl Section {
    /// The section that begins with this line.
    pub(super) fn named(line: &str) -> Option<Self> {
        match line {
            "# iptables-save -c" => Some(Self::Rules("ip")),
            "# ip6tables-save -c" => Some(Self::Rules("ip6")),
            "# ipset save" => Some(Self::Sets),
            _ => None,
        }
    }

    /// Reads a line of the section.
    pub(super) fn read(self, line: &str, tables: &mut Vec<RuleTable>) {
        match self {
            Self::Rules(family) => read_rule(family, line, tables),
            Self::Sets => read_set(line, tables),
        }
    }
}

fn read_rule(family: &str, line: &str, tables: &mut Vec<RuleTable>) {
    if let Some(name) = line.strip_prefix('*') {
        tables.push(table(family, name));
        return;
    }
    let Some(table) = tables.last_mut() else {
        return;
    };
    if let Some(chain) = line.strip_prefix(':') {
        let chain = chain.split(' ').next().unwrap_or_default();
        block(table, "chain", chain);
    } else if let Some((counters, rule)) = line.split_once("-A ") {
        let (chain, rule) = rule.split_once(' ').unwrap_or((rule, ""));
        let line = format!("{counters}{rule}").trim_end().to_owned();
        block(table, "chain", chain).lines.push(line);
    }
}

fn read_set(line: &str, tables: &mut Vec<RuleTable>) {
    let mut words = line.splitn(3, ' ');
    let (Some(word), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
        return;
    };
    if word == "#" {
        return;
    }
    if tables.last().is_none_or(|last| last.family != "ipset") {
        tables.push(table("ipset", ""));
    }
    let Some(table) = tables.last_mut() else {
        return;
    };
    let block = block(table, "set", name);
    match word {
        "create" => block.lines.push(rest.to_owned()),
        "add" => block.elements.push(rest.to_owned()),
        _ => {}
    }
}

fn table(family: &str, name: &str) -> RuleTable {
    RuleTable {
        family: family.to_owned(),
        name: name.to_owned(),
        blocks: Vec::new(),
    }
}

/// The block of that name, a new one if there is none yet.
fn block<'a>(table: &'a mut RuleTable, kind: &str, name: &str) -> &'a mut Block {
    let found = table.blocks.iter().position(|block| block.name == name);
    let at = found.unwrap_or_else(|| {
        table.blocks.push(Block {
            kind: kind.to_owned(),
            name: name.to_owned(),
            lines: Vec::new(),
            elements: Vec::new(),
        });
        table.blocks.len() - 1
    });
    &mut table.blocks[at]
}

#[cfg(test)]
mod tests {
    use crate::manage::structure::rules;

    #[test]
    fn rules_and_sets_of_iptables_are_tables_too() {
        let text = "# a warning\ntable bridge nova {\n\tchain to_port {\n\t\tdrop\n\t}\n}\n\
                    # iptables-save -c\n*nat\n:nova-network-OUTPUT - [0:0]\n\
                    [1:60] -A OUTPUT -j nova-network-OUTPUT\n\
                    [0:0] -A nova-network-OUTPUT -d 192.0.2.1/32 -j DNAT --to-destination 10.0.0.3\n\
                    COMMIT\n# ip6tables-save -c\n# ipset save\n\
                    create nova-fixed-ips hash:ip family inet\nadd nova-fixed-ips 10.0.0.3\n";
        let found = rules(text);
        assert_eq!(found.warnings, ["a warning"]);
        let names: Vec<_> = found
            .tables
            .iter()
            .map(|t| (&t.family[..], &t.name[..]))
            .collect();
        assert_eq!(names, [("bridge", "nova"), ("ip", "nat"), ("ipset", "")]);
        let nat = &found.tables[1].blocks;
        assert_eq!(nat[0].name, "nova-network-OUTPUT");
        assert_eq!(
            nat[0].lines,
            ["[0:0] -d 192.0.2.1/32 -j DNAT --to-destination 10.0.0.3"]
        );
        assert_eq!(nat[1].lines, ["[1:60] -j nova-network-OUTPUT"]);
        assert_eq!(found.tables[2].blocks[0].elements, ["10.0.0.3"]);
    }
}
