//! Parts of many instances at once: a list of a thousand instances costs as many statements as one.

use crate::groups::{Group, group};
use crate::instances::port;
use crate::read::Reader;
use crate::{Conn, Result};
use novanet_model::rows::InstancePort;
use novanet_model::{InstanceId, ProjectId};
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// Something of each instance, in order.
pub type Of<T> = BTreeMap<InstanceId, Vec<T>>;

/// The ports of a project's instances by index; of all instances if `None`.
pub async fn ports(c: &mut Conn, project: Option<&ProjectId>) -> Result<Of<InstancePort>> {
    let sql = "SELECT v.id, v.instance_id, v.device_index, v.network_id, v.address AS mac, \
         f.address, n.bridge, n.host, n.kind, n.cidr, n.gateway, n.injected, n.dns1, n.dns2 \
         FROM instances i JOIN virtual_interfaces v ON v.instance_id = i.id \
         JOIN fixed_ips f ON f.instance_id = i.id AND f.virtual_interface_id = v.id \
         JOIN networks n ON n.id = v.network_id \
         WHERE $1 = '' OR i.project_id = $1 ORDER BY v.instance_id, v.device_index";
    collect(c, sql, project, port).await
}

/// The groups of a project's instances, ascending by id; of all instances if `None`.
pub async fn groups(c: &mut Conn, project: Option<&ProjectId>) -> Result<Of<Group>> {
    let sql = "SELECT a.instance_id, g.id, g.name, g.description, g.project_id, p.number \
         FROM instances i JOIN security_group_instance_association a ON a.instance_id = i.id \
         JOIN security_groups g ON g.id = a.security_group_id \
         JOIN projects p ON p.id = g.project_id \
         WHERE $1 = '' OR i.project_id = $1 ORDER BY a.instance_id, g.id";
    collect(c, sql, project, group).await
}

async fn collect<T>(
    c: &mut Conn,
    sql: &'static str,
    project: Option<&ProjectId>,
    read: impl Fn(&AnyRow) -> Result<T>,
) -> Result<Of<T>> {
    let rows = sqlx::query(sql)
        .bind(project.map(ProjectId::as_str).unwrap_or_default())
        .fetch_all(c)
        .await?;
    let mut of = Of::new();
    for row in &rows {
        let id = InstanceId(Reader::new("instance", row).int("instance_id")?);
        of.entry(id).or_insert_with(Vec::new).push(read(row)?);
    }
    Ok(of)
}

/// Instances that are being deleted and that every host has let go of: no object left, and no
/// tombstone that its host has not applied without error. One statement, however many wait.
pub async fn let_go(c: &mut Conn) -> Result<Vec<InstanceId>> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT i.id FROM instances i WHERE i.state = 'deleting' AND NOT EXISTS \
         (SELECT 1 FROM host_objects o LEFT JOIN hosts h ON h.name = o.host \
          WHERE o.owner IN ('instance:' || CAST(i.id AS TEXT), 'membership:' || CAST(i.id AS TEXT)) \
          AND (o.deleted = 0 OR h.name IS NULL OR h.applied_version < o.version \
          OR h.applied_epoch <> (SELECT epoch FROM clock WHERE id = 1) \
          OR EXISTS (SELECT 1 FROM host_errors e \
                     WHERE e.host = o.host AND e.object_key = o.object_key))) ORDER BY i.id",
    )
    .fetch_all(c)
    .await?;
    Ok(ids.into_iter().map(InstanceId).collect())
}

/// Whether some host may still lead a floating IP to an address of the instance although nothing in
/// the database does: its tombstone is not applied, or failed.
pub async fn float_clings(c: &mut Conn, id: InstanceId) -> Result<bool> {
    // Both begin at what is short: objects behind a host's version, and errors.
    let clinging: i64 = sqlx::query_scalar(
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM fixed_ips f, hosts h JOIN host_objects o \
         ON o.host = h.name AND o.version > h.applied_version \
         WHERE f.instance_id = $1 AND o.kind = 'float' AND o.deleted = 1 \
         AND o.body LIKE '%\"fixed\":\"' || f.address || '\"%') \
         OR EXISTS (SELECT 1 FROM fixed_ips f, host_errors e JOIN host_objects o \
         ON o.host = e.host AND o.object_key = e.object_key \
         WHERE f.instance_id = $1 AND o.kind = 'float' AND o.deleted = 1 \
         AND o.body LIKE '%\"fixed\":\"' || f.address || '\"%') THEN 1 ELSE 0 END",
    )
    .bind(id.0)
    .fetch_one(c)
    .await?;
    Ok(clinging != 0)
}
