//! Use cases of images: bytes go in parts, a transaction each; the row comes last.

use crate::caller::operator;
use crate::{Caller, Cloud, ControlError, Kind, Result};
use novanet_model::{AmiId, ImageId, ModelError, ProjectId};
use novanet_store::images::{self, Image, PART};
use novanet_store::{Conn, Tx, audit, leases, projects};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::{Read, Seek};
use std::time::Duration;

/// The lease of a process that stores images. While it is held, the sweep deletes no bytes without
/// a row.
const STORING: &str = "images";

/// How long a lease for storing lasts without another part.
const LEASE: Duration = Duration::from_secs(15);

/// What the bytes of an image are as a whole.
struct Whole {
    digest: String,
    size: i64,
}

impl Cloud {
    /// `image register`: stores the bytes under their digest and names them, for all projects. The
    /// same bytes are stored once; under the same name they are the image that is there already.
    pub async fn register_image(&self, name: &str, bytes: impl Read + Seek) -> Result<Image> {
        self.register_image_of(None, name, bytes).await
    }

    /// [`Cloud::register_image`] for one project only.
    pub async fn register_image_of(
        &self,
        owner: Option<&ProjectId>,
        name: &str,
        mut bytes: impl Read + Seek,
    ) -> Result<Image> {
        let unreadable =
            |e: std::io::Error| ControlError::Unavailable(format!("image {name}: {e}"));
        // Twice through the file: its digest is the key of its parts, and it may not fit in memory.
        let (digest, size) = digest_of(&mut bytes).map_err(unreadable)?;
        bytes.rewind().map_err(unreadable)?;
        if size == 0 {
            return Err(ModelError::new("image", name, "is empty").into());
        }
        let there = {
            let mut tx = self.db().read().await?;
            same(&mut tx, owner, name, &digest).await?
        };
        if let Some(image) = there {
            return Ok(image);
        }
        // Named after the bytes: the next registration of the same ones continues where a killed
        // one was, and does not wait for the end of its lease.
        let holder = format!("register {digest}");
        let whole = Whole { digest, size };
        let stored = self.store_image(&holder, owner, name, &whole, bytes).await;
        if stored.is_err() {
            // So that others need not wait for the end of our lease.
            let mut tx = self.db().begin_unplanned().await?;
            leases::take_and_release(&mut tx, STORING, &holder).await?;
            tx.commit().await?;
        }
        let id = stored?;
        let mut tx = self.db().read().await?;
        images::by_id(&mut tx, id)
            .await?
            .ok_or_else(|| ControlError::not_found(Kind::Image, id))
    }

