//! Looks for reasons outside our rules why a packet does not pass. The same for every backend;
//! depends on `crate::netlink` only, and changes nothing.

mod chain_end;
pub(super) mod foreign_policy;
