//! Rows of fixed IPs: their instances, leases and reservations. Allocation and release are in
//! `pool`.

use crate::networks::{Reserved, address, number};
use crate::read::Reader;
use crate::{Conn, Result, Tx};
use novanet_model::rows::Reservation;
use novanet_model::{FixedIpId, InstanceId, MacAddr, Micros, NetworkId, ProjectId};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// A row of `fixed_ips` as `fixed list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedIp {
    /// Row id.
    pub id: FixedIpId,
    /// The address.
    pub address: Ipv4Addr,
    /// Its network.
    pub network: NetworkId,
    /// The instance that has it.
    pub instance: Option<InstanceId>,
    /// That instance's host name.
    pub hostname: Option<String>,
    /// The MAC that gets it: the instance's, or the one of a reservation.
    pub mac: Option<String>,
    /// The host of the instance.
    pub host: Option<String>,
    /// Kept out of the pool by the operator.
    pub reserved: bool,
    /// dnsmasq has given it out.
    pub leased: bool,
}

fn fixed(row: &AnyRow) -> Result<FixedIp> {
    let r = Reader::new("fixed_ip", row);
    Ok(FixedIp {
        id: FixedIpId(r.int("id")?),
        address: r.parse("address")?,
        network: NetworkId(r.int("network_id")?),
        instance: r.maybe_int("instance_id")?.map(InstanceId),
        hostname: r.maybe_text("hostname")?,
        mac: r.maybe_text("mac")?,
        host: r.maybe_text("host")?,
        reserved: r.flag("reserved")?,
        leased: r.flag("leased")?,
    })
}

/// What dnsmasq said of an address: leased, or not any more.
pub async fn set_leased(tx: &mut Tx, ip: Ipv4Addr, mac: &str, leased: bool) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE fixed_ips SET leased = $1 WHERE address = $2 AND (reserved_mac = $3 \
         OR virtual_interface_id IN (SELECT id FROM virtual_interfaces WHERE address = $3))",
    )
    .bind(i64::from(leased))
    .bind(ip.to_string())
    .bind(mac)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

const SHOWN: &str = "SELECT f.id, f.address, f.network_id, f.instance_id, f.reserved, f.leased, \
    i.hostname, i.host, COALESCE(v.address, f.reserved_mac) AS mac FROM fixed_ips f \
    LEFT JOIN instances i ON i.id = f.instance_id \
    LEFT JOIN virtual_interfaces v ON v.id = f.virtual_interface_id";

/// All addresses with a row, by network and address; only those on `host` if it is not empty.
pub async fn list(c: &mut Conn, host: &str) -> Result<Vec<FixedIp>> {
    let sql = format!("{SHOWN} WHERE $1 = '' OR i.host = $1 ORDER BY f.network_id, f.addr");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(host)
        .fetch_all(c)
        .await?
        .iter()
        .map(fixed)
        .collect()
}

/// The row of an address of a network.
pub async fn by_address(c: &mut Conn, network: NetworkId, ip: Ipv4Addr) -> Result<Option<FixedIp>> {
    let sql = format!("{SHOWN} WHERE f.network_id = $1 AND f.addr = $2");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(network.0)
        .bind(number(ip))
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(fixed)
        .transpose()
}

/// The addresses of a network that are reserved for a MAC.
pub async fn reservations(c: &mut Conn, network: NetworkId) -> Result<Vec<Reservation>> {
    sqlx::query(
        "SELECT id, address, reserved_mac FROM fixed_ips \
         WHERE network_id = $1 AND reserved_mac IS NOT NULL ORDER BY addr",
    )
    .bind(network.0)
    .fetch_all(c)
    .await?
    .iter()
    .map(|row| {
        let r = Reader::new("fixed_ip", row);
        Ok(Reservation {
            mac: r.parse("reserved_mac")?,
            address: r.parse("address")?,
        })
    })
    .collect()
}

/// The address that a MAC has in a network, as an instance's or by a reservation.
pub async fn of_mac(c: &mut Conn, network: NetworkId, mac: &MacAddr) -> Result<Option<Ipv4Addr>> {
    let addr: Option<i64> = sqlx::query_scalar(
        "SELECT f.addr FROM fixed_ips f LEFT JOIN virtual_interfaces v \
         ON v.id = f.virtual_interface_id \
         WHERE f.network_id = $1 AND (f.reserved_mac = $2 OR v.address = $2)",
    )
    .bind(network.0)
    .bind(mac.to_string())
    .fetch_optional(c)
    .await?;
    Ok(addr.map(address))
}

