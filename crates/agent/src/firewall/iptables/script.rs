//! Scripts for `iptables-restore --noflush`: one transaction per table, which names the chains and
//! rules that change and no others. Pure; depends on the rules and on a listing of the kernel's.

use super::listing::Saved;
use super::names::{
    Chains, Jump, Table, is_built_in, is_jump, is_ours, jump_line, lines_are_right,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Changes of some tables.
#[derive(Debug, Default)]
pub(super) struct Script {
    tables: BTreeMap<Table, Part>,
}

#[derive(Debug, Default)]
struct Part {
    /// Chains that are emptied (or made) and filled.
    filled: Vec<(String, Vec<String>)>,
    /// Single rules.
    commands: Vec<String>,
    /// Chains that go.
    dropped: Vec<String>,
}

impl Script {
    fn part(&mut self, table: Table) -> &mut Part {
        self.tables.entry(table).or_default()
    }

    /// A chain has exactly these rules.
    pub(super) fn fill(&mut self, table: Table, chain: &str, lines: Vec<String>) {
        self.part(table).filled.push((chain.to_owned(), lines));
    }

    /// One more rule at a chain's end.
    pub(super) fn append(&mut self, table: Table, chain: &str, line: &str) {
        self.part(table).commands.push(format!("-A {chain} {line}"));
    }

    /// One rule less.
    pub(super) fn delete(&mut self, table: Table, chain: &str, line: &str) {
        self.part(table).commands.push(format!("-D {chain} {line}"));
    }

    /// A chain goes; by then no rule leads to it.
    pub(super) fn drop_chain(&mut self, table: Table, chain: &str) {
        self.part(table).dropped.push(chain.to_owned());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The text; `tables` is their order.
    pub(super) fn text<'a>(&self, tables: impl IntoIterator<Item = &'a Table>) -> String {
        let mut text = String::new();
        for table in tables {
            let Some(part) = self.tables.get(table) else {
                continue;
            };
            let _ = writeln!(text, "*{}", table.name());
            for (chain, _) in &part.filled {
                let _ = writeln!(text, ":{chain} - [0:0]");
            }
            for (chain, lines) in &part.filled {
                for line in lines {
                    let _ = writeln!(text, "-A {chain} {line}");
                }
            }
            for command in &part.commands {
                let _ = writeln!(text, "{command}");
            }
            for option in ["-F", "-X"] {
                for chain in &part.dropped {
                    let _ = writeln!(text, "{option} {chain}");
                }
            }
            text.push_str("COMMIT\n");
        }
        text
    }
}

/// Writes everything anew: all chains, and the jumps in the first places.
pub(super) fn rebuild(saved: &Saved, chains: &Chains, jumps: &[Jump]) -> Script {
    let mut script = Script::default();
    for ((table, chain), lines) in chains {
        script.fill(*table, chain, lines.clone());
    }
    jumps_anew(&mut script, saved, jumps);
    for (table, chain) in saved.chains.keys() {
        if is_ours(chain) && !chains.contains_key(&(*table, chain.clone())) {
            script.drop_chain(*table, chain);
        }
    }
    script
}

fn jumps_anew(script: &mut Script, saved: &Saved, jumps: &[Jump]) {
    for ((table, chain), lines) in &saved.chains {
        if !is_built_in(chain) || lines_are_right((*table, chain), lines, jumps) {
            continue;
        }
        for line in lines.iter().filter(|line| is_jump(line)) {
            script.delete(*table, chain, line);
        }
    }
    for (table, chain, to) in jumps {
        let there = saved.chains.get(&(*table, (*chain).to_owned()));
        if !there.is_some_and(|lines| lines_are_right((*table, chain), lines, jumps)) {
            let line = jump_line(to);
            script
                .part(*table)
                .commands
                .push(format!("-I {chain} 1 {line}"));
        }
    }
}

/// Removes everything of ours.
pub(super) fn remove(saved: &Saved) -> Script {
    rebuild(saved, &Chains::new(), &[])
}
