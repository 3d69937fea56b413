//! Ids from counter rows: the same on both engines, and never used twice (a deleted instance's id
//! must not come back for another one).

use crate::{Result, StoreError, Tx};

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

/// From now on `name` gives only numbers above this one.
pub async fn raise(tx: &mut Tx, name: &str, number: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO counters (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET \
         value = CASE WHEN counters.value > excluded.value THEN counters.value \
                 ELSE excluded.value END",
    )
    .bind(name)
    .bind(number)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// [`take`] for two counters at once: the first number of each.
pub async fn take_both(tx: &mut Tx, one: (&str, i64), two: (&str, i64)) -> Result<(i64, i64)> {
    let last: Vec<(String, i64)> = sqlx::query_as(
        "INSERT INTO counters (name, value) VALUES ($1, $2), ($3, $4) \
         ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value \
         RETURNING name, value",
    )
    .bind(one.0)
    .bind(one.1)
    .bind(two.0)
    .bind(two.1)
    .fetch_all(&mut **tx)
    .await?;
    let first = |(name, count): (&str, i64)| {
        let last = last.iter().find(|(counter, _)| counter == name);
        last.map(|(_, value)| value - count + 1)
            .ok_or_else(|| StoreError::Refused(format!("no counter {name}")))
    };
    Ok((first(one)?, first(two)?))
}
