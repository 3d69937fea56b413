//! Key pairs: public keys by user and name.

use crate::{Conn, Result, Tx};
use novanet_model::ProjectId;
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

/// A key pair's public half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Name, unique for its user.
    pub name: String,
    /// MD5 fingerprint, as EC2 shows it.
    pub fingerprint: String,
    /// In OpenSSH's format.
    pub public_key: String,
}

impl FromRow<'_, AnyRow> for KeyPair {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            name: row.try_get("name")?,
            fingerprint: row.try_get("fingerprint")?,
            public_key: row.try_get("public_key")?,
        })
    }
}

/// Adds a key pair.
pub async fn insert(tx: &mut Tx, user: &str, pair: &KeyPair) -> Result<()> {
    let now = tx.now.get();
    sqlx::query(
        "INSERT INTO key_pairs (user_id, name, fingerprint, public_key, created_at) \
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(user)
    .bind(&pair.name)
    .bind(&pair.fingerprint)
    .bind(&pair.public_key)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A user's key pairs by name.
pub async fn of_user(c: &mut Conn, user: &str) -> Result<Vec<KeyPair>> {
    Ok(sqlx::query_as(
        "SELECT name, fingerprint, public_key FROM key_pairs WHERE user_id = $1 ORDER BY name",
    )
    .bind(user)
    .fetch_all(c)
    .await?)
}

/// A user's key pair.
pub async fn by_name(c: &mut Conn, user: &str, name: &str) -> Result<Option<KeyPair>> {
    Ok(sqlx::query_as(
        "SELECT name, fingerprint, public_key FROM key_pairs WHERE user_id = $1 AND name = $2",
    )
    .bind(user)
    .bind(name)
    .fetch_optional(c)
    .await?)
}

/// How many key pairs the member of a project with the most of them has.
pub async fn most_of_members(c: &mut Conn, project: &ProjectId) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "SELECT CAST(COALESCE(max(n), 0) AS BIGINT) FROM (SELECT count(*) AS n \
         FROM key_pairs k JOIN user_project_association a ON a.user_id = k.user_id \
         WHERE a.project_id = $1 GROUP BY k.user_id) AS of_user",
    )
    .bind(project.as_str())
    .fetch_one(c)
    .await?)
}

/// Removes a key pair; `false`: there was none.
pub async fn delete(tx: &mut Tx, user: &str, name: &str) -> Result<bool> {
    let done = sqlx::query("DELETE FROM key_pairs WHERE user_id = $1 AND name = $2")
        .bind(user)
        .bind(name)
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}
