//! Instances and their group memberships.

use crate::instance_row::{COLUMNS, row};
pub use crate::instance_row::{Row, State};
use crate::read::Reader;
use crate::user_data::UserData;
use crate::{Conn, Result, Tx, chunks};
use novanet_model::{FixedIpId, FloatingIpId, GroupId, InstanceId, Micros, NetworkId, ProjectId};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Adds instances, each with its groups. `row.id` is used as it is: take it from the counter
/// `instances`.
pub async fn insert(tx: &mut Tx, all: &[(&Row, &[GroupId])]) -> Result<()> {
    let now = tx.now.get();
    for some in chunks::exact(all) {
        let sql = format!(
            "INSERT INTO instances (id, reservation_id, launch_index, client_token, \
             launch_digest, project_id, user_id, image_id, image_digest, instance_type, \
             memory_mb, vcpus, hostname, key_name, key_data, user_data, user_data_sealed, host, \
             availability_zone, state, detail, boot, halted, combination_id, created_at) VALUES {}",
            chunks::rows(1, 25, some.len())
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for (row, _) in some {
            let user_data = row.user_data.as_ref();
            query = query
                .bind(row.id.0)
                .bind(row.reservation.0)
                .bind(row.launch_index)
                .bind(row.client_token.clone())
                .bind(row.launch_digest.clone())
                .bind(row.project.as_str())
                .bind(&row.user)
                .bind(row.image.0)
                .bind(&row.image_digest)
                .bind(&row.instance_type)
                .bind(i64::from(row.memory_mb))
                .bind(i64::from(row.vcpus))
                .bind(&row.hostname)
                .bind(row.key_name.clone())
                .bind(row.key_data.clone())
                .bind(user_data.and_then(UserData::plain))
                .bind(user_data.and_then(UserData::sealed))
                .bind(row.host.clone())
                .bind(&row.availability_zone)
                .bind(row.state.to_string())
                .bind(row.detail.clone())
                .bind(row.boot)
                .bind(i64::from(row.halted))
                .bind(row.combination.0)
                .bind(now);
        }
        query.execute(&mut **tx).await?;
    }
    let in_groups: Vec<(InstanceId, GroupId)> = all
        .iter()
        .flat_map(|(row, groups)| groups.iter().map(|group| (row.id, *group)))
        .collect();
    for some in chunks::exact(&in_groups) {
        let sql = format!(
            "INSERT INTO security_group_instance_association (instance_id, security_group_id) \
             VALUES {}",
            chunks::rows(1, 2, some.len())
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for (instance, group) in some {
            query = query.bind(instance.0).bind(group.0);
        }
        query.execute(&mut **tx).await?;
    }
    Ok(())
}

/// What a floating IP can lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whose instance it is.
    pub project: ProjectId,
    /// Its state.
    pub state: State,
    /// Row ids of its fixed IPs and themselves, by the index of their ports.
    pub addresses: Vec<(FixedIpId, Ipv4Addr)>,
    /// Those of them whose network's gateway may be another machine, and the network.
    pub outside: BTreeMap<FixedIpId, NetworkId>,
    /// Row ids of the floating IPs that lead to them, and themselves.
    pub floats: Vec<(FloatingIpId, Ipv4Addr)>,
}

/// An instance as floating IPs see it.
pub async fn target(c: &mut Conn, id: InstanceId) -> Result<Option<Target>> {
    let rows = sqlx::query(
        "SELECT i.id, i.project_id, i.state, f.id AS fixed_id, f.address, \
         o.id AS float_id, o.address AS float_address, \
         CASE WHEN n.kind = 'flat' OR n.dhcp_server IS NOT NULL THEN n.id END AS outside FROM instances i \
         LEFT JOIN virtual_interfaces v ON v.instance_id = i.id \
         LEFT JOIN fixed_ips f ON f.virtual_interface_id = v.id AND f.instance_id = i.id \
         LEFT JOIN networks n ON n.id = v.network_id \
         LEFT JOIN floating_ips o ON o.fixed_ip_id = f.id \
         WHERE i.id = $1 ORDER BY v.device_index, f.id, o.addr",
    )
    .bind(id.0)
    .fetch_all(c)
    .await?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let instance = Reader::new("instance", first);
    let (mut addresses, mut floats) = (Vec::with_capacity(rows.len()), Vec::new());
    let mut outside = BTreeMap::new();
    for row in &rows {
        let r = Reader::new("instance", row);
        if let Some(fixed) = r.maybe_int("fixed_id")? {
            addresses.push((FixedIpId(fixed), r.parse("address")?));
            if let Some(network) = r.maybe_int("outside")? {
                outside.insert(FixedIpId(fixed), NetworkId(network));
            }
        }
        if let Some(float) = r.maybe_int("float_id")? {
            floats.push((FloatingIpId(float), r.parse("float_address")?));
        }
    }
    addresses.dedup(); // one with two floating IPs is said twice
    Ok(Some(Target {
        project: instance.parse("project_id")?,
        state: instance.parse("state")?,
        addresses,
        outside,
        floats,
    }))
}

/// An instance's row.
pub async fn by_id(c: &mut Conn, id: InstanceId) -> Result<Option<Row>> {
    let sql = format!("SELECT {COLUMNS} FROM instances WHERE id = $1");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.0)
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(row)
        .transpose()
}

/// Rows of a project by id; of all projects if `None`. Terminated ones too.
pub async fn list(c: &mut Conn, project: Option<&ProjectId>) -> Result<Vec<Row>> {
    let sql =
        format!("SELECT {COLUMNS} FROM instances WHERE $1 = '' OR project_id = $1 ORDER BY id");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(project.map(ProjectId::as_str).unwrap_or_default())
        .fetch_all(c)
        .await?
        .iter()
        .map(row)
        .collect()
}