/// Reserves an address that [`crate::pool::reserve`] took out of the pool for a MAC. `false`: it is
/// reserved for another one.
pub async fn reserve_for(
    tx: &mut Tx,
    network: NetworkId,
    ip: Ipv4Addr,
    mac: &MacAddr,
) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE fixed_ips SET reserved_mac = $1 WHERE network_id = $2 AND addr = $3 \
         AND reserved = 1 AND (reserved_mac IS NULL OR reserved_mac = $1)",
    )
    .bind(mac.to_string())
    .bind(network.0)
    .bind(number(ip))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ranges of a network that are never handed out.
pub async fn reserved_ranges(c: &mut Conn, network: NetworkId) -> Result<Vec<Reserved>> {
    sqlx::query(
        "SELECT first_addr, last_addr, reason FROM reserved_ranges WHERE network_id = $1 \
         ORDER BY first_addr",
    )
    .bind(network.0)
    .fetch_all(c)
    .await?
    .iter()
    .map(|row| {
        Ok(Reserved {
            first: address(row.try_get(0)?),
            last: address(row.try_get(1)?),
            reason: row.try_get(2)?,
        })
    })
    .collect()
}

/// How many addresses a project's instances have, those that are being deleted too.
pub async fn count_of(c: &mut Conn, project: &ProjectId) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "SELECT count(*) FROM instances i JOIN fixed_ips f ON f.instance_id = i.id \
         WHERE i.project_id = $1 \
         AND NOT EXISTS (SELECT 1 FROM vpns v WHERE v.instance_id = i.id)",
    )
    .bind(project.as_str())
    .fetch_one(c)
    .await?)
}

/// What became of a network's addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Addresses that instances have.
    pub used: i64,
    /// Addresses that no instance gets: the network's own and those that the operator reserved.
    pub kept: i64,
}

/// The usage of every network.
pub async fn usage(c: &mut Conn) -> Result<BTreeMap<NetworkId, Usage>> {
    let rows: Vec<(i64, i64, i64, i64)> = sqlx::query_as(
        "SELECT n.id, \
         (SELECT count(*) FROM fixed_ips f WHERE f.network_id = n.id \
          AND f.instance_id IS NOT NULL), \
         (SELECT count(*) FROM fixed_ips f WHERE f.network_id = n.id \
          AND f.instance_id IS NULL AND f.reserved = 1 AND NOT EXISTS \
          (SELECT 1 FROM reserved_ranges r WHERE r.network_id = n.id \
           AND f.addr BETWEEN r.first_addr AND r.last_addr)), \
         (SELECT CAST(COALESCE(sum(r.last_addr - r.first_addr + 1), 0) AS BIGINT) \
          FROM reserved_ranges r WHERE r.network_id = n.id) \
         FROM networks n",
    )
    .fetch_all(c)
    .await?;
    let usage = rows.into_iter().map(|(id, used, reserved, ranges)| {
        let kept = reserved + ranges;
        (NetworkId(id), Usage { used, kept })
    });
    Ok(usage.collect())
}

/// Addresses of running instances for which no DHCP lease is known though the instance has run
/// since before `since`: of one instance, of a project's, or of all.
pub async fn without_lease(
    c: &mut Conn,
    project: Option<&ProjectId>,
    instance: Option<InstanceId>,
    since: Micros,
) -> Result<BTreeMap<InstanceId, Vec<Ipv4Addr>>> {
    let rows = sqlx::query(
        "SELECT f.instance_id, f.address FROM fixed_ips f \
         JOIN instances i ON i.id = f.instance_id JOIN networks n ON n.id = f.network_id \
         WHERE f.leased = 0 AND n.kind <> 'flat' AND i.state = 'running' AND i.launched_at < $1 \
         AND ($2 = '' OR i.project_id = $2) AND ($3 = 0 OR f.instance_id = $3) \
         ORDER BY f.instance_id, f.addr",
    )
    .bind(since.get())
    .bind(project.map(ProjectId::as_str).unwrap_or_default())
    .bind(instance.map_or(0, |id| id.0))
    .fetch_all(c)
    .await?;
    let mut of = BTreeMap::new();
    for row in &rows {
        let r = Reader::new("fixed_ip", row);
        let all: &mut Vec<Ipv4Addr> = of.entry(InstanceId(r.int("instance_id")?)).or_default();
        all.push(r.parse("address")?);
    }
    Ok(of)
}

/// How many addresses of a network instances have.
pub async fn in_use(c: &mut Conn, network: NetworkId) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "SELECT count(*) FROM fixed_ips WHERE network_id = $1 AND instance_id IS NOT NULL",
    )
    .bind(network.0)
    .fetch_one(c)
    .await?)
}
