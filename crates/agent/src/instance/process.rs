//! A process that is not the agent's child. A restarted agent recognises it by pid and start time,
//! and watches and signals it through a pidfd, so it never touches another process that got the
//! pid.

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Identity of a process, as `state.json` holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessId {
    pub(super) pid: i32,
    /// Ticks since the kernel's start, field 22 of `/proc/<pid>/stat`.
    pub(super) start_time: u64,
}

impl ProcessId {
    /// The process that has this pid now.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in field 2 may hold any character, `)` too: count from behind it.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let start_time = fields.nth(18)?.parse().ok()?;
        (state != "Z" && state != "X").then_some(Self { pid, start_time })
    }

    /// A handle on it, if it still runs. Needs a tokio runtime.
    pub(super) fn open(self) -> Option<Process> {
        let handle = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Checked after the handle is open: the handle cannot come to mean another process.
        if Self::of(self.pid) != Some(self) {
            return None;
        }
        #[expect(
            deprecated,
            reason = "the other constructor is unsafe; an OwnedFd keeps its contract"
        )]
        let handle = AsyncFd::with_interest(handle, Interest::READABLE).ok()?;
        Some(Process { id: self, handle })
    }
}

/// A handle on a process that runs or has ended since. Uses one file descriptor: a host has many
/// instances.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: ProcessId,
    handle: AsyncFd<OwnedFd>,
}

impl Process {
    /// Sends a signal. Does nothing if the process has ended.
    pub(super) fn signal(&self, signal: Signal) {
        if let Err(error) = pidfd_send_signal(self.handle.get_ref(), signal)
            && error != rustix::io::Errno::SRCH
        {
            tracing::warn!(pid = self.id.pid, ?signal, %error, "cannot signal");
        }
    }

    /// Waits until it has ended. A zombie has ended.
    pub(super) async fn ended(&self) -> std::io::Result<()> {
        self.handle.readable().await?.retain_ready();
        Ok(())
    }

    /// As [`Self::ended`], for at most this long. `false`: it still runs.
    pub(super) async fn ended_within(&self, limit: Duration) -> bool {
        matches!(tokio::time::timeout(limit, self.ended()).await, Ok(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_pid_with_another_start_time_is_another_process() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let id = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
        let older = ProcessId {
            start_time: id.start_time - 1,
            ..id
        };
        assert!(older.open().is_none());
        let process = id.open().unwrap();
        assert!(!process.ended_within(Duration::from_millis(1)).await);
        process.signal(Signal::KILL);
        assert!(process.ended_within(Duration::from_secs(5)).await);
        child.wait().unwrap();
        assert!(id.open().is_none());
    }
}
