//! One server for all test processes that run at the same time: nextest runs each test in a process
//! of its own, and a server for each would cost more than the tests. A file names the server; each
//! user holds a shared lock, and the keeper removes the server two seconds after the last lock is
//! gone.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{PostgresOptions, Server, start};

/// Finds the shared server or starts it. The file that is given back holds its place as a user,
/// until it is closed.
pub(super) fn find_or_start() -> Result<(Server, File)> {
    let name = std::env::temp_dir().join(format!("lab-postgres-{}.lock", nix::unistd::geteuid()));
    let mut file = locked(&name)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let server = match running(&text) {
        Some(server) => server,
        None => start_for_all(&name, &mut file)?,
    };
    let users = server.folder.join("users");
    let users = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&users)
        .with_context(|| users.display().to_string())?;
    users.lock_shared()?;
    Ok((server, users))
}

/// The file, exclusively. It may have been removed while we waited for it: then there is a new one.
fn locked(name: &Path) -> Result<File> {
    loop {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(name)
            .with_context(|| name.display().to_string())?;
        file.lock()?;
        if std::fs::metadata(name)
            .is_ok_and(|now| Ok(now.ino()) == file.metadata().map(|ours| ours.ino()).map_err(drop))
        {
            return Ok(file);
        }
    }
}

/// What the file names, if that runs (a machine that was switched off leaves the file).
fn running(text: &str) -> Option<Server> {
    let (port, folder) = text.split_once(' ')?;
    let server = Server {
        port: port.parse().ok()?,
        folder: PathBuf::from(folder),
    };
    let socket = server.folder.join(format!(".s.PGSQL.{port}"));
    std::os::unix::net::UnixStream::connect(socket)
        .is_ok()
        .then_some(server)
}

fn start_for_all(name: &Path, file: &mut File) -> Result<Server> {
    // The keeper may outlive this process, which does not wait for it.
    let (server, _keeper) = start(PostgresOptions::default(), Some(name))?;
    file.set_len(0)?;
    file.rewind()?;
    write!(file, "{} {}", server.port, server.folder.display())?;
    Ok(server)
}
