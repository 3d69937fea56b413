//! Waiting until hosts have done what a use case decided.

use crate::Cloud;
use novanet_store::{Committed, hosts};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::watch;

/// How long an API call waits for a host (DESIGN: at most 2 s, not for a host that is down).
pub(crate) const APPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// Between two looks into the database.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How far hosts are, as they report to this process.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    hosts: Mutex<BTreeMap<String, watch::Sender<i64>>>,
}

impl Reports {
    fn of(&self, host: &str) -> watch::Sender<i64> {
        self.hosts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .entry(host.to_owned())
            .or_insert_with(|| watch::Sender::new(0))
            .clone()
    }

    /// A host has applied everything up to `version`.
    pub(crate) fn tell(&self, host: &str, version: i64) {
        self.of(host).send_replace(version);
    }
}

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
