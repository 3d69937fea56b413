//! In which networks an instance gets an address.
//!
//! nova's rule for flat networks is "in every one", so one shared network that is in trouble would
//! hold up everybody's instances: it is left out while there is another. A project's own networks are
//! what the project was promised: none of them is left out, and trouble with one has to be seen.

use super::batch::Stop;
use crate::{Caller, ControlError, Kind, Result};
use novanet_model::rows::Network;
use novanet_model::{NetworkId, NetworkKind};
use novanet_store::networks::BadNetwork;
use novanet_store::{Tx, audit, networks};
use std::collections::BTreeMap;

/// All networks, read once for the launches of one transaction.
pub(super) struct Networks {
    good: Vec<Network>,
    /// Rows that somebody edited to what makes no sense.
    bad: Vec<BadNetwork>,
    /// Those that their hosts cannot have, and why, once somebody asked.
    refused: Option<BTreeMap<NetworkId, String>>,
}

impl Networks {
    pub(super) async fn load(tx: &mut Tx) -> Result<Self> {
        let (good, bad) = networks::all(tx).await?;
        Ok(Self {
            good,
            bad,
            refused: None,
        })
    }

    /// The networks that an instance of the caller's project gets an address in: the project's own,
    /// else all shared flat ones, else a VLAN network that nobody has yet. `alone`: the caller has
    /// the transaction for itself and may take one.
    pub(super) async fn of(
        &mut self,
        tx: &mut Tx,
        caller: &Caller,
        alone: bool,
    ) -> Result<Vec<Network>, Stop> {
        let project = caller.project.as_str();
        let is_own = |b: &&BadNetwork| b.brief.project.as_deref() == Some(project);
        if let Some(bad) = self.bad.iter().find(is_own) {
            return Err(spoiled(bad).into());
        }
        let own = self.those(|n| n.project.as_ref() == Some(&caller.project));
        if !own.is_empty() {
            return Ok(own);
        }
        let shared = self.those(|n| n.project.is_none() && n.kind != NetworkKind::Vlan);
        if !shared.is_empty() {
            return Ok(self
                .in_force(tx, shared)
                .await
                .map_err(ControlError::from)?);
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

    /// Without those that are in trouble, unless all of them are: then the instances wait.
    async fn in_force(
        &mut self,
        tx: &mut Tx,
        shared: Vec<Network>,
    ) -> novanet_store::Result<Vec<Network>> {
        let first = self.refused.is_none();
        if first {
            // One alone is not left out anyway: nobody has to ask.
            let several = shared.len() > 1;
            self.refused = Some(if several {
                networks::refused(tx).await?
            } else {
                BTreeMap::new()
            });
        }
        let why = |network: &Network| self.refused.as_ref()?.get(&network.id);
        let (out, left): (Vec<_>, Vec<_>) = shared.into_iter().partition(|n| why(n).is_some());
        if left.is_empty() {
            return Ok(out);
        }
        if first {
            let refused = out.iter().filter_map(|n| Some((n.id, why(n)?.clone())));
            let bad = self.bad.iter().filter(|b| is_shared(b));
            let bad = bad.map(|b| (b.brief.id, spoiled(b).to_string()));
            for (network, error) in bad.chain(refused) {
                tracing::warn!(%network, error, "a launch leaves a network out");
            }
        }
        Ok(left)
    }

    async fn take(
        &mut self,
        tx: &mut Tx,
        caller: &Caller,
        alone: bool,
    ) -> Result<Vec<Network>, Stop> {
        let Some(network) = self.good.iter_mut().find(|n| n.project.is_none()) else {
            let unowned = self.bad.iter().find(|b| b.brief.project.is_none());
            return Err(unowned.map_or_else(none, spoiled).into());
        };
        if !alone {
            return Err(Stop::Alone);
        }
        let (project, object) = (&caller.project, network.cidr.to_string());
        networks::set_project(tx, network.id, project)
            .await
            .map_err(ControlError::from)?;
        let of = Some(project.as_str());
        audit::record(tx, &caller.actor, "network.associate", of, &object, "")
            .await
            .map_err(ControlError::from)?;
        network.project = Some(project.clone());
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

/// Which row, what is wrong with it, and the way out.
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
