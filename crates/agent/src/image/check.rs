//! Checks before the server stores an archive that a host can unpack and start it. Reads headers
//! only and skips the bytes between them, so a large image costs little; depends on `tar`.
//!
//! [`super::unpack`] alone finds an entry below a symbolic link.

use super::ImageError;
use super::entry::{IDS, inside, raw_path, refused, target, unmapped};
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

/// An instance's first program, at the places where systems have it.
const INIT: [&str; 2] = ["sbin/init", "usr/sbin/init"];

const PACK: &str = "pack a root file system: tar -C FOLDER -cf image.tar .";

/// How compressed files begin, and the command that decompresses them.
const COMPRESSED: [(&[u8], &str); 4] = [
    (&[0x1f, 0x8b], "gunzip -k"),
    (&[0xfd, b'7', b'z', b'X', b'Z'], "unxz -k"),
    (b"BZh", "bunzip2 -k"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "unzstd"),
];

/// Refuses an archive that no host could run. The error says why.
pub fn check(archive: &Path) -> Result<(), ImageError> {
    let failed = |e: std::io::Error| ImageError::file(archive, e);
    let mut file = BufReader::new(File::open(archive).map_err(failed)?);
    refuse_compressed(archive, &mut file)?;
    let length = file.get_ref().metadata().map_err(failed)?.len();
    // The error repeats the bytes that it did not understand.
    let not_tar = |_: std::io::Error| refused(archive, format!("is not a tar archive: {PACK}"));
    let mut tar = tar::Archive::new(file);
    let mut can_start = false;
    for entry in tar.entries_with_seek().map_err(not_tar)? {
        let entry = entry.map_err(not_tar)?;
        let path = check_entry(&entry)?;
        if entry.raw_file_position() + entry.header().entry_size().map_err(not_tar)? > length {
            return Err(refused(archive, format!("ends in the middle of {path}")));
        }
        can_start |= INIT.contains(&path.as_str());
    }
    if can_start {
        return Ok(());
    }
    Err(refused(
        archive,
        format!("has no /sbin/init, which is what an instance starts with: {PACK}"),
    ))
}

fn refuse_compressed(archive: &Path, file: &mut (impl Read + Seek)) -> Result<(), ImageError> {
    let failed = |e: std::io::Error| ImageError::file(archive, e);
    let mut start = Vec::new();
    file.take(8).read_to_end(&mut start).map_err(failed)?;
    file.rewind().map_err(failed)?;
    match COMPRESSED
        .iter()
        .find(|(magic, _)| start.starts_with(magic))
    {
        None => Ok(()),
        Some((_, undo)) => Err(refused(
            archive,
            format!("is compressed: {undo} it first, and register what comes out"),
        )),
    }
}

/// The entry's name in the image.
fn check_entry(entry: &tar::Entry<'_, impl Read>) -> Result<String, ImageError> {
    use tar::EntryType as Type;
    let raw = raw_path(entry)?;
    let path = inside(&raw)?;
    let header = entry.header();
    match header.entry_type() {
        Type::Regular
        | Type::Continuous
        | Type::GNUSparse
        | Type::Directory
        | Type::Fifo
        | Type::Char
        | Type::Block
        | Type::XGlobalHeader => {}
        Type::Symlink => drop(target(entry, &raw)?),
        Type::Link => drop(inside(&target(entry, &raw)?)?),
        other => return Err(refused(&raw, format!("has the unknown type {other:?}"))),
    }
    for id in [header.uid(), header.gid()] {
        let id = id.map_err(|e| refused(&raw, e.to_string()))?;
        if id >= u64::from(IDS) {
            return Err(refused(&raw, unmapped(id)));
        }
    }
    Ok(path.display().to_string())
}
