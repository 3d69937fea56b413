//! What the subsystem notes on disk about the host: small files, in a folder that is there as long as it has any.
//!
//! Must not know: what is in them.

use crate::whole;
use novanet_model::IfName;
use std::io;
use std::path::Path;

/// Writes one. Half of one, or an empty one, would be taken for what it says.
pub(super) fn write(record: &Path, bytes: &[u8]) -> io::Result<()> {
    make_folder(record)?;
    whole::replace(record, 0o600, bytes)
}

/// As [`write()`], and it is there after a power cut, too.
pub(super) fn write_durable(record: &Path, bytes: &[u8]) -> io::Result<()> {
    make_folder(record)?;
    whole::replace_for_good(record, 0o600, bytes)
}

/// Removes one, if it is there, and with the last one the folder.
pub(super) fn remove(record: &Path) -> io::Result<()> {
    match std::fs::remove_file(record) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let _has_others_or_is_gone = std::fs::remove_dir(folder(record));
    Ok(())
}

/// The interfaces that have a note of this name.
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
