//! Names of tables and chains, and which chains are ours. Depends on nothing but the model's ids.

use novanet_model::{CombinationId, GroupId};
use std::collections::BTreeMap;

/// A table, in the order of writing: deny is in force before an address leads anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    /// `filter`.
    Filter,
    /// `nat`.
    Nat,
    /// `raw`.
    Raw,
}

impl Table {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Filter, Self::Nat, Self::Raw];

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
            Self::Raw => "raw",
        }
    }
}

/// Rules by chain, without `-A CHAIN`.
pub(super) type Chains = BTreeMap<(Table, String), Vec<String>>;

/// Prefix of the chains of instances.
pub(super) const INSTANCE: &str = "nova-compute-inst-";
/// Prefix of the chains of groups.
const GROUP: &str = "nova-compute-sg-";

/// Name of the chain of a group: `nova-compute-sg-0000000a`.
pub(super) fn group_chain(group: GroupId) -> String {
    format!("nova-compute-{group}")
}

/// Name of the chain of an instance, whose number stands for its combination of groups.
pub(super) fn instance_chain(instance: CombinationId) -> String {
    format!("{INSTANCE}{instance}")
}

/// Whether the order of a chain's rules means nothing: each is for another address.
pub(super) fn is_unordered(chain: &str) -> bool {
    [PREROUTING, OUTPUT, FLOATING_SNAT, LOCAL].contains(&chain)
}

/// Whether a chain's name is one that this backend gives.
pub(super) fn is_variable(chain: &str) -> bool {
    chain.starts_with(INSTANCE) || chain.starts_with(GROUP) && chain != FALLBACK
}

/// The chain with the tag.
pub(super) const TOP: &str = "nova-filter-top";
/// Floating IP to fixed IP.
pub(super) const PREROUTING: &str = "nova-network-PREROUTING";
/// The same, for the host's own packets.
pub(super) const OUTPUT: &str = "nova-network-OUTPUT";
/// Fixed IP to floating IP.
pub(super) const FLOATING_SNAT: &str = "nova-network-floating-snat";
/// Fixed IP to the chain of its instance.
pub(super) const LOCAL: &str = "nova-compute-local";
/// What no instance hears; nova's name.
pub(super) const PROVIDER: &str = "nova-compute-provider";
/// What accepts a new flow.
pub(super) const ACCEPTED: &str = "nova-compute-accepted";
/// What an instance's groups do not accept.
pub(super) const FALLBACK: &str = "nova-compute-sg-fallback";
pub(super) const ESTABLISHED: &str = "nova-compute-established";
pub(super) const FORWARD: &str = "nova-compute-FORWARD";
pub(super) const NO_SOURCE: &str = "nova-compute-no-source";
pub(super) const INPUT: &str = "nova-network-INPUT";
pub(super) const HOST: &str = "nova-network-host";
pub(super) const POSTROUTING: &str = "nova-network-POSTROUTING";
pub(super) const BOTTOM: &str = "nova-postrouting-bottom";
pub(super) const SNAT: &str = "nova-network-snat";

/// All chains of fixed names.
pub(super) const CHAINS: [&str; 16] = [
    PROVIDER,
    TOP,
    PREROUTING,
    OUTPUT,
    FLOATING_SNAT,
    LOCAL,
    ACCEPTED,
    FALLBACK,
    ESTABLISHED,
    FORWARD,
    NO_SOURCE,
    INPUT,
    HOST,
    POSTROUTING,
    BOTTOM,
    SNAT,
];

/// A jump from a built-in chain; it is the chain's first rule.
pub(super) type Jump = (Table, &'static str, &'static str);

/// Whether a chain has a name that this backend gives.
pub(super) fn is_ours(chain: &str) -> bool {
    CHAINS.contains(&chain) || is_variable(chain)
}

/// Whether the kernel has a chain without being told to: only those have jumps of ours.
pub(super) fn is_built_in(chain: &str) -> bool {
    chain.chars().all(|c| c.is_ascii_uppercase())
}

/// The rule that is a jump of ours.
pub(super) fn jump_line(chain: &str) -> String {
    format!("-j {chain}")
}

/// Whether a rule of a built-in chain is a jump of ours.
pub(super) fn is_jump(line: &str) -> bool {
    line.strip_prefix("-j ").is_some_and(is_ours)
}

/// Whether a built-in chain begins with our jump and has no other jump of ours.
pub(super) fn lines_are_right(
    (table, chain): (Table, &str),
    lines: &[String],
    jumps: &[Jump],
) -> bool {
    let wanted = jumps.iter().find(|(t, c, _)| (*t, *c) == (table, chain));
    let wanted: Vec<_> = wanted.iter().map(|(.., to)| jump_line(to)).collect();
    lines.starts_with(&wanted) && !lines[wanted.len()..].iter().any(|line| is_jump(line))
}
