//! Host objects: written by the plan, read by followers.

use crate::{Conn, Result, StoreError, Thing, Tx, clock};
use novanet_model::plan::Placed;
use novanet_model::wire::{Change, Digest, Follow, Objects};
use novanet_model::{HostObject, ModelError, ObjectKey};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// How long a tombstone is kept for followers that have not seen it: an hour, in microseconds.
pub const TOMBSTONE_LIFE: i64 = 3_600_000_000;

/// Makes `placed` the objects of `thing`: the same body is no write and no new version, what is
/// missing becomes a tombstone. Answers how many changed.
pub async fn put(tx: &mut Tx, thing: Thing, placed: &[Placed]) -> Result<usize> {
    // Without the clock they would have no version, and no follower would ever see them.
    tx.require_change("host objects written")?;
    let owner = thing.to_string();
    let mut old: BTreeMap<(String, String), String> = sqlx::query(
        "SELECT host, object_key, body FROM host_objects WHERE owner = $1 AND deleted = 0",
    )
    .bind(&owner)
    .fetch_all(&mut **tx)
    .await?
    .iter()
    .map(|row| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?)))
    .collect::<Result<_, sqlx::Error>>()?;
    let mut changed = 0;
    for (host, object) in placed {
        let body = serde_json::to_string(object)
            .map_err(|e| StoreError::Refused(format!("host object {}: {e}", object.key())))?;
        let key = object.key().0;
        if old.remove(&(host.clone(), key.clone())).as_ref() == Some(&body) {
            continue;
        }
        write(tx, host, &key, &owner, object.kind(), &body).await?;
        changed += 1;
    }
    for (host, key) in old.into_keys() {
        bury(tx, &host, &key, &owner).await?;
        changed += 1;
    }
    Ok(changed)
}

async fn write(
    tx: &mut Tx,
    host: &str,
    key: &str,
    owner: &str,
    kind: &str,
    body: &str,
) -> Result<()> {
    let version = tx.version;
    sqlx::query(
        "INSERT INTO host_objects (host, object_key, owner, kind, version, deleted, body) \
         VALUES ($1, $2, $3, $4, $5, 0, $6) ON CONFLICT (host, object_key) DO UPDATE SET \
         owner = excluded.owner, kind = excluded.kind, version = excluded.version, deleted = 0, \
         deleted_at = NULL, body = excluded.body",
    )
    .bind(host)
    .bind(key)
    .bind(owner)
    .bind(kind)
    .bind(version)
    .bind(body)
    .execute(&mut **tx)
    .await?;
    tx.touched.insert(host.to_owned());
    Ok(())
}

async fn bury(tx: &mut Tx, host: &str, key: &str, owner: &str) -> Result<()> {
    let (version, now) = (tx.version, tx.now);
    sqlx::query(
        "UPDATE host_objects SET deleted = 1, deleted_at = $1, version = $2 \
         WHERE host = $3 AND object_key = $4 AND owner = $5",
    )
    .bind(now)
    .bind(version)
    .bind(host)
    .bind(key)
    .bind(owner)
    .execute(&mut **tx)
    .await?;
    tx.touched.insert(host.to_owned());
    Ok(())
}

/// What `host` has to know after `follow`: a delta, or a list when a delta would not do. One
/// statement, so one snapshot.
pub async fn follow(c: &mut Conn, host: &str, follow: &Follow) -> Result<Objects> {
    if !follow.epoch.is_empty() {
        let rows = sqlx::query(
            "SELECT clock.epoch, clock.version AS clock_version, clock.horizon, h.object_key, \
             h.version, h.deleted, h.body FROM clock LEFT JOIN host_objects h \
             ON h.host = $1 AND h.version > $2 WHERE clock.id = 1 ORDER BY h.version, h.object_key",
        )
        .bind(host)
        .bind(follow.after)
        .fetch_all(&mut *c)
        .await?;
        let clock = clock_of(&rows)?;
        let behind = follow.after < clock.horizon || follow.after > clock.version;
        if clock.epoch == follow.epoch && !behind {
            return objects_of(&rows, clock, false);
        }
    }
    let rows = sqlx::query(
        "SELECT clock.epoch, clock.version AS clock_version, clock.horizon, h.object_key, \
         h.version, h.deleted, h.body FROM clock LEFT JOIN host_objects h \
         ON h.host = $1 AND h.deleted = 0 WHERE clock.id = 1 ORDER BY h.object_key",
    )
    .bind(host)
    .fetch_all(c)
    .await?;
    let clock = clock_of(&rows)?;
    objects_of(&rows, clock, true)
}

