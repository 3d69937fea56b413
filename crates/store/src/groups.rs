//! The tables of security groups, their rules, and combinations of groups. Members and the hosts
//! that need a group are in `members`.

use crate::read::Reader;
use crate::{Conn, Result, Tx, counters};
use novanet_model::rows::SecurityRule;
use novanet_model::rule::{Source, Traffic};
use novanet_model::{CombinationId, GroupId, InstanceId, ProjectId, ProjectNumber, RuleId};
use sqlx::any::AnyRow;
use std::collections::BTreeSet;

/// A security group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Row id.
    pub id: GroupId,
    /// Name, unique in its project.
    pub name: String,
    /// For people.
    pub description: String,
    /// Its project.
    pub project: ProjectId,
    /// Number of the project.
    pub project_number: ProjectNumber,
}

const GROUP: &str = "SELECT g.id, g.name, g.description, g.project_id, p.number \
    FROM security_groups g JOIN projects p ON p.id = g.project_id";

pub(crate) fn group(row: &AnyRow) -> Result<Group> {
    let r = Reader::new("security_group", row);
    Ok(Group {
        id: GroupId(r.int("id")?),
        name: r.text("name")?,
        description: r.text("description")?,
        project: r.parse("project_id")?,
        project_number: ProjectNumber(r.int("number")?),
    })
}

fn rule(row: &AnyRow) -> Result<SecurityRule> {
    let r = Reader::new("security_group_rule", row);
    let id = r.int("id")?;
    let bad = crate::StoreError::bad_row(format!("security_group_rule {id}"));
    let source = match r.maybe_int("group_id")? {
        Some(group) => Source::Group(GroupId(group)),
        None => Source::Cidr(r.cidr("cidr")?),
    };
    Ok(SecurityRule {
        id: RuleId(id),
        group: GroupId(r.int("parent_group_id")?),
        traffic: Traffic::parse(
            &r.text("protocol")?,
            r.maybe_int("from_port")?,
            r.maybe_int("to_port")?,
        )
        .map_err(bad)?,
        source,
        description: r.maybe_text("description")?,
    })
}

/// Adds a group.
pub async fn insert(
    tx: &mut Tx,
    project: &ProjectId,
    user: &str,
    name: &str,
    description: &str,
) -> Result<GroupId> {
    let id = GroupId(counters::next(tx, "security_groups").await?);
    insert_as(tx, id, (project, user), name, description).await?;
    Ok(id)
}

