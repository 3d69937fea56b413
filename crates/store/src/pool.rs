//! The address pool: fixed IPs are handed out, reserved and freed. Nothing here scans.
//!
//! There is a row for each address ever handed out and none for the rest. Fresh addresses come from
//! the network's cursor; when it is through, the address that has been free for longest comes back
//! (so that caches and old leases have forgotten it). A hundred addresses cost as many statements
//! as one does.

use crate::networks::{address, number};
use crate::{Conn, Result, Tx, chunks};
use novanet_model::rows::Network;
use novanet_model::{FixedIpId, InstanceId, NetworkId};
use std::net::Ipv4Addr;

/// An address out of the pool. It belongs to no instance until [`give`], in the same transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocatedIp {
    /// Its row.
    pub id: FixedIpId,
    /// The address.
    pub address: Ipv4Addr,
}

/// Takes `count` addresses of `network` out of the pool, or as many as there are, in order.
pub async fn allocate(tx: &mut Tx, network: &Network, count: usize) -> Result<Vec<AllocatedIp>> {
    // Two at a time would both read the cursor before either moves it.
    tx.require_change("address allocated")?;
    let mut got = allocate_fresh(tx, network, count).await?;
    while got.len() < count {
        let oldest = oldest_freed(tx, network.id, count - got.len()).await?;
        if oldest.is_empty() {
            break;
        }
        // A transaction without the clock may have reserved one of them: the next, then.
        got.extend(take_freed(tx, &oldest).await?);
    }
    Ok(got
        .into_iter()
        .map(|(id, number)| AllocatedIp {
            id: FixedIpId(id),
            address: address(number),
        })
        .collect())
}

/// The addresses that have been free for longest: row ids. Found first and taken then: in one
/// statement, PostgreSQL may read the whole table for it.
async fn oldest_freed(c: &mut Conn, network: NetworkId, count: usize) -> Result<Vec<i64>> {
    Ok(sqlx::query_scalar(
        "SELECT id FROM fixed_ips WHERE network_id = $1 AND instance_id IS NULL AND reserved = 0 \
         AND allocated = 0 AND freed_at IS NOT NULL AND NOT EXISTS \
         (SELECT 1 FROM reserved_ranges r WHERE r.network_id = fixed_ips.network_id \
         AND fixed_ips.addr BETWEEN r.first_addr AND r.last_addr) \
         ORDER BY freed_at, addr LIMIT $2",
    )
    .bind(network.0)
    .bind(i64::try_from(count).unwrap_or(i64::MAX))
    .fetch_all(c)
    .await?)
}

/// Takes freed addresses by their row ids: row ids and numbers of those that could be had.
async fn take_freed(tx: &mut Tx, ids: &[i64]) -> Result<Vec<(i64, i64)>> {
    let now = tx.now.get();
    let mut taken = Vec::with_capacity(ids.len());
    for ids in chunks::padded(ids) {
        let sql = format!(
            "UPDATE fixed_ips SET allocated = 1, freed_at = NULL, updated_at = $1 \
             WHERE id IN ({}) AND allocated = 0 AND reserved = 0 RETURNING id, addr",
            chunks::list(2, ids.len())
        );
        let mut query = sqlx::query_as::<_, (i64, i64)>(sqlx::AssertSqlSafe(sql)).bind(now);
        for id in ids {
            query = query.bind(*id);
        }
        taken.extend(query.fetch_all(&mut **tx).await?);
    }
    taken.sort_unstable();
    Ok(taken)
}

/// The next addresses that were never handed out: row ids and numbers.
async fn allocate_fresh(tx: &mut Tx, network: &Network, count: usize) -> Result<Vec<(i64, i64)>> {
    let mut got = Vec::with_capacity(count);
    while got.len() < count {
        let Some(cursor) = Cursor::read(tx, network).await? else {
            break;
        };
        let (fresh, next) = cursor.next(count - got.len());
        sqlx::query("UPDATE address_cursors SET next_addr = $1 WHERE network_id = $2")
            .bind(next)
            .bind(network.id.0)
            .execute(&mut **tx)
            .await?;
        let new = insert(tx, network.id, &fresh, false).await?;
        // One that was reserved, taken by hand, or handed out before the cursor was set back, has
        // a row already.
        if new.len() < fresh.len()
            && let Some(&last) = fresh.last()
        {
            skip_known(tx, network.id, last).await?;
        }
        got.extend(new);
    }
    Ok(got)
}

