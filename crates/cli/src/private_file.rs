//! Files that only their owner reads (0600), each written durably and put in its place in one step.
//! Two programs that write the same file at once both succeed; the last one's content stays.

use crate::failure::Failure;
use nix::unistd::{Gid, Uid, chown, geteuid};
use rustix::fs::{AtFlags, CWD, OFlags, linkat};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A file that has no name yet: a killed program leaves nothing behind. Where the file system has no
/// such files (NFS), it has a temporary name until it is dropped.
struct Nameless {
    file: File,
    temporary: Option<PathBuf>,
}

impl Nameless {
    /// In the folder of `path`.
    fn beside(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).mode(0o600);
        let no_name = OFlags::TMPFILE.bits().cast_signed();
        match options.clone().custom_flags(no_name).open(folder_of(path)) {
            Ok(file) => Ok(Self {
                file,
                temporary: None,
            }),
            Err(e) if e.kind() == ErrorKind::Unsupported => {
                let temporary = pending_name(path, &format!(".{}", std::process::id()));
                let file = options.create(true).truncate(true).open(&temporary)?;
                Ok(Self {
                    file,
                    temporary: Some(temporary),
                })
            }
            Err(e) => Err(e),
        }
    }

    /// Writes the content durably.
    fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all(content)?;
        self.file.sync_all()
    }

    /// A path to it, for this program only.
    fn path(&self) -> PathBuf {
        let nameless = || format!("/proc/self/fd/{}", self.file.as_raw_fd()).into();
        self.temporary.clone().unwrap_or_else(nameless)
    }

    /// Gives it a name that no file has.
    fn link(&self, name: &Path) -> io::Result<()> {
        Ok(linkat(
            CWD,
            self.path(),
            CWD,
            name,
            AtFlags::SYMLINK_FOLLOW,
        )?)
    }
}

impl Drop for Nameless {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary); // gone where it was put in its place
        }
    }
}

/// A file that is about to be written. Dropped, it leaves nothing.
pub(crate) struct Pending {
    path: PathBuf,
    file: Nameless,
}

impl Pending {
    /// Begins to write a file. Fails where it could not be written in the end.
    pub(crate) fn begin(path: &Path) -> Result<Self, Failure> {
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
        if path.file_name().is_none() {
            return Err(refused(path, "is not a file name"));
        }
        Ok(Self {
            path: path.to_owned(),
            file: Nameless::beside(path).map_err(|e| failed(path, &e))?,
        })
    }

    /// Writes the content and puts the file in its place.
    pub(crate) fn finish(mut self, content: &[u8]) -> Result<(), Failure> {
        self.file
            .write(content)
            .and_then(|()| self.replace())
            .map_err(|e| failed(&self.path, &e))
    }

    fn replace(&self) -> io::Result<()> {
        if let Some(temporary) = &self.file.temporary {
            return fs::rename(temporary, &self.path);
        }
        // Only a rename replaces a file, and it needs a name: one program at a time has it.
        let folder = File::open(folder_of(&self.path))?;
        folder.lock()?;
        let name = pending_name(&self.path, "");
        match fs::remove_file(&name) {
            // Of a program that was killed before its rename.
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        self.file.link(&name)?;
        fs::rename(&name, &self.path)
    }
}

/// Writes a file that is not there yet, for the owner of its folder.
///
/// # Errors
///
/// `AlreadyExists`, and what the file system refuses.
pub(crate) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = Nameless::beside(path)?;
    file.write(content)?;
    give_to_owner_of(folder_of(path), &file.path())?;
    file.link(path)
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// The name of a file that is not in its place yet: `.novarc.new`.
fn pending_name(path: &Path, id: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{id}.new"))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_is_not_finished_has_no_name_and_what_a_killed_program_named_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("novarc");
        fs::write(folder.path().join(".novarc.new"), "of a killed one").unwrap();
        let pending = Pending::begin(&path).unwrap();
        assert_eq!(names(folder.path()), [".novarc.new"]);
        pending.finish(b"first").unwrap();
        Pending::begin(&path).unwrap().finish(b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(folder.path()), ["novarc"]);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_is_created_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        create(&path, b"first").unwrap();
        let error = create(&path, b"second").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(names(folder.path()), ["secret"]);
    }
}
