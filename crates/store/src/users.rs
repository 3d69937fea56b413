//! The tables of users and their roles. The secrets that sign requests are sealed by the caller.

use crate::read::Reader;
use crate::{Conn, Result, Tx};
use novanet_model::{Micros, ProjectId};
use sqlx::any::AnyRow;

/// A user.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Its name and id.
    pub id: String,
    /// EC2 access key.
    pub access_key: String,
    /// EC2 secret key, sealed with the cloud's key file.
    pub sealed_secret: Vec<u8>,
    /// May do everything.
    pub is_admin: bool,
    /// When it was added.
    pub created_at: Micros,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("id", &self.id)
            .field("is_admin", &self.is_admin)
            .finish_non_exhaustive()
    }
}

const SELECT: &str = "SELECT id, access_key, secret_key, is_admin, created_at FROM users";

fn user(row: &AnyRow) -> Result<User> {
    let r = Reader::new("user", row);
    Ok(User {
        id: r.text("id")?,
        access_key: r.text("access_key")?,
        sealed_secret: r.maybe_bytes("secret_key")?.unwrap_or_default(),
        is_admin: r.flag("is_admin")?,
        created_at: r.moment("created_at")?,
    })
}

/// Adds a user.
pub async fn insert(tx: &mut Tx, user: &User) -> Result<()> {
    let now = tx.now.get();
    sqlx::query(
        "INSERT INTO users (id, name, access_key, secret_key, is_admin, created_at) \
         VALUES ($1, $1, $2, $3, $4, $5)",
    )
    .bind(&user.id)
    .bind(&user.access_key)
    .bind(user.sealed_secret.clone())
    .bind(i64::from(user.is_admin))
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Changes a user's keys and whether it may do everything.
pub async fn update(tx: &mut Tx, user: &User) -> Result<()> {
    sqlx::query("UPDATE users SET access_key = $2, secret_key = $3, is_admin = $4 WHERE id = $1")
        .bind(&user.id)
        .bind(&user.access_key)
        .bind(user.sealed_secret.clone())
        .bind(i64::from(user.is_admin))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn select(c: &mut Conn, condition: &str, value: &str) -> Result<Vec<User>> {
    let sql = format!("{SELECT} WHERE {condition} ORDER BY id");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(value)
        .fetch_all(c)
        .await?
        .iter()
        .map(user)
        .collect()
}

/// A user by name.
pub async fn by_id(c: &mut Conn, id: &str) -> Result<Option<User>> {
    Ok(select(c, "id = $1", id).await?.pop())
}

/// The user of an access key.
pub async fn by_access_key(c: &mut Conn, access_key: &str) -> Result<Option<User>> {
    Ok(select(c, "access_key = $1", access_key).await?.pop())
}

/// All users by name.
pub async fn list(c: &mut Conn) -> Result<Vec<User>> {
    select(c, "id <> $1", "").await
}

/// Removes a user with memberships and key pairs. A project's manager cannot be removed.
pub async fn delete(tx: &mut Tx, id: &str) -> Result<()> {
    for sql in [
        "DELETE FROM user_project_role_association WHERE user_id = $1",
        "DELETE FROM user_project_association WHERE user_id = $1",
        "DELETE FROM user_role_association WHERE user_id = $1",
        "DELETE FROM key_pairs WHERE user_id = $1",
        "DELETE FROM users WHERE id = $1",
    ] {
        sqlx::query(sql).bind(id).execute(&mut **tx).await?;
    }
    Ok(())
}

/// nova's `global_roles`: given in all projects or not at all.
pub const GLOBAL_ROLES: [&str; 2] = ["cloudadmin", "itsec"];

/// The roles that count in a project: those given in all and in this one, and the global ones.
///
/// nova's `has_role` (2011.3): the global role *and*, unless it is one of `global_roles`, the
/// project's; so an operator gives both, and taking away either is enough.
pub async fn roles(c: &mut Conn, user: &str, project: &ProjectId) -> Result<Vec<String>> {
    Ok(sqlx::query_scalar(
        "SELECT role FROM user_role_association AS everywhere WHERE user_id = $1 \
         AND (role IN ($3, $4) OR EXISTS (SELECT 1 FROM user_project_role_association AS here \
              WHERE here.user_id = $1 AND here.project_id = $2 AND here.role = everywhere.role)) \
         ORDER BY role",
    )
    .bind(user)
    .bind(project.as_str())
    .bind(GLOBAL_ROLES[0])
    .bind(GLOBAL_ROLES[1])
    .fetch_all(c)
    .await?)
}

/// Gives a role, in one project or, without one, in all. Twice does nothing.
pub async fn add_role(
    tx: &mut Tx,
    user: &str,
    role: &str,
    project: Option<&ProjectId>,
) -> Result<()> {
    let query = match project {
        None => sqlx::query(
            "INSERT INTO user_role_association (user_id, role) VALUES ($1, $2) \
             ON CONFLICT (user_id, role) DO NOTHING",
        ),
        Some(_) => sqlx::query(
            "INSERT INTO user_project_role_association (user_id, role, project_id) \
             VALUES ($1, $2, $3) ON CONFLICT (user_id, project_id, role) DO NOTHING",
        ),
    };
    let query = query.bind(user).bind(role);
    match project {
        None => query,
        Some(project) => query.bind(project.as_str()),
    }
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Takes a role away where it was given: in one project or, without one, in all. Whether the user
/// had it there.
pub async fn remove_role(
    tx: &mut Tx,
    user: &str,
    role: &str,
    project: Option<&ProjectId>,
) -> Result<bool> {
    let query = match project {
        None => sqlx::query("DELETE FROM user_role_association WHERE user_id = $1 AND role = $2"),
        Some(_) => sqlx::query(
            "DELETE FROM user_project_role_association \
             WHERE user_id = $1 AND role = $2 AND project_id = $3",
        ),
    };
    let query = query.bind(user).bind(role);
    let done = match project {
        None => query,
        Some(project) => query.bind(project.as_str()),
    }
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// All roles where they were given: user, role, project (empty: in all); only those of `user` if it
/// is not empty.
pub async fn given_roles(c: &mut Conn, user: &str) -> Result<Vec<(String, String, String)>> {
    Ok(sqlx::query_as(
        "SELECT user_id, role, '' AS project_id FROM user_role_association \
         WHERE $1 = '' OR user_id = $1 UNION ALL \
         SELECT user_id, role, project_id FROM user_project_role_association \
         WHERE $1 = '' OR user_id = $1 ORDER BY 1, 2, 3",
    )
    .bind(user)
    .fetch_all(c)
    .await?)
}

/// A user leaves a project, and its roles there. Whether it was a member.
pub async fn leave_project(tx: &mut Tx, user: &str, project: &ProjectId) -> Result<bool> {
    let mut rows = 0;
    for sql in [
        "DELETE FROM user_project_role_association WHERE user_id = $1 AND project_id = $2",
        "DELETE FROM user_project_association WHERE user_id = $1 AND project_id = $2",
    ] {
        let done = sqlx::query(sql)
            .bind(user)
            .bind(project.as_str())
            .execute(&mut **tx)
            .await?;
        rows = done.rows_affected();
    }
    Ok(rows > 0)
}
