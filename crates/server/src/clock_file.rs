//! The note of a state folder how far its database was (`clock.seen`): an older copy, or another
//! database, does not fit it. Knows only the file.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Where it is.
pub fn path(state_path: &Path) -> PathBuf {
    state_path.join("clock.seen")
}

/// Epoch and version that were noted last; `None`: nothing was, or it cannot be read.
pub fn read(file: &Path) -> Option<(String, i64)> {
    let text = std::fs::read_to_string(file).ok()?;
    let (epoch, version) = text.trim().split_once(' ')?;
    Some((epoch.to_owned(), version.parse().ok()?))
}

/// Notes them, in one step. `durable`: they are there after a power cut, too.
pub fn write(file: &Path, epoch: &str, version: i64, durable: bool) -> io::Result<()> {
    let fresh = file.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    written.write_all(format!("{epoch} {version}\n").as_bytes())?;
    if durable {
        written.sync_all()?;
    }
    std::fs::rename(&fresh, file)
}
