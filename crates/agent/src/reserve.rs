//! Space that is kept for novanet itself in the file system of the state folder: a file `.reserve`
//! with nothing in it. Tenants can fill a host's disk in spite of all limits (disks are sparse);
//! then half of the file is given up for the write that found no room, and filled again when there
//! is room.
//!
//! Blocks that a file system keeps for root are no such reserve: what instances write goes through
//! loop devices and overlays, which write as root.

use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

const NAME: &str = ".reserve";
/// How often the reserve is filled again, if there is room.
const EVERY: Duration = Duration::from_secs(10);
/// What is not worth halving.
const LITTLE: u64 = 1 << 20;

/// Keeps the reserve in this folder at `mb` MiB, as long as there is twice as much room.
pub async fn keep(state_path: &Path, mb: u64) {
    let mut every = tokio::time::interval(EVERY);
    let mut said = false;
    loop {
        every.tick().await;
        let folder = state_path.to_owned();
        let filled = tokio::task::spawn_blocking(move || fill(&folder, mb << 20)).await;
        match filled {
            Ok(Err(error)) if !said => {
                tracing::warn!(%error, "no space can be reserved in the state folder");
                said = true;
            }
            Ok(Ok(true)) => tracing::info!(mb, "space is reserved in the state folder"),
            _ => {}
        }
    }
}

/// Makes the reserve `bytes` long if it is not and there is room. Answers whether it grew.
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
        // The setting is another one now.
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

/// Gives up half of the reserve in this folder, because something was not written for lack of
/// space. Answers whether there was anything to give up.
pub fn release(state_path: &Path) -> bool {
    let path = state_path.join(NAME);
    let released = (|| {
        let file = File::options().write(true).open(&path)?;
        let length = file.metadata()?.len();
        let rest = if length <= LITTLE { 0 } else { length / 2 };
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

/// Writes below a state folder. If there is no space left, space is given up and it is tried once
/// more.
pub(crate) fn write<T>(path: &Path, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    match attempt() {
        Err(e) if e.kind() == ErrorKind::StorageFull && release_above(path) => attempt(),
        other => other,
    }
}

/// Gives up space of the state folder that this path is in.
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

    /// Runs a test with a small file system of its own.
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
    fn what_novanet_writes_finds_room_on_a_full_disk_and_the_reserve_comes_back() {
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
                crate::whole::replace(&path, 0o600, &bytes).unwrap();
                assert_eq!(std::fs::read(path).unwrap(), bytes);
                assert_eq!(length(folder), left);
                assert!(!fill(folder, 2 << 20).unwrap(), "no room yet");
            }
            let path = below.join("more");
            let full = crate::whole::replace(&path, 0o600, &vec![7; 1 << 20]).unwrap_err();
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
