//! Background controllers: they plan edited rows, end deletions, start VPNs, purge old tombstones
//! and terminated instances, and plan everything again from scratch, a few rows at a time.
//!
//! Every server runs the loop; a lease decides which one acts. A round takes no input and does not
//! retry: the next round is the retry.

use crate::caller::controller;
use crate::networks::owners_of_network;
use crate::vpn::autostart::Starts;
use crate::{Cloud, ControlError, Result, error_chain, host_addresses};
use novanet_store::{
    PlanOwner, StoreError, audit, clock, instances, leases, network_change, now, objects, plan,
};
use std::collections::VecDeque;
use std::time::Duration;

/// How long terminated instances are shown.
const SHOWN_FOR: Duration = Duration::from_hours(1);

/// How long a lease lasts without renewal.
const LEASE: Duration = Duration::from_secs(15);

/// How many rows a round plans again: some milliseconds, because use cases wait for them.
const SLICE: usize = 64;

/// How often the sweep runs, and a new check of everything begins at the earliest (rounds).
const SWEEP: u64 = 60;

/// The controllers of one server: a round each second.
#[derive(Debug)]
pub struct Controllers {
    holder: String,
    round: u64,
    leads: bool,
    unchecked: VecDeque<PlanOwner>,
    vpn_starts: Starts,
}

impl Controllers {
    /// `holder` names this server among all.
    pub fn new(holder: &str) -> Self {
        Self {
            holder: holder.to_owned(),
            round: 0,
            leads: false,
            unchecked: VecDeque::new(),
            vpn_starts: Starts::default(),
        }
    }

    /// One round.
    pub async fn round(&mut self, cloud: &Cloud) -> Result<()> {
        if self.round.is_multiple_of(5) {
            self.leads = false;
            self.leads = cloud.hold_lease(&self.holder).await?;
        }
        let round = self.round;
        self.round += 1;
        if !self.leads {
            return Ok(());
        }
        cloud.plan_dirty().await?;
        cloud.finish_deletions().await?;
        self.vpn_starts.round(cloud, round).await?;
        if round % SWEEP == SWEEP - 1 {
            cloud.sweep().await?;
        }
        if self.unchecked.is_empty() && round.is_multiple_of(SWEEP) {
            let mut tx = cloud.db().read().await?;
            self.unchecked = plan::all_owners(&mut tx).await?.into_iter().collect();
        }
        let slice = self.unchecked.len().min(SLICE);
        cloud.check_slice(self.unchecked.drain(..slice)).await
    }
}

impl Cloud {
    /// Runs the controllers until the future is dropped. `holder` names this server.
    pub async fn run_controllers(&self, holder: &str) {
        let mut controllers = Controllers::new(holder);
        loop {
            if let Err(error) = controllers.round(self).await {
                tracing::warn!(
                    error = error_chain(&error),
                    remedy = error.remedy(),
                    "controllers"
                );
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn hold_lease(&self, holder: &str) -> Result<bool> {
        let mut tx = self.db().begin_unplanned().await?;
        let epoch = leases::take(&mut tx, "controllers", holder, LEASE).await?;
        tx.commit().await?;
        Ok(epoch.is_some())
    }

    /// Plans rows that were edited by hand.
    async fn plan_dirty(&self) -> Result<()> {
        {
            let mut tx = self.db().read().await?;
            if !plan::has_dirty(&mut tx).await? {
                return Ok(());
            }
        }
        let mut tx = self.db().begin_planned().await?;
        let mut changed = 0;
        let mut owners = plan::take_dirty(&mut tx).await?;
        for owner in owners.clone() {
            if let PlanOwner::Network(id) = owner {
                // Ports and bindings name the bridge and the host of their network.
                owners.extend(owners_of_network(&mut tx, id).await?);
            }
        }
        for owner in owners {
            changed += self.plan_again(&mut tx, owner).await?;
        }
        if changed > 0 {
            let actor = controller("dirty");
            let detail = format!("{changed} host objects");
            audit::record(&mut tx, &actor, "db.edited", None, "rows", &detail).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Plans an owner again. A row that does not validate keeps its last good objects.
    pub(crate) async fn plan_again(
        &self,
        tx: &mut novanet_store::Tx,
        owner: PlanOwner,
    ) -> Result<usize> {
        if let PlanOwner::Network(id) = owner
            && let Some(network) = network_change::settle(tx, id).await?
        {
            let reports = novanet_store::host_addresses::all(tx).await?;
            host_addresses::reserve(tx, &reports, &network).await?;
        }
        match self.plan(tx, [owner]).await {
            Err(ControlError::Store(StoreError::BadRow { row, source })) => {
                tracing::error!(row, %source, "row is kept as it was last good");
                Ok(0)
            }
            done => done,
        }
    }

    /// `db check` of some rows. What it repairs was missed by a use case: that is a fault.
    async fn check_slice(&self, owners: impl ExactSizeIterator<Item = PlanOwner>) -> Result<()> {
        if owners.len() == 0 {
            return Ok(());
        }
        let mut tx = self.db().begin_planned().await?;
        let mut repaired = 0;
        for owner in owners {
            let changed = self.plan_again(&mut tx, owner).await?;
            if changed > 0 {
                tracing::error!(%owner, changed, "host objects did not follow from their row");
                repaired += changed;
            }
        }
        if repaired > 0 {
            let actor = controller("check");
            let detail = format!("{repaired} host objects");
            audit::record(&mut tx, &actor, "db.repair", None, "host_objects", &detail).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    async fn sweep(&self) -> Result<()> {
        let mut tx = self.db().begin_planned().await?;
        objects::sweep_tombstones(&mut tx).await?;
        instances::purge(&mut tx, now() - SHOWN_FOR).await?;
        self.collect_images(&mut tx).await?;
        tx.commit().await?;
        self.renew_vpn_certificates().await
    }

    /// Epoch and version now, to note beside the database.
    pub async fn clock(&self) -> Result<(String, i64)> {
        let mut tx = self.db().read().await?;
        let clock = clock::read(&mut tx).await?;
        Ok((clock.epoch, clock.version))
    }
}
