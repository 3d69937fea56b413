//! What a backend has in force: its items with their counters, and what its base follows from.
//! Depends on the items and the policy.

use super::item::{Key, Value};
use crate::firewall::policy::HostPolicy;
use crate::settings::FirewallDriver;
use std::collections::BTreeMap;

/// Packets and bytes since a rule or an element was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::firewall) struct Count {
    pub(in crate::firewall) packets: u64,
    pub(in crate::firewall) bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub(in crate::firewall) struct InForce {
    /// The driver that has it.
    pub(in crate::firewall) driver: FirewallDriver,
    /// Items, without the base.
    pub(in crate::firewall) items: BTreeMap<Key, Value>,
    /// Counters of nftables.
    pub(in crate::firewall) by_item: BTreeMap<Key, Count>,
    /// Counters of iptables, by table, chain and rule.
    pub(in crate::firewall) by_line: BTreeMap<(String, String, String), Count>,
    /// The valid generation of flows.
    pub(in crate::firewall) generation: u16,
    /// What the base follows from.
    pub(in crate::firewall) policy: HostPolicy,
}
