//! VPNs of projects: their reserved addresses and ports, their secrets, and their Cloudpipes.
//! Depends on the pool for the addresses.

use crate::networks::{address, number};
use crate::read::Reader;
use crate::{Conn, Result, Tx, counters, fixed_ips};
use novanet_model::object::AddressRange;
use novanet_model::rows::{Network, Vpn};
use novanet_model::{InstanceId, Micros, NetworkId, NetworkKind, ProjectId, VpnId};
use sqlx::any::AnyRow;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// What a VPN keeps beside its addresses.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// The user that owns key pair and Cloudpipe.
    pub user: String,
    /// The private half of the key pair, sealed.
    pub ssh_key: Vec<u8>,
    /// The server's certificate as PEM.
    pub certificate: String,
    /// The key of that certificate, sealed.
    pub server_key: Vec<u8>,
}

const COLUMNS: &str = "SELECT v.id, v.project_id, v.network_id, v.public_address, v.public_port, \
    v.private_address, v.first_client, v.last_client, v.instance_id, v.deleting, n.host, n.kind, \
    n.vpn_public_address, n.vpn_public_port FROM vpns v JOIN networks n ON n.id = v.network_id";

fn vpn(row: &AnyRow) -> Result<Vpn> {
    let r = Reader::new("vpn", row);
    let kind: NetworkKind = r.parse("kind")?;
    let mut vpn = Vpn {
        id: VpnId(r.int("id")?),
        project: r.parse("project_id")?,
        network: NetworkId(r.int("network_id")?),
        kind,
        host: r.maybe_text("host")?,
        public_address: r.parse("public_address")?,
        public_port: r.number("public_port")?,
        private_address: r.parse("private_address")?,
        clients: range(&r)?,
        instance: r.maybe_int("instance_id")?.map(InstanceId),
        deleting: r.flag("deleting")?,
    };
    if kind == NetworkKind::Vlan {
        // The operator may have moved the network's.
        if let Some(moved) = r.maybe("vpn_public_address")? {
            vpn.public_address = moved;
        }
        if let Some(moved) = r.maybe_number("vpn_public_port")? {
            vpn.public_port = moved;
        }
    }
    Ok(vpn)
}

fn range(r: &Reader<'_>) -> Result<AddressRange> {
    let (first, last): (Ipv4Addr, Ipv4Addr) = (r.parse("first_client")?, r.parse("last_client")?);
    if last < first {
        return Err(r.bad("last_client", last, "must not be below first_client"));
    }
    Ok(AddressRange { first, last })
}

/// The clients' addresses in a row that has them, or `None` where the row has no VPN.
pub(crate) fn maybe_clients(row: &AnyRow) -> Result<Option<AddressRange>> {
    let r = Reader::new("vpn", row);
    match r.maybe_text("first_client")? {
        None => Ok(None),
        Some(_) => range(&r).map(Some),
    }
}

/// The VPN of a project.
pub async fn of_project(c: &mut Conn, project: &ProjectId) -> Result<Option<Vpn>> {
    let sql = format!("{COLUMNS} WHERE v.project_id = $1");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(project.as_str())
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(vpn)
        .transpose()
}

/// A VPN by its row id.
pub async fn by_id(c: &mut Conn, id: VpnId) -> Result<Option<Vpn>> {
    let sql = format!("{COLUMNS} WHERE v.id = $1");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.0)
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(vpn)
        .transpose()
}

/// All VPNs, by project.
pub async fn list(c: &mut Conn) -> Result<Vec<Vpn>> {
    several(c, "").await
}

/// The VPNs that are ended and whose hosts may not have let go yet.
pub async fn deleting(c: &mut Conn) -> Result<Vec<Vpn>> {
    several(c, "WHERE v.deleting = 1").await
}

