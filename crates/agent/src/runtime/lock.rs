//! One agent per host: the agent that changes a host holds two locks, one on its state folder and
//! one on its network namespace. Depends on the kernel, which releases both when the process ends,
//! however it ends.

use super::error::AgentError;
use crate::ledger::make_private_dir;
use crate::private;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{getsockopt, sockopt};
use std::fs::File;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The agent's own files under the host's state path.
pub fn agent_dir(state_path: &Path) -> PathBuf {
    state_path.join("agent")
}

/// The name of the lock on a network namespace: an abstract socket, which exists once per namespace
/// and disappears with its process (unix(7)).
const NAMESPACE: &str = "novanet/agent";

/// How long the children of a killed agent may hold its locks: from their fork to their exec.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
const RELEASE_POLL: Duration = Duration::from_millis(10);

/// Whether a process has ended. One of another process namespace (0) has not.
fn is_gone(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    pid != 0 && status.map_or(true, |text| text.contains(") Z "))
}

/// Acquires a lock; tries again while `may_pass` accepts the error, at most for
/// [`RELEASE_TIMEOUT`].
fn wait_for_release<T>(
    acquire: impl Fn() -> Result<T, AgentError>,
    may_pass: impl Fn(&AgentError) -> bool,
) -> Result<T, AgentError> {
    let start = Instant::now();
    loop {
        match acquire() {
            Err(error) if start.elapsed() < RELEASE_TIMEOUT && may_pass(&error) => {
                std::thread::sleep(RELEASE_POLL);
            }
            done => return done,
        }
    }
}

/// The lock on a network namespace, held until it is dropped.
#[derive(Debug)]
pub struct NamespaceLock {
    /// `None`: a process of another user has the name.
    _socket: Option<UnixListener>,
}

impl NamespaceLock {
    /// Acquires the lock; the error names the process of the agent that holds it. A process of
    /// another user can bind the name too: that does not stop the agent, which logs a warning.
    /// Children of a killed agent hold its locks until they execute their program: for a holder
    /// that is gone it waits, at most [`RELEASE_TIMEOUT`].
    pub fn acquire() -> Result<Self, AgentError> {
        wait_for_release(Self::acquire_now, |error| match error {
            AgentError::NamespaceTaken { process } => process.is_none_or(is_gone),
            _ => false,
        })
    }

    fn acquire_now() -> Result<Self, AgentError> {
        let refused = |e| AgentError::file(format!("@{NAMESPACE}"), e);
        let name = SocketAddr::from_abstract_name(NAMESPACE).map_err(refused)?;
        match UnixListener::bind_addr(&name) {
            Ok(socket) => Ok(Self {
                _socket: Some(socket),
            }),
            Err(e) if e.kind() == ErrorKind::AddrInUse => Self::judge_holder(&name),
            Err(e) => Err(refused(e)),
        }
    }

    fn judge_holder(name: &SocketAddr) -> Result<Self, AgentError> {
        let holder = UnixStream::connect_addr(name)
            .ok()
            .and_then(|socket| getsockopt(&socket, sockopt::PeerCredentials).ok());
        let me = rustix::process::geteuid().as_raw();
        match holder {
            Some(holder) if holder.uid() != me => {
                tracing::warn!(
                    process = holder.pid(),
                    user = holder.uid(),
                    "a process that is no agent has the name @{NAMESPACE}: a second agent in this \
                     network namespace would not be noticed"
                );
                Ok(Self { _socket: None })
            }
            holder => Err(AgentError::NamespaceTaken {
                process: holder.map(|holder| holder.pid()),
            }),
        }
    }
}

/// The lock on a state folder, held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Acquires the lock, or fails with [`AgentError::AlreadyRunning`]: at once if a living agent
    /// has this network namespace, else after [`RELEASE_TIMEOUT`].
    pub fn acquire(state_path: &Path) -> Result<Self, AgentError> {
        let acquire = || Self::acquire_now(state_path);
        wait_for_release(acquire, |error| {
            let living = || match NamespaceLock::acquire_now() {
                Err(AgentError::NamespaceTaken { process }) => {
                    process.is_some_and(|process| !is_gone(process))
                }
                _ => false,
            };
            matches!(error, AgentError::AlreadyRunning(_)) && !living()
        })
    }

    fn acquire_now(state_path: &Path) -> Result<Self, AgentError> {
        let dir = agent_dir(state_path);
        make_private_dir(&dir)?;
        let path = dir.join("lock");
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(false);
        let file = private::open(options, &path);
        let file = file.map_err(|e| AgentError::file(&path, e))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, Errno::EWOULDBLOCK)) => Err(AgentError::AlreadyRunning(path)),
            Err((_, errno)) => Err(AgentError::file(path, errno)),
        }
    }
}
