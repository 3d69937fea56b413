//! What an entry of an image's archive may be: its path, its target, its owner. The check before
//! storing and the unpacking on a host both use it; it depends on the error type only.

use super::ImageError;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// How many ids a user namespace maps: an archive may use those from 0 below this.
pub(crate) const IDS: u32 = 65_536;

/// The entry's path, as the archive says.
pub(super) fn raw_path(entry: &tar::Entry<'_, impl Read>) -> Result<PathBuf, ImageError> {
    match entry.path() {
        Ok(path) => Ok(path.into_owned()),
        Err(e) => Err(refused(Path::new("?"), e.to_string())),
    }
}

/// Where a link leads, as the archive says.
pub(super) fn target(entry: &tar::Entry<'_, impl Read>, raw: &Path) -> Result<PathBuf, ImageError> {
    match entry.link_name() {
        Ok(Some(target)) => Ok(target.into_owned()),
        Ok(None) => Err(refused(raw, "is a link to nothing".to_owned())),
        Err(e) => Err(refused(raw, e.to_string())),
    }
}

/// The path without leading `/` and `./`. Refuses `..` and does not resolve it.
pub(super) fn inside(raw: &Path) -> Result<PathBuf, ImageError> {
    let mut path = PathBuf::new();
    for part in raw.components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(refused(raw, "leads upwards".to_owned()));
            }
        }
    }
    Ok(path)
}

/// The reason for refusing an owner that no user namespace maps.
pub(super) fn unmapped(id: u64) -> String {
    format!(
        "belongs to user or group {id}; at most {} is possible",
        IDS - 1
    )
}

pub(super) fn refused(path: &Path, reason: String) -> ImageError {
    ImageError::Refused {
        path: path.display().to_string(),
        reason,
    }
}
