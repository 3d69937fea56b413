//! The file with the key that seals secrets in the database (`secret_key_file`). Depends on the
//! vault of `control`.

use crate::failure::Failure;
use crate::private_file;
use novanet_control::Vault;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Reads the key. If there is none and nothing is sealed yet (`fresh`), makes one.
pub(crate) fn open(path: &Path, fresh: bool) -> Result<Vault, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => {
            check_mode(path)?;
            Vault::parse(&text).map_err(|e| failed(path, &why(&e)))
        }
        Err(e) if e.kind() == ErrorKind::NotFound && fresh => create(path),
        Err(e) if e.kind() == ErrorKind::NotFound => Err(failed(
            path,
            &"is missing, and the database has secrets sealed with it: bring it back from a backup",
        )),
        Err(e) => Err(failed(path, &e)),
    }
}

/// Two programs may do this at once: the one whose file comes first wins, and both use its key.
fn create(path: &Path) -> Result<Vault, Failure> {
    let vault = Vault::generate();
    match private_file::create(path, vault.to_text().as_bytes()) {
        Ok(()) => Ok(vault),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => open(path, false),
        Err(e) => Err(failed(path, &e)),
    }
}

fn check_mode(path: &Path) -> Result<(), Failure> {
    let mode = fs::metadata(path).map_err(|e| failed(path, &e))?.mode();
    if mode & 0o077 != 0 {
        let shown = path.display();
        return Err(failed(
            path,
            &format!("can be read by others: chmod 600 {shown}"),
        ));
    }
    Ok(())
}

/// The error calls the file a key file too: once is enough.
fn why(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("key file: ").unwrap_or(&text);
    format!("{text}: bring the right one back from a backup")
}

fn failed(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format!("key file {}: {why}", path.display()))
}
