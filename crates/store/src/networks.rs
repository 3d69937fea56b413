//! The table `networks`; the rows of its reserved ranges and its cursor begin and end with a
//! network. Addresses are in `fixed_ips` and `pool`.

use crate::network_row::{COLUMNS, brief, network, shadow};
use crate::read::Reader;
use crate::{Conn, Result, StoreError, Tx, counters};
use novanet_model::rows::Network;
use novanet_model::{DhcpOption, NetworkId, ProjectId};
use sqlx::any::AnyRow;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

pub use crate::network_row::{BadNetwork, Brief};

/// A range that is never handed out, both ends included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserved {
    /// First address.
    pub first: Ipv4Addr,
    /// Last address.
    pub last: Ipv4Addr,
    /// For people: `gateway`, `vpn clients` …
    pub reason: String,
}

/// Adds a network; its `id` is chosen here. Its addresses start at the first of the range and
/// leave out `reserved`.
pub async fn insert(tx: &mut Tx, network: &Network, reserved: &[Reserved]) -> Result<NetworkId> {
    let id = counters::next(tx, "networks").await?;
    let now = tx.now.get();
    let text = |ip: &Ipv4Addr| ip.to_string();
    sqlx::query(
        "INSERT INTO networks (id, uuid, label, kind, injected, multi_host, cidr, netmask, gateway, \
         broadcast, dhcp_start, dns1, dns2, bridge, bridge_interface, vlan, vpn_public_address, \
         vpn_public_port, vpn_private_address, vpn_clients, project_id, host, mtu, dhcp_server, \
         domain, dhcp_options, snat, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
         $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $28)",
    )
    .bind(id)
    .bind(&network.uuid)
    .bind(&network.label)
    .bind(network.kind.as_str())
    .bind(i64::from(network.injected))
    .bind(i64::from(network.multi_host))
    .bind(network.cidr.to_string())
    .bind(network.cidr.netmask().to_string())
    .bind(text(&network.gateway))
    .bind(network.cidr.broadcast().to_string())
    .bind(text(&network.dhcp_start))
    .bind(network.dns.first().map(text))
    .bind(network.dns.get(1).map(text))
    .bind(network.bridge.as_str())
    .bind(network.bridge_interface.as_ref().map(ToString::to_string))
    .bind(network.vlan.map(i64::from))
    .bind(network.vpn_public_address.as_ref().map(text))
    .bind(network.vpn_public_port.map(i64::from))
    .bind(network.vpn_private_address.as_ref().map(text))
    .bind(i64::from(network.vpn_clients))
    .bind(network.project.as_ref().map(ToString::to_string))
    .bind(network.host.clone())
    .bind(network.mtu.map(i64::from))
    .bind(network.dhcp_server.as_ref().map(text))
    .bind(network.domain.clone())
    .bind(lines(&network.dhcp_options))
    .bind(i64::from(!network.no_snat))
    .bind(now)
    .execute(&mut **tx)
    .await?;
    sqlx::query("INSERT INTO address_cursors (network_id, next_addr) VALUES ($1, $2)")
        .bind(id)
        .bind(number(network.cidr.network()))
        .execute(&mut **tx)
        .await?;
    for range in reserved {
        sqlx::query(
            "INSERT INTO reserved_ranges (network_id, first_addr, last_addr, reason) \
             VALUES ($1, $2, $3, $4)",
        )
        .bind(id)
        .bind(number(range.first))
        .bind(number(range.last))
        .bind(&range.reason)
        .execute(&mut **tx)
        .await?;
    }
    Ok(NetworkId(id))
}

