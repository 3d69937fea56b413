//! The audit log: actor, action, object and time of every change. Depends on nothing but SQL.

use crate::{Conn, Result, StoreError, Tx, chunks, counters};
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

/// The user, operator or controller that acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// User id, or `root` / `controller` / `host:<name>`.
    pub who: String,
    /// Where it came from: `cli`, an address, `agent`.
    pub source: String,
}

/// A recorded change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Row id.
    pub id: i64,
    /// Microseconds since 1970 UTC.
    pub at: i64,
    /// The user, operator or controller.
    pub actor: String,
    /// Its address, or `controller`, `cli` …
    pub source: String,
    /// What, e.g. `floating_ip.associate`.
    pub action: String,
    /// The project of the object.
    pub project_id: Option<String>,
    /// To what, e.g. `203.0.113.5`, `i-0000000a`.
    pub object: String,
    /// Details, for people; may be empty.
    pub detail: String,
}

impl FromRow<'_, AnyRow> for Entry {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            at: row.try_get("at")?,
            actor: row.try_get("actor")?,
            source: row.try_get("source")?,
            action: row.try_get("action")?,
            project_id: row.try_get("project_id")?,
            object: row.try_get("object")?,
            detail: row.try_get("detail")?,
        })
    }
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

/// Writes what was recorded.
pub(crate) async fn write(c: &mut Conn, entries: &[Entry]) -> sqlx::Result<()> {
    for some in chunks::exact(entries) {
        let sql = format!(
            "INSERT INTO audit (id, at, actor, source, action, project_id, object, detail) VALUES {}",
            chunks::rows(1, 8, some.len())
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for entry in some {
            query = query
                .bind(entry.id)
                .bind(entry.at)
                .bind(&entry.actor)
                .bind(&entry.source)
                .bind(&entry.action)
                .bind(&entry.project_id)
                .bind(&entry.object)
                .bind(&entry.detail);
        }
        query.execute(&mut *c).await?;
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
