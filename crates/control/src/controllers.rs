//! What happens without anybody asking: edited rows are planned, old tombstones and terminated
//! instances go, one host at a time is planned again from scratch.
//!
//! Every server runs the loop; a lease decides which one acts. A round takes no input and does not
//! retry: the next round is the retry.

use crate::agents::now;
use crate::caller::controller;
use crate::{Cloud, Result};
use novanet_store::{audit, clock, images, instances, leases, objects, plan};
use std::time::Duration;

/// Terminated instances are shown for an hour (microseconds).
const SHOWN_FOR: i64 = 3_600_000_000;

/// How long a lease lasts without renewal (microseconds).
const LEASE: i64 = 15_000_000;

impl Cloud {
    /// Runs the controllers until the future is dropped. `holder` names this server.
    pub async fn run_controllers(&self, holder: &str) {
        let mut round: u64 = 0;
        loop {
            if let Err(error) = self.controllers_once(holder, round).await {
                tracing::warn!(%error, "controllers");
            }
            round += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// One round: edited rows every time, the sweep every minute.
    pub async fn controllers_once(&self, holder: &str, round: u64) -> Result<()> {
        self.plan_dirty().await?;
        if round.is_multiple_of(5) && !self.hold_lease(holder).await? {
            return Ok(());
        }
        if round % 60 == 59 {
            self.sweep().await?;
        }
        Ok(())
    }

    async fn hold_lease(&self, holder: &str) -> Result<bool> {
        let mut tx = self.db().write().await?;
        let epoch = leases::take(&mut tx, "controllers", holder, LEASE).await?;
        tx.commit().await?;
        Ok(epoch.is_some())
    }

    /// Plans rows that somebody edited by hand. A row that does not validate keeps its last good
    /// objects.
    async fn plan_dirty(&self) -> Result<()> {
        {
            let mut tx = self.db().read().await?;
            if !plan::has_dirty(&mut tx).await? {
                return Ok(());
            }
        }
        let mut tx = self.db().change().await?;
        let mut changed = 0;
        for thing in plan::take_dirty(&mut tx).await? {
            match self.plan(&mut tx, [thing]).await {
                Ok(count) => changed += count,
                Err(crate::ControlError::Store(novanet_store::StoreError::BadRow {
                    row,
                    source,
                })) => tracing::error!(row, %source, "row is kept as it was last good"),
                Err(other) => return Err(other),
            }
        }
        if changed > 0 {
            let actor = controller("dirty");
            let detail = format!("{changed} host objects");
            audit::record(&mut tx, &actor, "db.edited", None, "rows", &detail).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn sweep(&self) -> Result<()> {
        let mut tx = self.db().change().await?;
        objects::sweep_tombstones(&mut tx).await?;
        instances::purge(&mut tx, now() - SHOWN_FOR).await?;
        images::collect(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Called once when a server starts: a database older than the one that this server last saw was
    /// restored from a copy, so versions mean something else now and all followers must list again.
    /// `seen` is what [`Cloud::seen`] answered last.
    pub async fn notice_restore(&self, seen: Option<(&str, i64)>) -> Result<bool> {
        let mut tx = self.db().change().await?;
        let clock = clock::read(&mut tx).await?;
        let restored = seen.is_some_and(|(epoch, version)| {
            // Our own bump is in `clock.version` already.
            epoch == clock.epoch && clock.version <= version
        });
        if restored {
            clock::new_epoch(&mut tx).await?;
            let actor = controller("restore");
            audit::record(&mut tx, &actor, "db.restored", None, "clock", &clock.epoch).await?;
            tx.commit().await?;
        }
        Ok(restored)
    }

    /// Epoch and version now, to remember beside the database.
    pub async fn seen(&self) -> Result<(String, i64)> {
        let mut tx = self.db().read().await?;
        let clock = clock::read(&mut tx).await?;
        Ok((clock.epoch, clock.version))
    }
}
