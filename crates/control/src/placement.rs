//! On which host an instance is placed, and the MACs of its interfaces.

use crate::agents::is_up;
use crate::{ControlError, Result};
use novanet_model::MacAddr;
use novanet_model::rows::Network;
use novanet_model::wire;
use novanet_store::Conn;
use novanet_store::hosts::{self, Host};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// Where instances go: to the living compute host with the fewest of them.
pub(crate) struct Placement {
    hosts: Vec<Host>,
    load: BTreeMap<String, i64>,
}

impl Placement {
    pub(crate) async fn new(c: &mut Conn, networks: &[Network]) -> Result<Self> {
        let all: Vec<Host> = hosts::list(c)
            .await?
            .into_iter()
            .filter(|h| h.roles.contains(&wire::Role::Compute) && !h.disabled)
            .collect();
        if all.is_empty() {
            return Err(ControlError::NoHost(
                "no compute host has reported yet (start one: novanet up, or novanet agent)"
                    .to_owned(),
            ));
        }
        let alive: Vec<Host> = all.into_iter().filter(is_up).collect();
        if alive.is_empty() {
            return Err(ControlError::NoHost(
                "no compute host is up (nova-manage service list shows them)".to_owned(),
            ));
        }
        let able: Vec<Host> = alive
            .into_iter()
            .filter(|h| networks.iter().all(|n| h.kinds.contains(&n.kind)))
            .collect();
        if able.is_empty() {
            let kinds: BTreeSet<String> = networks.iter().map(|n| n.kind.to_string()).collect();
            let kinds: Vec<String> = kinds.into_iter().collect();
            return Err(ControlError::NoHost(format!(
                "no host can run {} networks in this version",
                kinds.join(" and ")
            )));
        }
        let load = hosts::load(c)
            .await?
            .into_iter()
            .map(|(name, count, ..)| (name, count))
            .collect();
        Ok(Self { hosts: able, load })
    }

    pub(crate) fn choose(&mut self) -> Result<String> {
        let host = self
            .hosts
            .iter()
            .min_by_key(|h| (self.load.get(&h.name).copied().unwrap_or(0), h.name.clone()))
            .ok_or_else(|| ControlError::NoHost("no compute host is up".to_owned()))?;
        *self.load.entry(host.name.clone()).or_default() += 1;
        Ok(host.name.clone())
    }
}

/// nova's MACs: `02:16:3e`, then 23 random bits. The table's UNIQUE refuses the rare twin, and the
/// client tries again.
pub(crate) fn unused_mac() -> MacAddr {
    let mut rng = rand::rng();
    let bytes: [u8; 3] = rng.random();
    MacAddr([0x02, 0x16, 0x3e, bytes[0] & 0x7f, bytes[1], bytes[2]])
}
