//! On which host an instance is placed, and the MACs of its interfaces.

use crate::{Cloud, ControlError, Result};
use novanet_model::rows::Network;
use novanet_model::wire;
use novanet_model::{MacAddr, ModelError};
use novanet_store::Conn;
use novanet_store::hosts::{self, Host};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// The zone of a host that nobody put into another.
const DEFAULT_ZONE: &str = "nova";

/// Where instances go: to the living compute host with the fewest of them.
pub(crate) struct Placement {
    hosts: Vec<Host>,
    load: BTreeMap<String, i64>,
}

impl Placement {
    /// The hosts that can run instances in these networks; only those of `zone` if it is given.
    pub(crate) async fn new(
        cloud: &Cloud,
        c: &mut Conn,
        networks: &[Network],
        zone: Option<&str>,
    ) -> Result<Self> {
        let hosts = hosts::list(c).await?;
        if let Some(zone) = zone {
            check_zone(zone, &hosts)?;
        }
        let all: Vec<Host> = hosts
            .into_iter()
            .filter(|h| h.roles.contains(&wire::Role::Compute) && !h.disabled)
            .filter(|h| zone.is_none_or(|zone| zone == h.availability_zone))
            .collect();
        if all.is_empty() {
            return Err(ControlError::NoHost(match zone {
                Some(zone) if zone != DEFAULT_ZONE => {
                    format!("no compute host is in the zone {zone}")
                }
                _ => "no compute host has reported yet (start one: novanet up, or novanet agent)"
                    .to_owned(),
            }));
        }
        let alive: Vec<Host> = all.into_iter().filter(|h| cloud.is_up(h)).collect();
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

    /// The next instance's host, and its zone.
    pub(crate) fn choose(&mut self) -> Result<(String, String)> {
        let host = self
            .hosts
            .iter()
            .min_by_key(|h| (self.load.get(&h.name).copied().unwrap_or(0), h.name.clone()))
            .ok_or_else(|| ControlError::NoHost("no compute host is up".to_owned()))?;
        *self.load.entry(host.name.clone()).or_default() += 1;
        Ok((host.name.clone(), host.availability_zone.clone()))
    }
}

/// Refuses a zone that no host is in. The default one is there even before any host.
fn check_zone(zone: &str, hosts: &[Host]) -> Result<()> {
    let of_hosts = hosts.iter().map(|h| h.availability_zone.as_str());
    let known: BTreeSet<&str> = of_hosts.chain([DEFAULT_ZONE]).collect();
    if known.contains(zone) {
        return Ok(());
    }
    let known: Vec<&str> = known.into_iter().collect();
    let reason = format!("does not exist: there is {}", known.join(", "));
    Err(ModelError::new("AvailabilityZone", zone, reason).into())
}

/// nova's MACs: `02:16:3e`, then 23 random bits. The table's UNIQUE refuses the rare twin, and the
/// client tries again.
pub(crate) fn unused_mac() -> MacAddr {
    let mut rng = rand::rng();
    let bytes: [u8; 3] = rng.random();
    MacAddr([0x02, 0x16, 0x3e, bytes[0] & 0x7f, bytes[1], bytes[2]])
}
