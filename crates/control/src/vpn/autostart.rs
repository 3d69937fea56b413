//! The controller that starts a VPN with a project's first instance in a VLAN network
//! (`vpn_autostart`). Depends on `vpn run`.

use crate::{Cloud, Result, error_chain};
use novanet_model::ProjectId;
use novanet_store::vpns;
use std::collections::BTreeMap;

/// Rounds until the first next try after a failure; each failure doubles it.
const FIRST_PAUSE: u64 = 2;

/// The longest pause, in rounds.
const LONGEST_PAUSE: u64 = 600;

/// VPNs that could not be started.
#[derive(Debug, Default)]
pub(crate) struct Starts {
    failed: BTreeMap<ProjectId, Failed>,
}

#[derive(Debug)]
struct Failed {
    next: u64,
    pause: u64,
}

impl Starts {
    /// Starts what lacks in this round. A failure is a warning, and tried again later.
    pub(crate) async fn round(&mut self, cloud: &Cloud, round: u64) -> Result<()> {
        let config = cloud.config();
        if !config.vpn_autostart || matches!(config.vpn_image.as_str(), "" | "0") {
            return Ok(());
        }
        let lacking = {
            let mut tx = cloud.db().read().await?;
            vpns::lacking(&mut tx).await?
        };
        self.failed.retain(|project, _| lacking.contains(project));
        for project in lacking {
            if self.failed.get(&project).is_some_and(|f| round < f.next) {
                continue;
            }
            let Err(error) = cloud.run_vpn(&project, None).await else {
                self.failed.remove(&project);
                continue;
            };
            let error = error_chain(&error);
            tracing::warn!(%project, error, "the project's VPN could not be started");
            let failed = self.failed.entry(project).or_insert(Failed {
                next: round,
                pause: FIRST_PAUSE / 2,
            });
            failed.pause = (failed.pause * 2).min(LONGEST_PAUSE);
            failed.next = round + failed.pause;
        }
        Ok(())
    }
}
