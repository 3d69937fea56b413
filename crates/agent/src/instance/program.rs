//! Finds programs of the host in Debian's places, whatever the agent's `PATH` is. Depends on the
//! file system only.

use novanet_reconcile::SubsystemError;
use std::path::{Path, PathBuf};

const PLACES: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The program's path, if it is installed.
pub(super) fn installed(name: &str) -> Option<PathBuf> {
    PLACES
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file())
}

/// The program's path. The error names the package to install.
pub(super) fn find(name: &str) -> Result<PathBuf, SubsystemError> {
    installed(name).ok_or_else(|| {
        let package = match name {
            "mkfs.ext4" | "e2fsck" => "e2fsprogs",
            _ => "util-linux",
        };
        SubsystemError::Refused(format!(
            "{name} is missing: install the Debian package {package}"
        ))
    })
}
