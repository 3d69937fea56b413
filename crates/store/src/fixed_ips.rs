//! The address pool: fixed IPs are handed out, reserved and freed. Nothing here scans.
//!
//! There is a row for each address ever handed out and none for the rest. Fresh addresses come from
//! the network's cursor; when it is through, the address that has been free for longest comes back
//! (so that caches and old leases have forgotten it).

use crate::networks::{Reserved, address, number};
use crate::read::Reader;
use crate::{Conn, Result, Tx};
use novanet_model::rows::Network;
use novanet_model::{InstanceId, NetworkId, ProjectId};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::net::Ipv4Addr;

/// A row of `fixed_ips` as `fixed list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FixedIp {
    /// Row id.
    pub id: i64,
    /// The address.
    pub address: Ipv4Addr,
    /// Its network.
    pub network: NetworkId,
    /// Who has it.
    pub instance: Option<InstanceId>,
    /// That instance's host name.
    pub hostname: Option<String>,
    /// The instance's MAC for it.
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
        id: r.int("id")?,
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

/// Takes an address of `network` out of the pool; `None` when it is empty. Row id and address. It
/// belongs to nobody until [`give`], in the same transaction, says to whom.
pub async fn allocate(tx: &mut Tx, network: &Network) -> Result<Option<(i64, Ipv4Addr)>> {
    // Two at a time would both read the cursor before either moves it.
    tx.require_change("address allocated")?;
    if let Some(fresh) = allocate_fresh(tx, network).await? {
        return Ok(Some(fresh));
    }
    loop {
        if let Some(freed) = allocate_freed(tx, network.id).await? {
            return Ok(Some(freed));
        }
        // Somebody who does not hold the clock may have reserved just that one.
        if !has_freed(tx, network.id).await? {
            return Ok(None);
        }
    }
}

/// The address that has been free for longest.
async fn allocate_freed(tx: &mut Tx, network: NetworkId) -> Result<Option<(i64, Ipv4Addr)>> {
    let now = tx.now;
    let row = sqlx::query(
        "UPDATE fixed_ips SET allocated = 1, freed_at = NULL, updated_at = $1 \
         WHERE id = (SELECT id FROM fixed_ips WHERE network_id = $2 AND instance_id IS NULL \
                     AND reserved = 0 AND freed_at IS NOT NULL ORDER BY freed_at, addr LIMIT 1) \
         AND allocated = 0 AND reserved = 0 RETURNING id, addr",
    )
    .bind(now)
    .bind(network.0)
    .fetch_optional(&mut **tx)
    .await?;
    row.map(|r| Ok((r.try_get(0)?, address(r.try_get(1)?))))
        .transpose()
}

async fn has_freed(c: &mut Conn, network: NetworkId) -> Result<bool> {
    let any: Option<i64> = sqlx::query_scalar(
        "SELECT id FROM fixed_ips WHERE network_id = $1 AND instance_id IS NULL AND reserved = 0 \
         AND freed_at IS NOT NULL LIMIT 1",
    )
    .bind(network.0)
    .fetch_optional(c)
    .await?;
    Ok(any.is_some())
}

/// The next address that was never handed out.
async fn allocate_fresh(tx: &mut Tx, network: &Network) -> Result<Option<(i64, Ipv4Addr)>> {
    while let Some((next, reserved)) = advance(tx, network).await? {
        if reserved {
            continue;
        }
        // It has a row already if it was reserved or taken by hand.
        if let Some(id) = insert(tx, network.id, address(next), false).await? {
            return Ok(Some((id, address(next))));
        }
    }
    Ok(None)
}

/// Moves the cursor by one address, or to the end of the reserved range that it is in: where it was,
/// and whether that is reserved. `None`: it is through.
async fn advance(tx: &mut Tx, network: &Network) -> Result<Option<(i64, bool)>> {
    let moved: Option<(i64, i64)> = sqlx::query_as(
        "UPDATE address_cursors SET next_addr = 1 + COALESCE((SELECT max(r.last_addr) \
             FROM reserved_ranges r WHERE r.network_id = address_cursors.network_id \
             AND r.first_addr <= address_cursors.next_addr \
             AND r.last_addr >= address_cursors.next_addr), next_addr) \
         WHERE network_id = $1 AND next_addr <= $2 \
         RETURNING next_addr - 1, CASE WHEN EXISTS (SELECT 1 FROM reserved_ranges r \
             WHERE r.network_id = address_cursors.network_id \
             AND r.first_addr <= address_cursors.next_addr - 1 \
             AND r.last_addr >= address_cursors.next_addr - 1) THEN CAST(1 AS BIGINT) \
             ELSE CAST(0 AS BIGINT) END",
    )
    .bind(network.id.0)
    .bind(number(network.cidr.broadcast()))
    .fetch_optional(&mut **tx)
    .await?;
    Ok(moved.map(|(next, reserved)| (next, reserved != 0)))
}

