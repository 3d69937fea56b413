//! Chooses the networks in which an instance gets an address. Depends on the networks' rows and on
//! the hosts' refusals.
//!
//! nova's rule for flat networks is "in every one", so one shared network in trouble would hold up
//! all instances: a launch leaves it out while another one works. A project's own networks are a
//! promise to the project: a launch leaves none of them out, and fails if one is in trouble.

use super::types::PrepareError;
use crate::caller::record;
use crate::{Caller, ControlError, Kind, Result};
use novanet_model::NetworkKind;
use novanet_model::rows::Network;
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

impl Networks {
    pub(super) async fn load(tx: &mut Tx) -> Result<Self> {
        let (good, bad) = networks::all(tx).await?;
        Ok(Self {
            good,
            bad,
            in_force: None,
        })
    }

    /// The networks that an instance of the caller's project gets an address in: the project's own,
    /// else all shared flat ones, else a VLAN network without a project. `alone`: the caller has
    /// the transaction for itself and may take one.
    pub(super) async fn of(
        &mut self,
        tx: &mut Tx,
        caller: &Caller,
        alone: bool,
    ) -> Result<Vec<Network>, PrepareError> {
        let project = caller.project.as_str();
        let is_own = |b: &&BadNetwork| b.brief.project.as_deref() == Some(project);
        if let Some(bad) = self.bad.iter().find(is_own) {
            return Err(spoiled(bad).into());
        }
        let own = self.those(|n| n.project.as_ref() == Some(&caller.project));
        if !own.is_empty() {
            return Ok(own);
        }
        let shared = self.in_force(tx).await?;
        if !shared.is_empty() {
            return Ok(shared);
        }
        if let Some(bad) = self.bad.iter().find(|b| is_shared(b)) {
            return Err(spoiled(bad).into());
        }
        self.take(tx, caller, alone).await
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

    async fn take(
        &mut self,
        tx: &mut Tx,
        caller: &Caller,
        alone: bool,
    ) -> Result<Vec<Network>, PrepareError> {
        let Some(network) = self.good.iter_mut().find(|n| n.project.is_none()) else {
            let unowned = self.bad.iter().find(|b| b.brief.project.is_none());
            return Err(unowned.map_or_else(none, spoiled).into());
        };
        if !alone {
            return Err(PrepareError::RetryAlone);
        }
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
