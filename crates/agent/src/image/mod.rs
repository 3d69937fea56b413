//! The cache of images on a host: it fetches an image once, checks its digest, unpacks it, and
//! removes it when no instance has used it for a while. Depends on an [`ImageSource`] and the disk.
//!
//! An unpacked root file system is the lower layer of all instances that run the image. Its files
//! belong to the ids from `uid_base`. Where the kernel can, the driver maps them to the ids of each
//! instance when it mounts the image; elsewhere all instances share them. The cache unpacks into a
//! folder beside and renames it, so a killed agent leaves only a folder to remove.

pub mod build;
mod check;
mod entry;
mod recipe;
mod unpack;

pub use check::check;
pub(crate) use entry::IDS;

use crate::private;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use thiserror::Error;

/// The text names the image or file and the remedy.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The source does not have the image, or does not answer.
    #[error("image {digest}: cannot be fetched: {message}")]
    Fetch {
        /// Of the image.
        digest: String,
        /// From the source.
        message: String,
    },
    /// The fetched bytes have another digest.
    #[error("image {digest}: what was fetched has the digest {found}; register the image again")]
    Digest {
        /// Of the image that the agent asked for.
        digest: String,
        /// Of the bytes that came.
        found: String,
    },
    /// The archive has an entry that a host must not unpack.
    #[error("image archive: {path}: {reason}")]
    Refused {
        /// Of the entry, in the archive.
        path: String,
        /// For people.
        reason: String,
    },
    /// The text is not `sha256:` and 64 hexadecimal digits.
    #[error("image {0:?}: a digest looks like sha256: and 64 hexadecimal digits")]
    NotADigest(String),
    /// The host lacks a program that goes into an image.
    #[error("{program} is missing: install the Debian package {package}")]
    MissingProgram {
        /// Its path on the host.
        program: &'static str,
        /// The Debian package to install.
        package: &'static str,
    },
    /// Building an image failed.
    #[error("{0}")]
    Build(String),
    /// Reading or writing a file failed.
    #[error("{path}: {source}")]
    File {
        /// On the host, or of the entry in the archive.
        path: PathBuf,
        /// From the kernel.
        source: std::io::Error,
    },
}

