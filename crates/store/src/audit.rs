//! The audit log: actor, action, object and time of every change. Depends on transactions, which
//! write the entries (`audit_entry`) with their commit.

use crate::{Conn, Result, StoreError, Tx, counters};

pub use crate::audit_entry::Entry;

/// The user, operator or controller that acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// User id, or `root` / `controller` / `host:<name>`.
    pub who: String,
    /// Where it came from: `cli`, an address, `agent`.
    pub source: String,
}

/// A change to be recorded.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// The user, operator or controller.
    pub actor: &'a Actor,
    /// What, e.g. `floating_ip.associate`.
    pub action: &'a str,
    /// The project of the object.
    pub project: Option<&'a str>,
    /// To what.
    pub object: &'a str,
    /// Details, for people; may be empty.
    pub detail: &'a str,
}

/// Records a change, in the transaction that makes it: the entry is written with its commit.
pub async fn record(
    tx: &mut Tx,
    actor: &Actor,
    action: &str,
    project: Option<&str>,
    object: &str,
    detail: &str,
) -> Result<()> {
    let change = Change {
        actor,
        action,
        project,
        object,
        detail,
    };
    record_all(tx, &[change]).await
}

/// [`record`] for many.
pub async fn record_all(tx: &mut Tx, changes: &[Change<'_>]) -> Result<()> {
    for change in changes {
        let entry = Entry {
            id: next_id(tx).await?,
            at: tx.now,
            actor: change.actor.who.clone(),
            source: change.actor.source.clone(),
            action: change.action.to_owned(),
            project_id: change.project.map(str::to_owned),
            object: change.object.to_owned(),
            detail: change.detail.to_owned(),
        };
        // Others' entries may go with it: it must not be the database that refuses one.
        if [&entry.actor, &entry.object, &entry.detail]
            .iter()
            .any(|t| t.contains('\0'))
        {
            return Err(StoreError::Unfit(
                "an audit entry with a zero byte".to_owned(),
            ));
        }
        tx.entries.push(entry);
    }
    Ok(())
}

/// A change's own version numbers its entries without another statement on the hot path; it leaves
/// room for 1,024 of them. Other transactions count downwards from -1.
async fn next_id(tx: &mut Tx) -> Result<i64> {
    let number = i64::try_from(tx.entries.len() + 1).unwrap_or(i64::MAX);
    if tx.version > 0 && number < 1024 {
        return Ok(tx.version * 1024 + number);
    }
    Ok(-counters::next(tx, "audit").await?)
}

/// The last `limit` changes, newest first; only those of `object` if given.
pub async fn list(c: &mut Conn, object: Option<&str>, limit: i64) -> Result<Vec<Entry>> {
    Ok(sqlx::query_as(
        "SELECT id, at, actor, source, action, project_id, object, detail FROM audit \
         WHERE $1 = '' OR object = $1 ORDER BY at DESC, id DESC LIMIT $2",
    )
    .bind(object.unwrap_or_default())
    .bind(limit)
    .fetch_all(c)
    .await?)
}
