//! Files and folders that only their owner may use, whatever the umask is and whatever an earlier
//! version made: a user that can open a lock file can hold its lock.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::Path;

/// Makes a folder, 0700.
pub(crate) fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o700))
}

/// Opens a file with these options, 0600.
pub(crate) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.mode(0o600).open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Writes a file, 0600.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    open(
        File::options().write(true).create(true).truncate(true),
        path,
    )?
    .write_all(bytes)
}