impl ImageError {
    pub(crate) fn file(path: &Path, source: impl Into<std::io::Error>) -> Self {
        Self::File {
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// Where images come from: the server, or a folder.
pub trait ImageSource: Send + Sync {
    /// Writes the image's bytes into `into` (which exists and is empty).
    fn fetch<'a>(
        &'a self,
        digest: &'a str,
        into: &'a Path,
    ) -> BoxFuture<'a, Result<(), ImageError>>;
}

/// The cache of a host. See the head of this file.
pub struct Images {
    folder: PathBuf,
    uid_base: u32,
    source: Arc<dyn ImageSource>,
    /// By digest: one task fetches and unpacks an image while the others wait.
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// The content of `about.json` beside an unpacked root file system.
#[derive(Serialize, Deserialize)]
struct About {
    uid_base: u32,
    size: u64,
}

/// Prefix of folders that a task is making or removing.
const UNFINISHED: &str = ".unfinished-";

impl Images {
    /// The cache under `state_path/images`, for instances mapped to `uid_base`. Removes unfinished
    /// folders of an agent that was killed.
    pub fn new(
        state_path: &Path,
        uid_base: u32,
        source: Arc<dyn ImageSource>,
    ) -> Result<Self, ImageError> {
        let folder = state_path.join("images");
        std::fs::create_dir_all(&folder).map_err(|e| ImageError::file(&folder, e))?;
        // Set-user-id programs are in there.
        rustix::fs::chmod(&folder, rustix::fs::Mode::from(0o700))
            .map_err(|e| ImageError::file(&folder, e))?;
        for entry in std::fs::read_dir(&folder).map_err(|e| ImageError::file(&folder, e))? {
            let entry = entry.map_err(|e| ImageError::file(&folder, e))?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                remove(&entry.path())?;
            }
        }
        Ok(Self {
            folder,
            uid_base,
            source,
            locks: Mutex::default(),
        })
    }

    /// The unpacked root file system of an image. Fetches and unpacks it if it is not here.
    pub async fn ensure(&self, digest: &str) -> Result<PathBuf, ImageError> {
        let hex = hex_of(digest)?.to_owned();
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(locks.entry(hex.clone()).or_default())
        };
        let _one = lock.lock().await;
        let folder = self.folder.join(&hex);
        if self.is_usable(&folder) {
            return Ok(folder.join("root"));
        }
        let download = self.unfinished()?;
        let file = download.path().join("image");
        private::write(&file, &[]).map_err(|e| ImageError::file(&file, e))?;
        self.source.fetch(digest, &file).await?;
        let (digest, uid_base) = (digest.to_owned(), self.uid_base);
        tokio::task::spawn_blocking(move || {
            let size = verify(&file, &digest)?;
            let ready = download.path().join("ready");
            unpack_as(&file, &ready, &About { uid_base, size })?;
            if folder.exists() {
                remove(&folder)?;
            }
            std::fs::rename(&ready, &folder).map_err(|e| ImageError::file(&folder, e))?;
            Ok(folder.join("root"))
        })
        .await
        .map_err(|e| ImageError::Build(format!("unpacking an image: {e}")))?
    }

    /// The size in bytes of an image's archive; 0 if it is not here.
    pub(crate) fn size(&self, digest: &str) -> u64 {
        hex_of(digest)
            .ok()
            .and_then(|hex| about(&self.folder.join(hex)))
            .map_or(0, |about| about.size)
    }

    /// Whether the image is here for this `uid_base`. Notes its use: [`Self::collect`] counts its
    /// age from here.
    fn is_usable(&self, folder: &Path) -> bool {
        let fits = about(folder).is_some_and(|about| about.uid_base == self.uid_base);
        if fits {
            let about = folder.join("about.json");
            let touched = std::fs::File::options()
                .write(true)
                .open(&about)
                .and_then(|file| file.set_modified(SystemTime::now()));
            if let Err(error) = touched {
                tracing::warn!(path = %about.display(), %error, "cannot note the use of an image");
            }
        }
        fits
    }

    /// Removes images that are not in `used` (digests) and that no instance has asked for within
    /// `max_age`. Returns the digests of the removed images.
    pub fn collect(
        &self,
        used: &BTreeSet<String>,
        max_age: Duration,
    ) -> Result<Vec<String>, ImageError> {
        let mut removed = Vec::new();
        let entries =
            std::fs::read_dir(&self.folder).map_err(|e| ImageError::file(&self.folder, e))?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let digest = format!("sha256:{name}");
            if hex_of(&digest).is_err() || used.contains(&digest) {
                continue;
            }
            let age = entry
                .path()
                .join("about.json")
                .metadata()
                .and_then(|m| m.modified())
                .ok()
                .and_then(|at| SystemTime::now().duration_since(at).ok());
            if age.is_some_and(|age| age < max_age) {
                continue;
            }
            // Renamed first: a half removed image must not look like a usable one.
            let aside = self.unfinished()?;
            let target = aside.path().join("old");
            std::fs::rename(entry.path(), &target)
                .map_err(|e| ImageError::file(&entry.path(), e))?;
            removed.push(digest);
        }
        Ok(removed)
    }

    fn unfinished(&self) -> Result<tempfile::TempDir, ImageError> {
        tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempdir_in(&self.folder)
            .map_err(|e| ImageError::file(&self.folder, e))
    }
}

fn about(folder: &Path) -> Option<About> {
    serde_json::from_slice(&std::fs::read(folder.join("about.json")).ok()?).ok()
}

fn unpack_as(file: &Path, ready: &Path, about: &About) -> Result<(), ImageError> {
    let root = ready.join("root");
    std::fs::create_dir_all(&root).map_err(|e| ImageError::file(&root, e))?;
    unpack::unpack(file, &root, about.uid_base)?;
    let text = serde_json::to_vec(about).unwrap_or_default();
    let path = ready.join("about.json");
    private::write(&path, &text).map_err(|e| ImageError::file(&path, e))?;
    // After a power cut the folder must not be there with empty files in it.
    let handle = std::fs::File::open(ready).map_err(|e| ImageError::file(ready, e))?;
    rustix::fs::syncfs(&handle).map_err(|e| ImageError::file(ready, e))
}

fn verify(file: &Path, digest: &str) -> Result<u64, ImageError> {
    let failed = |e| ImageError::file(file, e);
    let mut reader = std::fs::File::open(file).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut size = 0;
    loop {
        let n = reader.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            break;
        }
        size += n as u64;
        hasher.update(&buffer[..n]);
    }
    let found = format!("sha256:{}", hex::encode(hasher.finalize()));
    if found == digest {
        Ok(size)
    } else {
        Err(ImageError::Digest {
            digest: digest.to_owned(),
            found,
        })
    }
}

/// The 64 digits of a digest. They are also the folder's name (`:` separates overlay's layers).
fn hex_of(digest: &str) -> Result<&str, ImageError> {
    digest
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64)
        .filter(|hex| hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
        .ok_or_else(|| ImageError::NotADigest(digest.to_owned()))
}

fn remove(path: &Path) -> Result<(), ImageError> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(ImageError::file(path, e)),
        _ => Ok(()),
    }
}
