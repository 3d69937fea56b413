//! Fixed IPs of the launches of one transaction: allocates from each network in one statement and
//! assigns in the order of the calls. Depends on the pool.

use super::types::{Call, Plan, PrepareError};
use crate::{ControlError, Kind, Result};
use novanet_model::rows::Network;
use novanet_model::{FixedIpId, ModelError, NetworkId};
use novanet_store::pool::{self, AllocatedIp};
use novanet_store::{Tx, fixed_ips};
use std::collections::{BTreeMap, VecDeque};

/// Allocated addresses that no instance has yet.
#[derive(Default)]
pub(super) struct Addresses(BTreeMap<NetworkId, VecDeque<AllocatedIp>>);

impl Addresses {
    /// Takes as many as the plans want, or as there are.
    pub(super) async fn take<'a>(
        tx: &mut Tx,
        plans: impl Iterator<Item = &'a Plan>,
    ) -> Result<Self> {
        let mut wanted: BTreeMap<NetworkId, (&Network, usize)> = BTreeMap::new();
        for plan in plans {
            for network in &plan.networks {
                wanted.entry(network.id).or_insert((network, 0)).1 += plan.count;
            }
        }
        let mut all = Self::default();
        for (id, (network, count)) in wanted {
            let taken = pool::allocate(tx, network, count).await?;
            all.0.insert(id, taken.into());
        }
        Ok(all)
    }

    /// Addresses for a plan's instances, one in each network for each: `count` of them, or as many
    /// as there are but not less than `min` (EC2 launches as many as it can).
    pub(super) fn assign(&mut self, plan: &Plan, min: usize) -> Result<Vec<Vec<AllocatedIp>>> {
        let left = |n: &Network| self.0.get(&n.id).map_or(0, VecDeque::len);
        let scarce = plan.networks.iter().min_by_key(|n| left(n));
        let count = scarce.map_or(0, left).min(plan.count);
        if count < min {
            let cidr = scarce.map_or_else(String::new, |n| n.cidr.to_string());
            tracing::warn!(network = cidr, "a launch finds no free fixed IP");
            return Err(ControlError::exhausted(
                Kind::FixedIp,
                format!(
                    "no free fixed IP in network {cidr} (the operator adds a network: \
                     nova-manage network create, or frees addresses: nova-manage fixed list)"
                ),
            ));
        }
        let mut one_each = || {
            let next = |n: &Network| self.0.get_mut(&n.id).and_then(VecDeque::pop_front);
            plan.networks.iter().filter_map(next).collect()
        };
        Ok((0..count).map(|_| one_each()).collect())
    }

    /// Gives the unassigned rest back to the pools.
    pub(super) async fn give_back(self, tx: &mut Tx) -> Result<()> {
        let rest: Vec<FixedIpId> = self.0.into_values().flatten().map(|ip| ip.id).collect();
        Ok(pool::release(tx, &rest).await?)
    }
}

/// The fixed IP that the caller chose.
pub(super) async fn requested_address(
    tx: &mut Tx,
    call: &Call,
    networks: &[Network],
) -> Result<Option<AllocatedIp>, PrepareError> {
    let Some(ip) = call.launch.private_address else {
        return Ok(None);
    };
    let invalid = |reason: String| ModelError::new("PrivateIpAddress", ip, reason);
    let [network] = networks else {
        let count = networks.len();
        let reason = format!("the instance gets an address in {count} networks");
        return Err(invalid(reason).into());
    };
    let cidr = network.cidr;
    let reserved = fixed_ips::reserved_ranges(tx, network.id).await?;
    if !cidr.contains(&ip) || reserved.iter().any(|r| r.first <= ip && ip <= r.last) {
        let reason = format!("must be an address for instances of network {cidr}");
        return Err(invalid(reason).into());
    }
    let id = pool::take(tx, network.id, ip)
        .await?
        .ok_or_else(|| ControlError::in_use(Kind::FixedIp, ip, "is taken or reserved"))?;
    Ok(Some(AllocatedIp { id, address: ip }))
}
