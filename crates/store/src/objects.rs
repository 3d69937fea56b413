//! Host objects: written by the plan, read by followers.

use crate::{Conn, PlanOwner, Result, StoreError, Tx, chunks, clock};
use novanet_model::plan::Placed;
use novanet_model::wire::{Change, Digest, Follow, Objects, fingerprint};
use novanet_model::{HostObject, ModelError, ObjectKey};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a tombstone is kept for followers that have not seen it.
pub const TOMBSTONE_LIFE: Duration = Duration::from_hours(1);

/// Makes `placed` the objects of `owner`: an equal body is neither written nor a new version, and
/// an object that is not in `placed` becomes a tombstone. Answers with the number of changed
/// objects.
pub async fn put(tx: &mut Tx, owner: PlanOwner, placed: &[Placed]) -> Result<usize> {
    put_all(tx, &[(owner, placed.to_vec())]).await
}

/// [`put`] for many owners, in as few statements as for one. When two owners have the same object,
/// the later one gets it.
pub(crate) async fn put_all(tx: &mut Tx, owners: &[(PlanOwner, Vec<Placed>)]) -> Result<usize> {
    // Without the clock they would have no version, and no follower would ever see them.
    tx.require_change("host objects written")?;
    let (without, with): (Vec<_>, Vec<_>) =
        owners.iter().partition(|(_, placed)| placed.is_empty());
    // First: another owner may get an object of an owner that has none now.
    let removed = tombstone_all_of(tx, &columns(&without)).await?;
    let mut old = living_of(tx, &columns(&with)).await?;
    let mut wanted: BTreeMap<Place, Wanted> = BTreeMap::new();
    for (owner, placed) in with {
        let owner = owner.to_string();
        for (host, object) in placed {
            let body = serde_json::to_string(object)
                .map_err(|e| StoreError::Refused(format!("host object {}: {e}", object.key())))?;
            let new = Wanted {
                owner: owner.clone(),
                kind: object.kind().as_str(),
                body,
            };
            wanted.insert((host.clone(), object.key().0), new);
        }
    }
    let mut changed = Vec::new();
    for (place, new) in wanted {
        let same = |(owner, body)| owner == new.owner && body == new.body;
        if !old.remove(&place).is_some_and(same) {
            changed.push((place, new));
        }
    }
    let unwanted: Vec<Place> = old.into_keys().collect();
    write(tx, &changed).await?;
    tombstone(tx, &unwanted).await?;
    Ok(changed.len() + removed.len() + unwanted.len())
}

/// Host and key.
type Place = (String, String);

struct Wanted {
    owner: String,
    kind: &'static str,
    body: String,
}

/// The `owner` column's values.
fn columns(owners: &[&(PlanOwner, Vec<Placed>)]) -> Vec<String> {
    owners.iter().map(|(owner, _)| owner.to_string()).collect()
}

/// The living objects of these owners: owner and body.
async fn living_of(c: &mut Conn, owners: &[String]) -> Result<BTreeMap<Place, (String, String)>> {
    let mut old = BTreeMap::new();
    for owners in chunks::padded(owners) {
        let sql = format!(
            "SELECT host, object_key, owner, body FROM host_objects \
             WHERE owner IN ({}) AND deleted = 0",
            chunks::list(1, owners.len())
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for owner in owners {
            query = query.bind(owner);
        }
        for row in query.fetch_all(&mut *c).await? {
            old.insert(
                (row.try_get(0)?, row.try_get(1)?),
                (row.try_get(2)?, row.try_get(3)?),
            );
        }
    }
    Ok(old)
}

async fn write(tx: &mut Tx, objects: &[(Place, Wanted)]) -> Result<()> {
    let version = tx.version;
    for objects in chunks::exact(objects) {
        let rows: Vec<String> = (0..objects.len())
            .map(|row| {
                let n = 2 + 5 * row;
                let (key, owner, kind, body) = (n + 1, n + 2, n + 3, n + 4);
                format!("(${n}, ${key}, ${owner}, ${kind}, $1, 0, ${body})")
            })
            .collect();
        let sql = format!(
            "INSERT INTO host_objects (host, object_key, owner, kind, version, deleted, body) \
             VALUES {} ON CONFLICT (host, object_key) DO UPDATE SET owner = excluded.owner, \
             kind = excluded.kind, version = excluded.version, deleted = 0, deleted_at = NULL, \
             body = excluded.body",
            rows.join(", ")
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(version);
        for ((host, key), new) in objects {
            query = query.bind(host).bind(key).bind(&new.owner);
            query = query.bind(new.kind).bind(&new.body);
        }
        query.execute(&mut **tx).await?;
        tx.touched
            .extend(objects.iter().map(|((host, _), _)| host.clone()));
    }
    Ok(())
}

/// Turns all objects of these owners into tombstones without reading them first.
async fn tombstone_all_of(tx: &mut Tx, owners: &[String]) -> Result<Vec<Place>> {
    let (version, now) = (tx.version, tx.now.get());
    let mut removed: Vec<Place> = Vec::new();
    for owners in chunks::padded(owners) {
        let sql = format!(
            "UPDATE host_objects SET deleted = 1, deleted_at = $1, version = $2 \
             WHERE owner IN ({}) AND deleted = 0 RETURNING host, object_key",
            chunks::list(3, owners.len())
        );
        let mut query = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(now)
            .bind(version);
        for owner in owners {
            query = query.bind(owner);
        }
        removed.extend(query.fetch_all(&mut **tx).await?);
    }
    tx.touched
        .extend(removed.iter().map(|(host, _)| host.clone()));
    Ok(removed)
}

async fn tombstone(tx: &mut Tx, places: &[Place]) -> Result<()> {
    let (version, now) = (tx.version, tx.now.get());
    for places in chunks::padded(places) {
        let these: Vec<String> = (0..places.len())
            .map(|n| format!("(host = ${} AND object_key = ${})", 3 + 2 * n, 4 + 2 * n))
            .collect();
        let sql = format!(
            "UPDATE host_objects SET deleted = 1, deleted_at = $1, version = $2 WHERE {}",
            these.join(" OR ")
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(now)
            .bind(version);
        for (host, key) in &places {
            query = query.bind(host).bind(key);
        }
        query.execute(&mut **tx).await?;
        tx.touched
            .extend(places.into_iter().map(|(host, _)| host.clone()));
    }
    Ok(())
}

/// What `host` has to know after `follow`: a delta, or a list when a delta would not do. One
/// statement, so one snapshot. A list has the tombstones that are kept, too: what it neither has
/// nor says to be gone was never in this database.
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
    // First: a list that is older than the operator's decision must not come with it.
    let accepts = clock::accepted(&mut *c, host).await?;
    let rows = sqlx::query(
        "SELECT clock.epoch, clock.version AS clock_version, clock.horizon, h.object_key, \
         h.version, h.deleted, h.body FROM clock LEFT JOIN host_objects h \
         ON h.host = $1 WHERE clock.id = 1 ORDER BY h.object_key",
    )
    .bind(host)
    .fetch_all(c)
    .await?;
    let clock = clock_of(&rows)?;
    let list = objects_of(&rows, clock, true)?;
    Ok(Objects { accepts, ..list })
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
        accepts: Vec::new(),
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
        fingerprint: None,
    })
}

