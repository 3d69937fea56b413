//! Use cases of images: bytes go in parts, a transaction each; the row comes last.

use crate::caller::operator;
use crate::{Caller, Cloud, ControlError, Kind, Result};
use novanet_model::ImageId;
use novanet_store::audit;
use novanet_store::images::{self, Image, PART};
use sha2::{Digest, Sha256};
use std::io::Read;

impl Cloud {
    /// `image register`: stores the bytes under their digest and names them. The same bytes are
    /// stored once.
    pub async fn register_image(&self, name: &str, mut bytes: impl Read) -> Result<Image> {
        let unreadable =
            |e: std::io::Error| ControlError::Unavailable(format!("image {name}: {e}"));
        let mut file = Vec::new();
        std::io::copy(&mut bytes, &mut file).map_err(unreadable)?;
        let digest = format!("sha256:{}", hex(&Sha256::digest(&file)));
        let size = i64::try_from(file.len()).unwrap_or(i64::MAX);
        for (part, data) in (0_i64..).zip(file.chunks(PART)) {
            let mut tx = self.db().write().await?;
            if images::part(&mut tx, &digest, part).await?.is_none() {
                images::put_part(&mut tx, &digest, part, data.to_vec()).await?;
                tx.commit().await?;
            }
        }
        let mut tx = self.db().change().await?;
        let id = images::insert(&mut tx, name, None, &digest, size).await?;
        audit::record(&mut tx, &operator(), "image.register", None, name, &digest).await?;
        tx.commit().await?;
        let mut tx = self.db().read().await?;
        images::by_id(&mut tx, id)
            .await?
            .ok_or_else(|| ControlError::not_found(Kind::Image, id))
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
pub(crate) async fn find(
    c: &mut novanet_store::Conn,
    caller: &Caller,
    id: ImageId,
) -> Result<Image> {
    images::by_id(c, id)
        .await?
        .filter(|i| visible(i, caller))
        .ok_or_else(|| ControlError::not_found(Kind::Image, novanet_model::AmiId(id.0)))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
