//! An instance's disk: a sparse file of a fixed size, `disk.img` in its folder, with an ext4 file
//! system on a loop device, so that an instance fills its own disk and not the host's. Depends on
//! `mkfs.ext4`, `e2fsck` and loop devices.
//!
//! Folders of older agents, and of hosts without loop devices, have their layers (`upper`, `work`)
//! in the folder itself and no limit; they stay as they are.

use super::program;
use composefs_ioctls::loop_device::{flags, loopify_with_flags};
use nix::mount::{MsFlags, mount};
use novanet_model::InstanceId;
use novanet_reconcile::SubsystemError;
use rustix::fs::{FlockOperation, Gid, Mode, Uid, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The file with the disk, in an instance's folder.
const IMAGE: &str = "disk.img";
/// Below this size a file system gets four times as many inodes per byte.
const SMALL: u64 = 4 << 30;
/// How long an earlier loop device over the file may exist: the kernel first writes the memory of a
/// killed instance.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// How many free loop devices to try when other programs take them first.
const ATTEMPTS: usize = 50;

/// Whether the folder has a disk image.
pub(super) fn is_in(folder: &Path) -> bool {
    folder.join(IMAGE).exists()
}

/// Size of an instance's disk in bytes: the one of its type, or for a type without a disk the size
/// of the image and `beside_mb` MiB.
pub(super) fn size(disk_gb: u32, image_bytes: u64, beside_mb: u64) -> u64 {
    match disk_gb {
        0 => image_bytes.next_multiple_of(1 << 20) + (beside_mb << 20),
        gb => u64::from(gb) << 30,
    }
}

/// Makes the disk in `folder`, `bytes` long. On the host it takes 160 KiB (for 2 GiB) to 2 MiB (for
/// 160 GiB).
pub(super) fn make(folder: &Path, bytes: u64) -> Result<(), SubsystemError> {
    let path = folder.join("disk.img.new");
    let failed = |e: io::Error| SubsystemError::kernel(path.display().to_string(), e);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed(e)),
        _ => {}
    }
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    file.set_len(bytes).map_err(failed)?;
    let per_inode = if bytes <= SMALL { "16384" } else { "65536" };
    // -b: the loop device has blocks of 4 KiB, and small file systems would have smaller ones.
    // Without the other options a disk of 20 GiB begins with 135 MiB of empty tables.
    let mut command = Command::new(program::find("mkfs.ext4")?);
    command
        .args(["-q", "-F", "-b", "4096", "-m", "0", "-O", "^resize_inode"])
        .args(["-J", "size=4", "-i", per_inode, "-E"])
        .arg("lazy_itable_init=1,lazy_journal_init=1,nodiscard");
    match on_file(&mut command, &file)? {
        (Some(0), _) => std::fs::rename(&path, folder.join(IMAGE)).map_err(failed),
        (_, said) => Err(SubsystemError::Command {
            command: format!("mkfs.ext4 {}", path.display()),
            message: said,
        }),
    }
}

/// Runs a program on an open file. The path may lead to another file when the program opens it, if
/// the agent is killed and the next one makes a new disk.
fn on_file(command: &mut Command, file: &File) -> Result<(Option<i32>, String), SubsystemError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |e: io::Error| SubsystemError::Command {
        command: name.clone(),
        message: e.to_string(),
    };
    let output = command
        .arg("/proc/self/fd/0")
        .stdin(file.try_clone().map_err(failed)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .map_err(failed)?;
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Ok((output.status.code(), said))
}

/// A disk with a lock that excludes other users.
pub(super) struct Disk {
    instance: InstanceId,
    path: PathBuf,
    file: File,
}

