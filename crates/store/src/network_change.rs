//! Changes of a network's row, and what follows from an edited row in its other tables: ranges that
//! no instance gets, where fresh addresses go on, addresses in use. Depends on networks' rows.

use crate::networks::{Reserved, address, number};
use crate::{Conn, Result, StoreError, Tx, fixed_ips, host_addresses, networks};
use novanet_model::carve::AddressPlan;
use novanet_model::rows::Network;
use novanet_model::{InstanceId, ModelError, NetworkId, NetworkKind, parse_cidr};
use std::net::Ipv4Addr;

/// Writes the settings of a network that `network modify` changes, host and project too.
pub async fn update(tx: &mut Tx, network: &Network) -> Result<()> {
    let now = tx.now.get();
    let text = |ip: &Ipv4Addr| ip.to_string();
    sqlx::query(
        "UPDATE networks SET label = $1, gateway = $2, dhcp_start = $3, dns1 = $4, dns2 = $5, \
         bridge = $6, bridge_interface = $7, project_id = $8, host = $9, updated_at = $10, \
         vlan_shared = CASE WHEN vlan = $11 THEN vlan_shared ELSE 0 END, vlan = $11, snat = $13 \
         WHERE id = $12",
    )
    .bind(&network.label)
    .bind(text(&network.gateway))
    .bind(text(&network.dhcp_start))
    .bind(network.dns.first().map(text))
    .bind(network.dns.get(1).map(text))
    .bind(network.bridge.as_str())
    .bind(network.bridge_interface.as_ref().map(ToString::to_string))
    .bind(network.project.as_ref().map(ToString::to_string))
    .bind(network.host.clone())
    .bind(now)
    .bind(network.vlan.map(i64::from))
    .bind(network.id.0)
    .bind(i64::from(!network.no_snat))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Brings the ranges that no instance gets, netmask, broadcast and the cursor of fresh addresses to
/// what the row says now. Answers whether they were different.
pub async fn refit(tx: &mut Tx, network: &Network) -> Result<bool> {
    let wanted = ranges(network)?;
    let all = fixed_ips::reserved_ranges(tx, network.id).await?;
    let is_own = |r: &&Reserved| !r.reason.starts_with(host_addresses::REASON);
    let have: Vec<_> = all
        .iter()
        .filter(is_own)
        .map(|r| (r.first, r.last))
        .collect();
    if have == wanted {
        return Ok(false);
    }
    let reason = |first: Ipv4Addr| {
        let old = all.iter().filter(is_own).find(|r| r.first == first);
        old.map_or_else(
            || {
                if first == network.gateway {
                    "gateway"
                } else {
                    "reserved"
                }
                .to_owned()
            },
            |old| old.reason.clone(),
        )
    };
    let mut sql = vec![format!(
        "DELETE FROM reserved_ranges WHERE network_id = {} AND reason NOT LIKE '{}%'",
        network.id.0,
        host_addresses::REASON
    )];
    sql.push(format!(
        "UPDATE address_cursors SET next_addr = {} WHERE network_id = {}",
        number(network.dhcp_start),
        network.id.0
    ));
    for one in sql {
        sqlx::query(sqlx::AssertSqlSafe(one))
            .execute(&mut **tx)
            .await?;
    }
    sqlx::query("UPDATE networks SET netmask = $1, broadcast = $2 WHERE id = $3")
        .bind(network.cidr.netmask().to_string())
        .bind(network.cidr.broadcast().to_string())
        .bind(network.id.0)
        .execute(&mut **tx)
        .await?;
    for (first, last) in wanted {
        sqlx::query(
            "INSERT INTO reserved_ranges (network_id, first_addr, last_addr, reason) \
             VALUES ($1, $2, $3, $4) ON CONFLICT (network_id, first_addr) \
             DO UPDATE SET last_addr = excluded.last_addr, reason = excluded.reason",
        )
        .bind(network.id.0)
        .bind(number(first))
        .bind(number(last))
        .bind(reason(first))
        .execute(&mut **tx)
        .await?;
    }
    Ok(true)
}

/// [`refit`] after an edit by hand, if the row is good; the network if something was different.
pub async fn settle(tx: &mut Tx, id: NetworkId) -> Result<Option<Network>> {
    let checked = match networks::by_id(tx, id).await {
        Ok(Some(network)) => refuse_misfit(tx, &network).await.map(|()| Some(network)),
        other => other,
    };
    let network = match checked {
        Ok(Some(network)) => network,
        Ok(None) | Err(StoreError::BadRow { .. }) => return Ok(None),
        Err(other) => return Err(other),
    };
    Ok(refit(tx, &network).await?.then_some(network))
}

/// The ranges that the row's own settings keep from instances.
fn ranges(network: &Network) -> Result<Vec<(Ipv4Addr, Ipv4Addr)>> {
    let plan = AddressPlan::new(
        network.cidr,
        Some(network.gateway),
        Some(network.dhcp_start),
        network.kind == NetworkKind::Vlan,
        network.vpn_clients,
    );
    let plan = plan.map_err(|e| bad(network, "cidr", network.cidr, e.to_string()))?;
    Ok(plan.reserved())
}

fn bad(network: &Network, what: &'static str, value: impl ToString, why: String) -> StoreError {
    StoreError::bad_row(format!("network {}", network.id))(ModelError::new(what, value, why))
}

/// Refuses a row that fits its columns and not the rest of the cloud: another network has its range
/// or bridge, instances have addresses outside of its range, or one has its gateway's.
pub(crate) async fn refuse_misfit(c: &mut Conn, network: &Network) -> Result<()> {
    if let Some(instance) = user_of(c, network.id, network.gateway).await? {
        let why = format!("is the address of instance {instance}: choose another, or terminate it");
        return Err(bad(network, "gateway", network.gateway, why));
    }
    refuse_shared_bridge(c, network).await?;
    let made: (Option<i64>, Option<i64>) = sqlx::query_as(
        "SELECT min(first_addr), max(last_addr) FROM reserved_ranges WHERE network_id = $1",
    )
    .bind(network.id.0)
    .fetch_one(&mut *c)
    .await?;
    let is = (
        Some(number(network.cidr.network())),
        Some(number(network.cidr.broadcast())),
    );
    if made == is {
        // Unedited ranges cannot overlap.
        return Ok(());
    }
    refuse_overlap(c, network).await?;
    let outside: Option<(i64, i64)> = sqlx::query_as(
        "SELECT addr, instance_id FROM fixed_ips WHERE network_id = $1 \
         AND instance_id IS NOT NULL AND NOT (addr > $2 AND addr < $3) ORDER BY addr LIMIT 1",
    )
    .bind(network.id.0)
    .bind(number(network.cidr.network()))
    .bind(number(network.cidr.broadcast()))
    .fetch_optional(c)
    .await?;
    let Some((addr, instance)) = outside else {
        return Ok(());
    };
    let (ip, instance) = (address(addr), InstanceId(instance));
    let why = format!("instance {instance} has {ip}, outside of it: set it back, or terminate it");
    Err(bad(network, "cidr", network.cidr, why))
}

async fn refuse_shared_bridge(c: &mut Conn, network: &Network) -> Result<()> {
    let other: Option<(i64, String)> = sqlx::query_as(
        "SELECT id, kind FROM networks WHERE bridge = $1 AND id <> $2 AND deleting = 0 \
         AND (kind <> $3 OR kind = 'vlan') ORDER BY id LIMIT 1",
    )
    .bind(network.bridge.as_str())
    .bind(network.id.0)
    .bind(network.kind.as_str())
    .fetch_optional(c)
    .await?;
    match other {
        None => Ok(()),
        Some((id, kind)) => {
            let why = format!("is the bridge of {kind} network {id}: choose another");
            Err(bad(network, "bridge", &network.bridge, why))
        }
    }
}

async fn refuse_overlap(c: &mut Conn, network: &Network) -> Result<()> {
    let others: Vec<(i64, String)> =
        sqlx::query_as("SELECT id, cidr FROM networks WHERE id <> $1 ORDER BY id")
            .bind(network.id.0)
            .fetch_all(c)
            .await?;
    let overlaps = |text: &str| {
        let other = parse_cidr(text).map(|net| net.trunc());
        other.is_some_and(|o| o.contains(&network.cidr) || network.cidr.contains(&o))
    };
    match others.iter().find(|(_, cidr)| overlaps(cidr)) {
        None => Ok(()),
        Some((other, cidr)) => {
            let why = format!("overlaps network {other} ({cidr})");
            Err(bad(network, "cidr", network.cidr, why))
        }
    }
}

/// The instance that has this address of a network.
pub async fn user_of(c: &mut Conn, network: NetworkId, ip: Ipv4Addr) -> Result<Option<InstanceId>> {
    let row = fixed_ips::by_address(c, network, ip).await?;
    Ok(row.and_then(|row| row.instance))
}
