//! Files that only their owner reads (0600), each written durably and replaced in one step. Two
//! programs that write the same file at once both succeed; the last one's content stays.

use crate::failure::Failure;
use nix::unistd::{Gid, Uid, chown, geteuid};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A file that is about to be written: a temporary one beside it. Dropped, it leaves nothing.
pub(crate) struct Pending {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
}

impl Pending {
    /// Begins to write a file. Fails where it could not be written in the end.
    pub(crate) fn begin(path: &Path) -> Result<Self, Failure> {
        let failed = |e: io::Error| failed(path, &e);
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Err(refused(path, "is a folder")),
            // A rename would replace the device.
            Ok(found) if !found.is_file() => {
                return Err(refused(
                    path,
                    "is not a regular file: redirect the output of -",
                ));
            }
            _ => {}
        }
        let Some(name) = path.file_name() else {
            return Err(refused(path, "is not a file name"));
        };
        let id = std::process::id();
        let temporary = path.with_file_name(format!(".{}.{id}.new", name.to_string_lossy()));
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
            file,
        })
    }

    /// Writes the content and puts the file in its place.
    pub(crate) fn finish(mut self, content: &[u8]) -> Result<(), Failure> {
        self.file
            .write_all(content)
            .and_then(|()| self.file.sync_all())
            .and_then(|()| fs::rename(&self.temporary, &self.path))
            .map_err(|e| failed(&self.path, &e))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary); // gone where it was put in its place
    }
}

/// Writes a file, with the folders above it (0700).
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(folder).map_err(|e| failed(path, &e))?;
    }
    Pending::begin(path)?.finish(text.as_bytes())
}

/// Gives a file or folder that root made to the owner of another one.
pub(crate) fn give_to_owner_of(other: &Path, file: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let owner = fs::metadata(other)?;
    let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
    Ok(chown(file, Some(user), Some(group))?)
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}

fn refused(path: &Path, why: &str) -> Failure {
    Failure::failed(format!("{}: {why}", path.display()))
}
