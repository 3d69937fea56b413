//! Who changed what, when, from where.

use crate::{Conn, Result, Tx, counters};
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

/// Records a change, in the transaction that makes it.
pub async fn record(
    tx: &mut Tx,
    actor: &Actor,
    action: &str,
    project: Option<&str>,
    object: &str,
    detail: &str,
) -> Result<()> {
    // A change's own version numbers its entries without another statement on the hot path; it
    // leaves room for 1,024 of them. Other transactions count downwards from -1.
    tx.recorded += 1;
    let id = if tx.version > 0 && tx.recorded < 1024 {
        tx.version * 1024 + tx.recorded
    } else {
        -counters::next(tx, "audit").await?
    };
    let now = tx.now;
    sqlx::query(
        "INSERT INTO audit (id, at, actor, source, action, project_id, object, detail) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id)
    .bind(now)
    .bind(&actor.who)
    .bind(&actor.source)
    .bind(action)
    .bind(project)
    .bind(object)
    .bind(detail)
    .execute(&mut **tx)
    .await?;
    Ok(())
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
