//! Waits until hosts have applied a use case's version, for a short time and not for hosts that are
//! down. Depends on the versions that hosts report.

use crate::Cloud;
use novanet_store::{Committed, hosts};
use std::time::Duration;

/// How long an API call waits for a host (DESIGN: at most 2 s, not for a host that is down).
pub(crate) const APPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two looks into the database.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Cloud {
    /// Waits until the hosts of a change have applied it, [`APPLY_TIMEOUT`] at most. `false`: one
    /// of them has not, or is down.
    pub async fn applied(&self, change: &Committed) -> bool {
        let all = async {
            for host in &change.hosts {
                if !self.applied_by(host, change.version).await {
                    return false;
                }
            }
            true
        };
        // Around everything: a database that does not answer delays the call no longer either.
        tokio::time::timeout(APPLY_TIMEOUT, all)
            .await
            .unwrap_or(false)
    }

    async fn applied_by(&self, host: &str, version: i64) -> bool {
        let mut heard = self.reports().of(host).subscribe();
        loop {
            if *heard.borrow_and_update() >= version {
                return true;
            }
            // Another server may be the one that the host reports to: look into the database now
            // and then.
            if tokio::time::timeout(LOOK_AGAIN, heard.changed())
                .await
                .is_ok()
            {
                continue;
            }
            match self.progress_of(host).await {
                Some((applied, _)) if applied >= version => return true,
                Some((_, true)) => {}
                _ => return false,
            }
        }
    }

    /// How far a host is, and whether it is up.
    async fn progress_of(&self, host: &str) -> Option<(i64, bool)> {
        let mut tx = self.db().read().await.ok()?;
        let row = hosts::by_name(&mut tx, host).await.ok()??;
        Some((row.applied_version, self.is_up(&row)))
    }
}
