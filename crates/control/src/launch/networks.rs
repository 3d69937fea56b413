//! Chooses the networks in which an instance gets an address. Depends on the networks' rows and on
//! the hosts' refusals.
//!
//! nova's rule for flat networks is "in every one", so one shared network in trouble would hold up
//! all instances: a launch leaves it out while another one works. A project's own networks are a
//! promise to the project: a launch leaves none of them out, and fails if one is in trouble.

use super::types::PrepareError;
use crate::caller::record;
use crate::placement::Hosts;
use crate::{Caller, ControlError, Kind, Result};
use novanet_model::rows::Network;
use novanet_model::{NetworkId, NetworkKind, SubnetId};
use novanet_store::networks::BadNetwork;
use novanet_store::{Tx, networks};
use std::collections::BTreeMap;

/// All networks, read once for the launches of one transaction.
pub(super) struct Networks {
    good: Vec<Network>,
    /// Rows that do not validate.
    bad: Vec<BadNetwork>,
    /// The shared flat ones that instances get addresses in; `None` until the first launch asks.
    in_force: Option<Vec<Network>>,
}

/// What a launch asks of the networks.
pub(super) struct Wants<'a> {
    pub(super) caller: &'a Caller,
    /// The networks that the request names; empty: none.
    pub(super) networks: &'a [NetworkId],
    /// A free VLAN network goes before the shared flat ones.
    pub(super) vlan: bool,
    /// The launch has the transaction for itself and may take a network.
    pub(super) alone: bool,
}

impl Networks {
    pub(super) async fn load(tx: &mut Tx) -> Result<Self> {
        let (good, bad) = networks::all(tx).await?;
        Ok(Self {
            good,
            bad,
            in_force: None,
        })
    }

    /// The networks that an instance of the caller's project gets an address in: those that the
    /// request names; else the project's own; else a free VLAN network, if the launch wants one;
    /// else all shared flat ones; else a free VLAN network, so that the instance has one at all.
    pub(super) async fn of(
        &mut self,
        tx: &mut Tx,
        hosts: &Hosts,
        wants: &Wants<'_>,
    ) -> Result<Vec<Network>, PrepareError> {
        if !wants.networks.is_empty() {
            return self.named(wants);
        }
        let project = wants.caller.project.as_str();
        let is_own = |b: &&BadNetwork| b.brief.project.as_deref() == Some(project);
        if let Some(bad) = self.bad.iter().find(is_own) {
            return Err(spoiled(bad).into());
        }
        let own = self.those(|n| n.project.as_ref() == Some(&wants.caller.project));
        if !own.is_empty() {
            return Ok(own);
        }
        if wants.vlan && hosts.can_run(NetworkKind::Vlan) {
            let free = self.those(|n| n.project.is_none() && n.kind == NetworkKind::Vlan);
            let refused = match free.len() {
                0 => BTreeMap::new(),
                _ => networks::refused(tx).await?,
            };
            if let Some(network) = free.iter().find(|n| !refused.contains_key(&n.id)) {
                let id = network.id;
                return self.take(tx, wants, id).await;
            }
        }
        let shared = self.in_force(tx).await?;
        if !shared.is_empty() {
            return Ok(shared);
        }
        if let Some(bad) = self.bad.iter().find(|b| is_shared(b)) {
            return Err(spoiled(bad).into());
        }
        if let Some(network) = self.good.iter().find(|n| n.project.is_none()) {
            let id = network.id;
            return self.take(tx, wants, id).await;
        }
        let unowned = self.bad.iter().find(|b| b.brief.project.is_none());
        Err(unowned.map_or_else(none, spoiled).into())
    }

    /// The networks that the request names: the project's own and shared flat ones. Others do not
    /// exist for the caller.
    fn named(&self, wants: &Wants<'_>) -> Result<Vec<Network>, PrepareError> {
        let project = &wants.caller.project;
        let find = |id: &NetworkId| {
            let is_for = |n: &&Network| match &n.project {
                Some(owner) => owner == project,
                None => n.kind != NetworkKind::Vlan,
            };
            let good = self.good.iter().find(|n| n.id == *id);
            if let Some(network) = good.filter(is_for) {
                return Ok(network.clone());
            }
            let bad = self.bad.iter().find(|b| b.brief.id == *id);
            let is_own = |b: &&BadNetwork| b.brief.project.as_deref() == Some(project.as_str());
            match bad.filter(|b| is_own(b) || is_shared(b)) {
                Some(bad) => Err(spoiled(bad).into()),
                None => Err(ControlError::not_found(Kind::Network, SubnetId(id.0)).into()),
            }
        };
        wants.networks.iter().map(find).collect()
    }

    fn those(&self, wanted: impl Fn(&Network) -> bool) -> Vec<Network> {
        let those = self.good.iter().filter(|n| wanted(n));
        those.cloned().collect()
    }

    /// The shared flat ones without those that are in trouble, unless all of them are: then the
    /// instances wait.
    async fn in_force(&mut self, tx: &mut Tx) -> Result<Vec<Network>> {
        if let Some(shared) = &self.in_force {
            return Ok(shared.clone());
        }
        let shared = self.those(|n| n.project.is_none() && n.kind != NetworkKind::Vlan);
        // A single one is never left out: no query needed.
        let mut refused = match shared.len() {
            0 | 1 => BTreeMap::new(),
            _ => networks::refused(tx).await?,
        };
        let (out, mut left): (Vec<_>, Vec<_>) = shared
            .into_iter()
            .partition(|n| refused.contains_key(&n.id));
        if left.is_empty() {
            left = out;
        } else {
            let refused = out.iter().filter_map(|n| refused.remove_entry(&n.id));
            let bad = self.bad.iter().filter(|b| is_shared(b));
            let bad = bad.map(|b| (b.brief.id, spoiled(b).to_string()));
            for (network, error) in bad.chain(refused) {
                tracing::warn!(%network, error, "a launch leaves a network out");
            }
        }
        self.in_force = Some(left.clone());
        Ok(left)
    }

    /// Gives a free network to the caller's project.
    async fn take(
        &mut self,
        tx: &mut Tx,
        wants: &Wants<'_>,
        id: NetworkId,
    ) -> Result<Vec<Network>, PrepareError> {
        if !wants.alone {
            return Err(PrepareError::RetryAlone);
        }
        let caller = wants.caller;
        let network = self.good.iter_mut().find(|n| n.id == id).ok_or_else(none)?;
        networks::set_project(tx, network.id, &caller.project).await?;
        record(tx, caller, "network.associate", network.cidr, "").await?;
        network.project = Some(caller.project.clone());
        Ok(vec![network.clone()])
    }
}

fn is_shared(bad: &BadNetwork) -> bool {
    bad.brief.project.is_none() && bad.brief.kind != NetworkKind::Vlan.as_str()
}

fn none() -> ControlError {
    ControlError::exhausted(
        Kind::Network,
        "there is no network for this project (the operator makes one: nova-manage network create)",
    )
}

/// The row, its mistake, and the remedy.
fn spoiled(bad: &BadNetwork) -> ControlError {
    let (why, id) = (&bad.why, bad.brief.id);
    ControlError::exhausted(
        Kind::Network,
        format!(
            "{why} (the operator corrects the row in the database, or deletes the network: \
             nova-manage network delete {id})"
        ),
    )
}
