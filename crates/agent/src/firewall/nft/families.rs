//! Which part of the firewall the nftables backend renders: everything, or only the bridge family
//! while iptables has the rest. Depends on the names of tables only.

use super::dump::{self, BRIDGE, IPV4};
use super::layout::TABLE;
use crate::netlink::nf_tables::TABLE_NAME;
use crate::netlink::nfnetlink::{Received, text};

const IPV6: u8 = 10;
/// The first attributes of a chain's or a rule's message after the table's name.
const CHAIN_OF_RULE: u16 = 2;
const CHAIN_NAME: u16 = 3;

/// Tables that a filter with iptables' own back-end `nf_tables` has.
const IPTABLES: [&str; 4] = ["filter", "nat", "raw", "mangle"];

/// The families that the tables of novanet are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Families {
    /// IPv4, IPv6 and bridges.
    All,
    /// Bridges.
    Bridge,
}

impl Families {
    /// Their numbers in the kernel, in the order of `dump::FAMILIES`.
    pub(super) fn numbers(self) -> &'static [u8] {
        match self {
            Self::All => &dump::FAMILIES,
            Self::Bridge => &[BRIDGE],
        }
    }

    /// Whether a table's chains are ours, or share their base chain with ours: packets that ours
    /// accept pass no further rule of it.
    pub(super) fn own_tables(self) -> fn(u8, &str) -> bool {
        match self {
            Self::All => |_, table| table == TABLE,
            Self::Bridge => |family, table| table == TABLE || is_iptables(family, table),
        }
    }

    /// Whether a notification may be about rules of ours.
    pub(super) fn concerns_us(self, message: Received<'_>) -> bool {
        dump::is_ours(message) || self == Self::Bridge && concerns_iptables(message)
    }
}

fn is_iptables(family: u8, table: &str) -> bool {
    [IPV4, IPV6].contains(&family) && IPTABLES.contains(&table)
}

/// A change of a chain of ours, of a built-in chain (a foreign rule before our jump), or of a whole
/// table.
fn concerns_iptables(message: Received<'_>) -> bool {
    let named = |wanted| {
        let mut all = message.attributes();
        all.find(|(kind, _)| *kind == wanted).map(|(_, d)| text(d))
    };
    if !named(TABLE_NAME).is_some_and(|table| is_iptables(message.family(), &table)) {
        return false;
    }
    let is_rule = [NEW_RULE, DELETE_RULE].contains(&message.kind);
    let chain = named(if is_rule { CHAIN_OF_RULE } else { CHAIN_NAME });
    chain.is_none_or(|chain| {
        chain.starts_with("nova-") || chain.chars().all(|c| c.is_ascii_uppercase())
    })
}

const NEW_RULE: u16 = crate::netlink::nf_tables::SUBSYSTEM + 6;
const DELETE_RULE: u16 = crate::netlink::nf_tables::SUBSYSTEM + 8;