/// The VPNs whose server certificate is not good until `until`, is revoked, or was signed by another authority: with `of_projects` each project has
/// its own, else the root signs.
pub async fn stale(c: &mut Conn, until: Micros, of_projects: bool) -> Result<Vec<Vpn>> {
    let sql = format!(
        "{COLUMNS} LEFT JOIN certificates c ON c.project_id = v.project_id AND c.user_id = '' \
         AND c.certificate = v.server_certificate WHERE v.deleting = 0 AND (c.serial IS NULL \
         OR c.revoked_at IS NOT NULL OR c.not_after < $1 \
         OR c.authority_id <> CASE WHEN $2 = 1 THEN v.project_id ELSE '' END) \
         ORDER BY v.project_id"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(until.get())
        .bind(i64::from(of_projects))
        .fetch_all(c)
        .await?;
    rows.iter().map(vpn).collect()
}

async fn several(c: &mut Conn, of: &str) -> Result<Vec<Vpn>> {
    let sql = format!("{COLUMNS} {of} ORDER BY v.project_id");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(c).await?;
    rows.iter().map(vpn).collect()
}

/// The VPN whose Cloudpipe this instance is.
pub async fn of_instance(c: &mut Conn, instance: InstanceId) -> Result<Option<Vpn>> {
    let sql = format!("{COLUMNS} WHERE v.instance_id = $1");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(instance.0)
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(vpn)
        .transpose()
}

/// The first VPN that keeps this address of a network: its Cloudpipe's or a client's.
pub async fn keeper(c: &mut Conn, network: NetworkId, ip: Ipv4Addr) -> Result<Option<ProjectId>> {
    let all = list(c).await?;
    let keeps = |v: &&Vpn| {
        v.network == network
            && (v.private_address == ip || (v.clients.first..=v.clients.last).contains(&ip))
    };
    Ok(all.iter().find(keeps).map(|v| v.project.clone()))
}

/// What the VPN of a project keeps beside its addresses.
pub async fn secrets(c: &mut Conn, id: VpnId) -> Result<Option<Secrets>> {
    let row = sqlx::query(
        "SELECT id, user_id, ssh_key_sealed, server_certificate, server_key_sealed FROM vpns \
         WHERE id = $1",
    )
    .bind(id.0)
    .fetch_optional(c)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let r = Reader::new("vpn", &row);
    Ok(Some(Secrets {
        user: r.text("user_id")?,
        ssh_key: r.maybe_bytes("ssh_key_sealed")?.unwrap_or_default(),
        certificate: r.text("server_certificate")?,
        server_key: r.maybe_bytes("server_key_sealed")?.unwrap_or_default(),
    }))
}

/// Inserts the VPN of a project; its addresses are reserved already. The `id` is ignored.
pub async fn insert(tx: &mut Tx, vpn: &Vpn, secrets: &Secrets) -> Result<VpnId> {
    let id = counters::next(tx, "vpns").await?;
    let now = tx.now.get();
    sqlx::query(
        "INSERT INTO vpns (id, project_id, network_id, public_address, public_port, \
         private_address, first_client, last_client, user_id, ssh_key_sealed, \
         server_certificate, server_key_sealed, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(id)
    .bind(vpn.project.as_str())
    .bind(vpn.network.0)
    .bind(vpn.public_address.to_string())
    .bind(i64::from(vpn.public_port))
    .bind(vpn.private_address.to_string())
    .bind(vpn.clients.first.to_string())
    .bind(vpn.clients.last.to_string())
    .bind(&secrets.user)
    .bind(&secrets.ssh_key)
    .bind(&secrets.certificate)
    .bind(&secrets.server_key)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(VpnId(id))
}

/// Replaces the server's certificate and key.
pub async fn set_certificate(
    tx: &mut Tx,
    id: VpnId,
    certificate: &str,
    server_key: &[u8],
) -> Result<()> {
    sqlx::query("UPDATE vpns SET server_certificate = $1, server_key_sealed = $2 WHERE id = $3")
        .bind(certificate)
        .bind(server_key)
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Moves the public side of a VPN; in a VLAN network that of the network too.
pub async fn set_public_side(tx: &mut Tx, vpn: &Vpn, address: Ipv4Addr, port: u16) -> Result<()> {
    let (text, port) = (address.to_string(), i64::from(port));
    sqlx::query("UPDATE vpns SET public_address = $1, public_port = $2 WHERE id = $3")
        .bind(&text)
        .bind(port)
        .bind(vpn.id.0)
        .execute(&mut **tx)
        .await?;
    if vpn.kind == NetworkKind::Vlan {
        sqlx::query(
            "UPDATE networks SET vpn_public_address = $1, vpn_public_port = $2 WHERE id = $3",
        )
        .bind(&text)
        .bind(port)
        .bind(vpn.network.0)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// Projects with an instance in a VLAN network of theirs and no VPN yet, or one whose Cloudpipe was
/// never launched.
pub async fn lacking(c: &mut Conn) -> Result<Vec<ProjectId>> {
    let rows = sqlx::query(
        "SELECT DISTINCT n.project_id AS id FROM networks n \
         LEFT JOIN vpns v ON v.project_id = n.project_id \
         WHERE n.kind = 'vlan' AND n.project_id IS NOT NULL \
         AND (v.id IS NULL OR (v.instance_id IS NULL AND v.deleting = 0)) \
         AND EXISTS (SELECT 1 FROM fixed_ips f JOIN instances i ON i.id = f.instance_id \
         WHERE f.network_id = n.id AND i.project_id = n.project_id \
         AND i.state NOT IN ('deleting', 'terminated')) ORDER BY n.project_id",
    )
    .fetch_all(c)
    .await?;
    rows.iter()
        .map(|row| Reader::new("network", row).parse("id"))
        .collect()
}

/// Notes the Cloudpipe of a VPN.
pub async fn set_instance(tx: &mut Tx, id: VpnId, instance: InstanceId) -> Result<()> {
    sqlx::query("UPDATE vpns SET instance_id = $1 WHERE id = $2")
        .bind(instance.0)
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Marks a VPN as ended.
pub async fn set_deleting(tx: &mut Tx, id: VpnId) -> Result<()> {
    sqlx::query("UPDATE vpns SET deleting = 1 WHERE id = $1")
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Removes the row of a VPN; its addresses stay reserved until they are unreserved.
pub async fn delete(tx: &mut Tx, id: VpnId) -> Result<()> {
    sqlx::query("DELETE FROM vpns WHERE id = $1")
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Public UDP ports in use, of VPNs and of networks, whatever their address.
pub async fn ports(c: &mut Conn) -> Result<BTreeSet<u16>> {
    let all: Vec<i64> = sqlx::query_scalar(
        "SELECT public_port FROM vpns UNION \
         SELECT vpn_public_port FROM networks WHERE vpn_public_port IS NOT NULL",
    )
    .fetch_all(c)
    .await?;
    Ok(all
        .into_iter()
        .filter_map(|p| u16::try_from(p).ok())
        .collect())
}

/// Free addresses of a network for a Cloudpipe and `clients` VPN clients: the lowest one, and the
/// highest ones that are next to each other. `None`: there are not as many.
pub async fn free_addresses(
    c: &mut Conn,
    network: &Network,
    clients: u32,
) -> Result<Option<(Ipv4Addr, AddressRange)>> {
    let taken: Vec<i64> = sqlx::query_scalar(
        "SELECT addr FROM fixed_ips WHERE network_id = $1 \
         AND (allocated = 1 OR reserved = 1 OR instance_id IS NOT NULL)",
    )
    .bind(network.id.0)
    .fetch_all(&mut *c)
    .await?;
    let mut taken: Vec<(i64, i64)> = taken.into_iter().map(|addr| (addr, addr)).collect();
    let ranges = fixed_ips::reserved_ranges(c, network.id).await?;
    taken.extend(ranges.iter().map(|r| (number(r.first), number(r.last))));
    let (first, last) = (network.cidr.network(), network.cidr.broadcast());
    Ok(
        choose((number(first), number(last)), taken, i64::from(clients)).map(
            |(lowest, from, to)| {
                let clients = AddressRange {
                    first: address(from),
                    last: address(to),
                };
                (address(lowest), clients)
            },
        ),
    )
}

/// The lowest free number, and first and last of the highest `clients` free ones in a row above it.
fn choose(
    (first, last): (i64, i64),
    mut taken: Vec<(i64, i64)>,
    clients: i64,
) -> Option<(i64, i64, i64)> {
    taken.sort_unstable();
    let mut gaps = Vec::new();
    let mut next = first;
    for (from, to) in taken {
        if from > next {
            gaps.push((next, from - 1));
        }
        next = next.max(to + 1);
    }
    if next <= last {
        gaps.push((next, last));
    }
    let lowest = gaps.first()?.0;
    let (_, to) = gaps
        .into_iter()
        .rev()
        .find(|(from, to)| to - (*from).max(lowest + 1) + 1 >= clients)?;
    Some((lowest, to - clients + 1, to))
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn the_lowest_address_and_the_highest_ones_in_a_row_are_chosen() {
        // A /28 with network, gateway and broadcast reserved.
        let reserved = [(0, 1), (15, 15)];
        let with = |more: &[(i64, i64)]| [&reserved[..], more].concat();
        assert_eq!(choose((0, 15), with(&[]), 5), Some((2, 10, 14)));
        assert_eq!(
            choose((0, 15), with(&[(2, 3), (12, 12)]), 5),
            Some((4, 7, 11))
        );
        assert_eq!(choose((0, 15), with(&[(8, 8)]), 5), Some((2, 10, 14)));
        // The lowest is no client's too.
        assert_eq!(choose((0, 15), with(&[]), 12), Some((2, 3, 14)));
        assert_eq!(choose((0, 15), with(&[]), 13), None);
        assert_eq!(choose((0, 15), with(&[(2, 14)]), 1), None);
    }
}
