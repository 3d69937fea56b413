//! Finds, watches, starts and stops the dnsmasq processes. Depends on `/proc` and pidfds.
//!
//! A dnsmasq belongs to novanet when its command line names novanet's hosts file: the agent looks
//! where the pid file says, but never kills a process because of it. dnsmasq puts itself into the
//! background, so it is not the agent's child and outlives it; a pidfd reports its end and cannot
//! mean another process that got its number.

use super::files::Files;
use novanet_reconcile::SubsystemError;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// How long a dnsmasq may take to obey a signal.
const SIGNAL_TIMEOUT: Duration = Duration::from_secs(1);

/// A running dnsmasq of novanet.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: i32,
    /// Without the program.
    pub(crate) arguments: Vec<String>,
    /// The device number of the bridge that it was started for; `None`: not known.
    pub(crate) bound: Option<u32>,
    handle: Arc<AsyncFd<OwnedFd>>,
    watcher: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}

impl Running {
    /// Looks for the dnsmasq of these files. Notifies `ended` when it ends.
    pub(crate) fn find(files: &Files, ended: &Arc<Notify>) -> Option<Self> {
        let by_file = fs::read_to_string(files.pid())
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .and_then(|pid| Self::adopt(pid, files, ended));
        by_file.or_else(|| Self::adopt(search(files)?, files, ended))
    }

    fn adopt(pid: i32, files: &Files, ended: &Arc<Notify>) -> Option<Self> {
        let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::NONBLOCK).ok()?;
        let arguments = arguments_of(pid, files)?;
        let bound = fs::read_to_string(files.bound()).ok().and_then(|text| {
            let (of, index) = text.trim().split_once(' ')?;
            (of.parse() == Ok(pid)).then(|| index.parse().ok())?
        });
        let handle = Arc::new(watchable(handle).ok()?);
        let watched = Arc::clone(&handle);
        let ended = Arc::clone(ended);
        let watcher = tokio::spawn(async move {
            if watched.readable().await.is_ok() {
                ended.notify_one();
            }
        });
        let running = Self {
            pid,
            arguments,
            bound,
            handle,
            watcher,
        };
        // It may have ended before the pidfd was open, and another process have its number.
        running.is_alive(files).then_some(running)
    }

    /// Whether it has not ended. A zombie has no command line.
    pub(crate) fn is_alive(&self, files: &Files) -> bool {
        !self.watcher.is_finished()
            && arguments_of(self.pid, files).is_some_and(|now| now == self.arguments)
    }

    /// Which of its processes (it has a helper) a signal has stopped. A debugger's stops are
    /// another state.
    pub(crate) fn stopped(&self) -> Vec<i32> {
        let mut all = children_of(self.pid);
        all.insert(0, self.pid);
        all.retain(|pid| stat_of(*pid).is_some_and(|stat| stat.state == STOPPED));
        all
    }

    /// Continues its stopped processes. `false`: one is still stopped.
    pub(crate) async fn resume(&self) -> bool {
        let began = tokio::time::Instant::now();
        loop {
            let stopped = self.stopped();
            if stopped.is_empty() || began.elapsed() > SIGNAL_TIMEOUT {
                return stopped.is_empty();
            }
            for pid in stopped {
                // If it has ended meanwhile, the process that has its number is not stopped.
                let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::CONT));
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// Makes it read the hosts file again.
    pub(crate) fn reload(&self) -> io::Result<()> {
        Ok(pidfd_send_signal(self.handle.as_fd(), Signal::HUP)?)
    }

    /// Ends it with SIGTERM, then SIGKILL, and waits for its end.
    pub(crate) async fn stop(self) -> io::Result<()> {
        for signal in [Signal::TERM, Signal::KILL] {
            match pidfd_send_signal(self.handle.as_fd(), signal) {
                Err(rustix::io::Errno::SRCH) => return Ok(()),
                other => other?,
            }
            let ended = tokio::time::timeout(SIGNAL_TIMEOUT, self.handle.readable()).await;
            if let Ok(ended) = ended {
                return ended.map(drop);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("dnsmasq {} does not end", self.pid),
        ))
    }
}

#[allow(deprecated)] // The other constructor is `unsafe`; an OwnedFd keeps its contract.
fn watchable(handle: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(handle, tokio::io::Interest::READABLE)
}

