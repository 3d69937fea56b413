//! Who changed what, when, from where.

use crate::{Conn, Result, Tx, chunks, counters};
use sqlx::FromRow;

/// Who does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// User id, or `root` / `controller` / `host:<name>`.
    pub who: String,
    /// Where it came from: `cli`, an address, `agent`.
    pub source: String,
}

/// A recorded change.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Entry {
    /// Row id.
    pub id: i64,
    /// Microseconds since 1970 UTC.
    pub at: i64,
    /// Who.
    pub actor: String,
    /// From where.
    pub source: String,
    /// What, e.g. `floating_ip.associate`.
    pub action: String,
    /// Whose it was.
    pub project_id: Option<String>,
    /// To what, e.g. `203.0.113.5`, `i-0000000a`.
    pub object: String,
    /// More, for people.
    pub detail: String,
}

/// A change to be recorded.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// Who.
    pub actor: &'a Actor,
    /// What, e.g. `floating_ip.associate`.
    pub action: &'a str,
    /// Whose it was.
    pub project: Option<&'a str>,
    /// To what.
    pub object: &'a str,
    /// More, for people.
    pub detail: &'a str,
}

/// Records a change, in the transaction that makes it.
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
    let now = tx.now;
    for some in chunks::exact(changes) {
        let mut ids = Vec::with_capacity(some.len());
        for _ in some {
            ids.push(next_id(tx).await?);
        }
        let sql = format!(
            "INSERT INTO audit (id, at, actor, source, action, project_id, object, detail) VALUES {}",
            chunks::rows(1, 8, some.len())
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for (id, change) in ids.into_iter().zip(some) {
            query = query
                .bind(id)
                .bind(now)
                .bind(&change.actor.who)
                .bind(&change.actor.source)
                .bind(change.action)
                .bind(change.project)
                .bind(change.object)
                .bind(change.detail);
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// A change's own version numbers its entries without another statement on the hot path; it leaves
/// room for 1,024 of them. Other transactions count downwards from -1.
async fn next_id(tx: &mut Tx) -> Result<i64> {
    tx.recorded += 1;
    if tx.version > 0 && tx.recorded < 1024 {
        return Ok(tx.version * 1024 + tx.recorded);
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