/// Options as a column has them: one a line; `None`: there are none.
fn lines(options: &[DhcpOption]) -> Option<String> {
    let lines: Vec<String> = options.iter().map(ToString::to_string).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// All networks by id, without those that are being deleted: whose rows validate, and whose do not.
/// One bad row spoils no other.
pub async fn all(c: &mut Conn) -> Result<(Vec<Network>, Vec<BadNetwork>)> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for row in &select(c, "deleting = 0").await? {
        match network(row) {
            Ok(network) => good.push(network),
            Err(why @ StoreError::BadRow { .. }) => bad.push(BadNetwork {
                brief: brief(row)?,
                why,
            }),
            Err(other) => return Err(other),
        }
    }
    Ok((good, bad))
}

/// [`all`] whose rows validate.
pub async fn list(c: &mut Conn) -> Result<Vec<Network>> {
    Ok(all(c).await?.0)
}

/// [`all`] whose rows do not validate.
pub async fn bad(c: &mut Conn) -> Result<Vec<BadNetwork>> {
    Ok(all(c).await?.1)
}

/// Networks that the host which is to be their gateway cannot have, and why.
pub async fn refused(c: &mut Conn) -> Result<BTreeMap<NetworkId, String>> {
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT n.id, e.message FROM networks n JOIN host_errors e \
         ON e.host = n.host AND e.object_key = 'network/' || CAST(n.id AS TEXT)",
    )
    .fetch_all(c)
    .await?;
    let keyed = rows.into_iter().map(|(id, why)| (NetworkId(id), why));
    Ok(keyed.collect())
}

/// The networks that new ones must not overlap, also those whose rows do not validate, as far as
/// they can be read.
#[derive(Debug, Clone, Default)]
pub struct InTheWay {
    /// In use.
    pub living: Vec<Network>,
    /// Wait for hosts to let go; no list shows them.
    pub deleting: Vec<Network>,
}

impl InTheWay {
    /// Both kinds.
    pub fn all(&self) -> Vec<Network> {
        [self.living.as_slice(), &self.deleting].concat()
    }
}

/// Reads [`InTheWay`].
pub async fn in_the_way(c: &mut Conn) -> Result<InTheWay> {
    let sql = format!("SELECT deleting, {COLUMNS} FROM networks ORDER BY id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(c).await?;
    let mut found = InTheWay::default();
    for row in &rows {
        let deleting = Reader::new("network", row).flag("deleting")?;
        let Some(network) = shadow(row) else { continue };
        if deleting {
            found.deleting.push(network);
        } else {
            found.living.push(network);
        }
    }
    Ok(found)
}

/// Every network that waits for hosts to let go.
pub async fn deleting(c: &mut Conn) -> Result<Vec<NetworkId>> {
    let ids: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM networks WHERE deleting = 1 ORDER BY id")
            .fetch_all(c)
            .await?;
    Ok(ids.into_iter().map(NetworkId).collect())
}

/// A project's networks, also those whose rows do not validate.
pub async fn of_project(c: &mut Conn, project: &ProjectId) -> Result<Vec<Brief>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM networks WHERE project_id = $1 AND deleting = 0 ORDER BY id"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(project.as_str())
        .fetch_all(c)
        .await?
        .iter()
        .map(brief)
        .collect()
}

/// The network with this number or exactly this range, whatever else is in its row.
pub async fn find(c: &mut Conn, id: &str) -> Result<Option<Brief>> {
    let sql =
        format!("SELECT {COLUMNS} FROM networks WHERE (id = $1 OR cidr = $2) AND deleting = 0");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.parse::<i64>().unwrap_or(-1))
        .bind(id)
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(brief)
        .transpose()
}

