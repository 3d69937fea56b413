//! Whether the database is the one that this state folder belongs to. Two files of the folder say
//! so: the server's note (`clock.seen`) and the agent's ledger. An empty database, another one, or
//! an older copy is refused until the operator decides (`nova-manage db restored`,
//! docs/restore.md).

use crate::failure::Failure;
use novanet_agent::ledger;
use novanet_agent::runtime::lineage::{Mismatch, REMEDY, Reason};
use novanet_agent::runtime::{self, AgentError, DesiredObjects, lock};
use novanet_control::{Cloud, sqlite_file};
use novanet_model::flags::Flags;
use novanet_model::wire::{Follow, Objects};
use novanet_server::clock_file;
use std::io::ErrorKind;
use std::path::Path;

/// What this state folder knows of its database.
#[derive(Debug, Clone)]
pub(crate) struct LocalRecord {
    /// What the server noted: epoch and version.
    pub(crate) seen: Option<(String, i64)>,
    /// What the agent's host has.
    pub(crate) ledger: Option<DesiredObjects>,
}

impl LocalRecord {
    /// Reads both witnesses; `None`: this state folder never had a database.
    pub(crate) fn of(flags: &Flags) -> Result<Option<Self>, Failure> {
        let state_path = flags.state_path();
        let ledger = match ledger::peek(&lock::agent_dir(&state_path)) {
            // The state path leads nowhere: the database's own error says so.
            Err(AgentError::File { source, .. }) if source.kind() == ErrorKind::NotADirectory => {
                None
            }
            ledger => ledger.map_err(|e| Failure::because(&e))?,
        };
        let record = Self {
            seen: clock_file::read(&clock_file::path(&state_path)),
            ledger,
        };
        Ok((record.seen.is_some() || record.ledger.is_some()).then_some(record))
    }

    /// The newest position on record: epoch and version.
    pub(crate) fn position(&self) -> (String, i64) {
        let ledger = self.ledger.as_ref().map(DesiredObjects::position);
        let ledger = ledger.map(|at| (at.epoch, at.after));
        match (ledger, &self.seen) {
            (Some(ledger), Some(seen)) if ledger.0 == seen.0 && seen.1 > ledger.1 => seen.clone(),
            (Some(ledger), _) => ledger,
            (None, Some(seen)) => seen.clone(),
            (None, None) => (String::new(), 0),
        }
    }

    /// The database of this state folder, for people.
    fn words(&self) -> String {
        let (epoch, version) = self.position();
        let objects = self.ledger.as_ref().map_or(0, DesiredObjects::len);
        format!("epoch {epoch}, clock {version}, {objects} objects on this host")
    }
}

/// Whether a database is the one of this state folder.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is, or the state folder never had one.
    Same,
    /// It has no schema yet, and the state folder had a database.
    Empty(LocalRecord),
    /// It is another one, or an older copy.
    Mismatched(LocalRecord, Mismatch),
}

impl Verdict {
    /// Why the database is not used, for people; `None`: it is.
    pub(crate) fn refusal(&self, database: &str, state_path: &Path) -> Option<String> {
        let state = state_path.display();
        match self {
            Self::Same => None,
            Self::Empty(record) => Some(format!(
                "database {database} is empty or missing, and {state} belongs to another one ({}): \
                 nothing was made, removed or overwritten (is its disk mounted, is sql_connection \
                 right? To begin anew: nova-manage db sync, then nova-manage db restored --drop)",
                record.words()
            )),
            Self::Mismatched(record, mismatch) => Some(format!(
                "database {database} is not the one of {state} ({}): {mismatch}; nothing was made, \
                 removed or overwritten ({REMEDY})",
                record.words()
            )),
        }
    }
}

/// The host of this state folder; what the flags say, if no agent has run here.
pub(crate) fn host(flags: &Flags) -> String {
    runtime::identity::owner(&flags.state_path()).unwrap_or_else(|| flags.host().to_owned())
}

/// Before a database is opened, as that would make its file.
pub(crate) fn before_opening(flags: &Flags) -> Result<(), Failure> {
    let Some(file) = sqlite_file(flags.database_url()) else {
        return Ok(());
    };
    if file.exists() {
        return Ok(());
    }
    let Some(record) = LocalRecord::of(flags)? else {
        return Ok(());
    };
    refuse(
        &Verdict::Empty(record),
        &format!("file {}", file.display()),
        flags,
    )
}

/// Compares the database with both witnesses. What a host of this name has is compared object by
/// object, if the schema is this program's.
pub(crate) async fn compare(cloud: &Cloud, flags: &Flags) -> Result<Verdict, Failure> {
    let Some(record) = LocalRecord::of(flags)? else {
        return Ok(Verdict::Same);
    };
    let (have, want) = cloud.schema_version().await?;
    if have == 0 {
        return Ok(Verdict::Empty(record));
    }
    if let Some(ledger) = &record.ledger {
        let list = if have == want {
            cloud.follow(&host(flags), &Follow::default()).await?
        } else {
            clock_of(cloud).await?
        };
        if let Some(mismatch) = Mismatch::about(ledger, &list) {
            return Ok(Verdict::Mismatched(record, mismatch));
        }
    }
    Ok(match unlike_seen(cloud, record.seen.as_ref()).await? {
        None => Verdict::Same,
        Some(mismatch) => Verdict::Mismatched(record, mismatch),
    })
}

/// What a database of another schema can be asked.
async fn clock_of(cloud: &Cloud) -> Result<Objects, Failure> {
    let (epoch, version) = cloud.clock().await?;
    Ok(Objects {
        epoch,
        version,
        ..Objects::default()
    })
}

/// Compares the database with the server's note alone, which costs next to nothing.
pub(crate) async fn glance(cloud: &Cloud, flags: &Flags) -> Result<Verdict, Failure> {
    let seen = clock_file::read(&clock_file::path(&flags.state_path()));
    Ok(match unlike_seen(cloud, seen.as_ref()).await? {
        None => Verdict::Same,
        Some(mismatch) => Verdict::Mismatched(LocalRecord { seen, ledger: None }, mismatch),
    })
}

async fn unlike_seen(
    cloud: &Cloud,
    seen: Option<&(String, i64)>,
) -> Result<Option<Mismatch>, Failure> {
    let Some((epoch, version)) = seen else {
        return Ok(None);
    };
    let (there, clock) = cloud.clock().await?;
    let reason = if there != *epoch {
        Reason::Other {
            here: epoch.clone(),
            there,
        }
    } else if clock < *version {
        Reason::Older {
            here: *version,
            there: clock,
        }
    } else {
        return Ok(None);
    };
    Ok(Some(Mismatch {
        reason,
        unknown: Vec::new(),
    }))
}

/// Fails if the database is not the one of this state folder.
pub(crate) fn refuse(verdict: &Verdict, database: &str, flags: &Flags) -> Result<(), Failure> {
    match verdict.refusal(database, &flags.state_path()) {
        None => Ok(()),
        Some(why) => Err(Failure::failed(why).with_database_at_fault()),
    }
}
