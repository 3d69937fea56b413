//! The write lock of SQLite: one writer at a time over all processes, first come, first served.
//! Depends on file locks only.
//!
//! SQLite's own busy handler polls, so a process that writes flat out starves the others. Two file
//! locks make a queue: the holder of `.turn` is next for `.lock`, and unlocks `.turn` as soon as it
//! has the lock. So a busy server that wants to write again waits behind a CLI that came first.

use crate::fault::Fault;
use crate::{Result, StoreError};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{File, Permissions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

/// How long a writer waits for its turn. Transactions take milliseconds: a writer that takes this
/// long is stopped or hangs, and a CLI has to say so instead of hanging too.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// The write lock of one database.
#[derive(Debug, Clone)]
pub(crate) struct WriteLock {
    files: Option<Arc<Mutex<Files>>>,
}

#[derive(Debug)]
struct Files {
    turn: File,
    lock: File,
}

/// Holds the write lock; dropping it lets the next writer in.
#[derive(Debug)]
pub(crate) struct WriteGuard(Option<OwnedMutexGuard<Files>>);

impl WriteGuard {
    /// Of no lock.
    pub(crate) fn none() -> Self {
        Self(None)
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        if let Some(files) = &self.0 {
            // Unlocking a descriptor that we hold locked cannot fail.
            let _ = flock(&files.lock, FlockOperation::Unlock);
        }
    }
}

impl WriteLock {
    /// No lock: the engine serialises writers itself (PostgreSQL).
    pub(crate) fn none() -> Self {
        Self { files: None }
    }

    /// The lock files beside a SQLite database.
    pub(crate) fn beside(database: &Path) -> Result<Self> {
        let open = |extension: &str| {
            let path = database.with_extension(extension);
            let opened = std::fs::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path);
            // A process that can open it can keep all others from writing.
            let private = |file: File| {
                if file.metadata()?.mode() & 0o077 != 0 {
                    file.set_permissions(Permissions::from_mode(0o600))?;
                }
                Ok(file)
            };
            opened
                .and_then(private)
                .map_err(|e| crate::file::refused(&path, &e))
        };
        Ok(Self {
            files: Some(Arc::new(Mutex::new(Files {
                turn: open("turn")?,
                lock: open("lock")?,
            }))),
        })
    }

    /// Waits for the lock: first come, first served, within this process and between processes.
    pub(crate) async fn acquire(&self) -> Result<WriteGuard> {
        let Some(files) = &self.files else {
            return Ok(WriteGuard::none());
        };
        let files = Arc::clone(files);
        tokio::time::timeout(WRITE_TIMEOUT, take(files))
            .await
            .unwrap_or_else(|_| {
                let late = format!("the turn to write did not come in {WRITE_TIMEOUT:?}");
                Err(StoreError::unavailable(Fault::Busy, late))
            })
    }
}

async fn take(files: Arc<Mutex<Files>>) -> Result<WriteGuard> {
    let files = files.lock_owned().await;
    match try_now(files) {
        Ok(guard) => Ok(guard),
        Err(files) => wait_on_thread(files).await,
    }
}

/// The usual case: no other process writes.
fn try_now(files: OwnedMutexGuard<Files>) -> Result<WriteGuard, OwnedMutexGuard<Files>> {
    let free = |file| flock(file, FlockOperation::NonBlockingLockExclusive).is_ok();
    if !free(&files.turn) {
        return Err(files);
    }
    if !free(&files.lock) {
        // The turn is kept: this writer is next.
        return Err(files);
    }
    let _ = flock(&files.turn, FlockOperation::Unlock);
    Ok(WriteGuard(Some(files)))
}

/// Waits without blocking the runtime. The thread owns the guard: after the caller was cancelled it
/// unlocks what it gets. It is not one of the runtime's threads,
/// so a process that gives up can end while it waits.
async fn wait_on_thread(files: OwnedMutexGuard<Files>) -> Result<WriteGuard> {
    let (answer, wait) = oneshot::channel();
    let failed = |e: std::io::Error| StoreError::unavailable(Fault::Disk, e);
    std::thread::Builder::new()
        .name("write-lock".to_owned())
        .spawn(move || {
            let _unheard = answer.send(wait_in_turn(files));
        })
        .map_err(failed)?;
    match wait.await {
        Ok(locked) => locked.map_err(|e| failed(e.into())),
        Err(gone) => Err(StoreError::unavailable(Fault::Busy, gone)),
    }
}

fn wait_in_turn(files: OwnedMutexGuard<Files>) -> Result<WriteGuard, Errno> {
    blocking(&files.turn)?;
    let locked = blocking(&files.lock);
    let _ = flock(&files.turn, FlockOperation::Unlock);
    locked.map(|()| WriteGuard(Some(files)))
}

fn blocking(file: &File) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| flock(file, FlockOperation::LockExclusive))
}
