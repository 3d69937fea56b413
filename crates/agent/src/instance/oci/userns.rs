//! Makes user namespaces before the start of the runtime: one for an instance, and one that maps
//! its image to its ids. Depends on `unshare` of util-linux.
//!
//! A process with several threads cannot enter a user namespace, so a helper process makes it and
//! holds it until it is in use. The helper ends with the agent.

use crate::image::IDS;
use crate::instance::program;
use novanet_reconcile::SubsystemError;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Prints a line when the namespace exists, and becomes its root when it has its maps. A new shell
/// then has all capabilities in it, and sets limits that the instance cannot raise again without
/// `CAP_SYS_RESOURCE`. Prints the names of those that it could not set.
const HOLD: &str = "echo; read go && exec /bin/sh -c '
    limit() { echo $2 2>/dev/null >/proc/sys/user/$1 || failed=\"$failed $1\"; }
    limit max_user_namespaces 0
    limit max_inotify_instances 128
    limit max_inotify_watches 65536
    limit max_fanotify_groups 16
    limit max_fanotify_marks 65536
    echo $failed; read end'";

/// A user namespace, held by its helper process.
pub(super) struct UserNamespace {
    child: Option<Child>,
    pid: u32,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl UserNamespace {
    /// Starts to make a namespace as the user `owner`: the kernel counts it against that user's
    /// limits. [`Self::map`] waits for it.
    pub(super) fn start(owner: u32) -> Result<Self, SubsystemError> {
        let mut child = Command::new(program::find("unshare")?)
            .args(["--user", "/bin/sh", "-c", HOLD])
            .env_clear()
            .current_dir("/")
            .uid(owner)
            .gid(owner)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        Ok(Self {
            pid: child.id(),
            child: Some(child),
            input: Some(input),
            output: BufReader::new(output),
        })
    }

    /// Maps the 65,536 ids from `inside` in the namespace to those from `outside` on the host. The
    /// kernel allows it once.
    pub(super) fn map(&mut self, inside: u32, outside: u32) -> Result<(), SubsystemError> {
        let mut line = String::new();
        if self.output.read_line(&mut line).map_err(failed)? == 0 {
            return Err(failed(io::Error::other("ended at once")));
        }
        for kind in ["uid_map", "gid_map"] {
            let path = format!("/proc/{}/{kind}", self.pid);
            let map = format!("{inside} {outside} {IDS}");
            std::fs::write(&path, map).map_err(|e| SubsystemError::kernel(path, e))?;
        }
        Ok(())
    }

    /// Sets the limits of the namespace. Returns the names of those that it could not set.
    pub(super) fn limit(&mut self) -> Result<Vec<String>, SubsystemError> {
        if let Some(input) = &mut self.input {
            input.write_all(b"\n").map_err(failed)?;
        }
        let mut line = String::new();
        if self.output.read_line(&mut line).map_err(failed)? == 0 {
            return Err(failed(io::Error::other("ended before its limits were set")));
        }
        Ok(line.split_whitespace().map(str::to_owned).collect())
    }

    /// Its path in `/proc`, to bind or open.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/user", self.pid).into()
    }

    /// Opens a handle on the namespace.
    pub(super) fn open(&self) -> Result<File, SubsystemError> {
        let path = self.path();
        File::open(&path).map_err(|e| SubsystemError::kernel(path.display().to_string(), e))
    }
}

impl Drop for UserNamespace {
    fn drop(&mut self) {
        self.input = None;
        if let Some(mut child) = self.child.take() {
            // The kernel takes some milliseconds to end it; a thread waits instead of the instance.
            let _ = child.kill();
            std::thread::spawn(move || child.wait());
        }
    }
}

fn failed(source: io::Error) -> SubsystemError {
    SubsystemError::kernel("make a user namespace", source)
}