/// Moves the cursor behind `last`, which has a row, and behind all rows that follow it without a
/// gap.
async fn skip_known(tx: &mut Tx, network: NetworkId, last: i64) -> Result<()> {
    sqlx::query(
        "UPDATE address_cursors SET next_addr = (SELECT f.addr + 1 FROM fixed_ips f \
         WHERE f.network_id = $1 AND f.addr >= $2 AND NOT EXISTS (SELECT 1 FROM fixed_ips g \
         WHERE g.network_id = f.network_id AND g.addr = f.addr + 1) ORDER BY f.addr LIMIT 1) \
         WHERE network_id = $1",
    )
    .bind(network.0)
    .bind(last)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// How far a network's fresh addresses are handed out.
#[derive(Debug, PartialEq, Eq)]
struct Cursor {
    next: i64,
    last: i64,
    /// Inclusive ranges that are left out, ascending.
    reserved: Vec<(i64, i64)>,
}

impl Cursor {
    /// `None`: it is through.
    async fn read(c: &mut Conn, network: &Network) -> Result<Option<Self>> {
        let last = number(network.cidr.broadcast());
        let rows: Vec<(i64, Option<i64>, Option<i64>)> = sqlx::query_as(
            "SELECT c.next_addr, r.first_addr, r.last_addr FROM address_cursors c \
             LEFT JOIN reserved_ranges r ON r.network_id = c.network_id \
             AND r.last_addr >= c.next_addr \
             WHERE c.network_id = $1 AND c.next_addr <= $2 ORDER BY r.first_addr",
        )
        .bind(network.id.0)
        .bind(last)
        .fetch_all(c)
        .await?;
        // An edited range may lie elsewhere.
        let first = number(network.cidr.network());
        Ok(rows.first().map(|&(next, ..)| Self {
            next: next.max(first),
            last,
            reserved: rows.iter().filter_map(|&(_, a, b)| a.zip(b)).collect(),
        }))
    }

    /// The next `count` addresses, or as many as are left, and where the cursor stands then.
    fn next(&self, count: usize) -> (Vec<i64>, i64) {
        let (mut fresh, mut next) = (Vec::with_capacity(count), self.next);
        while next <= self.last && fresh.len() < count {
            let hit = self.reserved.iter().find(|(a, b)| *a <= next && next <= *b);
            if let Some((_, end)) = hit {
                next = end + 1;
            } else {
                fresh.push(next);
                next += 1;
            }
        }
        (fresh, next)
    }
}

/// Takes one certain address out of the pool, like [`allocate`]; `None`: it is not free.
pub async fn take(tx: &mut Tx, network: NetworkId, ip: Ipv4Addr) -> Result<Option<FixedIpId>> {
    if let Some((id, _)) = insert(tx, network, &[number(ip)], false).await?.pop() {
        return Ok(Some(FixedIpId(id)));
    }
    let now = tx.now.get();
    let id: Option<i64> = sqlx::query_scalar(
        "UPDATE fixed_ips SET allocated = 1, freed_at = NULL, updated_at = $1 \
         WHERE network_id = $2 AND addr = $3 AND instance_id IS NULL AND reserved = 0 \
         AND freed_at IS NOT NULL RETURNING id",
    )
    .bind(now)
    .bind(network.0)
    .bind(number(ip))
    .fetch_optional(&mut **tx)
    .await?;
    Ok(id.map(FixedIpId))
}

/// Takes a reserved address that no instance has, for the one instance that it is kept for; `None`:
/// an instance has it, or it is not reserved. It stays reserved, also when it is released.
pub async fn take_reserved(
    tx: &mut Tx,
    network: NetworkId,
    ip: Ipv4Addr,
) -> Result<Option<FixedIpId>> {
    let now = tx.now.get();
    let id: Option<i64> = sqlx::query_scalar(
        "UPDATE fixed_ips SET allocated = 1, freed_at = NULL, updated_at = $1 \
         WHERE network_id = $2 AND addr = $3 AND instance_id IS NULL AND reserved = 1 RETURNING id",
    )
    .bind(now)
    .bind(network.0)
    .bind(number(ip))
    .fetch_optional(&mut **tx)
    .await?;
    Ok(id.map(FixedIpId))
}

/// Rows for addresses that have none yet; those that are new.
async fn insert(
    tx: &mut Tx,
    network: NetworkId,
    addresses: &[i64],
    reserved: bool,
) -> Result<Vec<(i64, i64)>> {
    let now = tx.now.get();
    let mut new = Vec::with_capacity(addresses.len());
    for addresses in chunks::exact(addresses) {
        let rows: Vec<String> = (0..addresses.len())
            .map(|row| {
                let (id, text, addr) = (5 + 3 * row, 6 + 3 * row, 7 + 3 * row);
                format!("(${id}, ${text}, ${addr}, $1, $2, $3, $4, $4)")
            })
            .collect();
        let sql = format!(
            "INSERT INTO fixed_ips (id, address, addr, network_id, allocated, reserved, created_at, \
             updated_at) VALUES {} ON CONFLICT (network_id, addr) DO NOTHING RETURNING id, addr",
            rows.join(", ")
        );
        let mut query = sqlx::query_as::<_, (i64, i64)>(sqlx::AssertSqlSafe(sql))
            .bind(network.0)
            .bind(i64::from(!reserved))
            .bind(i64::from(reserved))
            .bind(now);
        for &number in addresses {
            // An address exists once per network: its number within it makes an id without a
            // counter.
            let id = network.0 * (1 << 32) + number;
            query = query
                .bind(id)
                .bind(address(number).to_string())
                .bind(number);
        }
        new.extend(query.fetch_all(&mut **tx).await?);
    }
    new.sort_unstable();
    Ok(new)
}

/// Gives all addresses of an instance back to the pool; which.
pub async fn release_of(tx: &mut Tx, instance: InstanceId) -> Result<Vec<Ipv4Addr>> {
    let now = tx.now.get();
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

/// Gives addresses back to the pool, by row ids.
pub async fn release(tx: &mut Tx, ids: &[FixedIpId]) -> Result<()> {
    let now = tx.now.get();
    for ids in chunks::padded(ids) {
        let sql = format!(
            "UPDATE fixed_ips SET instance_id = NULL, virtual_interface_id = NULL, allocated = 0, \
             leased = 0, freed_at = $1, updated_at = $1 WHERE id IN ({})",
            chunks::list(2, ids.len())
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(now);
        for id in ids {
            query = query.bind(id.0);
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// An allocated address, and whose it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// Row id of the address.
    pub id: FixedIpId,
    /// The instance.
    pub instance: InstanceId,
    /// Row id of the instance's interface.
    pub interface: i64,
}

/// Gives allocated addresses to instances' interfaces.
pub async fn give(tx: &mut Tx, all: &[Given]) -> Result<()> {
    for given in chunks::exact(all) {
        let sql = format!(
            "WITH given (id, instance_id, interface_id) AS (VALUES {}) \
             UPDATE fixed_ips SET instance_id = given.instance_id, \
             virtual_interface_id = given.interface_id FROM given WHERE fixed_ips.id = given.id",
            chunks::rows(1, 3, given.len())
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for Given {
            id,
            instance,
            interface,
        } in given
        {
            query = query.bind(id.0).bind(instance.0).bind(interface);
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// Takes an address out of the pool. `false`: an instance has it.
pub async fn reserve(tx: &mut Tx, network: NetworkId, ip: Ipv4Addr) -> Result<bool> {
    if !insert(tx, network, &[number(ip)], true).await?.is_empty() {
        return Ok(true);
    }
    let now = tx.now.get();
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
    let now = tx.now.get();
    let done = sqlx::query(
        "UPDATE fixed_ips SET reserved = 0, reserved_mac = NULL, leased = 0, freed_at = $1, \
         updated_at = $1 \
         WHERE network_id = $2 AND addr = $3 AND reserved = 1",
    )
    .bind(now)
    .bind(network.0)
    .bind(number(ip))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_leaves_out_what_is_reserved_and_ends_at_the_end() {
        let cursor = Cursor {
            next: 8,
            last: 20,
            reserved: vec![(2, 3), (9, 11), (14, 14), (20, 20)],
        };
        assert_eq!(cursor.next(1), (vec![8], 9));
        assert_eq!(cursor.next(3), (vec![8, 12, 13], 14));
        assert_eq!(cursor.next(99), (vec![8, 12, 13, 15, 16, 17, 18, 19], 21));
        let through = Cursor { next: 20, ..cursor };
        assert_eq!(through.next(1), (vec![], 21));
    }
}
