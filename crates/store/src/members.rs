//! Counts the instances of groups and projects on each host. With its first instance in a group a
//! host gets the group's rules and the members of their source groups, and loses them with the last
//! one, so that one more instance costs one instance.

use crate::read::Reader;
use crate::{Conn, PlanOwner, Result, Tx, chunks, groups, instances};
use novanet_model::{GroupId, InstanceId, ProjectId, RuleId};
use sqlx::Row as _;
use std::collections::{BTreeMap, BTreeSet};

/// An instance that was placed on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement<'a> {
    /// The instance.
    pub instance: InstanceId,
    /// Its project.
    pub project: &'a ProjectId,
    /// Its groups.
    pub groups: &'a [GroupId],
    /// The host.
    pub host: &'a str,
    /// The processors that it may use.
    pub vcpus: u32,
    /// The memory that it may use, in MiB.
    pub memory_mb: u32,
}

/// Counts new members of groups and projects on their hosts. Answers with the owners to plan again.
pub async fn add_members(tx: &mut Tx, placements: &[Placement<'_>]) -> Result<BTreeSet<PlanOwner>> {
    let mut owners: BTreeSet<PlanOwner> = placements.iter().flat_map(|a| own(a.instance)).collect();
    let mut groups: BTreeMap<(i64, &str), i64> = BTreeMap::new();
    let mut projects: BTreeMap<(&str, &str), [i64; 3]> = BTreeMap::new();
    for a in placements {
        for group in a.groups {
            *groups.entry((group.0, a.host)).or_default() += 1;
        }
        let sums = projects.entry((a.project.as_str(), a.host)).or_default();
        for (sum, more) in sums.iter_mut().zip([1, a.vcpus, a.memory_mb]) {
            *sum += i64::from(more);
        }
    }
    for group in first_of_groups(tx, &groups).await? {
        owners.extend(of_group(tx, group).await?);
    }
    for project in first_of_projects(tx, &projects).await? {
        owners.extend(of_project(tx, &project).await?);
    }
    Ok(owners)
}

/// Counts members of groups on hosts; the groups that were new to a host.
async fn first_of_groups(
    tx: &mut Tx,
    added: &BTreeMap<(i64, &str), i64>,
) -> Result<BTreeSet<GroupId>> {
    let added: Vec<_> = added.iter().collect();
    let mut first = BTreeSet::new();
    for some in chunks::exact(&added) {
        let sql = format!(
            "INSERT INTO group_hosts (group_id, host, members) VALUES {} \
             ON CONFLICT (group_id, host) DO UPDATE SET \
             members = group_hosts.members + excluded.members RETURNING group_id, host, members",
            chunks::rows(1, 3, some.len())
        );
        let mut query = sqlx::query_as::<_, (i64, String, i64)>(sqlx::AssertSqlSafe(sql));
        for ((group, host), members) in some {
            query = query.bind(group).bind(*host).bind(*members);
        }
        let now = query.fetch_all(&mut **tx).await?;
        let before_none = |(group, host, members): &(i64, String, i64)| {
            some.contains(&(&(*group, host.as_str()), members))
        };
        first.extend(now.iter().filter(|n| before_none(n)).map(|n| GroupId(n.0)));
    }
    Ok(first)
}

/// Counts instances of projects on hosts, and what they use; the projects that were new to a host.
async fn first_of_projects(
    tx: &mut Tx,
    added: &BTreeMap<(&str, &str), [i64; 3]>,
) -> Result<BTreeSet<ProjectId>> {
    let added: Vec<_> = added.iter().collect();
    let mut first = BTreeSet::new();
    for some in chunks::exact(&added) {
        let sql = format!(
            "INSERT INTO project_hosts (project_id, host, members, vcpus, memory_mb) VALUES {} \
             ON CONFLICT (project_id, host) DO UPDATE SET \
             members = project_hosts.members + excluded.members, \
             vcpus = project_hosts.vcpus + excluded.vcpus, \
             memory_mb = project_hosts.memory_mb + excluded.memory_mb \
             RETURNING project_id, host, members",
            chunks::rows(1, 5, some.len())
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for ((project, host), sums) in some {
            query = query.bind(*project).bind(*host);
            for sum in *sums {
                query = query.bind(sum);
            }
        }
        for row in query.fetch_all(&mut **tx).await? {
            let r = Reader::new("project_host", &row);
            let (project, host, members) =
                (r.text("project_id")?, r.text("host")?, r.int("members")?);
            let new = |((p, h), sums): &(&(&str, &str), &[i64; 3])| {
                *p == project && *h == host && sums[0] == members
            };
            if some.iter().any(new) {
                first.insert(r.parse("project_id")?);
            }
        }
    }
    Ok(first)
}

/// Counts an instance out that is no longer on `host`. Answers with the owners to plan again.
pub async fn remove_member(
    tx: &mut Tx,
    instance: InstanceId,
    project: &ProjectId,
    of_groups: &[GroupId],
    host: &str,
) -> Result<BTreeSet<PlanOwner>> {
    let mut owners = own(instance);
    owners.extend(leave_groups(tx, of_groups, host).await?);
    let last = sqlx::query(
        "DELETE FROM project_hosts WHERE project_id = $1 AND host = $2 AND members = 1",
    )
    .bind(project.as_str())
    .bind(host)
    .execute(&mut **tx)
    .await?
    .rows_affected();
    if last == 1 {
        owners.extend(of_project(tx, project).await?);
    } else {
        sqlx::query(
            "UPDATE project_hosts SET members = members - 1, \
             vcpus = vcpus - (SELECT i.vcpus FROM instances i WHERE i.id = $3), \
             memory_mb = memory_mb - (SELECT i.memory_mb FROM instances i WHERE i.id = $3) \
             WHERE project_id = $1 AND host = $2",
        )
        .bind(project.as_str())
        .bind(host)
        .bind(instance.0)
        .execute(&mut **tx)
        .await?;
    }
    Ok(owners)
}

/// Counts a member of each of these groups out of a host. Answers with the owners to plan again.
async fn leave_groups(tx: &mut Tx, left: &[GroupId], host: &str) -> Result<BTreeSet<PlanOwner>> {
    let mut owners = BTreeSet::new();
    for &group in left {
        let last = sqlx::query(
            "DELETE FROM group_hosts WHERE group_id = $1 AND host = $2 AND members = 1",
        )
        .bind(group.0)
        .bind(host)
        .execute(&mut **tx)
        .await?
        .rows_affected();
        if last == 1 {
            owners.extend(of_group(tx, group).await?);
        } else {
            sqlx::query(
                "UPDATE group_hosts SET members = members - 1 WHERE group_id = $1 AND host = $2",
            )
            .bind(group.0)
            .bind(host)
            .execute(&mut **tx)
            .await?;
        }
    }
    Ok(owners)
}

/// Puts an instance that is on `host` (`None`: on none) into the groups `to`, and takes it out of
/// `from`, its groups until now. Answers with the owners to plan again.
pub async fn change_groups(
    tx: &mut Tx,
    (instance, host): (InstanceId, Option<&str>),
    from: &[GroupId],
    to: &[GroupId],
) -> Result<BTreeSet<PlanOwner>> {
    let combination = groups::combination(tx, to).await?;
    sqlx::query("UPDATE instances SET combination_id = $1 WHERE id = $2")
        .bind(combination.0)
        .bind(instance.0)
        .execute(&mut **tx)
        .await?;
    sqlx::query("DELETE FROM security_group_instance_association WHERE instance_id = $1")
        .bind(instance.0)
        .execute(&mut **tx)
        .await?;
    for group in to {
        sqlx::query(
            "INSERT INTO security_group_instance_association (instance_id, security_group_id) \
             VALUES ($1, $2)",
        )
        .bind(instance.0)
        .bind(group.0)
        .execute(&mut **tx)
        .await?;
    }
    let mut owners = own(instance);
    let Some(host) = host else {
        return Ok(owners);
    };
    let joined = to.iter().filter(|group| !from.contains(group));
    let joined: BTreeMap<(i64, &str), i64> = joined.map(|g| ((g.0, host), 1)).collect();
    if !joined.is_empty() {
        for group in first_of_groups(tx, &joined).await? {
            owners.extend(of_group(tx, group).await?);
        }
    }
    let left = from.iter().filter(|group| !to.contains(group));
    let left: Vec<GroupId> = left.copied().collect();
    owners.extend(leave_groups(tx, &left, host).await?);
    Ok(owners)
}

fn own(instance: InstanceId) -> BTreeSet<PlanOwner> {
    BTreeSet::from([
        PlanOwner::Instance(instance),
        PlanOwner::Membership(instance),
    ])
}

/// Everything about a group that depends on where its members are.
async fn of_group(c: &mut Conn, group: GroupId) -> Result<BTreeSet<PlanOwner>> {
    let mut owners = BTreeSet::from([PlanOwner::Group(group)]);
    // Not parsed: one invalid rule must not keep others from being planned.
    let rules: Vec<(i64, Option<i64>)> = sqlx::query_as(
        "SELECT id, group_id FROM security_group_rules WHERE parent_group_id = $1 ORDER BY id",
    )
    .bind(group.0)
    .fetch_all(&mut *c)
    .await?;
    for (rule, source) in rules {
        owners.insert(PlanOwner::Rule(RuleId(rule)));
        if let Some(source) = source {
            owners.extend(memberships(c, GroupId(source)).await?);
        }
    }
    Ok(owners)
}

/// The memberships in a group: the owners of the objects that a rule with this source needs.
pub async fn memberships(c: &mut Conn, group: GroupId) -> Result<BTreeSet<PlanOwner>> {
    Ok(groups::members(c, group)
        .await?
        .into_iter()
        .map(PlanOwner::Membership)
        .collect())
}

async fn of_project(c: &mut Conn, project: &ProjectId) -> Result<BTreeSet<PlanOwner>> {
    Ok(instances::living_of_project(c, project)
        .await?
        .into_iter()
        .map(PlanOwner::Membership)
        .collect())
}

/// Hosts with an instance in the group.
pub async fn hosts_of_group(c: &mut Conn, group: GroupId) -> Result<Vec<String>> {
    Ok(
        sqlx::query_scalar("SELECT host FROM group_hosts WHERE group_id = $1 ORDER BY host")
            .bind(group.0)
            .fetch_all(c)
            .await?,
    )
}

/// Hosts with a rule whose source is the group.
pub async fn hosts_with_source(c: &mut Conn, group: GroupId) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT DISTINCT h.host FROM security_group_rules r JOIN group_hosts h \
         ON h.group_id = r.parent_group_id WHERE r.group_id = $1 ORDER BY h.host",
    )
    .bind(group.0)
    .fetch_all(c)
    .await?)
}