impl Disk {
    /// Opens the disk in an instance's folder and repairs it if it has errors. Waits for the end of
    /// an earlier mount of it. `None`: the folder has none.
    ///
    /// Two loop devices over one file would be two file systems that destroy each other. A lock on
    /// the open file prevents that: the loop device keeps the open file, and so the lock, until it
    /// ends, whichever agent or mount namespace it belongs to.
    pub(super) fn open(
        instance: InstanceId,
        folder: &Path,
    ) -> Result<Option<Self>, SubsystemError> {
        let path = folder.join(IMAGE);
        let failed = |e: io::Error| SubsystemError::kernel(path.display().to_string(), e);
        let file = match File::options().read(true).write(true).open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        let start = Instant::now();
        while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != Errno::WOULDBLOCK || start.elapsed() > LOCK_TIMEOUT {
                return Err(failed(error.into()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let disk = Self {
            instance,
            path,
            file,
        };
        if disk.has_errors().map_err(|e| disk.failed(e))? {
            disk.repair()?;
        }
        Ok(Some(disk))
    }

    fn failed(&self, source: io::Error) -> SubsystemError {
        SubsystemError::kernel(self.path.display().to_string(), source)
    }

    /// Whether the kernel found errors when it last used the file system (`s_state` of ext4), as it
    /// does after the host's disk was full.
    fn has_errors(&self) -> io::Result<bool> {
        let mut state = [0; 2];
        self.file.read_exact_at(&mut state, 1024 + 0x3a)?;
        Ok(u16::from_le_bytes(state) & 2 != 0)
    }

    fn repair(&self) -> Result<(), SubsystemError> {
        let mut command = Command::new(program::find("e2fsck")?);
        let (code, said) = on_file(command.arg("-p"), &self.file)?;
        // 1 and 2: errors were there and are corrected.
        if matches!(code, Some(0..=2)) {
            tracing::warn!(instance = %self.instance, said, "repaired the instance's disk");
            return Ok(());
        }
        Err(SubsystemError::Refused(format!(
            "{}: its disk has errors: repair it with e2fsck -f {}: {said}",
            self.instance,
            self.path.display()
        )))
    }

    /// Mounts it at `at`, in the mount namespace of this thread. The loop device ends with the
    /// mount.
    pub(super) fn mount(self, at: &str) -> Result<(), SubsystemError> {
        let device = attach(&self.file).map_err(|e| self.failed(e))?;
        let source = std::fs::read_link(format!("/proc/self/fd/{}", device.as_raw_fd()))
            .map_err(|e| self.failed(e))?;
        // discard: deleted blocks go back to the host.
        let options = Some("noinit_itable,discard");
        mount(
            Some(&source),
            at,
            Some("ext4"),
            MsFlags::MS_NOATIME,
            options,
        )
        .map_err(|e| {
            let what = format!("{}: mount {}", self.instance, self.path.display());
            SubsystemError::kernel(what, e)
        })
    }
}

/// A loop device over the file. It ends with its last open handle or mount.
fn attach(file: &File) -> io::Result<OwnedFd> {
    let mut attempts = 0;
    loop {
        // Direct: the kernel caches the pages once.
        let flags = flags::LO_FLAGS_AUTOCLEAR | flags::LO_FLAGS_DIRECT_IO;
        let result = loopify_with_flags(file.as_fd(), flags);
        attempts += 1;
        match result {
            // Another program took the free device first.
            Err(e) if attempts < ATTEMPTS && errno(&e) == Some(Errno::BUSY) => {}
            Err(e) => return Err(errno(&e).map_or(e, io::Error::from)),
            Ok(device) => return Ok(device),
        }
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    let inner = || error.get_ref()?.downcast_ref::<Errno>().copied();
    Errno::from_io_error(error).or_else(inner)
}

/// Why this host has no loop devices; `None`: it has. Tries one over a file in `folder`.
pub(super) fn unavailable(folder: &Path) -> Option<String> {
    let tried = tempfile::tempfile_in(folder).and_then(|file| {
        file.set_len(1 << 20)?;
        attach(&file)
    });
    tried.err().map(|e| e.to_string())
}

/// Makes the folders of the instance's own layer in `folder`: `upper`, its `/`, which belongs to
/// its root (`owner` on the host), and `work`, which the kernel's overlay needs.
pub(super) fn make_layers(folder: &Path, owner: u32) -> Result<(), SubsystemError> {
    let mut new = false;
    for name in ["work", "upper"] {
        let path = folder.join(name);
        let failed = |e: io::Error| SubsystemError::kernel(path.display().to_string(), e);
        new = match std::fs::create_dir(&path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => false,
            other => other.map(|()| true).map_err(failed)?,
        };
    }
    let upper = folder.join("upper");
    let failed = |e: io::Error| SubsystemError::kernel(upper.display().to_string(), e);
    if !new && std::fs::symlink_metadata(&upper).map_err(failed)?.uid() == owner {
        return Ok(());
    }
    // The instance's users must be able to enter its `/`, whatever the agent's umask is.
    rustix::fs::chmod(&upper, Mode::from(0o755))
        .and_then(|()| {
            let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
            rustix::fs::chown(&upper, Some(uid), Some(gid))
        })
        .map_err(|e| failed(e.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::instance::inject::{interfaces_file, write_file};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_instances_users_may_enter_its_disk_whatever_our_umask_is() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // The umask of this thread alone: other tests of this process keep theirs.
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
                // As systemd's UMask=0077.
                rustix::process::umask(Mode::from(0o077));
                make_layers(folder.path(), 0).unwrap();
                let upper = folder.path().join("upper");
                let file = interfaces_file("auto lo\n".to_owned());
                write_file((&upper, folder.path()), 0, &file).unwrap();
            });
        });
        for path in ["upper", "upper/etc", "upper/etc/network"] {
            let meta = std::fs::metadata(folder.path().join(path)).unwrap();
            assert_eq!(meta.permissions().mode() & 0o777, 0o755, "{path}");
        }
    }

    #[test]
    fn a_disk_is_as_long_as_the_type_says_and_tinys_is_the_image_and_a_little() {
        assert_eq!(size(20, 5, 1024), 20 << 30);
        assert_eq!(size(0, 2_400_000, 1024), (3 << 20) + (1 << 30));
    }

    #[test]
    fn an_empty_disk_takes_little_of_the_hosts() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), 20 << 30).unwrap();
        let meta = std::fs::metadata(folder.path().join(IMAGE)).unwrap();
        assert_eq!(meta.len(), 20 << 30);
        assert!(meta.blocks() * 512 < 2 << 20, "{}", meta.blocks() * 512);
    }

    #[test]
    fn a_disk_with_errors_is_repaired_before_it_is_used_again() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), 64 << 20).unwrap();
        let path = folder.path().join(IMAGE);
        // What the kernel leaves after an aborted journal: "clean with errors".
        let script = "set_super_value state 3";
        let done = Command::new("debugfs")
            .args(["-w", "-R", script])
            .arg(&path)
            .output();
        assert!(done.unwrap().status.success());
        let disk = Disk::open(InstanceId(1), folder.path()).unwrap().unwrap();
        assert!(!disk.has_errors().unwrap());
    }

    #[test]
    fn a_disk_that_a_loop_device_still_has_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), 64 << 20).unwrap();
        let first = Disk::open(InstanceId(1), folder.path()).unwrap().unwrap();
        let device = attach(&first.file).unwrap();
        // Like a killed agent: only the loop device still has the file open.
        drop(first);
        let path = folder.path().to_owned();
        let next = std::thread::spawn(move || {
            let disk = Disk::open(InstanceId(1), &path).unwrap().unwrap();
            (Instant::now(), disk)
        });
        let again = File::open(folder.path().join(IMAGE)).unwrap();
        let locked = flock(&again, FlockOperation::NonBlockingLockShared);
        assert_eq!(locked, Err(Errno::WOULDBLOCK), "the loop device holds it");
        let freed = Instant::now();
        drop(device);
        let (opened, _disk) = next.join().unwrap();
        assert!(opened >= freed);
    }
}
