//! One agent per host: who changes the host holds this lock. The kernel lets it go with the
//! process, however that ends.

use super::AgentError;
use crate::ledger::make_private_dir;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The agent's own files under the host's state path.
pub fn agent_dir(state_path: &Path) -> PathBuf {
    state_path.join("agent")
}

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Takes it, or says that somebody else has it.
    pub fn take(state_path: &Path) -> Result<Self, AgentError> {
        let dir = agent_dir(state_path);
        make_private_dir(&dir)?;
        let path = dir.join("lock");
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path);
        let file = file.map_err(|e| AgentError::file(&path, e))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, Errno::EWOULDBLOCK)) => Err(AgentError::AlreadyRunning(path)),
            Err((_, errno)) => Err(AgentError::file(path, errno)),
        }
    }
}
