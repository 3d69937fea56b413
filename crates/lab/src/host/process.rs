//! A program that runs in a host, and the output of one that ended.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::eventually;

/// What a program that ended had said.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// Whether it exited with 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    /// How it ended and what it said, on one line for an error.
    pub(crate) fn summary(&self) -> String {
        let said = [self.stdout.trim(), self.stderr.trim()]
            .into_iter()
            .filter(|s| !s.is_empty())
            .collect::<Vec<_>>()
            .join(" | ");
        format!("{}: {said}", self.status)
    }
}

impl From<std::process::Output> for Output {
    fn from(output: std::process::Output) -> Self {
        Self {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A child that its host also knows, so that it can wait for it at its own end.
pub(super) type Shared = Arc<Mutex<Child>>;

/// A program that runs in a host. It ends with the host, not with this handle.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Shared,
    pid: u32,
}

impl Process {
    pub(super) fn new(what: String, child: Child) -> Self {
        let pid = child.id();
        Self {
            what,
            child: Arc::new(Mutex::new(child)),
            pid,
        }
    }

    pub(super) fn shared(&self) -> Shared {
        Arc::clone(&self.child)
    }

    /// Its pid as the maker of the host sees it (inside the host it has another).
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its standard input, if it was started with a pipe there; once.
    pub fn stdin(&self) -> Option<ChildStdin> {
        self.locked(|child| child.stdin.take())
    }

    /// Its standard output, if it was started with a pipe there; once.
    pub fn stdout(&self) -> Option<ChildStdout> {
        self.locked(|child| child.stdout.take())
    }

    /// Its standard error, if it was started with a pipe there; once.
    pub fn stderr(&self) -> Option<ChildStderr> {
        self.locked(|child| child.stderr.take())
    }

    /// How it ended, if it has.
    pub fn ended(&self) -> Result<Option<ExitStatus>> {
        self.locked(Child::try_wait)
            .with_context(|| format!("waiting for {}", self.what))
    }

    /// Sends it a signal; one that has ended is an error.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.locked(|child| match child.try_wait()? {
            None => kill(Pid::from_raw(child.id().cast_signed()), signal)
                .with_context(|| format!("{signal} to {}", self.what)),
            Some(status) => Err(anyhow!(
                "{signal} to {}: it had ended with {status}",
                self.what
            )),
        })
    }

    /// Waits until it ends by itself.
    pub fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        eventually(limit, || {
            self.ended()?
                .with_context(|| format!("{} still runs", self.what))
        })
    }

    /// Kills it (SIGKILL) and waits for its end; one that has ended already is fine.
    pub fn kill(&self) -> ExitStatus {
        end(&self.child)
    }

    fn locked<T>(&self, work: impl FnOnce(&mut Child) -> T) -> T {
        work(&mut self.child.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(super) fn still_runs(child: &Shared) -> bool {
    let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
    matches!(child.try_wait(), Ok(None))
}

pub(super) fn end(child: &Shared) -> ExitStatus {
    let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
    let _ended_already_is_fine = child.kill();
    child
        .wait()
        .unwrap_or_else(|_| ExitStatus::from_raw(Signal::SIGKILL as i32))
}
