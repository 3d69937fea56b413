//! `nova-manage db restored`: the operator decides about a database that does not belong to this
//! state folder. It runs on the host itself, because the host's ledger has what the database lacks.

use super::context::Context;
use crate::failure::Failure;
use crate::identity::{self, LocalRecord, Verdict};
use novanet_agent::runtime::DesiredObjects;
use novanet_model::wire::Objects;
use novanet_server::clock_file;
use std::fmt::Write as _;

/// The side that is right after a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The host: the database learns what it runs.
    Adopt,
    /// The database: the host removes what it does not know.
    Drop,
}

/// Does it, or says what differs.
pub(crate) async fn run(choice: Option<Choice>, cx: &Context) -> Result<String, Failure> {
    let state_path = cx.flags.state_path();
    if cx.cloud.schema_version().await?.0 == 0 {
        return Err(Failure::failed(format!(
            "database {}: has no schema yet (run: nova-manage db sync)",
            cx.cloud.db().name()
        )));
    }
    cx.cloud.require_schema().await?;
    let verdict = identity::compare(&cx.cloud, &cx.flags).await?;
    let Verdict::Mismatched(record, mismatch) = verdict else {
        return Ok("nothing to decide: this is the database of this state folder\n".to_owned());
    };
    let Some(choice) = choice else {
        let mut text = format!("{mismatch}\n");
        for key in &mismatch.unknown {
            let _ = writeln!(text, "unknown to the database: {key}");
        }
        text.push_str(
            "\nnova-manage db restored --adopt: the database learns what this host runs\n\
             nova-manage db restored --drop: this host removes what the database does not know\n",
        );
        return Ok(text);
    };
    let host_objects = host_objects(&record);
    let text = match choice {
        Choice::Drop => {
            cx.cloud
                .drop_restored(&identity::host(&cx.flags), &host_objects)
                .await?;
            format!(
                "the host follows this database from now on, and removes what it does not know: {}\n",
                if mismatch.unknown.is_empty() {
                    "nothing".to_owned()
                } else {
                    mismatch.names()
                }
            )
        }
        Choice::Adopt => adopt(&host_objects, cx).await?,
    };
    let (epoch, version) = cx.cloud.clock().await?;
    let note = clock_file::path(&state_path);
    clock_file::write(&note, &epoch, version, true)
        .map_err(|e| Failure::failed(format!("{}: {e}", note.display())))?;
    Ok(text)
}

/// What the host has; without an agent here, only the epoch that the server noted.
fn host_objects(record: &LocalRecord) -> Objects {
    if let Some(ledger) = &record.ledger {
        return DesiredObjects::to_objects(ledger);
    }
    let (epoch, version) = record.position();
    Objects {
        epoch,
        version,
        whole: true,
        ..Objects::default()
    }
}

/// The database learns what the host has.
async fn adopt(host_objects: &Objects, cx: &Context) -> Result<String, Failure> {
    if host_objects.changes.is_empty() {
        return Err(Failure::failed(
            "no agent ran here, so there is nothing to adopt: run this on the host that has the \
             instances, or give them up: nova-manage db restored --drop",
        ));
    }
    let done = cx
        .cloud
        .adopt_restored(&identity::host(&cx.flags), host_objects)
        .await?;
    let mut text = String::new();
    for line in done {
        let _ = writeln!(text, "{line}");
    }
    text.push_str("the host follows this database from now on\n");
    Ok(text)
}
