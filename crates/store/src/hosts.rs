//! Hosts: their roles, last heartbeats, applied versions and errors.

use crate::read::Reader;
use crate::{Conn, Result, Tx};
use novanet_model::wire::{Hello, HostRole, ObjectError};
use novanet_model::{InstanceId, Micros, NetworkKind};
use sqlx::any::AnyRow;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// `my_ip`.
    pub my_ip: Ipv4Addr,
    /// What it does.
    pub roles: Vec<HostRole>,
    /// Kinds of network it can run.
    pub kinds: Vec<NetworkKind>,
    /// Processors.
    pub vcpus: i64,
    /// Memory in MiB.
    pub memory_mb: i64,
    /// The agent's version.
    pub program_version: String,
    /// Zone.
    pub availability_zone: String,
    /// Takes no new instances.
    pub disabled: bool,
    /// Last heartbeat.
    pub seen_at: Micros,
    /// Epoch of what it has applied.
    pub applied_epoch: String,
    /// Version of what it has applied.
    pub applied_version: i64,
}

const COLUMNS: &str = "name AS id, name, my_ip, roles, kinds, vcpus, memory_mb, program_version, \
    availability_zone, disabled, seen_at, applied_epoch, applied_version";

fn host(row: &AnyRow) -> Result<Host> {
    let r = Reader::new("host", row);
    let roles = r.text("roles")?;
    let kinds = r.text("kinds")?;
    Ok(Host {
        name: r.text("name")?,
        my_ip: r.parse("my_ip")?,
        roles: [
            ("network", HostRole::Network),
            ("compute", HostRole::Compute),
        ]
        .into_iter()
        .filter(|(word, _)| roles.split(',').any(|r| r == *word))
        .map(|(_, role)| role)
        .collect(),
        kinds: kinds.split(',').filter_map(|k| k.parse().ok()).collect(),
        vcpus: r.int("vcpus")?,
        memory_mb: r.int("memory_mb")?,
        program_version: r.text("program_version")?,
        availability_zone: r.text("availability_zone")?,
        disabled: r.flag("disabled")?,
        seen_at: r.moment("seen_at")?,
        applied_epoch: r.text("applied_epoch")?,
        applied_version: r.int("applied_version")?,
    })
}

/// An agent introduced itself.
pub async fn hello(tx: &mut Tx, name: &str, hello: &Hello) -> Result<()> {
    let now = tx.now.get();
    let role = |r: &HostRole| match r {
        HostRole::Network => "network",
        HostRole::Compute => "compute",
    };
    sqlx::query(
        "INSERT INTO hosts (name, my_ip, roles, kinds, vcpus, memory_mb, program_version, \
         created_at, seen_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) \
         ON CONFLICT (name) DO UPDATE SET my_ip = excluded.my_ip, roles = excluded.roles, \
         kinds = excluded.kinds, vcpus = excluded.vcpus, memory_mb = excluded.memory_mb, \
         program_version = excluded.program_version, seen_at = excluded.seen_at",
    )
    .bind(name)
    .bind(hello.my_ip.to_string())
    .bind(hello.roles.iter().map(role).collect::<Vec<_>>().join(","))
    .bind(
        hello
            .kinds
            .iter()
            .map(|k| k.as_str())
            .collect::<Vec<_>>()
            .join(","),
    )
    .bind(i64::from(hello.vcpus))
    .bind(i64::try_from(hello.memory_mb).unwrap_or(i64::MAX))
    .bind(&hello.version)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Puts a host into an availability zone.
pub async fn set_zone(tx: &mut Tx, name: &str, zone: &str) -> Result<()> {
    sqlx::query("UPDATE hosts SET availability_zone = $1 WHERE name = $2")
        .bind(zone)
        .bind(name)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Lets a host get new instances and networks, or no more.
pub async fn set_disabled(tx: &mut Tx, name: &str, disabled: bool) -> Result<()> {
    sqlx::query("UPDATE hosts SET disabled = $1 WHERE name = $2")
        .bind(i64::from(disabled))
        .bind(name)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Gives a host another name, everywhere. No other host may have the new one. Host objects keep
/// their versions: the host itself has nothing to do.
pub async fn rename(tx: &mut Tx, old: &str, new: &str) -> Result<()> {
    tx.require_change("host renamed")?;
    for sql in [
        "UPDATE hosts SET name = $2 WHERE name = $1",
        "UPDATE host_objects SET host = $2 WHERE host = $1",
        "UPDATE host_errors SET host = $2 WHERE host = $1",
        "UPDATE accepted_epochs SET host = $2 WHERE host = $1",
        "UPDATE networks SET host = $2 WHERE host = $1",
        "UPDATE instances SET host = $2 WHERE host = $1",
        "UPDATE fixed_ips SET host = $2 WHERE host = $1",
        "UPDATE group_hosts SET host = $2 WHERE host = $1",
        "UPDATE project_hosts SET host = $2 WHERE host = $1",
    ] {
        let query = sqlx::query(sql).bind(old).bind(new);
        query.execute(&mut **tx).await?;
    }
    tx.touched.extend([old.to_owned(), new.to_owned()]);
    Ok(())
}

/// Forgets a host, what it was told and what it said. It must have neither instances nor networks.
///
/// As in [`report`], the row of `hosts` is locked before those of `host_errors`: a heartbeat waits
/// for the deletion or the deletion for it, and PostgreSQL finds no deadlock.
pub async fn delete(tx: &mut Tx, name: &str) -> Result<()> {
    tx.require_change("host deleted")?;
    for sql in [
        "DELETE FROM hosts WHERE name = $1",
        "DELETE FROM host_objects WHERE host = $1",
        "DELETE FROM host_errors WHERE host = $1",
        "DELETE FROM accepted_epochs WHERE host = $1",
        "DELETE FROM group_hosts WHERE host = $1",
        "DELETE FROM project_hosts WHERE host = $1",
    ] {
        sqlx::query(sql).bind(name).execute(&mut **tx).await?;
    }
    tx.touched.insert(name.to_owned());
    Ok(())
}

/// A heartbeat: how far the host is, and everything that is not in force there. Of a host that was
/// deleted or renamed meanwhile nothing is written.
pub async fn report(
    tx: &mut Tx,
    name: &str,
    epoch: &str,
    version: i64,
    errors: &[ObjectError],
) -> Result<()> {
    let now = tx.now.get();
    let done = sqlx::query(
        "UPDATE hosts SET seen_at = $1, applied_epoch = $2, applied_version = $3 WHERE name = $4",
    )
    .bind(now)
    .bind(epoch)
    .bind(version)
    .bind(name)
    .execute(&mut **tx)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(());
    }
    let old = errors_of(tx, name).await?;
    for error in &old {
        if !errors.iter().any(|e| e.key == error.key) {
            sqlx::query("DELETE FROM host_errors WHERE host = $1 AND object_key = $2")
                .bind(name)
                .bind(&error.key.0)
                .execute(&mut **tx)
                .await?;
        }
    }
    for error in errors {
        if old.contains(error) {
            continue;
        }
        sqlx::query(
            "INSERT INTO host_errors (host, object_key, message, since) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (host, object_key) DO UPDATE SET message = excluded.message",
        )
        .bind(name)
        .bind(&error.key.0)
        .bind(&error.message)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Objects that are not in force on a host.
pub async fn errors_of(c: &mut Conn, name: &str) -> Result<Vec<ObjectError>> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT object_key, message FROM host_errors WHERE host = $1 ORDER BY object_key",
    )
    .bind(name)
    .fetch_all(c)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(key, message)| ObjectError {
            key: novanet_model::ObjectKey(key),
            message,
        })
        .collect())
}

