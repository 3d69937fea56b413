//! What hosts report about their own addresses, and what follows from it in other tables: floating
//! IPs that cannot be used, addresses of networks that no instance gets. All of it is written when
//! a host reports something new, which is seldom; an allocation or association reads only its own
//! row.

use crate::fixed_ips::reserved_ranges;
use crate::networks::{Reserved, number};
use crate::read::Reader;
use crate::{Conn, Result, Tx, pool};
use novanet_model::HostAddresses;
use novanet_model::rows::Network;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Addresses that are not the cloud's to give, and why, as whole sentences: `host cloud1 has …`.
pub type HostReserved = BTreeMap<Ipv4Addr, String>;

/// Reasons of ranges that this module reserves begin so; no other reason does.
pub(crate) const REASON: &str = "host ";

/// What all hosts have reported, by host. One that has not reported is not in it.
pub async fn all(c: &mut Conn) -> Result<BTreeMap<String, HostAddresses>> {
    let rows = sqlx::query("SELECT name AS id, name, addresses FROM hosts WHERE addresses <> ''")
        .fetch_all(c)
        .await?;
    let rows = rows.iter().map(|row| {
        let r = Reader::new("host", row);
        Ok((r.text("name")?, read(&r)?))
    });
    rows.collect()
}

fn read(r: &Reader<'_>) -> Result<HostAddresses> {
    let text = r.text("addresses")?;
    serde_json::from_str(&text).map_err(|e| r.bad("addresses", text, e))
}

/// A host's report. `false`: there is no such host.
pub async fn set(tx: &mut Tx, host: &str, addresses: &HostAddresses) -> Result<bool> {
    let text = serde_json::to_string(addresses)
        .unwrap_or_else(|e| unreachable!("addresses and names are JSON: {e}"));
    let done = sqlx::query("UPDATE hosts SET addresses = $1 WHERE name = $2")
        .bind(text)
        .bind(host)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Marks the floating IPs that cannot be used; unmarks the others.
pub async fn mark_floating_ips(tx: &mut Tx, reserved: &HostReserved) -> Result<()> {
    let marked: Vec<(i64, String)> =
        sqlx::query_as("SELECT addr, conflict FROM floating_ips WHERE conflict IS NOT NULL")
            .fetch_all(&mut **tx)
            .await?;
    let marked: BTreeMap<_, _> = marked.into_iter().collect();
    let wanted = reserved.iter().map(|(ip, why)| (number(*ip), why.as_str()));
    let wanted: BTreeMap<_, _> = wanted.collect();
    let gone = marked.keys().filter(|addr| !wanted.contains_key(addr));
    let gone = gone.map(|addr| (*addr, None));
    let new = wanted
        .iter()
        .filter(|(addr, why)| marked.get(addr).map(String::as_str) != Some(**why));
    for (addr, why) in gone.chain(new.map(|(addr, why)| (*addr, Some(*why)))) {
        sqlx::query("UPDATE floating_ips SET conflict = $1 WHERE addr = $2")
            .bind(why)
            .bind(addr)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Why an address of a network is a host's own; `None`: it is not.
pub fn is_hosts(ranges: &[Reserved], ip: Ipv4Addr) -> Option<&str> {
    let mut hosts = ranges.iter().filter(|r| r.reason.starts_with(REASON));
    hosts
        .find(|r| r.first <= ip && ip <= r.last)
        .map(|r| r.reason.as_str())
}

/// Takes a network's addresses that hosts have out of the pool, and puts back those that they do
/// not have any more. What an instance has already stays the instance's until it ends.
pub async fn reserve(tx: &mut Tx, network: &Network, reserved: &HostReserved) -> Result<()> {
    let ranges = reserved_ranges(tx, network.id).await?;
    let (ours, others): (Vec<_>, Vec<_>) = ranges
        .into_iter()
        .partition(|r| r.reason.starts_with(REASON));
    let range = (network.cidr.network(), network.cidr.broadcast());
    let within = reserved.range(range.0..=range.1);
    let covered = |ip: Ipv4Addr| {
        others
            .iter()
            .any(|r: &Reserved| r.first <= ip && ip <= r.last)
    };
    let wanted: BTreeMap<_, _> = within.filter(|(ip, _)| !covered(**ip)).collect();
    for gone in ours
        .iter()
        .filter(|r| wanted.get(&r.first) != Some(&&r.reason))
    {
        sqlx::query("DELETE FROM reserved_ranges WHERE network_id = $1 AND first_addr = $2")
            .bind(network.id.0)
            .bind(number(gone.first))
            .execute(&mut **tx)
            .await?;
        if !wanted.contains_key(&gone.first) {
            put_back(tx, network, gone.first).await?;
        }
    }
    for (ip, why) in wanted {
        if ours.iter().any(|r| r.first == *ip && r.reason == *why) {
            continue;
        }
        sqlx::query(
            "INSERT INTO reserved_ranges (network_id, first_addr, last_addr, reason) \
             VALUES ($1, $2, $2, $3)",
        )
        .bind(network.id.0)
        .bind(number(*ip))
        .bind(why)
        .execute(&mut **tx)
        .await?;
        take_out(tx, network, *ip).await?;
    }
    Ok(())
}

/// An address that was handed out before would come back from the pool, now or when its instance
/// ends.
async fn take_out(tx: &mut Tx, network: &Network, ip: Ipv4Addr) -> Result<()> {
    let now = tx.now.get();
    sqlx::query(
        "UPDATE fixed_ips SET reserved = 1, updated_at = $1 WHERE network_id = $2 AND addr = $3",
    )
    .bind(now)
    .bind(network.id.0)
    .bind(number(ip))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The cursor has passed the address, or will: only a row brings it back.
async fn put_back(tx: &mut Tx, network: &Network, ip: Ipv4Addr) -> Result<()> {
    let now = tx.now.get();
    let done = sqlx::query(
        "UPDATE fixed_ips SET reserved = 0, updated_at = $1, \
         freed_at = CASE WHEN instance_id IS NULL AND allocated = 0 THEN $1 ELSE freed_at END \
         WHERE network_id = $2 AND addr = $3 AND reserved = 1",
    )
    .bind(now)
    .bind(network.id.0)
    .bind(number(ip))
    .execute(&mut **tx)
    .await?;
    if done.rows_affected() == 0 && pool::reserve(tx, network.id, ip).await? {
        pool::unreserve(tx, network.id, ip).await?;
    }
    Ok(())
}
