//! Tables of rules as JSON for programs, whichever packet filter has them.

use serde::Serialize;

/// A table of nftables or iptables, or all IP sets.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RuleTable {
    pub(crate) family: String,
    pub(crate) name: String,
    pub(crate) blocks: Vec<Block>,
}

/// A set, a map or a chain of a table.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Block {
    /// `set`, `map`, `chain`, …
    pub(crate) kind: String,
    pub(crate) name: String,
    /// Properties of a set, rules of a chain, a line each.
    pub(crate) lines: Vec<String>,
    /// Elements of a set or map.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) elements: Vec<String>,
}
