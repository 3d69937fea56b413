//! Files that are whole or as they were, whoever is killed while they are written.
//!
//! What is written stands beside the file for a moment, under one name: a temporary name of its own for
//! every try would be left over by every agent that is killed at the wrong moment.

use crate::reserve;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Replaces a file in one step. A file has one writer at a time.
pub(crate) fn replace(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    reserve::write(path, || put(path, mode, bytes, false))
}

/// As [`replace`], and it is there after a power cut, too.
pub(crate) fn replace_for_good(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    reserve::write(path, || put(path, mode, bytes, true))
}

fn put(path: &Path, mode: u32, bytes: &[u8], for_good: bool) -> io::Result<()> {
    let new = beside(path);
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let written = write(&new, mode, bytes, for_good).and_then(|()| std::fs::rename(&new, path));
    if let Err(error) = written {
        // On a full disk others need its space.
        let _ = std::fs::remove_file(&new);
        return Err(error);
    }
    if for_good && let Some(folder) = path.parent() {
        std::fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn write(new: &Path, mode: u32, bytes: &[u8], for_good: bool) -> io::Result<()> {
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(new)?;
    file.write_all(bytes)?;
    // Again, past the umask.
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    if for_good {
        file.sync_all()?;
    }
    Ok(())
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_a_killed_writer_left_is_in_nobodys_way_and_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(beside(&path), "half, and longer than the next one").unwrap();
        replace(&path, 0o644, b"whole").unwrap();
        replace_for_good(&path, 0o600, b"again").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"again");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