/// Rows of an earlier launch with the same ClientToken.
pub async fn by_client_token(c: &mut Conn, project: &ProjectId, token: &str) -> Result<Vec<Row>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM instances WHERE project_id = $1 AND client_token = $2 \
         ORDER BY launch_index"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(project.as_str())
        .bind(token)
        .fetch_all(c)
        .await?
        .iter()
        .map(row)
        .collect()
}

async fn ids(c: &mut Conn, condition: &str, value: &str) -> Result<Vec<InstanceId>> {
    let sql = format!(
        "SELECT id FROM instances WHERE ($1 = '' OR {condition}) AND state NOT IN \
         ('terminated', 'deleting') ORDER BY id"
    );
    let ids: Vec<i64> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
        .bind(value)
        .fetch_all(c)
        .await?;
    Ok(ids.into_iter().map(InstanceId).collect())
}

/// Instances that are not gone or going.
pub async fn living(c: &mut Conn) -> Result<Vec<InstanceId>> {
    ids(c, "1 = 1", "").await
}

/// A project's instances that are not gone or going.
pub async fn living_of_project(c: &mut Conn, project: &ProjectId) -> Result<Vec<InstanceId>> {
    ids(c, "project_id = $1", project.as_str()).await
}

/// Instances with a port in a network that are not gone or going.
pub async fn living_in_network(c: &mut Conn, network: NetworkId) -> Result<Vec<InstanceId>> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT DISTINCT i.id FROM instances i JOIN virtual_interfaces v ON v.instance_id = i.id \
         WHERE v.network_id = $1 AND i.state NOT IN ('terminated', 'deleting') ORDER BY i.id",
    )
    .bind(network.0)
    .fetch_all(c)
    .await?;
    Ok(ids.into_iter().map(InstanceId).collect())
}

/// Instances that wait for their hosts to let go of them.
pub async fn deleting(c: &mut Conn) -> Result<Vec<InstanceId>> {
    let ids: Vec<i64> =
        sqlx::query_scalar("SELECT id FROM instances WHERE state = 'deleting' ORDER BY id")
            .fetch_all(c)
            .await?;
    Ok(ids.into_iter().map(InstanceId).collect())
}

/// Changes the state; `detail` replaces the old one.
pub async fn set_state(
    tx: &mut Tx,
    id: InstanceId,
    state: State,
    detail: Option<&str>,
) -> Result<()> {
    let now = tx.now.get();
    sqlx::query(
        "UPDATE instances SET state = $1, detail = $2, \
         launched_at = CASE WHEN $1 = 'running' AND launched_at IS NULL THEN $3 ELSE launched_at END, \
         terminated_at = CASE WHEN $1 = 'terminated' THEN $3 ELSE terminated_at END WHERE id = $4",
    )
    .bind(state.to_string())
    .bind(detail)
    .bind(now)
    .bind(id.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What a host says of an instance's state. `false`: it is about an earlier boot or another host,
/// or the instance is going, which no host's word undoes.
pub async fn report_state(
    tx: &mut Tx,
    id: InstanceId,
    host: &str,
    boot: i64,
    state: State,
    detail: Option<&str>,
) -> Result<bool> {
    let now = tx.now.get();
    let done = sqlx::query(
        "UPDATE instances SET state = $1, detail = $2, \
         launched_at = CASE WHEN $1 = 'running' AND launched_at IS NULL THEN $3 ELSE launched_at END \
         WHERE id = $4 AND host = $5 AND boot = $6 AND state NOT IN ('deleting', 'terminated')",
    )
    .bind(state.to_string())
    .bind(detail)
    .bind(now)
    .bind(id.0)
    .bind(host)
    .bind(boot)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Asks for a reboot: the counter goes up, the state back to pending.
pub async fn count_boot(tx: &mut Tx, id: InstanceId) -> Result<()> {
    sqlx::query(
        "UPDATE instances SET boot = boot + 1, state = 'pending', detail = NULL WHERE id = $1",
    )
    .bind(id.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Sets whether a user wants the instance stopped.
pub async fn set_halted(tx: &mut Tx, id: InstanceId, halted: bool) -> Result<()> {
    sqlx::query("UPDATE instances SET halted = $1 WHERE id = $2")
        .bind(i64::from(halted))
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Sets the reboot counter to what the instance's host has.
pub async fn set_boot(tx: &mut Tx, id: InstanceId, boot: i64) -> Result<()> {
    sqlx::query("UPDATE instances SET boot = $1 WHERE id = $2")
        .bind(boot)
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The instance is gone from all hosts: its interfaces, memberships and addresses go. The
/// addresses.
pub async fn forget(tx: &mut Tx, id: InstanceId) -> Result<Vec<std::net::Ipv4Addr>> {
    let freed = crate::pool::release_of(tx, id).await?;
    for sql in [
        "DELETE FROM virtual_interfaces WHERE instance_id = $1",
        "DELETE FROM security_group_instance_association WHERE instance_id = $1",
    ] {
        sqlx::query(sql).bind(id.0).execute(&mut **tx).await?;
    }
    set_state(tx, id, State::Terminated, None).await?;
    Ok(freed)
}

/// Drops rows of instances that went before `before`.
pub async fn purge(tx: &mut Tx, before: Micros) -> Result<u64> {
    Ok(
        sqlx::query("DELETE FROM instances WHERE state = 'terminated' AND terminated_at < $1")
            .bind(before.get())
            .execute(&mut **tx)
            .await?
            .rows_affected(),
    )
}
