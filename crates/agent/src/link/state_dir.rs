//! The state directory of the links subsystem: small files, and no directory without a file.
//! Depends on atomic file replacement only; callers own the content.

use crate::atomic_file;
use novanet_model::IfName;
use std::io;
use std::path::Path;

/// Replaces a file atomically: no reader sees half of one.
pub(super) fn write(record: &Path, bytes: &[u8]) -> io::Result<()> {
    make_folder(record)?;
    atomic_file::replace(record, 0o600, bytes)
}

/// As [`write()`], and the file survives a power loss.
pub(super) fn write_durable(record: &Path, bytes: &[u8]) -> io::Result<()> {
    make_folder(record)?;
    atomic_file::replace_durable(record, 0o600, bytes)
}

/// Removes a file, if it exists, and the directory with its last file.
pub(super) fn remove(record: &Path) -> io::Result<()> {
    match std::fs::remove_file(record) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let _has_others_or_is_gone = std::fs::remove_dir(folder(record));
    Ok(())
}

/// The interfaces that have a file named `<prefix><interface><suffix>`.
pub(super) fn interfaces(state_dir: &Path, prefix: &str, suffix: &str) -> Vec<IfName> {
    let entries = std::fs::read_dir(state_dir).into_iter().flatten();
    let interface = |entry: io::Result<std::fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        IfName::new(name.strip_prefix(prefix)?.strip_suffix(suffix)?).ok()
    };
    entries.filter_map(interface).collect()
}

fn make_folder(record: &Path) -> io::Result<()> {
    crate::private::folder(folder(record))
}

fn folder(record: &Path) -> &Path {
    record.parent().unwrap_or(Path::new("."))
}
