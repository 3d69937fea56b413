//! Unpacks an image's archive below one folder, and nowhere else. Depends on `tar` and on
//! `openat2`.
//!
//! The archive comes from a user. The kernel resolves each parent folder beneath the root and
//! through no symbolic link (`openat2`), and the unpacker makes every entry by handle, so no order
//! of entries leads outside. It skips device nodes: the runtime makes its own.

use super::ImageError;
use super::entry::{IDS, inside, raw_path, refused, target, unmapped};
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fchmod, fchown, linkat,
    mkdirat, mknodat, openat, openat2, symlinkat, unlinkat,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Unpacks `archive` into the empty folder `root`, every owner shifted by `uid_base`.
pub(super) fn unpack(archive: &Path, root: &Path, uid_base: u32) -> Result<(), ImageError> {
    let file = File::open(archive).map_err(|e| ImageError::file(archive, e))?;
    let handle = openat(
        CWD,
        root,
        OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| ImageError::file(root, e))?;
    let mut into = Unpacker {
        root: handle,
        uid_base,
        modes: BTreeMap::from([(PathBuf::new(), (0o755, uid_base, uid_base))]),
    };
    let mut tar = tar::Archive::new(BufReader::with_capacity(1 << 18, file));
    let entries = tar.entries().map_err(|e| ImageError::file(archive, e))?;
    for entry in entries {
        let entry = entry.map_err(|e| ImageError::Refused {
            path: archive.display().to_string(),
            reason: format!("is not a tar archive: {e}"),
        })?;
        into.entry(entry)?;
    }
    into.finish()
}

struct Unpacker {
    root: OwnedFd,
    uid_base: u32,
    /// Mode, owner and group of each folder, set at the end: a folder may not be writable.
    modes: BTreeMap<PathBuf, (u32, u32, u32)>,
}

impl Unpacker {
    fn entry(&mut self, mut entry: tar::Entry<'_, impl std::io::Read>) -> Result<(), ImageError> {
        let raw = raw_path(&entry)?;
        let path = inside(&raw)?;
        let header = entry.header();
        let kind = header.entry_type();
        if matches!(kind, tar::EntryType::XGlobalHeader) {
            return Ok(());
        }
        let mode = header.mode().map_err(|e| refused(&raw, e.to_string()))? & 0o7777;
        let uid = self.id(&raw, header.uid())?;
        let gid = self.id(&raw, header.gid())?;
        let (owner, group) = ids(uid, gid);
        let Some(name) = path.file_name().map(Path::new) else {
            self.modes.insert(path, (mode, uid, gid));
            return Ok(());
        };
        let parent = self.parent(&path)?;
        let failed = |e: rustix::io::Errno| ImageError::file(&raw, e);
        match kind {
            tar::EntryType::Directory => {
                match mkdirat(&parent, name, Mode::from(0o700)) {
                    Err(rustix::io::Errno::EXIST) => {
                        self.folder(&path)?;
                    }
                    other => other.map_err(failed)?,
                }
                self.modes.insert(path, (mode, uid, gid));
            }
            tar::EntryType::Symlink => {
                let to = target(&entry, &raw)?;
                make_way(&parent, name).map_err(failed)?;
                symlinkat(&to, &parent, name).map_err(failed)?;
                chownat(&parent, name, owner, group, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            }
            tar::EntryType::Link => {
                let to = inside(&target(&entry, &raw)?)?;
                let from = self.parent(&to)?;
                let old = to
                    .file_name()
                    .ok_or_else(|| refused(&raw, "is a hard link to the root".to_owned()))?;
                make_way(&parent, name).map_err(failed)?;
                linkat(&from, old, &parent, name, AtFlags::empty()).map_err(failed)?;
            }
            tar::EntryType::Fifo => {
                make_way(&parent, name).map_err(failed)?;
                mknodat(&parent, name, FileType::Fifo, Mode::from(mode), 0).map_err(failed)?;
                chownat(&parent, name, owner, group, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
            }
            tar::EntryType::Char | tar::EntryType::Block => {}
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
                make_way(&parent, name).map_err(failed)?;
                let flags = OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::WRONLY
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let mut file =
                    File::from(openat(&parent, name, flags, Mode::from(0o600)).map_err(failed)?);
                std::io::copy(&mut entry, &mut file).map_err(|e| ImageError::file(&raw, e))?;
                // Owner first: chown takes the set-user-id bits away.
                fchown(&file, owner, group).map_err(failed)?;
                fchmod(&file, Mode::from(mode)).map_err(failed)?;
            }
            other => return Err(refused(&raw, format!("has the unknown type {other:?}"))),
        }
        Ok(())
    }

    /// Opens the folder that `path` is in. Makes the missing folders on the way.
    fn parent(&mut self, path: &Path) -> Result<OwnedFd, ImageError> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if let Ok(handle) = self.folder(parent) {
            return Ok(handle);
        }
        let mut so_far = PathBuf::new();
        for part in parent.components() {
            let above = self.folder(&so_far)?;
            so_far.push(part);
            match mkdirat(&above, Path::new(part.as_os_str()), Mode::from(0o700)) {
                Ok(()) => {
                    let ids = (0o755, self.uid_base, self.uid_base);
                    self.modes.insert(so_far.clone(), ids);
                }
                Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(ImageError::file(&so_far, e)),
            }
        }
        self.folder(parent)
    }

    /// A folder beneath the root, reached through no symbolic link.
    fn folder(&self, path: &Path) -> Result<OwnedFd, ImageError> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        openat2(
            &self.root,
            path,
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )
        .map_err(|e| match e {
            rustix::io::Errno::LOOP => refused(path, "leads through a symbolic link".to_owned()),
            rustix::io::Errno::XDEV => refused(path, "leads outside".to_owned()),
            other => ImageError::file(path, other),
        })
    }

    fn id(&self, raw: &Path, id: std::io::Result<u64>) -> Result<u32, ImageError> {
        let id = id.map_err(|e| refused(raw, e.to_string()))?;
        match u32::try_from(id) {
            Ok(id) if id < IDS => Ok(self.uid_base + id),
            _ => Err(refused(raw, unmapped(id))),
        }
    }

    fn finish(self) -> Result<(), ImageError> {
        for (path, (mode, uid, gid)) in &self.modes {
            let handle = self.folder(path)?;
            let failed = |e: rustix::io::Errno| ImageError::file(path, e);
            let (owner, group) = ids(*uid, *gid);
            fchown(&handle, owner, group).map_err(failed)?;
            fchmod(&handle, Mode::from(*mode)).map_err(failed)?;
        }
        Ok(())
    }
}

/// A later entry of the same name wins, as with tar.
fn make_way(parent: &OwnedFd, name: &Path) -> rustix::io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn ids(uid: u32, gid: u32) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}
