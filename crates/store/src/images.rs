//! Images: rows that name a digest, and the bytes of each digest in parts of a mebibyte, so that
//! neither engine nor server ever holds a whole image.

use crate::read::Reader;
use crate::{Conn, Result, StoreError, Tx, counters};
use novanet_model::{ImageId, Micros, ProjectId};
use sqlx::any::AnyRow;
use std::time::Duration;

/// Bytes in one part.
pub const PART: usize = 1 << 20;

/// How long an upload may take before [`collect`] drops what it stored.
pub const UPLOAD_LIFE: Duration = Duration::from_hours(1);

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Row id.
    pub id: ImageId,
    /// Name for people.
    pub name: String,
    /// Whose it is; `None`: the cloud's.
    pub project: Option<ProjectId>,
    /// `sha256:…` of the tar file.
    pub digest: String,
    /// Bytes.
    pub size: i64,
    /// All projects may run it.
    pub is_public: bool,
    /// When it was stored.
    pub created_at: Micros,
}

const SELECT: &str = "SELECT id, name, project_id, digest, size, is_public, created_at FROM images";

fn image(row: &AnyRow) -> Result<Image> {
    let r = Reader::new("image", row);
    Ok(Image {
        id: ImageId(r.int("id")?),
        name: r.text("name")?,
        project: r.maybe("project_id")?,
        digest: r.text("digest")?,
        size: r.int("size")?,
        is_public: r.flag("is_public")?,
        created_at: r.moment("created_at")?,
    })
}

/// Adds an image whose bytes are stored; refused when they are not all there (any more).
pub async fn insert(
    tx: &mut Tx,
    name: &str,
    project: Option<&ProjectId>,
    digest: &str,
    size: i64,
) -> Result<ImageId> {
    let stored: i64 = sqlx::query_scalar(
        "SELECT CAST(coalesce(sum(length(data)), 0) AS BIGINT) FROM image_blobs WHERE digest = $1",
    )
    .bind(digest)
    .fetch_one(&mut **tx)
    .await?;
    if stored != size {
        return Err(StoreError::Refused(format!(
            "image {name}: {stored} of its {size} bytes are stored (register it again)"
        )));
    }
    let id = counters::next(tx, "images").await?;
    let now = tx.now.get();
    sqlx::query(
        "INSERT INTO images (id, name, project_id, digest, size, is_public, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(id)
    .bind(name)
    .bind(project.map(ToString::to_string))
    .bind(digest)
    .bind(size)
    .bind(i64::from(project.is_none()))
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(ImageId(id))
}

async fn select(c: &mut Conn, condition: &'static str, value: &str) -> Result<Vec<Image>> {
    let sql = format!("{SELECT} WHERE {condition} ORDER BY id");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(value)
        .fetch_all(c)
        .await?
        .iter()
        .map(image)
        .collect()
}

/// All images by id.
pub async fn list(c: &mut Conn) -> Result<Vec<Image>> {
    select(c, "digest <> $1", "").await
}

/// All images with these bytes, by id.
pub async fn with_digest(c: &mut Conn, digest: &str) -> Result<Vec<Image>> {
    select(c, "digest = $1", digest).await
}

/// A project's own images, by id.
pub async fn of_project(c: &mut Conn, project: &ProjectId) -> Result<Vec<Image>> {
    select(c, "project_id = $1", project.as_str()).await
}

/// Deletes an image. [`collect`] deletes its bytes when no instance needs them.
pub async fn delete(tx: &mut Tx, id: ImageId) -> Result<()> {
    sqlx::query("DELETE FROM images WHERE id = $1")
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// An image by id.
pub async fn by_id(c: &mut Conn, id: ImageId) -> Result<Option<Image>> {
    let sql = format!("{SELECT} WHERE id = $1");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(id.0)
        .fetch_optional(c)
        .await?
        .as_ref()
        .map(image)
        .transpose()
}

/// Stores one part of a digest's bytes; twice is once.
pub async fn put_part(tx: &mut Tx, digest: &str, part: i64, data: Vec<u8>) -> Result<()> {
    let now = tx.now.get();
    sqlx::query(
        "INSERT INTO image_blobs (digest, part, data, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (digest, part) DO UPDATE SET data = excluded.data, \
         created_at = excluded.created_at",
    )
    .bind(digest)
    .bind(part)
    .bind(data)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// One part of a digest's bytes; `None` behind the last.
pub async fn part(c: &mut Conn, digest: &str, part: i64) -> Result<Option<Vec<u8>>> {
    Ok(
        sqlx::query_scalar("SELECT data FROM image_blobs WHERE digest = $1 AND part = $2")
            .bind(digest)
            .bind(part)
            .fetch_optional(c)
            .await?,
    )
}

/// Drops bytes that no image and no living instance names, unless they are still being uploaded.
pub async fn collect(tx: &mut Tx) -> Result<u64> {
    let before = (tx.now - UPLOAD_LIFE).get();
    Ok(sqlx::query(
        "DELETE FROM image_blobs WHERE created_at < $1 AND digest NOT IN \
         (SELECT digest FROM images) AND digest NOT IN \
         (SELECT image_digest FROM instances WHERE state <> 'terminated')",
    )
    .bind(before)
    .execute(&mut **tx)
    .await?
    .rows_affected())
}
