//! The clock row: the epoch and the version that every planned transaction bumps.

use crate::{Conn, Engine, Result, Tx};
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

/// Epoch, version, and the horizon up to which tombstones may be gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clock {
    /// Changes when the operator decides about an older copy.
    pub epoch: String,
    /// Version of the last planned transaction. Inside of one, use
    /// [`Tx::version`](crate::Tx::version): the members of a group commit write this row once,
    /// before the commit.
    pub version: i64,
    /// Tombstones up to here may be gone.
    pub horizon: i64,
}

impl FromRow<'_, AnyRow> for Clock {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            epoch: row.try_get("epoch")?,
            version: row.try_get("version")?,
            horizon: row.try_get("horizon")?,
        })
    }
}

/// Reads the clock.
pub async fn read(c: &mut Conn) -> Result<Clock> {
    Ok(
        sqlx::query_as("SELECT epoch, version, horizon FROM clock WHERE id = 1")
            .fetch_one(c)
            .await?,
    )
}

/// Locks the clock row without a new version. Planned transactions lock it first, so an unplanned
/// transaction that writes rows of theirs calls this before its first write: otherwise both could
/// wait for each other. SQLite has one writer at a time and needs no statement.
pub async fn lock(tx: &mut Tx) -> Result<()> {
    if tx.engine() == Engine::Postgres {
        sqlx::query("SELECT id FROM clock WHERE id = 1 FOR UPDATE")
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Epochs that this database takes over from on `host`.
pub async fn accepted(c: &mut Conn, host: &str) -> Result<Vec<String>> {
    let sql = "SELECT epoch FROM accepted_epochs WHERE host = $1 ORDER BY at, epoch";
    Ok(sqlx::query_scalar(sql).bind(host).fetch_all(c).await?)
}

/// The operator decided that `host`, whose ledger is of `epoch`, follows this database. Where that
/// is this database's own epoch, it begins a new one, so that the decision counts once: a copy that
/// is restored later is none that was decided about.
pub async fn accept(tx: &mut Tx, host: &str, epoch: &str) -> Result<()> {
    let now = tx.now.get();
    sqlx::query(
        "INSERT INTO accepted_epochs (host, epoch, at) VALUES ($1, $2, $3) \
         ON CONFLICT (host, epoch) DO UPDATE SET at = excluded.at",
    )
    .bind(host)
    .bind(epoch)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    if read(tx).await?.epoch == epoch {
        new_epoch(tx).await?;
    }
    Ok(())
}

/// Starts a new epoch: all followers list again, and those without a decision of the operator hold
/// their hosts as they are.
pub async fn new_epoch(c: &mut Conn) -> Result<()> {
    sqlx::query("UPDATE clock SET epoch = $1 WHERE id = 1")
        .bind(fresh())
        .execute(c)
        .await?;
    Ok(())
}

pub(crate) async fn ensure_epoch(c: &mut Conn) -> Result<()> {
    sqlx::query("UPDATE clock SET epoch = $1 WHERE id = 1 AND epoch = ''")
        .bind(fresh())
        .execute(c)
        .await?;
    Ok(())
}

fn fresh() -> String {
    uuid::Uuid::now_v7().to_string()
}
