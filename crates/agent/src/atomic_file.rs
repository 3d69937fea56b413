//! Replaces files atomically: a reader, and a process that starts after a kill, sees the old content
//! or the new, never a part. Depends on [`crate::reserve`] for space on a full disk.
//!
//! The new content is written beside the file under one fixed name. With a new temporary name for
//! each attempt, every killed agent would leave a file behind.

use crate::reserve;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Replaces a file in one step. At most one writer per file at a time.
pub(crate) fn replace(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    reserve::write(path, || put(path, mode, bytes, false))
}

/// As [`replace`], and the new content survives a power cut.
pub(crate) fn replace_durable(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    reserve::write(path, || put(path, mode, bytes, true))
}

fn put(path: &Path, mode: u32, bytes: &[u8], durable: bool) -> io::Result<()> {
    let new = pending_path(path);
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let written = write(&new, mode, bytes, durable).and_then(|()| std::fs::rename(&new, path));
    if let Err(error) = written {
        // On a full disk other files need the space.
        let _ = std::fs::remove_file(&new);
        return Err(error);
    }
    if durable && let Some(folder) = path.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn write(new: &Path, mode: u32, bytes: &[u8], durable: bool) -> io::Result<()> {
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(new)?;
    file.write_all(bytes)?;
    // Again, past the umask.
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    if durable {
        file.sync_all()?;
    }
    Ok(())
}

fn pending_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_that_a_killed_writer_left_blocks_no_write_and_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(pending_path(&path), "half, and longer than the next one").unwrap();
        replace(&path, 0o644, b"whole").unwrap();
        replace_durable(&path, 0o600, b"again").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"again");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
