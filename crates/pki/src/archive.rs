//! Zip archives in memory, for credentials and for the VPN's payload. Every entry's time is fixed
//! and its mode is 0600, so that the same content gives the same bytes.

use crate::{PkiError, Result};
use std::io::{Cursor, Write as _};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// How entries are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// As they are, as in nova's `nova.zip`.
    Stored,
    /// Compressed, as in nova's `payload.zip`.
    Deflated,
}

/// An archive of `(name, content)` in this order.
pub fn zip(entries: &[(String, Vec<u8>)], method: Method) -> Result<Vec<u8>> {
    let options = SimpleFileOptions::default()
        .compression_method(match method {
            Method::Stored => CompressionMethod::Stored,
            Method::Deflated => CompressionMethod::Deflated,
        })
        .last_modified_time(DateTime::default())
        .unix_permissions(0o600);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in entries {
        archive.start_file(name.as_str(), options).map_err(failed)?;
        archive
            .write_all(content)
            .map_err(|e| PkiError::Internal(format!("archive entry {name}: {e}")))?;
    }
    Ok(archive.finish().map_err(failed)?.into_inner())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: zip::result::ZipError) -> PkiError {
    PkiError::Internal(format!("archive: {error}"))
}
