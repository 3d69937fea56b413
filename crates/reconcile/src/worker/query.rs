//! Answers to the queries of a worker: plans, and the cleanup. Depends on [`crate::plan`] for the
//! text.

use super::SubsystemWorker;
use crate::command::{Inspect, Query};
use crate::plan;
use crate::reconciler::Cleaned;
use crate::subsystem::{Subsystem, SubsystemError};
use std::collections::BTreeMap;

impl<R: Subsystem + Inspect> SubsystemWorker<R> {
    pub(super) async fn answer(&mut self, query: Query) -> Result<String, String> {
        let failed = |e: SubsystemError| format!("{}: {e}", R::NAME);
        self.take_foreign();
        match query {
            Query::Plan { diff: false } => Ok(plan::desired(&self.reconciler)),
            Query::Plan { diff: true } => {
                let changes = self.reconciler.difference().await.map_err(failed)?;
                self.publish_foreign();
                Ok(plan::difference(&self.reconciler, &changes))
            }
            Query::Show => self.reconciler.subsystem().show().await.map_err(failed),
            Query::View(view) => {
                let (subsystem, desired) = self.reconciler.with_desired();
                subsystem.view(view, desired).await.map_err(failed)
            }
            Query::Explain(packet) => {
                let (subsystem, desired) = self.reconciler.with_desired();
                subsystem.explain(packet, desired).await.map_err(failed)
            }
            Query::Pause => {
                self.paused = true;
                self.publish();
                Ok(String::new())
            }
            Query::Cleanup { dry_run } => {
                let cleaned = self.clean_up(dry_run).await.map_err(failed)?;
                plan::cleaned::<R>(&cleaned)
            }
            Query::InUse => self.reconciler.subsystem().in_use().await.map_err(failed),
        }
    }

    /// Removes everything. The result is what is left when the subsystem has finished, not what it
    /// returned from `apply`.
    async fn clean_up(&mut self, dry_run: bool) -> Result<Cleaned<R>, SubsystemError> {
        let (removed, _) = self.reconciler.cleanup(dry_run).await?;
        if dry_run {
            return Ok((removed, Vec::new()));
        }
        self.reconciler.subsystem().finish().await;
        // Another attempt, for the rest: its failures say why the items are still there.
        let (left, why) = self.reconciler.cleanup(false).await?;
        if left.is_empty() {
            return Ok((removed, why));
        }
        self.reconciler.subsystem().finish().await;
        let (left, _) = self.reconciler.cleanup(true).await?;
        let mut why: BTreeMap<_, _> = why.into_iter().collect();
        let still = || SubsystemError::Refused("is still there; see the agent's log".to_owned());
        let failures = left.into_iter().map(|change| {
            let error = why.remove(&change.key).unwrap_or_else(still);
            (change.key, error)
        });
        Ok((removed, failures.collect()))
    }
}
