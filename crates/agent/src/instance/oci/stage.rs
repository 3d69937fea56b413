//! Covers a folder with a tmpfs in a mount namespace of the runtime's own, and mounts an instance's
//! disk there. Depends on the kernel only: the host's table of mounts stays as it is, and all
//! mounts end with the instance.

use super::userns::UserNamespace;
use composefs_ioctls::mount::mount_setattr_idmap;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use novanet_reconcile::SubsystemError;
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use std::fs::File;
use std::path::{Path, PathBuf};

const NONE: Option<&str> = None;

/// The covered folder, as this thread and its child processes see it.
pub(super) struct Cover(&'static str);

impl Cover {
    /// Moves this thread into a mount namespace of its own, and mounts an empty tmpfs over
    /// `folder`.
    pub(super) fn enter(folder: &'static str) -> Result<Self, SubsystemError> {
        unshare(CloneFlags::CLONE_NEWNS)
            .map_err(|e| SubsystemError::kernel("a mount namespace", e))?;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(NONE, "/", NONE, private, NONE)
            .map_err(|e| SubsystemError::kernel("make mounts private", e))?;
        let (tmpfs, mode) = (Some("tmpfs"), Some("mode=755"));
        mount(tmpfs, folder, tmpfs, MsFlags::empty(), mode)
            .map_err(|e| SubsystemError::kernel(format!("cover {folder}"), e))?;
        Ok(Self(folder))
    }

    /// Makes a folder in the covered one.
    pub(super) fn folder(&self, name: &str) -> Result<String, SubsystemError> {
        let path = format!("{}/{name}", self.0);
        std::fs::create_dir(&path).map_err(|e| SubsystemError::kernel(&path, e))?;
        Ok(path)
    }

    /// Mounts an image's root a second time, with its owners mapped by `ids`.
    pub(super) fn map_ids(
        &self,
        image: &Path,
        ids: &UserNamespace,
    ) -> Result<PathBuf, SubsystemError> {
        let failed = |e: std::io::Error| {
            SubsystemError::kernel(format!("map the ids of {}", image.display()), e)
        };
        let lower = self.folder("lower")?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, image, flags).map_err(|e| failed(e.into()))?;
        mount_setattr_idmap(&tree, ids.open()?).map_err(failed)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tree, "", CWD, lower.as_str(), flags).map_err(|e| failed(e.into()))?;
        Ok(lower.into())
    }

    /// Mounts the instance's `/`: the layers in `own` (`upper`, `work`) over the image.
    pub(super) fn overlay(&self, image: &Path, own: &Path) -> Result<String, SubsystemError> {
        let root = self.folder("disk")?;
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            image.display(),
            own.join("upper").display(),
            own.join("work").display()
        );
        let (overlay, layers) = (Some("overlay"), Some(layers.as_str()));
        mount(overlay, root.as_str(), overlay, MsFlags::empty(), layers)
            .map_err(|e| SubsystemError::kernel("mount the disk", e))?;
        Ok(root)
    }

    /// Binds a user namespace to a path, which stays when its first process ends.
    pub(super) fn bind(&self, namespace: &UserNamespace) -> Result<String, SubsystemError> {
        let path = format!("{}/user", self.0);
        File::create_new(&path).map_err(|e| SubsystemError::kernel(&path, e))?;
        let from = namespace.path();
        mount(Some(&from), path.as_str(), NONE, MsFlags::MS_BIND, NONE)
            .map_err(|e| SubsystemError::kernel(&path, e))?;
        Ok(path)
    }

    /// Makes a node of `/dev/net/tun`. `None`: the host's root may not make device nodes.
    pub(super) fn tun(&self) -> Option<String> {
        let path = format!("{}/tun", self.0);
        let all = Mode::from_bits_truncate(0o666);
        mknod(path.as_str(), SFlag::S_IFCHR, all, makedev(10, 200)).ok()?;
        // Again, past the umask.
        rustix::fs::chmod(path.as_str(), rustix::fs::Mode::from(0o666)).ok()?;
        Some(path)
    }
}