    async fn store_image(
        &self,
        holder: &str,
        owner: Option<&ProjectId>,
        name: &str,
        whole: &Whole,
        mut bytes: impl Read,
    ) -> Result<ImageId> {
        let unreadable =
            |e: std::io::Error| ControlError::Unavailable(format!("image {name}: {e}"));
        let digest = &whole.digest;
        let mut hash = Sha256::new();
        let mut leases_held = BTreeSet::new();
        for number in 0_i64.. {
            let part = read_part(&mut bytes).map_err(unreadable)?;
            if part.is_empty() {
                break;
            }
            hash.update(&part);
            leases_held.insert(self.store_part(holder, digest, number, part).await?);
        }
        let again =
            |why: &str| ControlError::Unavailable(format!("image {name}: {why} (try again)"));
        if text_of(hash) != *digest {
            return Err(again("the file was changed while it was read"));
        }
        let mut tx = self.db().begin_planned().await?;
        leases_held.extend(leases::take_and_release(&mut tx, STORING, holder).await?);
        if leases_held.len() != 1 {
            return Err(again("it took so long that the sweep may have been here"));
        }
        if let Some(project) = owner
            && projects::by_id(&mut tx, project).await?.is_none()
        {
            return Err(ControlError::not_found(Kind::Project, project));
        }
        if let Some(image) = same(&mut tx, owner, name, digest).await? {
            // Another process was faster. Give the lease back all the same.
            tx.commit().await?;
            return Ok(image.id);
        }
        let id = images::insert(&mut tx, name, owner, digest, whole.size).await?;
        let project = owner.map(ProjectId::as_str);
        let action = "image.register";
        audit::record(&mut tx, &operator(), action, project, name, digest).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Stores one part unless it is there; the epoch of the lease under which it was done. One
    /// image at a time: others wait for their turn.
    async fn store_part(
        &self,
        holder: &str,
        digest: &str,
        number: i64,
        part: Vec<u8>,
    ) -> Result<i64> {
        let until = tokio::time::Instant::now() + 2 * LEASE;
        loop {
            let mut tx = self.db().begin_unplanned().await?;
            if let Some(epoch) = leases::take(&mut tx, STORING, holder, LEASE).await? {
                if images::part(&mut tx, digest, number).await?.is_none() {
                    images::put_part(&mut tx, digest, number, part).await?;
                }
                tx.commit().await?;
                return Ok(epoch);
            }
            drop(tx);
            if tokio::time::Instant::now() > until {
                return Err(ControlError::Unavailable(
                    "another image is being stored (try again)".to_owned(),
                ));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Drops bytes that nothing names, unless an image is being stored.
    pub(crate) async fn collect_images(&self, tx: &mut Tx) -> Result<()> {
        if leases::take_and_release(tx, STORING, "sweep")
            .await?
            .is_some()
        {
            images::collect(tx).await?;
        }
        Ok(())
    }

    /// `image delete`: no launch can use it any more. Instances of it stay, and can be rebooted.
    pub async fn delete_image(&self, id: ImageId) -> Result<()> {
        let mut tx = self.db().begin_unplanned().await?;
        let image = images::by_id(&mut tx, id)
            .await?
            .ok_or_else(|| ControlError::not_found(Kind::Image, AmiId(id.0)))?;
        images::delete(&mut tx, id).await?;
        let project = image.project.as_ref().map(ProjectId::as_str);
        let (object, detail) = (image.name.as_str(), image.digest.as_str());
        let action = "image.delete";
        audit::record(&mut tx, &operator(), action, project, object, detail).await?;
        tx.commit().await?;
        Ok(())
    }

    /// `image list`: all.
    pub async fn all_images(&self) -> Result<Vec<Image>> {
        let mut tx = self.db().read().await?;
        Ok(images::list(&mut tx).await?)
    }

    /// DescribeImages: public ones and the project's.
    pub async fn images(&self, caller: &Caller) -> Result<Vec<Image>> {
        Ok(self
            .all_images()
            .await?
            .into_iter()
            .filter(|i| visible(i, caller))
            .collect())
    }

    /// One part (a mebibyte) of an image's bytes; `None` behind the last.
    pub async fn image_part(&self, digest: &str, part: i64) -> Result<Option<Vec<u8>>> {
        let mut tx = self.db().read().await?;
        Ok(images::part(&mut tx, digest, part).await?)
    }
}

/// Whether a caller may run an image.
pub(crate) fn visible(image: &Image, caller: &Caller) -> bool {
    image.is_public || caller.admin || image.project.as_ref() == Some(&caller.project)
}

/// The image with this id, if the caller may run it.
pub(crate) async fn find(c: &mut Conn, caller: &Caller, id: ImageId) -> Result<Image> {
    images::by_id(c, id)
        .await?
        .filter(|i| visible(i, caller))
        .ok_or_else(|| ControlError::not_found(Kind::Image, AmiId(id.0)))
}

/// The image with these bytes, this name and this owner.
async fn same(
    c: &mut Conn,
    owner: Option<&ProjectId>,
    name: &str,
    digest: &str,
) -> Result<Option<Image>> {
    let all = images::with_digest(c, digest).await?;
    let is = |i: &Image| i.name == name && i.project.as_ref() == owner;
    Ok(all.into_iter().find(is))
}

/// `sha256:…` and length of the rest of a file.
fn digest_of(bytes: &mut impl Read) -> std::io::Result<(String, i64)> {
    let mut hash = Sha256::new();
    let mut size = 0_i64;
    loop {
        let part = read_part(bytes)?;
        if part.is_empty() {
            return Ok((text_of(hash), size));
        }
        size += i64::try_from(part.len()).unwrap_or(i64::MAX);
        hash.update(&part);
    }
}

/// The next [`PART`] bytes; less at the end.
fn read_part(bytes: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut part = Vec::with_capacity(PART);
    bytes.take(PART as u64).read_to_end(&mut part)?;
    Ok(part)
}

fn text_of(hash: Sha256) -> String {
    format!("sha256:{}", hex::encode(hash.finalize()))
}
