//! The clock row: the epoch and the version that every planned transaction bumps.

use crate::{Conn, Result};

/// Epoch, version, and the horizon up to which tombstones may be gone.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Clock {
    /// Changes on restore or migration.
    pub epoch: String,
    /// Version of the last planned transaction. In one, ask for [`Tx::version`](crate::Tx::version):
    /// those who share a transaction of the engine put the row forward with the last.
    pub version: i64,
    /// Tombstones up to here may be gone.
    pub horizon: i64,
}

/// Reads the clock.
pub async fn read(c: &mut Conn) -> Result<Clock> {
    Ok(
        sqlx::query_as("SELECT epoch, version, horizon FROM clock WHERE id = 1")
            .fetch_one(c)
            .await?,
    )
}

/// Starts a new epoch: all followers list again. For restored copies and after repairs by hand.
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