/// The arguments of a process, if it is novanet's dnsmasq and in this network namespace.
fn arguments_of(pid: i32, files: &Files) -> Option<Vec<String>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).into_owned());
    let program = words.next()?;
    if Path::new(&program).file_name()? != "dnsmasq" {
        return None;
    }
    let mut arguments: Vec<_> = words.collect();
    arguments.pop(); // behind the last NUL
    let our_hosts = format!("--dhcp-hostsfile={}", files.hosts().display());
    let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/net")).ok();
    let here = namespace("thread-self");
    let there = namespace(&pid.to_string());
    let same = here.is_none() || there.is_none() || here == there;
    (same && arguments.contains(&our_hosts)).then_some(arguments)
}

/// Looks at every process, for a host without a pid file. dnsmasq has a helper with the same
/// command line; the server is the process whose parent is not one of them.
fn search(files: &Files) -> Option<i32> {
    let ours: HashMap<i32, i32> = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            arguments_of(pid, files)?;
            Some((pid, stat_of(pid)?.parent))
        })
        .collect();
    let server = ours.iter().find(|(_, parent)| !ours.contains_key(parent));
    server.map(|(pid, _)| *pid)
}

/// State in `/proc/<pid>/stat` of a process that a signal has stopped.
const STOPPED: &str = "T";

struct Stat {
    state: String,
    parent: i32,
}

fn stat_of(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, rest) = text.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    Some(Stat {
        state: words.next()?.to_owned(),
        parent: words.next()?.parse().ok()?,
    })
}

/// Empty on kernels without this file.
fn children_of(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().flat_map(str::parse).collect()
}

/// Starts a dnsmasq. Returns when it is in the background with its sockets open.
pub(crate) async fn start(
    arguments: &[String],
    environment: &[(&str, String)],
) -> Result<(), SubsystemError> {
    let bridge = arguments
        .iter()
        .find_map(|a| a.strip_prefix("--interface="));
    let bridge = bridge.unwrap_or("no bridge");
    let failed = |message: String| {
        // Hundreds of characters, which would hide the cause in the error.
        tracing::debug!(arguments = arguments.join(" "), "dnsmasq");
        SubsystemError::Command {
            command: format!("dnsmasq on {bridge}"),
            message,
        }
    };
    let mut tries = 1;
    loop {
        match try_start(arguments, environment).await {
            Ok(None) => return Ok(()),
            // A process that was killed a moment ago has no command line, but still its sockets.
            Ok(Some(said)) if said.contains(IN_USE) && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(RETRY_DELAY).await;
            }
            Ok(Some(said)) if said.contains(IN_USE) => {
                return Err(failed(taken(&said, bridge)));
            }
            Ok(Some(said)) => return Err(failed(said)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(failed(
                    "not found: install it (apt-get install dnsmasq-base)".to_owned(),
                ));
            }
            Err(e) => return Err(failed(e.to_string())),
        }
    }
}

/// The remedy for a port that another server has.
fn taken(said: &str, bridge: &str) -> String {
    let (port, service) = if said.contains("DHCP") {
        (67, "DHCP")
    } else {
        (53, "DNS")
    };
    format!(
        "port {port} is taken by another {service} server: stop it, or make it leave {bridge} alone \
         (ss -lntup 'sport = :{port}' names it)"
    )
}

/// How long dnsmasq may take to go into the background.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const IN_USE: &str = "in use";
const TRIES: u32 = 10;
const RETRY_DELAY: Duration = Duration::from_millis(30);

/// `None`: it runs; otherwise the text that it printed.
async fn try_start(
    arguments: &[String],
    environment: &[(&str, String)],
) -> io::Result<Option<String>> {
    // A file, not a pipe: the daemon's helper keeps its standard error open. The file has no name.
    let mut said = tempfile::tempfile()?;
    let mut command = tokio::process::Command::new(program());
    command
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said.try_clone()?)
        .kill_on_drop(true);
    let ended = tokio::time::timeout(START_TIMEOUT, command.status()).await;
    let status = ended.map_err(|_| {
        let message = format!("not started after {} s, ended it", START_TIMEOUT.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, message)
    })??;
    if status.success() {
        return Ok(None);
    }
    let mut text = String::new();
    // If the output is not text, the status has to do.
    let _ = said.rewind().and_then(|()| said.read_to_string(&mut text));
    Ok(Some(match text.trim() {
        "" => status.to_string(),
        text => text
            .trim_start_matches("dnsmasq: ")
            .replace("\ndnsmasq: ", "; ")
            .replace('\n', " "),
    }))
}

/// Debian installs it where a user's PATH does not look.
fn program() -> &'static Path {
    let debian = Path::new("/usr/sbin/dnsmasq");
    if debian.exists() {
        debian
    } else {
        Path::new("dnsmasq")
    }
}