/// [`digest`] with the fingerprint: reads the keys of all objects of the host.
pub async fn full_digest(c: &mut Conn, host: &str) -> Result<Digest> {
    let rows = sqlx::query(
        "SELECT clock.epoch, clock.version, h.object_key, h.version FROM clock \
         LEFT JOIN host_objects h ON h.host = $1 AND h.deleted = 0 WHERE clock.id = 1",
    )
    .bind(host)
    .fetch_all(c)
    .await?;
    let mut objects: Vec<(String, i64)> = Vec::with_capacity(rows.len());
    let mut digest = Digest::default();
    for row in &rows {
        digest.epoch = row.try_get(0)?;
        digest.version = row.try_get(1)?;
        if let Some(key) = row.try_get::<Option<String>, _>(2)? {
            objects.push((key, row.try_get(3)?));
        }
    }
    digest.count = i64::try_from(objects.len()).unwrap_or(i64::MAX);
    digest.max = objects
        .iter()
        .map(|(_, version)| *version)
        .max()
        .unwrap_or(0);
    digest.sum = objects.iter().map(|(_, version)| *version).sum();
    let all = objects
        .iter()
        .map(|(key, version)| (key.as_str(), *version));
    digest.fingerprint = Some(fingerprint(all));
    Ok(digest)
}

/// Whether every host has removed all objects of `owner`: none is left, and each host has applied
/// its tombstones without error.
pub async fn removed_everywhere(c: &mut Conn, owner: PlanOwner) -> Result<bool> {
    let waiting: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM host_objects o LEFT JOIN hosts h ON h.name = o.host \
         WHERE o.owner = $1 AND (o.deleted = 0 OR h.name IS NULL OR h.applied_version < o.version \
         OR h.applied_epoch <> (SELECT epoch FROM clock WHERE id = 1) \
         OR EXISTS (SELECT 1 FROM host_errors e \
                    WHERE e.host = o.host AND e.object_key = o.object_key))",
    )
    .bind(owner.to_string())
    .fetch_one(c)
    .await?;
    Ok(waiting == 0)
}

/// Tombstones that are old enough and that no host needs: their host has applied them without
/// error, or has no row.
const SWEPT: &str = "o.deleted = 1 AND o.deleted_at < $1 \
    AND NOT EXISTS (SELECT 1 FROM hosts h WHERE h.name = o.host AND (h.applied_version < o.version \
        OR h.applied_epoch <> (SELECT epoch FROM clock WHERE id = 1))) \
    AND NOT EXISTS (SELECT 1 FROM host_errors e \
        WHERE e.host = o.host AND e.object_key = o.object_key)";

/// Drops tombstones that are older than [`TOMBSTONE_LIFE`] and that their host has applied, and
/// moves the horizon. What a host has not applied stays, however long it is down: the addresses
/// behind it must not get a second owner.
pub async fn sweep_tombstones(tx: &mut Tx) -> Result<u64> {
    let oldest = (tx.now - TOMBSTONE_LIFE).get();
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

/// The living objects of these owners, by host and key.
pub async fn of_owners(
    c: &mut Conn,
    owners: &BTreeSet<PlanOwner>,
) -> Result<BTreeMap<(String, ObjectKey), HostObject>> {
    let owners: Vec<String> = owners.iter().map(ToString::to_string).collect();
    let mut all = BTreeMap::new();
    for ((host, key), (_, body)) in living_of(c, &owners).await? {
        let object = parse(&key, &body)?;
        all.insert((host, ObjectKey(key)), object);
    }
    Ok(all)
}