/// The hosts that may still have something of a network or of an instance in it: objects, or
/// tombstones that they have not applied.
pub async fn holders(c: &mut Conn, id: NetworkId) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT DISTINCT o.host FROM host_objects o LEFT JOIN hosts h ON h.name = o.host \
         WHERE (o.owner = $1 \
             OR o.owner IN (SELECT 'instance:' || CAST(instance_id AS TEXT) FROM fixed_ips \
                            WHERE network_id = $2 AND instance_id IS NOT NULL) \
             OR o.owner IN (SELECT 'membership:' || CAST(instance_id AS TEXT) FROM fixed_ips \
                            WHERE network_id = $2 AND instance_id IS NOT NULL)) \
         AND (o.deleted = 0 OR h.name IS NULL OR h.applied_version < o.version \
         OR h.applied_epoch <> (SELECT epoch FROM clock WHERE id = 1) \
         OR EXISTS (SELECT 1 FROM host_errors e \
                    WHERE e.host = o.host AND e.object_key = o.object_key)) ORDER BY o.host",
    )
    .bind(crate::PlanOwner::Network(id).to_string())
    .bind(id.0)
    .fetch_all(c)
    .await?)
}

async fn select(c: &mut Conn, condition: &'static str) -> Result<Vec<AnyRow>> {
    let sql = format!("SELECT {COLUMNS} FROM networks WHERE {condition} ORDER BY id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(c).await?;
    Ok(rows)
}

/// The network with this id, unless it is being deleted.
pub async fn by_id(c: &mut Conn, id: NetworkId) -> Result<Option<Network>> {
    let sql = format!("SELECT {COLUMNS} FROM networks WHERE id = $1 AND deleting = 0");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.0)
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(network)
        .transpose()
}

/// The network with exactly this range.
pub async fn by_cidr(c: &mut Conn, cidr: &str) -> Result<Option<Network>> {
    let sql = format!("SELECT {COLUMNS} FROM networks WHERE cidr = $1 AND deleting = 0");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(cidr)
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(network)
        .transpose()
}

/// Makes `host` the gateway of `id`.
pub async fn set_host(tx: &mut Tx, id: NetworkId, host: &str) -> Result<()> {
    let now = tx.now.get();
    sqlx::query("UPDATE networks SET host = $1, updated_at = $2 WHERE id = $3")
        .bind(host)
        .bind(now)
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Gives a network to a project.
pub async fn set_project(tx: &mut Tx, id: NetworkId, project: &ProjectId) -> Result<()> {
    let now = tx.now.get();
    sqlx::query("UPDATE networks SET project_id = $1, updated_at = $2 WHERE id = $3")
        .bind(project.as_str())
        .bind(now)
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Takes a network from its project: the next that needs one may have it.
pub async fn leave_project(tx: &mut Tx, id: NetworkId) -> Result<()> {
    let now = tx.now.get();
    sqlx::query("UPDATE networks SET project_id = NULL, updated_at = $1 WHERE id = $2")
        .bind(now)
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// A network that no host is the gateway of, in the order of ids.
pub async fn without_host(c: &mut Conn) -> Result<Vec<NetworkId>> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT id FROM networks WHERE host IS NULL AND deleting = 0 ORDER BY id",
    )
    .fetch_all(c)
    .await?;
    Ok(ids.into_iter().map(NetworkId).collect())
}

/// The network waits for its hosts to let go of it.
pub async fn set_deleting(tx: &mut Tx, id: NetworkId) -> Result<()> {
    sqlx::query("UPDATE networks SET deleting = 1 WHERE id = $1")
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Removes a network with its addresses.
pub async fn delete(tx: &mut Tx, id: NetworkId) -> Result<()> {
    for sql in [
        "DELETE FROM fixed_ips WHERE network_id = $1",
        "DELETE FROM reserved_ranges WHERE network_id = $1",
        "DELETE FROM address_cursors WHERE network_id = $1",
        "DELETE FROM networks WHERE id = $1",
    ] {
        sqlx::query(sql).bind(id.0).execute(&mut **tx).await?;
    }
    Ok(())
}

/// An address as a number, as `addr` columns have it.
pub(crate) fn number(address: Ipv4Addr) -> i64 {
    i64::from(u32::from(address))
}

/// The address of an `addr` column.
pub(crate) fn address(number: i64) -> Ipv4Addr {
    Ipv4Addr::from(u32::try_from(number).unwrap_or(0))
}
