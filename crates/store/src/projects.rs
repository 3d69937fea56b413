//! The tables of projects, their members and their quotas. Roles are in `users`.

use crate::read::Reader;
use crate::{Conn, Result, Tx, counters};
use novanet_model::{ProjectId, ProjectNumber, Resource};
use sqlx::any::AnyRow;

/// A project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its name and id.
    pub id: ProjectId,
    /// Its number, for names in the kernel.
    pub number: ProjectNumber,
    /// For people.
    pub description: String,
    /// The user that manages it.
    pub manager: String,
}

fn project(row: &AnyRow) -> Result<Project> {
    let r = Reader::new("project", row);
    Ok(Project {
        id: r.parse("id")?,
        number: ProjectNumber(r.int("number")?),
        description: r.text("description")?,
        manager: r.text("project_manager")?,
    })
}

const SELECT: &str = "SELECT id, number, description, project_manager FROM projects";

/// Adds a project; its manager is a member.
pub async fn insert(
    tx: &mut Tx,
    id: &ProjectId,
    manager: &str,
    description: &str,
) -> Result<ProjectNumber> {
    let number = counters::next(tx, "projects").await?;
    let now = tx.now.get();
    sqlx::query(
        "INSERT INTO projects (id, number, name, description, project_manager, created_at) \
         VALUES ($1, $2, $1, $3, $4, $5)",
    )
    .bind(id.as_str())
    .bind(number)
    .bind(description)
    .bind(manager)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    add_member(tx, id, manager).await?;
    Ok(ProjectNumber(number))
}

/// Changes a project's manager, who becomes a member, and its description.
pub async fn update(tx: &mut Tx, id: &ProjectId, manager: &str, description: &str) -> Result<()> {
    sqlx::query("UPDATE projects SET project_manager = $2, description = $3 WHERE id = $1")
        .bind(id.as_str())
        .bind(manager)
        .bind(description)
        .execute(&mut **tx)
        .await?;
    add_member(tx, id, manager).await
}

/// Makes a user a member.
pub async fn add_member(tx: &mut Tx, id: &ProjectId, user: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO user_project_association (user_id, project_id) VALUES ($1, $2) \
         ON CONFLICT (user_id, project_id) DO NOTHING",
    )
    .bind(user)
    .bind(id.as_str())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Whether a user is a member.
pub async fn has_member(c: &mut Conn, id: &ProjectId, user: &str) -> Result<bool> {
    let count: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM user_project_association WHERE user_id = $1 AND project_id = $2",
    )
    .bind(user)
    .bind(id.as_str())
    .fetch_one(c)
    .await?;
    Ok(count > 0)
}

/// The members by name.
pub async fn members(c: &mut Conn, id: &ProjectId) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT user_id FROM user_project_association WHERE project_id = $1 ORDER BY user_id",
    )
    .bind(id.as_str())
    .fetch_all(c)
    .await?)
}

/// Whether there is a project of this name.
pub async fn exists(c: &mut Conn, id: &str) -> Result<bool> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM projects WHERE id = $1")
        .bind(id)
        .fetch_one(c)
        .await?;
    Ok(count > 0)
}

/// A project by name.
pub async fn by_id(c: &mut Conn, id: &ProjectId) -> Result<Option<Project>> {
    let sql = format!("{SELECT} WHERE id = $1");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.as_str())
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(project)
        .transpose()
}

/// All projects by name; only those of `user` if it is not empty.
pub async fn list(c: &mut Conn, user: &str) -> Result<Vec<Project>> {
    let sql = format!(
        "{SELECT} WHERE $1 = '' OR id IN \
         (SELECT project_id FROM user_project_association WHERE user_id = $1) ORDER BY id"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(user)
        .fetch_all(c)
        .await?
        .iter()
        .map(project)
        .collect()
}

/// Removes a project with memberships, quotas, and groups that nothing uses. It must own no
/// instances, networks or floating IPs.
pub async fn delete(tx: &mut Tx, id: &ProjectId) -> Result<()> {
    for sql in [
        "DELETE FROM user_project_role_association WHERE project_id = $1",
        "DELETE FROM user_project_association WHERE project_id = $1",
        "DELETE FROM quotas WHERE project_id = $1",
        "DELETE FROM security_group_rules WHERE parent_group_id IN \
         (SELECT id FROM security_groups WHERE project_id = $1)",
        "DELETE FROM security_groups WHERE project_id = $1",
        "DELETE FROM instances WHERE project_id = $1 AND state = 'terminated'",
        "DELETE FROM projects WHERE id = $1",
    ] {
        sqlx::query(sql)
            .bind(id.as_str())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// A project's own limit for a resource; `None`: the flag's. -1: none.
pub async fn quota(c: &mut Conn, id: &ProjectId, resource: Resource) -> Result<Option<i64>> {
    Ok(
        sqlx::query_scalar("SELECT hard_limit FROM quotas WHERE project_id = $1 AND resource = $2")
            .bind(id.as_str())
            .bind(resource.as_str())
            .fetch_optional(c)
            .await?,
    )
}

/// Sets a project's own limit.
pub async fn set_quota(tx: &mut Tx, id: &ProjectId, resource: Resource, limit: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO quotas (project_id, resource, hard_limit) VALUES ($1, $2, $3) \
         ON CONFLICT (project_id, resource) DO UPDATE SET hard_limit = excluded.hard_limit",
    )
    .bind(id.as_str())
    .bind(resource.as_str())
    .bind(limit)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