/// Hosts with an instance of the project.
pub async fn hosts_of_project(c: &mut Conn, project: &ProjectId) -> Result<Vec<String>> {
    Ok(
        sqlx::query_scalar("SELECT host FROM project_hosts WHERE project_id = $1 ORDER BY host")
            .bind(project.as_str())
            .fetch_all(c)
            .await?,
    )
}

/// What a project uses of instances, processors and memory (MiB), and how much it may; `None` where
/// it has no limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Living instances.
    pub instances: (i64, Option<i64>),
    /// Their processors.
    pub cores: (i64, Option<i64>),
    /// Their memory.
    pub ram: (i64, Option<i64>),
    /// The limit of fixed addresses. Their use is counted elsewhere, if there is a limit.
    pub fixed_ips: Option<i64>,
}

/// What a project uses, for its quotas; `None`: there is no such project. From the counts of its
/// hosts, not of its instances.
pub async fn usage(c: &mut Conn, project: &ProjectId) -> Result<Option<Usage>> {
    let row = sqlx::query(
        "SELECT CAST(coalesce(sum(h.members), 0) AS BIGINT), \
         CAST(coalesce(sum(h.vcpus), 0) AS BIGINT), \
         CAST(coalesce(sum(h.memory_mb), 0) AS BIGINT), \
         (SELECT hard_limit FROM quotas WHERE project_id = $1 AND resource = 'instances'), \
         (SELECT hard_limit FROM quotas WHERE project_id = $1 AND resource = 'cores'), \
         (SELECT hard_limit FROM quotas WHERE project_id = $1 AND resource = 'ram'), \
         (SELECT hard_limit FROM quotas WHERE project_id = $1 AND resource = 'fixed_ips') \
         FROM projects p LEFT JOIN project_hosts h ON h.project_id = p.id \
         WHERE p.id = $1 GROUP BY p.id",
    )
    .bind(project.as_str())
    .fetch_optional(&mut *c)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let mut usage = Usage {
        instances: (row.try_get(0)?, row.try_get(3)?),
        cores: (row.try_get(1)?, row.try_get(4)?),
        ram: (row.try_get(2)?, row.try_get(5)?),
        fixed_ips: row.try_get(6)?,
    };
    // A Cloudpipe counts for no quota.
    let cloudpipe: Option<(i64, i64)> = sqlx::query_as(
        "SELECT i.vcpus, i.memory_mb FROM vpns v JOIN instances i ON i.id = v.instance_id \
         WHERE v.project_id = $1 AND i.state NOT IN ('deleting', 'terminated')",
    )
    .bind(project.as_str())
    .fetch_optional(c)
    .await?;
    if let Some((vcpus, memory_mb)) = cloudpipe {
        usage.instances.0 -= 1;
        usage.cores.0 -= vcpus;
        usage.ram.0 -= memory_mb;
    }
    Ok(Some(usage))
}
