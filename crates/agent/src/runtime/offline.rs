//! `host plan` and `host cleanup` while no agent runs: the same subsystems, with the ledger in the
//! place of the server. Holds the agent's lock, so that no agent starts meanwhile.

use super::desired_objects::DesiredObjects;
use super::engine::Engine;
use super::error::AgentError;
use super::lock::{Lock, agent_dir};
use crate::ledger;
use novanet_reconcile::{Inspect, Subsystem, Subsystems, Timing};
use std::path::Path;

/// A command for a host without an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offline {
    /// Shows what the host must have. Needs a ledger.
    Plan {
        /// Only what would change.
        diff: bool,
    },
    /// Removes everything of novanet's. The next start of the agent brings the host up again.
    Cleanup {
        /// Only shows it.
        dry_run: bool,
        /// Also if instances run.
        force: bool,
    },
}

/// Whether this state path has a ledger, the objects that a server sent earlier.
pub fn has_ledger(state_path: &Path) -> bool {
    matches!(ledger::peek(&agent_dir(state_path)), Ok(Some(_)))
}

/// Runs the command with these subsystems, which were made with the agent's lock held. The inner
/// result is text for people; its `Err` names the failures.
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
