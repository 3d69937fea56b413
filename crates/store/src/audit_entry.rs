//! The rows of the audit log, as a transaction writes them with its commit. Depends on connections
//! only, so that transactions can depend on it.

use crate::chunks;
use crate::session::Conn;
use novanet_model::Micros;
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

/// A recorded change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Row id.
    pub id: i64,
    /// Time of the transaction that made the change.
    pub at: Micros,
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
            at: Micros::new(row.try_get("at")?),
            actor: row.try_get("actor")?,
            source: row.try_get("source")?,
            action: row.try_get("action")?,
            project_id: row.try_get("project_id")?,
            object: row.try_get("object")?,
            detail: row.try_get("detail")?,
        })
    }
}

/// Writes entries.
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
                .bind(entry.at.get())
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
