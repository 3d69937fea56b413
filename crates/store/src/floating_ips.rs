//! The table `floating_ips`: the pool, and which fixed IP each address leads to. Depends on columns
//! of networks and fixed IPs for what is behind an address.

use crate::networks::{address, number};
use crate::read::Reader;
use crate::{Conn, Result, StoreError, Tx, counters};
use novanet_model::rows::{FloatTarget, FloatingIp};
use novanet_model::{
    FixedIpId, FloatingIpId, IfName, InstanceId, Ipv4Net, ModelError, NetworkId, ProjectId,
};
use sqlx::any::AnyRow;
use std::net::Ipv4Addr;

const SELECT: &str = "SELECT f.id, f.address, f.pool, f.interface, f.project_id, f.conflict, \
    x.address AS fixed_address, x.instance_id, n.host FROM floating_ips f \
    LEFT JOIN fixed_ips x ON x.id = f.fixed_ip_id LEFT JOIN networks n ON n.id = x.network_id";

fn floating(row: &AnyRow) -> Result<FloatingIp> {
    let r = Reader::new("floating_ip", row);
    let fixed = match (
        r.maybe::<Ipv4Addr>("fixed_address")?,
        r.maybe_int("instance_id")?,
    ) {
        (Some(address), Some(instance)) => Some(FloatTarget {
            address,
            instance: InstanceId(instance),
            host: r.maybe_text("host")?,
        }),
        _ => None,
    };
    let interface = r.maybe_text("interface")?.filter(|text| !text.is_empty());
    let named = interface.as_deref().and_then(|text| text.parse().ok());
    Ok(FloatingIp {
        id: FloatingIpId(r.int("id")?),
        address: r.parse("address")?,
        pool: r.text("pool")?,
        bad_interface: interface.filter(|_| named.is_none()),
        interface: named,
        project: r.maybe("project_id")?,
        conflict: r.maybe_text("conflict")?,
        fixed,
    })
}

/// Refuses a floating IP whose row names an invalid interface. Lists show it and projects can
/// release it, so only an association calls this.
pub fn check(float: &FloatingIp) -> Result<()> {
    let Some(Err(error)) = float.bad_interface.as_deref().map(IfName::new) else {
        return Ok(());
    };
    let row = format!("floating_ip {} ({})", float.id, float.address);
    let what = ModelError::new("interface", error.value, error.reason);
    Err(StoreError::bad_row(row)(what))
}

/// Adds addresses to a pool; those that are there already are left alone. How many are new.
pub async fn insert(
    tx: &mut Tx,
    addresses: &[Ipv4Addr],
    pool: &str,
    interface: Option<&IfName>,
) -> Result<u64> {
    let count = i64::try_from(addresses.len()).unwrap_or(i64::MAX);
    let first = counters::take(tx, "floating_ips", count).await?;
    let now = tx.now.get();
    let mut new = 0;
    for (id, address) in (first..).zip(addresses) {
        new += sqlx::query(
            "INSERT INTO floating_ips (id, address, addr, pool, interface, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (addr) DO NOTHING",
        )
        .bind(id)
        .bind(address.to_string())
        .bind(number(*address))
        .bind(pool)
        .bind(interface.map(ToString::to_string))
        .bind(now)
        .execute(&mut **tx)
        .await?
        .rows_affected();
    }
    Ok(new)
}

/// Gives a free address of the pool to a project, the one free for longest; `None`: all are taken.
/// One whose interface is none, and one that a host has itself, is passed over.
pub async fn allocate(tx: &mut Tx, pool: &str, project: &ProjectId) -> Result<Option<Ipv4Addr>> {
    tx.require_change("floating IP allocated")?;
    let now = tx.now.get();
    let mut passed = Vec::new();
    let found = loop {
        let row = sqlx::query(
            "UPDATE floating_ips SET project_id = $1, updated_at = $2 WHERE id = \
             (SELECT id FROM floating_ips WHERE pool = $3 AND project_id IS NULL \
              AND conflict IS NULL ORDER BY freed_at, addr LIMIT 1) AND project_id IS NULL \
             RETURNING id, address, interface",
        )
        .bind(project.as_str())
        .bind(now)
        .bind(pool)
        .fetch_optional(&mut **tx)
        .await?;
        let Some(row) = row else { break None };
        let r = Reader::new("floating_ip", &row);
        if r.maybe::<IfName>("interface").is_ok() {
            break Some(r.parse("address")?);
        }
        passed.push(r.int("id")?);
    };
    for id in passed {
        sqlx::query("UPDATE floating_ips SET project_id = NULL WHERE id = $1")
            .bind(id)
            .execute(&mut **tx)
            .await?;
    }
    Ok(found)
}

