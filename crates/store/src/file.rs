//! The file of a SQLite database: its owner, its mode, and the messages about a file that cannot be
//! used. Knows nothing of its tables.

use crate::{Result, StoreError};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A file that may be used.
pub(crate) struct Opened {
    file: File,
    path: PathBuf,
    bytes: u64,
}

/// How messages name the database of a file.
pub(crate) fn name(path: &Path) -> String {
    format!("file {}", path.display())
}

/// Bytes that a URL's path keeps.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.');

/// The URL of a file; characters with a meaning in URLs are escaped.
pub(crate) fn url(path: &Path) -> String {
    let path = percent_encode(path.as_os_str().as_bytes(), PATH);
    format!("sqlite://{path}")
}

/// Makes the file and its folder, or says why an existing one cannot be used. Does not change an
/// existing file.
pub(crate) fn open(path: &Path) -> Result<Opened> {
    let failed = |e: io::Error| refused(path, &e);
    let me = rustix::process::geteuid().as_raw();
    if let Some(folder) = path.parent() {
        if !folder.try_exists().map_err(failed)? {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(failed)?;
        }
        let owner = folder.metadata().map_err(failed)?.uid();
        if me == 0 && owner != 0 && !path.exists() {
            // The folder's owner could not use what root makes there.
            return Err(not_mine(folder, owner, me));
        }
    }
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if found.uid() != me {
        // As another user than the owner SQLite would leave WAL files behind that the owner cannot
        // read. That is true of root too.
        return Err(not_mine(path, found.uid(), me));
    }
    Ok(Opened {
        bytes: found.len(),
        path: path.to_owned(),
        file,
    })
}

impl Opened {
    /// Nothing was ever in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Makes the file private. The WAL gets the same mode.
    pub(crate) fn keep_private(&self) -> Result<()> {
        let close = || {
            if self.file.metadata()?.mode() & 0o077 != 0 {
                let mode = Permissions::from_mode(0o600);
                self.file.set_permissions(mode)?;
            }
            Ok(())
        };
        close().map_err(|e| refused(&self.path, &e))
    }
}

/// Why a file cannot be used, and what helps.
pub(crate) fn refused(path: &Path, error: &io::Error) -> StoreError {
    const ELSEWHERE: &str = "name another place: --state_path=DIR";
    let remedy = match error.kind() {
        ErrorKind::PermissionDenied => {
            format!("run this as the owner of the file and its folder, or {ELSEWHERE}")
        }
        ErrorKind::IsADirectory => {
            "that is a folder: name a file: --sql_connection=sqlite:////FOLDER/FILE".to_owned()
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            format!("a file is where a folder has to be: move it away, or {ELSEWHERE}")
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            format!("make room on its disk, or {ELSEWHERE}")
        }
        ErrorKind::ReadOnlyFilesystem => {
            format!("make that file system writable, or {ELSEWHERE}")
        }
        _ => ELSEWHERE.to_owned(),
    };
    StoreError::Refused(format!(
        "database file {}: {error} ({remedy})",
        path.display()
    ))
}

fn not_mine(path: &Path, owner: u32, me: u32) -> StoreError {
    StoreError::Refused(format!(
        "database file {}: belongs to user id {owner}, not to {me} \
         (run this as its owner, or: chown it)",
        path.display()
    ))
}

/// The error, or that the file is something else altogether.
pub(crate) fn not_a_database(path: &Path, error: StoreError) -> StoreError {
    const NOT_A_DATABASE: &str = "26";
    let StoreError::Statement(statement) = &error else {
        return error;
    };
    let code = statement
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    if code.is_none_or(|c| c != NOT_A_DATABASE) {
        return error;
    }
    StoreError::Refused(format!(
        "database file {}: is not a SQLite database (move it away, or name another file: \
         --sql_connection=sqlite:////FOLDER/FILE)",
        path.display()
    ))
}
