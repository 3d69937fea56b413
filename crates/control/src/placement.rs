//! Chooses the host of a new instance, and unused MACs for its interfaces. Depends on the rows of
//! hosts and networks.

use crate::{ControlError, Result};
use novanet_model::rows::Network;
use novanet_model::wire;
use novanet_model::{MacAddr, ModelError, NetworkKind};
use novanet_store::Conn;
use novanet_store::hosts::{self, Host};
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// The zone of a host that the operator put into none.
const DEFAULT_ZONE: &str = "nova";

/// All hosts, and how much each has to do: instances go to the living one with the fewest of them.
pub(crate) struct Hosts {
    all: Vec<Host>,
    load: BTreeMap<String, i64>,
}

/// Where an instance is placed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The host.
    pub(crate) host: String,
    /// Its zone.
    pub(crate) zone: String,
}

impl Hosts {
    pub(crate) async fn load(c: &mut Conn) -> Result<Self> {
        let load = hosts::load(c).await?;
        Ok(Self {
            all: hosts::list(c).await?,
            load: load
                .into_iter()
                .map(|(name, count, ..)| (name, count))
                .collect(),
        })
    }

    /// The hosts that can run instances in these networks; only those of `zone` if it is given.
    pub(crate) fn able(
        &self,
        is_up: impl Fn(&Host) -> bool,
        networks: &[Network],
        zone: Option<&str>,
    ) -> Result<Vec<Place>> {
        if let Some(zone) = zone {
            check_zone(zone, &self.all)?;
        }
        let mut hosts: Vec<&Host> = self.all.iter().collect();
        hosts.retain(|h| h.roles.contains(&wire::HostRole::Compute));
        hosts.retain(|h| zone.is_none_or(|zone| zone == h.availability_zone));
        if hosts.is_empty() {
            return Err(ControlError::NoHost(match zone {
                Some(zone) if zone != DEFAULT_ZONE => {
                    format!("no compute host is in the zone {zone}")
                }
                _ => "no compute host has reported yet (start one: novanet up, or novanet agent)"
                    .to_owned(),
            }));
        }
        hosts.retain(|h| !h.disabled);
        if hosts.is_empty() {
            return Err(ControlError::NoHost(
                "every compute host is disabled (nova-manage service enable HOST)".to_owned(),
            ));
        }
        hosts.retain(|h| is_up(h));
        if hosts.is_empty() {
            return Err(ControlError::NoHost(
                "no compute host is up (nova-manage service list shows them)".to_owned(),
            ));
        }
        for network in networks {
            hosts.retain(|h| h.kinds.contains(&network.kind));
            if hosts.is_empty() {
                return Err(ControlError::NoHost(cannot_run(network)));
            }
        }
        let place = |h: &Host| Place {
            host: h.name.clone(),
            zone: h.availability_zone.clone(),
        };
        Ok(hosts.into_iter().map(place).collect())
    }

    /// Whether a host that instances can be placed on runs networks of this kind.
    pub(crate) fn can_run(&self, kind: NetworkKind) -> bool {
        let compute = |h: &&Host| h.roles.contains(&wire::HostRole::Compute) && !h.disabled;
        self.all
            .iter()
            .filter(compute)
            .any(|h| h.kinds.contains(&kind))
    }

    /// The next instance's place, one of `able`.
    pub(crate) fn choose(&mut self, able: &[Place]) -> Result<Place> {
        let load = |place: &Place| self.load.get(&place.host).copied().unwrap_or(0);
        let place = able
            .iter()
            .min_by_key(|place| (load(place), &place.host))
            .ok_or_else(|| ControlError::NoHost("no compute host is up".to_owned()))?;
        *self.load.entry(place.host.clone()).or_default() += 1;
        Ok(place.clone())
    }
}

/// Names the network that keeps an instance from every host, and the way out.
fn cannot_run(network: &Network) -> String {
    let (id, label, cidr, kind) = (network.id, &network.label, network.cidr, network.kind);
    format!(
        "no host can run network {id} ({label}, {cidr}): it is a {kind} network, and no host's kernel \
         can run those (modprobe 8021q there), or delete it (nova-manage network delete {id}) and use \
         a flatdhcp or flat network"
    )
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
