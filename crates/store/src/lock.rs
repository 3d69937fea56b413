//! Who writes next, on SQLite: one writer at a time over all processes, in turn.
//!
//! SQLite's own busy handler polls, so a process that writes flat out starves the others. Two file
//! locks make a queue: whoever holds `db.turn` is next for `db.lock`, and gives the turn on as soon
//! as it has the lock. A busy server that wants to write again has to wait for the turn behind a
//! CLI that came first.

use crate::{Result, StoreError};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// The write lock of one database.
#[derive(Debug, Clone)]
pub(crate) struct WriteLock {
    files: Option<Arc<Mutex<Files>>>,
}

#[derive(Debug)]
struct Files {
    turn: Arc<File>,
    lock: Arc<File>,
}

/// Holds the write lock; dropping it lets the next writer in.
#[derive(Debug)]
pub(crate) struct WriteGuard(Option<OwnedMutexGuard<Files>>);

impl Drop for WriteGuard {
    fn drop(&mut self) {
        if let Some(files) = &self.0 {
            // Unlocking a descriptor that we hold locked cannot fail.
            let _ = flock(&*files.lock, FlockOperation::Unlock);
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
            let path: PathBuf = database.with_extension(extension);
            std::fs::OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map(Arc::new)
                .map_err(|e| StoreError::unavailable(format!("lock {}", path.display()), e))
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
            return Ok(WriteGuard(None));
        };
        let guard = Arc::clone(files).lock_owned().await;
        hold(&guard.turn).await?;
        let locked = hold(&guard.lock).await;
        let _ = flock(&*guard.turn, FlockOperation::Unlock);
        locked?;
        Ok(WriteGuard(Some(guard)))
    }
}

/// Takes a file lock without blocking the runtime: at once if it is free, else on a thread.
async fn hold(file: &Arc<File>) -> Result<()> {
    if flock(&**file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        return Ok(());
    }
    let file = Arc::clone(file);
    tokio::task::spawn_blocking(move || flock(&*file, FlockOperation::LockExclusive))
        .await
        .map_err(|e| StoreError::unavailable("lock", e))?
        .map_err(|e| StoreError::unavailable("lock", e))
}
