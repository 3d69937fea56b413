//! Reserves disk space for novanet's own files: a file `.reserve` of allocated blocks in the state
//! folder. Depends on the file system only.
//!
//! Tenants can fill a host's disk in spite of all limits (disks are sparse). A write of novanet
//! that finds no room shrinks the reserve to half and tries again; the agent fills the reserve up
//! when there is room. Blocks that a file system reserves for root do not help: instances write
//! through loop devices and overlays, which write as root.

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

const NAME: &str = ".reserve";
/// How often the agent tries to fill the reserve up.
const FILL_INTERVAL: Duration = Duration::from_secs(10);
/// A reserve of this size or less is released whole, not halved.
const MIN_BYTES: u64 = 1 << 20;

/// Fills the reserve in this folder up to `mb` MiB, for ever, while there is twice as much room.
pub async fn keep(state_path: &Path, mb: u64) {
    let mut every = tokio::time::interval(FILL_INTERVAL);
    let mut has_warned = false;
    loop {
        every.tick().await;
        let folder = state_path.to_owned();
        let filled = tokio::task::spawn_blocking(move || fill(&folder, mb << 20)).await;
        match filled {
            Ok(Err(error)) if !has_warned => {
                tracing::warn!(%error, "no space can be reserved in the state folder");
                has_warned = true;
            }
            Ok(Ok(true)) => tracing::info!(mb, "space is reserved in the state folder"),
            _ => {}
        }
    }
}

/// Makes the reserve `bytes` long if there is room. Returns whether it grew.
fn fill(folder: &Path, bytes: u64) -> io::Result<bool> {
    let path = folder.join(NAME);
    let length = match path.metadata() {
        Ok(meta) => meta.len(),
        Err(e) if e.kind() == ErrorKind::NotFound => 0,
        Err(e) => return Err(e),
    };
    if length == bytes {
        return Ok(false);
    }
    if length > bytes || bytes == 0 {
        // The setting is smaller than it was.
        File::options().write(true).open(&path)?.set_len(bytes)?;
        return Ok(false);
    }
    let space = statvfs(folder)?;
    if space.f_bavail.saturating_mul(space.f_frsize) < bytes * 2 {
        return Ok(false);
    }
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)?;
    fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
    Ok(true)
}

/// Releases half of the reserve in this folder, for a write that found no room. Returns whether
/// there was a reserve to release.
pub fn release(state_path: &Path) -> bool {
    let path = state_path.join(NAME);
    let released = (|| {
        let file = File::options().write(true).open(&path)?;
        let length = file.metadata()?.len();
        let rest = if length <= MIN_BYTES { 0 } else { length / 2 };
        file.set_len(rest)?;
        Ok::<_, io::Error>((length, rest))
    })();
    match released {
        Ok((length, rest)) if length > 0 => {
            tracing::error!(
                path = %state_path.display(),
                left_mb = rest >> 20,
                "the disk is full: reserved space is given up; make room"
            );
            true
        }
        _ => false,
    }
}

/// Writes below a state folder. If no space is left, releases some of the reserve and tries once
/// more.
pub(crate) fn write<T>(path: &Path, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match attempt() {
        Err(e) if e.kind() == ErrorKind::StorageFull && release_above(path) => attempt(),
        other => other,
    }
}

/// Releases space of the state folder that this path is in.
fn release_above(path: &Path) -> bool {
    let above = path.ancestors().skip(1);
    let mut folders = above.filter(|folder| folder.join(NAME).exists());
    folders.next().is_some_and(release)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    use nix::sched::{CloneFlags, unshare};

    /// Runs a test on a tmpfs of 8 MiB.
    fn on_8_mb(test: impl FnOnce(&Path) + Send + 'static) {
        let thread = std::thread::spawn(move || {
            let none = None::<&str>;
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let (tmpfs, size) = (Some("tmpfs"), Some("size=8m"));
            mount(tmpfs, folder.path(), tmpfs, MsFlags::empty(), size).unwrap();
            test(folder.path());
            umount2(folder.path(), MntFlags::MNT_DETACH).unwrap();
        });
        thread.join().unwrap();
    }

    fn length(folder: &Path) -> u64 {
        folder.join(NAME).metadata().unwrap().len()
    }

    #[test]
    fn novanet_can_write_on_a_full_disk_and_the_reserve_comes_back() {
        on_8_mb(|folder| {
            assert!(fill(folder, 2 << 20).unwrap());
            assert!(!fill(folder, 2 << 20).unwrap(), "it is there");
            let below = folder.join("instances");
            std::fs::create_dir(&below).unwrap();
            // A tenant.
            let full = std::fs::write(folder.join("fill"), vec![1; 8 << 20]).unwrap_err();
            assert_eq!(full.kind(), ErrorKind::StorageFull);

            for left in [1 << 20, 0] {
                let bytes = vec![7; 900 << 10];
                let path = below.join(format!("state{left}.json"));
                crate::atomic_file::replace(&path, 0o600, &bytes).unwrap();
                assert_eq!(std::fs::read(path).unwrap(), bytes);
                assert_eq!(length(folder), left);
                assert!(!fill(folder, 2 << 20).unwrap(), "no room yet");
            }
            let path = below.join("more");
            let full = crate::atomic_file::replace(&path, 0o600, &vec![7; 1 << 20]).unwrap_err();
            assert_eq!(full.kind(), ErrorKind::StorageFull);

            std::fs::remove_file(folder.join("fill")).unwrap();
            assert!(fill(folder, 2 << 20).unwrap());
            assert_eq!(length(folder), 2 << 20);
            assert!(!fill(folder, 1 << 20).unwrap(), "smaller now");
            assert_eq!(length(folder), 1 << 20);
        });
    }

    #[test]
    fn a_small_disk_is_not_filled_by_the_reserve() {
        on_8_mb(|folder| {
            assert!(!fill(folder, 5 << 20).unwrap());
            assert!(!folder.join(NAME).exists());
            assert!(!release(folder));
        });
    }
}
