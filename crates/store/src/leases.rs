//! Leases of controllers: a row taken by compare-and-set, with an epoch that fences late writers.

use crate::{Result, Tx};
use novanet_model::Micros;
use std::time::Duration;

/// Takes or renews the lease `name` for `holder` until `now + ttl`; its epoch, or `None` while
/// another holder has it.
pub async fn take(tx: &mut Tx, name: &str, holder: &str, ttl: Duration) -> Result<Option<i64>> {
    let until = tx.now + ttl;
    take_until(tx, name, holder, until).await
}

/// [`take`] for this transaction only: the lease ends with it.
pub async fn take_and_release(tx: &mut Tx, name: &str, holder: &str) -> Result<Option<i64>> {
    let ended = tx.now - Duration::from_micros(1);
    take_until(tx, name, holder, ended).await
}

async fn take_until(tx: &mut Tx, name: &str, holder: &str, until: Micros) -> Result<Option<i64>> {
    let now = tx.now;
    Ok(sqlx::query_scalar(
        "INSERT INTO leases (name, holder, epoch, expires_at) VALUES ($1, $2, 1, $3) \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at, \
             epoch = leases.epoch + CASE WHEN leases.holder = excluded.holder THEN 0 ELSE 1 END \
         WHERE leases.holder = excluded.holder OR leases.expires_at < $4 RETURNING epoch",
    )
    .bind(name)
    .bind(holder)
    .bind(until.get())
    .bind(now.get())
    .fetch_optional(&mut **tx)
    .await?)
}