/// Gives this address to a project; only in `pool`, if that is not empty. `false`: the address is
/// allocated, in conflict, or not in the pool.
pub async fn take(tx: &mut Tx, address: Ipv4Addr, pool: &str, project: &ProjectId) -> Result<bool> {
    let now = tx.now.get();
    let done = sqlx::query(
        "UPDATE floating_ips SET project_id = $1, updated_at = $2 \
         WHERE addr = $3 AND ($4 = '' OR pool = $4) AND project_id IS NULL \
         AND conflict IS NULL",
    )
    .bind(project.as_str())
    .bind(now)
    .bind(number(address))
    .bind(pool)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Gives an address back to its pool.
pub async fn release(tx: &mut Tx, id: FloatingIpId) -> Result<()> {
    let now = tx.now.get();
    sqlx::query(
        "UPDATE floating_ips SET project_id = NULL, fixed_ip_id = NULL, auto_assigned = 0, \
         freed_at = $1, updated_at = $1 WHERE id = $2",
    )
    .bind(now)
    .bind(id.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Points a floating IP at a fixed IP's row, or nowhere. As it is now; `None`: there is no such
/// one.
pub async fn point(
    tx: &mut Tx,
    id: FloatingIpId,
    fixed_ip: Option<FixedIpId>,
) -> Result<Option<FloatingIp>> {
    let now = tx.now.get();
    // What [`SELECT`] finds.
    sqlx::query(
        "UPDATE floating_ips SET fixed_ip_id = $1, updated_at = $2 WHERE id = $3 \
         RETURNING id, address, pool, interface, project_id, conflict, \
         (SELECT x.address FROM fixed_ips x WHERE x.id = fixed_ip_id) AS fixed_address, \
         (SELECT x.instance_id FROM fixed_ips x WHERE x.id = fixed_ip_id) AS instance_id, \
         (SELECT n.host FROM fixed_ips x JOIN networks n ON n.id = x.network_id \
          WHERE x.id = fixed_ip_id) AS host",
    )
    .bind(fixed_ip.map(|id| id.0))
    .bind(now)
    .bind(id.0)
    .fetch_optional(&mut **tx)
    .await?
    .as_ref()
    .map(floating)
    .transpose()
}

/// Deletes an address that no project has. `false`: it is allocated or missing.
pub async fn delete(tx: &mut Tx, id: FloatingIpId) -> Result<bool> {
    let done = sqlx::query("DELETE FROM floating_ips WHERE id = $1 AND project_id IS NULL")
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

async fn select(c: &mut Conn, condition: &str, value: Value<'_>) -> Result<Vec<FloatingIp>> {
    let sql = format!("{SELECT} WHERE {condition} ORDER BY f.addr");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql));
    let query = match value {
        Value::Text(text) => query.bind(text),
        Value::Number(number) => query.bind(number),
    };
    query.fetch_all(c).await?.iter().map(floating).collect()
}

enum Value<'a> {
    Text(&'a str),
    Number(i64),
}

/// All floating IPs by address.
pub async fn list(c: &mut Conn) -> Result<Vec<FloatingIp>> {
    select(c, "f.id <> $1", Value::Number(-1)).await
}

/// A project's floating IPs.
pub async fn of_project(c: &mut Conn, project: &ProjectId) -> Result<Vec<FloatingIp>> {
    select(c, "f.project_id = $1", Value::Text(project.as_str())).await
}

/// The first floating IP within a range.
pub async fn first_within(c: &mut Conn, range: Ipv4Net) -> Result<Option<Ipv4Addr>> {
    let first: Option<i64> = sqlx::query_scalar(
        "SELECT addr FROM floating_ips WHERE addr BETWEEN $1 AND $2 ORDER BY addr LIMIT 1",
    )
    .bind(number(range.network()))
    .bind(number(range.broadcast()))
    .fetch_optional(c)
    .await?;
    Ok(first.map(address))
}

/// The floating IPs that lead to an instance.
pub async fn of_instance(c: &mut Conn, instance: InstanceId) -> Result<Vec<FloatingIp>> {
    select(c, "x.instance_id = $1", Value::Number(instance.0)).await
}

/// The floating IPs that lead into a network.
pub async fn of_network(c: &mut Conn, network: NetworkId) -> Result<Vec<FloatingIp>> {
    select(c, "x.network_id = $1", Value::Number(network.0)).await
}

/// A floating IP by row id.
pub async fn by_id(c: &mut Conn, id: FloatingIpId) -> Result<Option<FloatingIp>> {
    Ok(select(c, "f.id = $1", Value::Number(id.0)).await?.pop())
}

/// A floating IP by address.
pub async fn by_address(c: &mut Conn, address: Ipv4Addr) -> Result<Option<FloatingIp>> {
    let text = address.to_string();
    Ok(select(c, "f.address = $1", Value::Text(&text)).await?.pop())
}

/// How many a project has.
pub async fn count_of(c: &mut Conn, project: &ProjectId) -> Result<i64> {
    Ok(
        sqlx::query_scalar("SELECT count(*) FROM floating_ips WHERE project_id = $1")
            .bind(project.as_str())
            .fetch_one(c)
            .await?,
    )
}

/// Whether nova gave the address to its instance by itself (`auto_assign_floating_ip`).
pub async fn is_auto_assigned(c: &mut Conn, id: FloatingIpId) -> Result<bool> {
    let flag: Option<i64> =
        sqlx::query_scalar("SELECT auto_assigned FROM floating_ips WHERE id = $1")
            .bind(id.0)
            .fetch_optional(c)
            .await?;
    Ok(flag.unwrap_or(0) != 0)
}

/// Marks an address as given by `auto_assign_floating_ip`.
pub async fn set_auto_assigned(tx: &mut Tx, id: FloatingIpId) -> Result<()> {
    sqlx::query("UPDATE floating_ips SET auto_assigned = 1 WHERE id = $1")
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
