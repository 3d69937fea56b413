//! What the subsystem notes on disk about the host: small files, in a folder that is there as long as it has any.
//!
//! Must not know: what is in them.

use crate::whole;
use novanet_model::IfName;
use std::io;
use std::path::Path;

/// Writes one. Half of one, or an empty one, would be taken for what it says.
pub(super) fn write(note: &Path, bytes: &[u8]) -> io::Result<()> {
    make_folder(note)?;
    whole::replace(note, 0o600, bytes)
}

/// As [`write()`], and it is there after a power cut, too.
pub(super) fn write_for_good(note: &Path, bytes: &[u8]) -> io::Result<()> {
    make_folder(note)?;
    whole::replace_for_good(note, 0o600, bytes)
}

/// Removes one, if it is there, and with the last one the folder.
pub(super) fn remove(note: &Path) -> io::Result<()> {
    match std::fs::remove_file(note) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let _has_others_or_is_gone = std::fs::remove_dir(folder(note));
    Ok(())
}

/// The interfaces that have a note of this name.
pub(super) fn interfaces(notes: &Path, prefix: &str, suffix: &str) -> Vec<IfName> {
    let entries = std::fs::read_dir(notes).into_iter().flatten();
    let interface = |entry: io::Result<std::fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        IfName::new(name.strip_prefix(prefix)?.strip_suffix(suffix)?).ok()
    };
    entries.filter_map(interface).collect()
}

fn make_folder(note: &Path) -> io::Result<()> {
    crate::private::folder(folder(note))
}

fn folder(note: &Path) -> &Path {
    note.parent().unwrap_or(Path::new("."))
}