/// Ports of instances that are not in force, and why: of one instance, or of all.
pub async fn port_errors(
    c: &mut Conn,
    instance: Option<InstanceId>,
) -> Result<BTreeMap<InstanceId, String>> {
    let these = instance.map_or_else(|| "port/%".to_owned(), |id| format!("port/{}/%", id.0));
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT object_key, message FROM host_errors WHERE object_key LIKE $1 ORDER BY object_key",
    )
    .bind(these)
    .fetch_all(c)
    .await?;
    let named = rows.into_iter().filter_map(|(key, message)| {
        let id = key.split('/').nth(1)?.parse().ok()?;
        Some((InstanceId(id), message))
    });
    Ok(named.collect())
}

/// The faults of a host as a whole: it was cleaned up, or it does not follow this database.
pub async fn troubles(c: &mut Conn, name: &str) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT message FROM host_errors WHERE host = $1 AND object_key IN \
         ('host/cleanup', 'host/database') ORDER BY object_key",
    )
    .bind(name)
    .fetch_all(c)
    .await?)
}

/// All hosts by name.
pub async fn list(c: &mut Conn) -> Result<Vec<Host>> {
    let sql = format!("SELECT {COLUMNS} FROM hosts ORDER BY name");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .fetch_all(c)
        .await?
        .iter()
        .map(host)
        .collect()
}

/// A host by name.
pub async fn by_name(c: &mut Conn, name: &str) -> Result<Option<Host>> {
    let sql = format!("SELECT {COLUMNS} FROM hosts WHERE name = $1");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(name)
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(host)
        .transpose()
}

/// Instances, memory and processors in use on each host: name, instances, MiB, processors. From the
/// counts of projects. Instances being deleted still use resources and are not counted; they are
/// few.
pub async fn load(c: &mut Conn) -> Result<Vec<(String, i64, i64, i64)>> {
    Ok(sqlx::query_as(
        "SELECT host, CAST(sum(members) AS BIGINT), CAST(sum(memory_mb) AS BIGINT), \
         CAST(sum(vcpus) AS BIGINT) FROM (SELECT host, members, memory_mb, vcpus FROM project_hosts \
         UNION ALL SELECT host, 1, memory_mb, vcpus FROM instances \
         WHERE state = 'deleting' AND host IS NOT NULL) AS used GROUP BY host",
    )
    .fetch_all(c)
    .await?)
}
