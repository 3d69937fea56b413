//! The PKI's rows: authorities with their sealed keys, and the certificates that they signed.

use crate::read::Reader;
use crate::{Conn, Result, Tx};
use novanet_model::{Micros, ProjectId};
use sqlx::any::AnyRow;

/// An authority.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    /// Project of this authority; empty: the cloud's root.
    pub project: String,
    /// PEM.
    pub certificate: String,
    /// Private key in PEM, sealed with the cloud's key file.
    pub sealed_key: Vec<u8>,
    /// The last moment of its life.
    pub not_after: Micros,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority")
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Sixteen hexadecimal digits.
    pub serial: String,
    /// [`Authority::project`] of the authority that signed it.
    pub authority: String,
    /// Project that it is for.
    pub project: String,
    /// User that it was made for; empty: a server's.
    pub user: String,
    /// PEM.
    pub certificate: String,
    /// The first moment of its life.
    pub not_before: Micros,
    /// The last moment of its life.
    pub not_after: Micros,
    /// `None`: not revoked.
    pub revoked_at: Option<Micros>,
}

fn certificate(row: &AnyRow) -> Result<Certificate> {
    let r = Reader::new("certificate", row);
    Ok(Certificate {
        serial: r.text("serial")?,
        authority: r.text("authority_id")?,
        project: r.text("project_id")?,
        user: r.text("user_id")?,
        certificate: r.text("certificate")?,
        not_before: r.moment("not_before")?,
        not_after: r.moment("not_after")?,
        revoked_at: r.maybe_moment("revoked_at")?,
    })
}

/// The authority of a project (empty: the root).
pub async fn authority(c: &mut Conn, project: &str) -> Result<Option<Authority>> {
    let row = sqlx::query(
        "SELECT project_id, certificate, private_key, not_after FROM certificate_authorities \
         WHERE project_id = $1",
    )
    .bind(project)
    .fetch_optional(c)
    .await?;
    row.map(|row| {
        let r = Reader::new("certificate authority", &row);
        Ok(Authority {
            project: r.text("project_id")?,
            certificate: r.text("certificate")?,
            sealed_key: r.maybe_bytes("private_key")?.unwrap_or_default(),
            not_after: r.moment("not_after")?,
        })
    })
    .transpose()
}

/// Adds an authority, unless the project has one: the first stays.
pub async fn insert_authority(tx: &mut Tx, authority: &Authority) -> Result<()> {
    let now = tx.now.get();
    sqlx::query(
        "INSERT INTO certificate_authorities \
         (project_id, certificate, private_key, not_after, created_at) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (project_id) DO NOTHING",
    )
    .bind(&authority.project)
    .bind(&authority.certificate)
    .bind(authority.sealed_key.clone())
    .bind(authority.not_after.get())
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Replaces the certificate of an authority by one of the same key, unless another was faster.
pub async fn renew_authority(
    tx: &mut Tx,
    project: &str,
    old: &str,
    (new, not_after): (&str, Micros),
) -> Result<()> {
    sqlx::query(
        "UPDATE certificate_authorities SET certificate = $1, not_after = $2 \
         WHERE project_id = $3 AND certificate = $4",
    )
    .bind(new)
    .bind(not_after.get())
    .bind(project)
    .bind(old)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Adds a certificate.
pub async fn insert(tx: &mut Tx, certificate: &Certificate) -> Result<()> {
    let now = tx.now.get();
    sqlx::query(
        "INSERT INTO certificates (serial, authority_id, project_id, user_id, certificate, \
         not_before, not_after, revoked_at, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&certificate.serial)
    .bind(&certificate.authority)
    .bind(&certificate.project)
    .bind(&certificate.user)
    .bind(&certificate.certificate)
    .bind(certificate.not_before.get())
    .bind(certificate.not_after.get())
    .bind(certificate.revoked_at.map(Micros::get))
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// A project's certificates, oldest first.
pub async fn of_project(c: &mut Conn, project: &ProjectId) -> Result<Vec<Certificate>> {
    select(c, "project_id = $1", project.as_str()).await
}

/// A user's certificates in all projects, oldest first.
pub async fn of_user(c: &mut Conn, user: &str) -> Result<Vec<Certificate>> {
    select(c, "user_id = $1", user).await
}

async fn select(c: &mut Conn, condition: &str, value: &str) -> Result<Vec<Certificate>> {
    let sql = format!(
        "SELECT serial, authority_id, project_id, user_id, certificate, not_before, not_after, \
         revoked_at FROM certificates WHERE {condition} ORDER BY created_at, serial"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(value)
        .fetch_all(c)
        .await?
        .iter()
        .map(certificate)
        .collect()
}

/// What an authority's revocation list has: serial number and time of certificates that are
/// revoked and not expired at `now`.
pub async fn revoked(c: &mut Conn, authority: &str, now: Micros) -> Result<Vec<(String, Micros)>> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT serial, revoked_at FROM certificates WHERE authority_id = $1 \
         AND revoked_at IS NOT NULL AND not_after > $2 ORDER BY revoked_at, serial",
    )
    .bind(authority)
    .bind(now.get())
    .fetch_all(c)
    .await?;
    let rows = rows.into_iter();
    Ok(rows.map(|(serial, at)| (serial, Micros::new(at))).collect())
}

/// Revokes a user's certificates, in one project or in all. Answers the projects whose
/// certificates that were.
pub async fn revoke_user(
    tx: &mut Tx,
    user: &str,
    project: Option<&ProjectId>,
) -> Result<Vec<String>> {
    let now = tx.now.get();
    let mut projects: Vec<String> = sqlx::query_scalar(
        "UPDATE certificates SET revoked_at = $1 WHERE user_id = $2 AND user_id <> '' \
         AND ($3 = '' OR project_id = $3) AND revoked_at IS NULL RETURNING project_id",
    )
    .bind(now)
    .bind(user)
    .bind(project.map_or("", ProjectId::as_str))
    .fetch_all(&mut **tx)
    .await?;
    projects.sort();
    projects.dedup();
    Ok(projects)
}

/// Revokes the certificates of a project's servers.
pub async fn revoke_servers(tx: &mut Tx, project: &ProjectId) -> Result<()> {
    let now = tx.now.get();
    sqlx::query(
        "UPDATE certificates SET revoked_at = $1 \
         WHERE project_id = $2 AND user_id = '' AND revoked_at IS NULL",
    )
    .bind(now)
    .bind(project.as_str())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Removes a project's own authority and its certificates; those that the root signed are
/// revoked.
pub async fn leave_project(tx: &mut Tx, project: &ProjectId) -> Result<()> {
    let now = tx.now.get();
    for sql in [
        "DELETE FROM certificates WHERE authority_id = $1",
        "DELETE FROM certificate_authorities WHERE project_id = $1",
    ] {
        sqlx::query(sql)
            .bind(project.as_str())
            .execute(&mut **tx)
            .await?;
    }
    sqlx::query(
        "UPDATE certificates SET revoked_at = $2 WHERE project_id = $1 AND revoked_at IS NULL",
    )
    .bind(project.as_str())
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
