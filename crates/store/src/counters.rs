//! Ids from counter rows: the same on both engines, and never used twice (a deleted instance's id
//! must not come back for another one).

use crate::{Result, Tx};

/// The next number of `name`, starting at 1.
pub async fn next(tx: &mut Tx, name: &str) -> Result<i64> {
    take(tx, name, 1).await
}

/// `count` numbers in a row; the first of them.
pub async fn take(tx: &mut Tx, name: &str, count: i64) -> Result<i64> {
    let last: i64 = sqlx::query_scalar(
        "INSERT INTO counters (name, value) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value RETURNING value",
    )
    .bind(name)
    .bind(count)
    .fetch_one(&mut **tx)
    .await?;
    Ok(last - count + 1)
}