/// [`insert`] with an id that the counter has passed already.
pub async fn insert_as(
    tx: &mut Tx,
    id: GroupId,
    (project, user): (&ProjectId, &str),
    name: &str,
    description: &str,
) -> Result<()> {
    let now = tx.now.get();
    sqlx::query(
        "INSERT INTO security_groups (id, name, description, project_id, user_id, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id.0)
    .bind(name)
    .bind(description)
    .bind(project.as_str())
    .bind(user)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The groups for which something holds, where `$1` is `value`.
async fn groups_where<'q, V>(c: &mut Conn, condition: &str, value: V) -> Result<Vec<Group>>
where
    V: sqlx::Encode<'q, sqlx::Any> + sqlx::Type<sqlx::Any> + 'q,
{
    let sql = format!("{GROUP} {condition}");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(value)
        .fetch_all(c)
        .await?
        .iter()
        .map(group)
        .collect()
}

/// A project's groups by name.
pub async fn of_project(c: &mut Conn, project: &ProjectId) -> Result<Vec<Group>> {
    groups_where(
        c,
        "WHERE g.project_id = $1 ORDER BY g.name",
        project.as_str(),
    )
    .await
}

/// A group by id.
pub async fn by_id(c: &mut Conn, id: GroupId) -> Result<Option<Group>> {
    Ok(groups_where(c, "WHERE g.id = $1", id.0).await?.pop())
}

/// A project's group by name.
pub async fn by_name(c: &mut Conn, project: &ProjectId, name: &str) -> Result<Option<Group>> {
    let sql = format!("{GROUP} WHERE g.project_id = $1 AND g.name = $2");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(project.as_str())
        .bind(name)
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(group)
        .transpose()
}

/// An instance's groups, ascending by id.
pub async fn of_instance(c: &mut Conn, instance: InstanceId) -> Result<Vec<Group>> {
    let condition = "JOIN security_group_instance_association a ON a.security_group_id = g.id \
                     WHERE a.instance_id = $1 ORDER BY g.id";
    groups_where(c, condition, instance.0).await
}

/// Instances in a group.
pub async fn members(c: &mut Conn, id: GroupId) -> Result<Vec<InstanceId>> {
    let ids: Vec<i64> = sqlx::query_scalar(
        "SELECT instance_id FROM security_group_instance_association \
         WHERE security_group_id = $1 ORDER BY instance_id",
    )
    .bind(id.0)
    .fetch_all(c)
    .await?;
    Ok(ids.into_iter().map(InstanceId).collect())
}

/// Removes a group and its rules. It must have no members and be no rule's source.
pub async fn delete(tx: &mut Tx, id: GroupId) -> Result<()> {
    for sql in [
        "DELETE FROM security_group_rules WHERE parent_group_id = $1",
        "DELETE FROM security_groups WHERE id = $1",
    ] {
        sqlx::query(sql).bind(id.0).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Adds a rule.
pub async fn insert_rule(
    tx: &mut Tx,
    parent: GroupId,
    traffic: Traffic,
    source: Source,
) -> Result<SecurityRule> {
    let id = RuleId(counters::next(tx, "security_group_rules").await?);
    insert_rule_as(tx, id, parent, traffic, source).await
}

/// [`insert_rule`] with an id that the counter has passed.
pub async fn insert_rule_as(
    tx: &mut Tx,
    id: RuleId,
    parent: GroupId,
    traffic: Traffic,
    source: Source,
) -> Result<SecurityRule> {
    let (protocol, from, to) = traffic.to_ec2();
    let (cidr, group) = match source {
        Source::Cidr(cidr) => (Some(cidr.to_string()), None),
        Source::Group(group) => (None, Some(group.0)),
    };
    sqlx::query(
        "INSERT INTO security_group_rules (id, parent_group_id, protocol, from_port, to_port, cidr, \
         group_id) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(id.0)
    .bind(parent.0)
    .bind(protocol)
    .bind(from)
    .bind(to)
    .bind(cidr)
    .bind(group)
    .execute(&mut **tx)
    .await?;
    Ok(SecurityRule {
        id,
        group: parent,
        traffic,
        source,
        description: None,
    })
}

/// Says what a rule is for.
pub async fn describe_rule(tx: &mut Tx, id: RuleId, description: &str) -> Result<()> {
    sqlx::query("UPDATE security_group_rules SET description = $1 WHERE id = $2")
        .bind(description)
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Removes a rule.
pub async fn delete_rule(tx: &mut Tx, id: RuleId) -> Result<()> {
    sqlx::query("DELETE FROM security_group_rules WHERE id = $1")
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

const RULE: &str = "SELECT id, parent_group_id, protocol, from_port, to_port, cidr, group_id, \
    description FROM security_group_rules";

async fn rules_where<'q, V>(c: &mut Conn, condition: &str, value: V) -> Result<Vec<SecurityRule>>
where
    V: sqlx::Encode<'q, sqlx::Any> + sqlx::Type<sqlx::Any> + 'q,
{
    let sql = format!("{RULE} WHERE {condition} ORDER BY id");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(value)
        .fetch_all(c)
        .await?
        .iter()
        .map(rule)
        .collect()
}

/// Rules of a group.
pub async fn rules_of(c: &mut Conn, parent: GroupId) -> Result<Vec<SecurityRule>> {
    rules_where(c, "parent_group_id = $1", parent.0).await
}

/// Rules whose source is a group.
pub async fn rules_with_source(c: &mut Conn, source: GroupId) -> Result<Vec<SecurityRule>> {
    rules_where(c, "group_id = $1", source.0).await
}

/// Rules of all of a project's groups.
pub async fn rules_of_project(c: &mut Conn, project: &ProjectId) -> Result<Vec<SecurityRule>> {
    let condition = "parent_group_id IN (SELECT id FROM security_groups WHERE project_id = $1)";
    rules_where(c, condition, project.as_str()).await
}

/// The groups that rules of a project's groups name as their sources.
pub async fn sources_of_project(c: &mut Conn, project: &ProjectId) -> Result<Vec<Group>> {
    let condition = "WHERE g.id IN (SELECT r.group_id FROM security_group_rules r \
                     JOIN security_groups own ON own.id = r.parent_group_id \
                     WHERE own.project_id = $1) ORDER BY g.id";
    groups_where(c, condition, project.as_str()).await
}

/// A rule by id.
pub async fn rule_by_id(c: &mut Conn, id: RuleId) -> Result<Option<SecurityRule>> {
    Ok(rules_where(c, "id = $1", id.0).await?.pop())
}

/// All groups, by id: for the whole plan.
pub async fn all(c: &mut Conn) -> Result<Vec<GroupId>> {
    let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM security_groups ORDER BY id")
        .fetch_all(c)
        .await?;
    Ok(ids.into_iter().map(GroupId).collect())
}

/// All rules, by id: for the whole plan.
pub async fn all_rules(c: &mut Conn) -> Result<Vec<RuleId>> {
    let ids: Vec<i64> = sqlx::query_scalar("SELECT id FROM security_group_rules ORDER BY id")
        .fetch_all(c)
        .await?;
    Ok(ids.into_iter().map(RuleId).collect())
}

/// The number of a combination of groups, interned: the same groups, the same number.
pub async fn combination(tx: &mut Tx, groups: &[GroupId]) -> Result<CombinationId> {
    let text = BTreeSet::from_iter(groups)
        .into_iter()
        .map(|g| g.0.to_string())
        .collect::<Vec<_>>()
        .join(",");
    let found: Option<i64> =
        sqlx::query_scalar("SELECT id FROM group_combinations WHERE group_ids = $1")
            .bind(&text)
            .fetch_optional(&mut **tx)
            .await?;
    if let Some(id) = found {
        return Ok(CombinationId(id));
    }
    let id = counters::next(tx, "group_combinations").await?;
    sqlx::query("INSERT INTO group_combinations (id, group_ids) VALUES ($1, $2)")
        .bind(id)
        .bind(text)
        .execute(&mut **tx)
        .await?;
    Ok(CombinationId(id))
}
