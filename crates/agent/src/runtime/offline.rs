//! `host plan` and `host cleanup` while no agent runs: the same subsystems, the ledger instead of the
//! server, and the agent's lock, so that nobody else changes the host meanwhile.

use super::desired_objects::DesiredObjects;
use super::engine::Engine;
use super::error::AgentError;
use super::lock::{Lock, agent_dir};
use crate::ledger;
use novanet_reconcile::{Inspect, Subsystem, Subsystems, Timing};
use std::path::Path;

/// What can be asked of a host without an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offline {
    /// What it must have (needs a ledger), or only what would change.
    Plan {
        /// Only the difference.
        diff: bool,
    },
    /// Remove everything of ours, or only say what that is. A host that is cleaned up comes up
    /// again with the next start of its agent.
    Cleanup {
        /// Only say it.
        dry_run: bool,
        /// Also if instances run.
        force: bool,
    },
}

/// Whether the agent of this state path knows what its host must have, from a server of earlier.
pub fn has_ledger(state_path: &Path) -> bool {
    matches!(ledger::peek(&agent_dir(state_path)), Ok(Some(_)))
}

/// Does it with these subsystems, made with the agent's lock held. The text is for people; an `Err` in it says what could not be done.
pub async fn offline_with<L, F, D, I>(
    state_path: &Path,
    lock: Lock,
    subsystems: Subsystems<L, F, D, I>,
    what: Offline,
) -> Result<Result<String, String>, AgentError>
where
    L: Subsystem + Inspect,
    F: Subsystem + Inspect,
    D: Subsystem + Inspect,
    I: Subsystem + Inspect,
{
    let _lock = lock;
    let table = match what {
        Offline::Plan { .. } => {
            let dir = agent_dir(state_path);
            Some(ledger::peek(&dir)?.ok_or(AgentError::NoLedger(dir))?)
        }
        Offline::Cleanup { .. } => None,
    };
    let (engine, workers) = Engine::new(subsystems, None, &Timing::default());
    let work = async {
        let text = work(&engine, table, what).await;
        engine.stop();
        text
    };
    Ok(tokio::join!(work, workers.run()).0)
}

async fn work(
    engine: &Engine,
    table: Option<DesiredObjects>,
    what: Offline,
) -> Result<String, String> {
    engine.pause().await?;
    if let Some(table) = table {
        engine.merge(table.to_objects());
    }
    match what {
        Offline::Plan { diff } => engine.plan(diff).await,
        Offline::Cleanup { dry_run, force } => engine.cleanup(dry_run, force).await,
    }
}
