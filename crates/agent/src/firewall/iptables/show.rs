//! Our rules for people, as the programs print them with counters, without foreign ones. Pure.

use super::ipset;
use super::names::{is_jump, is_ours};
use std::fmt::Write as _;

/// The heads of the parts; `nova-manage` finds them by these.
const HEADS: [&str; 3] = ["# iptables-save -c", "# ip6tables-save -c", "# ipset save"];

/// The rules of both families, the sets, and the text of the bridge family.
pub(super) fn text(v4: &str, v6: &str, sets: &str, bridges: &str) -> String {
    let of_set = |line: &&str| line.split(' ').nth(1).is_some_and(ipset::is_ours);
    let mut text = bridges.to_owned();
    for (head, lines) in
        HEADS
            .iter()
            .zip([rules(v4), rules(v6), sets.lines().filter(of_set).collect()])
    {
        let _ = writeln!(text, "{head}");
        for line in lines {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}

/// Our lines of what `iptables-save` prints, and the names of their tables.
fn rules(saved: &str) -> Vec<&str> {
    let is_kept = |line: &&str| {
        if let Some(chain) = line.strip_prefix(':') {
            return is_ours(chain.split(' ').next().unwrap_or_default());
        }
        let Some((_, rule)) = line.split_once("-A ") else {
            return line.starts_with('*') || *line == "COMMIT";
        };
        let (chain, rule) = rule.split_once(' ').unwrap_or((rule, ""));
        is_ours(chain) || is_jump(rule.trim_end())
    };
    saved.lines().filter(is_kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_rules_and_sets_are_not_shown() {
        let saved = "# Generated\n*filter\n:FORWARD ACCEPT [0:0]\n:nova-filter-top - [0:0]\n\
                     [1:2] -A FORWARD -j nova-filter-top\n[3:4] -A FORWARD -j theirs\n\
                     [5:6] -A nova-filter-top -j RETURN\nCOMMIT\n# Completed\n";
        let sets = "create friends hash:ip\ncreate nova-fixed-ips hash:ip family inet\n";
        let shown = text(saved, "", sets, "table bridge nova {\n}\n");
        assert_eq!(
            shown,
            "table bridge nova {\n}\n# iptables-save -c\n*filter\n:nova-filter-top - [0:0]\n\
             [1:2] -A FORWARD -j nova-filter-top\n[5:6] -A nova-filter-top -j RETURN\nCOMMIT\n\
             # ip6tables-save -c\n# ipset save\ncreate nova-fixed-ips hash:ip family inet\n"
        );
    }
}