/// Takes one certain address out of the pool, like [`allocate`]; `None`: it is not free.
pub async fn take(tx: &mut Tx, network: NetworkId, ip: Ipv4Addr) -> Result<Option<i64>> {
    if let Some(id) = insert(tx, network, ip, false).await? {
        return Ok(Some(id));
    }
    let now = tx.now;
    Ok(sqlx::query_scalar(
        "UPDATE fixed_ips SET allocated = 1, freed_at = NULL, updated_at = $1 \
         WHERE network_id = $2 AND addr = $3 AND instance_id IS NULL AND reserved = 0 \
         AND freed_at IS NOT NULL RETURNING id",
    )
    .bind(now)
    .bind(network.0)
    .bind(number(ip))
    .fetch_optional(&mut **tx)
    .await?)
}

/// A row for an address that has none yet; `None` if it has one.
async fn insert(
    tx: &mut Tx,
    network: NetworkId,
    ip: Ipv4Addr,
    reserved: bool,
) -> Result<Option<i64>> {
    let now = tx.now;
    // An address that exists once per network: its number within it makes an id without a counter.
    let id = network.0 * (1 << 32) + number(ip);
    Ok(sqlx::query_scalar(
        "INSERT INTO fixed_ips (id, address, addr, network_id, allocated, reserved, created_at, \
         updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $7) \
         ON CONFLICT (network_id, addr) DO NOTHING RETURNING id",
    )
    .bind(id)
    .bind(ip.to_string())
    .bind(number(ip))
    .bind(network.0)
    .bind(i64::from(!reserved))
    .bind(i64::from(reserved))
    .bind(now)
    .fetch_optional(&mut **tx)
    .await?)
}

/// Gives all addresses of an instance back to the pool; which.
pub async fn release_of(tx: &mut Tx, instance: InstanceId) -> Result<Vec<Ipv4Addr>> {
    let now = tx.now;
    let freed: Vec<i64> = sqlx::query_scalar(
        "UPDATE fixed_ips SET instance_id = NULL, virtual_interface_id = NULL, allocated = 0, \
         leased = 0, freed_at = $1, updated_at = $1 WHERE instance_id = $2 RETURNING addr",
    )
    .bind(now)
    .bind(instance.0)
    .fetch_all(&mut **tx)
    .await?;
    Ok(freed.into_iter().map(address).collect())
}

/// Gives one address back to the pool.
pub async fn release(tx: &mut Tx, id: i64) -> Result<()> {
    let now = tx.now;
    sqlx::query(
        "UPDATE fixed_ips SET instance_id = NULL, virtual_interface_id = NULL, allocated = 0, \
         leased = 0, freed_at = $1, updated_at = $1 WHERE id = $2",
    )
    .bind(now)
    .bind(id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Gives an allocated address to an instance's interface.
pub async fn give(tx: &mut Tx, id: i64, instance: InstanceId, interface: i64) -> Result<()> {
    sqlx::query("UPDATE fixed_ips SET instance_id = $1, virtual_interface_id = $2 WHERE id = $3")
        .bind(instance.0)
        .bind(interface)
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Takes an address out of the pool. `false`: an instance has it.
pub async fn reserve(tx: &mut Tx, network: NetworkId, ip: Ipv4Addr) -> Result<bool> {
    if insert(tx, network, ip, true).await?.is_some() {
        return Ok(true);
    }
    let now = tx.now;
    let done = sqlx::query(
        "UPDATE fixed_ips SET reserved = 1, updated_at = $1 \
         WHERE network_id = $2 AND addr = $3 AND instance_id IS NULL AND allocated = 0",
    )
    .bind(now)
    .bind(network.0)
    .bind(number(ip))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Puts a reserved address back into the pool. `false`: it was not reserved.
pub async fn unreserve(tx: &mut Tx, network: NetworkId, ip: Ipv4Addr) -> Result<bool> {
    let now = tx.now;
    let done = sqlx::query(
        "UPDATE fixed_ips SET reserved = 0, freed_at = $1, updated_at = $1 \
         WHERE network_id = $2 AND addr = $3 AND reserved = 1",
    )
    .bind(now)
    .bind(network.0)
    .bind(number(ip))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What dnsmasq said of an address: leased, or not any more.
pub async fn set_leased(tx: &mut Tx, ip: Ipv4Addr, mac: &str, leased: bool) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE fixed_ips SET leased = $1 WHERE address = $2 AND virtual_interface_id IN \
         (SELECT id FROM virtual_interfaces WHERE address = $3)",
    )
    .bind(i64::from(leased))
    .bind(ip.to_string())
    .bind(mac)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

const SHOWN: &str = "SELECT f.id, f.address, f.network_id, f.instance_id, f.reserved, f.leased, \
    i.hostname, i.host, v.address AS mac FROM fixed_ips f \
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

/// The row of an address of an instance: networks may repeat an address, an instance does not.
pub async fn of_instance(
    c: &mut Conn,
    instance: InstanceId,
    ip: Ipv4Addr,
) -> Result<Option<FixedIp>> {
    let sql = format!("{SHOWN} WHERE f.instance_id = $1 AND f.address = $2");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(instance.0)
        .bind(ip.to_string())
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(fixed)
        .transpose()
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
         WHERE i.project_id = $1",
    )
    .bind(project.as_str())
    .fetch_one(c)
    .await?)
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