fn clock_of(rows: &[AnyRow]) -> Result<clock::Clock> {
    let first = rows.first().ok_or_else(|| {
        StoreError::Refused("the clock row is missing (run: nova-manage db sync)".to_owned())
    })?;
    Ok(clock::Clock {
        epoch: first.try_get("epoch")?,
        version: first.try_get("clock_version")?,
        horizon: first.try_get("horizon")?,
    })
}

fn objects_of(rows: &[AnyRow], clock: clock::Clock, whole: bool) -> Result<Objects> {
    let mut changes = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(key) = row.try_get::<Option<String>, _>("object_key")? else {
            continue;
        };
        let object = if row.try_get::<i64, _>("deleted")? == 0 {
            Some(parse(&key, row.try_get("body")?)?)
        } else {
            None
        };
        changes.push(Change {
            key: ObjectKey(key),
            version: row.try_get("version")?,
            object,
        });
    }
    Ok(Objects {
        epoch: clock.epoch,
        version: clock.version,
        whole,
        changes,
        questions: Vec::new(),
    })
}

fn parse(key: &str, body: &str) -> Result<HostObject> {
    serde_json::from_str(body).map_err(|e| {
        StoreError::bad_row(format!("host_objects {key}"))(ModelError::new(
            "body",
            "",
            e.to_string(),
        ))
    })
}

/// What a follower that is up to date has.
pub async fn digest(c: &mut Conn, host: &str) -> Result<Digest> {
    let row = sqlx::query(
        "SELECT clock.epoch, clock.version, count(h.version) AS n, \
         CAST(coalesce(max(h.version), 0) AS BIGINT) AS m, \
         CAST(coalesce(sum(h.version), 0) AS BIGINT) AS s FROM clock LEFT JOIN host_objects h \
         ON h.host = $1 AND h.deleted = 0 WHERE clock.id = 1 GROUP BY clock.epoch, clock.version",
    )
    .bind(host)
    .fetch_one(c)
    .await?;
    Ok(Digest {
        epoch: row.try_get(0)?,
        version: row.try_get(1)?,
        count: row.try_get(2)?,
        max: row.try_get(3)?,
        sum: row.try_get(4)?,
    })
}

/// Whether every host has let go of all that `thing` had: no object, and no tombstone that its host
/// has not applied without error.
pub async fn gone_everywhere(c: &mut Conn, thing: Thing) -> Result<bool> {
    let waiting: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM host_objects o LEFT JOIN hosts h ON h.name = o.host \
         WHERE o.owner = $1 AND (o.deleted = 0 OR h.name IS NULL OR h.applied_version < o.version \
         OR h.applied_epoch <> (SELECT epoch FROM clock WHERE id = 1) \
         OR EXISTS (SELECT 1 FROM host_errors e \
                    WHERE e.host = o.host AND e.object_key = o.object_key))",
    )
    .bind(thing.to_string())
    .fetch_one(c)
    .await?;
    Ok(waiting == 0)
}

/// Tombstones that are old enough and that nobody waits for: their host has applied them without
/// error, or never was.
const SWEPT: &str = "o.deleted = 1 AND o.deleted_at < $1 \
    AND NOT EXISTS (SELECT 1 FROM hosts h WHERE h.name = o.host AND (h.applied_version < o.version \
        OR h.applied_epoch <> (SELECT epoch FROM clock WHERE id = 1))) \
    AND NOT EXISTS (SELECT 1 FROM host_errors e \
        WHERE e.host = o.host AND e.object_key = o.object_key)";

/// Drops tombstones that are older than [`TOMBSTONE_LIFE`] and that their host has applied, and
/// moves the horizon. What a host has not applied stays, however long it is down: the addresses
/// behind it must not get a second owner.
pub async fn sweep_tombstones(tx: &mut Tx) -> Result<u64> {
    let oldest = tx.now - TOMBSTONE_LIFE;
    let sql = format!(
        "UPDATE clock SET horizon = CASE WHEN horizon > m.v THEN horizon ELSE m.v END FROM \
         (SELECT CAST(coalesce(max(o.version), 0) AS BIGINT) AS v FROM host_objects o \
          WHERE {SWEPT}) AS m WHERE id = 1"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(oldest)
        .execute(&mut **tx)
        .await?;
    let sql = format!("DELETE FROM host_objects AS o WHERE {SWEPT}");
    let done = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(oldest)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected())
}
