//! Parts of many instances at once: a list of a thousand instances costs as many statements as one.

use crate::groups::{Group, group};
use crate::instances::State;
use crate::interfaces::{port, shown_port};
use crate::read::Reader;
use crate::{Conn, Result, StoreError, chunks, vpns};
use novanet_model::instance_type;
use novanet_model::rows::{Instance, InstancePort};
use novanet_model::{
    CombinationId, GroupId, ImageId, InstanceId, ModelError, ProjectId, ProjectNumber,
    ReservationId,
};
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, BTreeSet};

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
    collect(c, sql, project, shown_port).await
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

/// An instance as the plan needs it, or the row of it that does not validate, and why.
pub(crate) type Planned = Result<Instance, (String, ModelError)>;

/// An instance as the plan needs it; `None` when it is terminated or unknown.
pub async fn instance(c: &mut Conn, id: InstanceId) -> Result<Option<Instance>> {
    let mut found = planned(c, &BTreeSet::from([id])).await?;
    let bad = |(row, source)| StoreError::BadRow { row, source };
    found.remove(&id).transpose().map_err(bad)
}

/// Instances as the plan needs them, without those that are terminated or unknown. A row that does
/// not validate says so itself and spoils no other.
pub(crate) async fn planned(
    c: &mut Conn,
    ids: &BTreeSet<InstanceId>,
) -> Result<BTreeMap<InstanceId, Planned>> {
    let ids: Vec<InstanceId> = ids.iter().copied().collect();
    let mut all = BTreeMap::new();
    for ids in chunks::padded(&ids) {
        let these = chunks::list(1, ids.len());
        let sql = format!(
            "SELECT i.id, i.reservation_id, i.project_id, p.number, i.host, i.hostname, i.image_id, \
             i.image_digest, i.instance_type, i.memory_mb, i.vcpus, i.boot, i.halted, i.state, \
             i.combination_id, c.group_ids, w.first_client, w.last_client \
             FROM instances i JOIN projects p ON p.id = i.project_id \
             JOIN group_combinations c ON c.id = i.combination_id \
             LEFT JOIN vpns w ON w.instance_id = i.id \
             WHERE i.id IN ({these}) AND i.state <> 'terminated'"
        );
        for found in of_these(c, sql, &ids).await? {
            let id = InstanceId(Reader::new("instance", &found).int("id")?);
            all.insert(id, or_bad(without_ports(id, &found))?);
        }
        let sql = format!(
            "SELECT v.instance_id, v.id, v.device_index, v.network_id, v.address AS mac, \
             f.address, n.bridge, n.host, n.kind, n.cidr, n.gateway, n.injected, n.dns1, n.dns2 \
             FROM virtual_interfaces v JOIN networks n ON n.id = v.network_id \
             JOIN fixed_ips f ON f.virtual_interface_id = v.id AND f.instance_id = v.instance_id \
             WHERE v.instance_id IN ({these}) ORDER BY v.instance_id, v.device_index"
        );
        for found in of_these(c, sql, &ids).await? {
            let id = InstanceId(Reader::new("instance", &found).int("instance_id")?);
            if let Some(instance) = all.get_mut(&id) {
                match (or_bad(port(&found))?, &mut *instance) {
                    (Ok(port), Ok(instance)) => instance.ports.push(port),
                    // Nothing is planned of one that goes: its network's row cannot keep it.
                    (Err(bad), Ok(going)) if !going.deleting => *instance = Err(bad),
                    (_, _) => {}
                }
            }
        }
    }
    Ok(all)
}

fn or_bad<T>(read: Result<T>) -> Result<Result<T, (String, ModelError)>> {
    match read {
        Ok(value) => Ok(Ok(value)),
        Err(StoreError::BadRow { row, source }) => Ok(Err((row, source))),
        Err(other) => Err(other),
    }
}

async fn of_these(c: &mut Conn, sql: String, ids: &[&InstanceId]) -> Result<Vec<AnyRow>> {
    let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
    for id in ids {
        query = query.bind(id.0);
    }
    Ok(query.fetch_all(c).await?)
}

fn without_ports(id: InstanceId, found: &AnyRow) -> Result<Instance> {
    let r = Reader::new("instance", found);
    let groups = r.text("group_ids")?;
    Ok(Instance {
        id,
        reservation: ReservationId(r.int("reservation_id")?),
        project: r.parse("project_id")?,
        project_number: ProjectNumber(r.int("number")?),
        host: r.maybe_text("host")?,
        hostname: r.text("hostname")?,
        image: ImageId(r.int("image_id")?),
        image_digest: r.text("image_digest")?,
        memory_mb: r.number("memory_mb")?,
        vcpus: r.number("vcpus")?,
        // A type that is not known any more: then it is as good as one without a size.
        disk_gb: instance_type::find(&r.text("instance_type")?).map_or(0, |size| size.local_gb),
        boot: r.int("boot")?,
        halted: r.flag("halted")?,
        deleting: r.parse::<State>("state")? == State::Deleting,
        ports: Vec::new(),
        groups: groups
            .split(',')
            .filter_map(|g| g.parse().ok().map(GroupId))
            .collect(),
        combination: CombinationId(r.int("combination_id")?),
        vpn_clients: vpns::maybe_clients(found)?,
    })
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
    // Both begin at a short list: objects behind a host's version, and errors.
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
