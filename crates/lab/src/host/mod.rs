//! A host as a set of namespaces: its own network, mounts, processes and name, held by one child
//! process.
//!
//! The holder is process 1 of the host's pid namespace and ends when its standard input does. So a
//! host goes away with everything that runs in it when it is dropped, and also when the process
//! that made it is killed.

mod furnish;
mod holder;
mod inside;
mod link;
mod process;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use holder::Holder;
pub use inside::{in_network_of, inside_host, this_test};
pub use link::connect;
pub use process::{Output, Process};

/// What a host is made with. The default is what a test wants: `/run` of its own, forwarding on.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Folders that are empty and private in the host. One that the machine does not have appears
    /// in the host only.
    pub private: Vec<PathBuf>,
    /// Folders that show what the machine has, and keep the host's changes to themselves.
    pub layers: Vec<PathBuf>,
    /// Files with this content in the host (for instance `/etc/resolv.conf`), whatever the machine
    /// has there.
    pub files: Vec<(PathBuf, String)>,
    /// Sysctls to set, by dotted name.
    pub sysctls: Vec<(String, String)>,
    /// Whether the host gets cgroups of its own, in which all controllers of the machine are usable
    /// and which go away with it.
    pub own_cgroups: bool,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            private: Vec::new(),
            layers: Vec::new(),
            files: Vec::new(),
            sysctls: vec![("net.ipv4.ip_forward".into(), "1".into())],
            own_cgroups: false,
        }
    }
}

impl HostOptions {
    /// Adds a folder that is empty and private in the host.
    #[must_use]
    pub fn private(mut self, folder: impl Into<PathBuf>) -> Self {
        self.private.push(folder.into());
        self
    }

    /// Lets the host change a folder of the machine, in the host only.
    #[must_use]
    pub fn layer(mut self, folder: impl Into<PathBuf>) -> Self {
        self.layers.push(folder.into());
        self
    }

    /// Gives a file its content in the host only.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>, content: impl Into<String>) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    /// Gives the host cgroups of its own (what runs a container there wants them).
    #[must_use]
    pub fn own_cgroups(mut self) -> Self {
        self.own_cgroups = true;
        self
    }

    /// Sets a sysctl in the host.
    #[must_use]
    pub fn sysctl(mut self, name: &str, value: &str) -> Self {
        self.sysctls.push((name.into(), value.into()));
        self
    }
}

/// A host: own network, mounts (`/sys`, `/proc`, `/run` are its own), processes and host name.
/// Dropping it ends everything in it.
#[derive(Debug)]
pub struct Host {
    name: String,
    holder: Holder,
    started: Mutex<Vec<process::Shared>>,
    detached: bool,
}

/// How much of a host a thread enters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// The network alone: paths and pids stay the caller's.
    Network,
    /// Network, mounts and name. Threads and tasks can be started from here, which the pid
    /// namespace would forbid.
    Here,
    /// Everything: a process that starts now ends with the host.
    Processes,
}

impl Host {
    /// Makes a host of that name (it is the host name in it) with the default options.
    pub fn new(name: &str) -> Result<Self> {
        Self::with(name, &HostOptions::default())
    }

    /// Makes a host with options.
    pub fn with(name: &str, options: &HostOptions) -> Result<Self> {
        let holder =
            Holder::start(name, options).with_context(|| format!("making the host {name}"))?;
        let host = Self {
            name: name.into(),
            holder,
            started: Mutex::new(Vec::new()),
            detached: false,
        };
        host.run(&["ip", "link", "set", "dev", "lo", "up"])?;
        for (sysctl, value) in &options.sysctls {
            host.set_sysctl(sysctl, value)?;
        }
        Ok(host)
    }

    /// The name it was made with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pid of the process that holds the namespaces, as the maker sees it: `nsenter -t PID -a`
    /// enters by hand.
    pub fn pid(&self) -> u32 {
        self.holder.pid()
    }

    /// What its cgroups are called on the machine, if it has some of its own.
    pub fn cgroup_name(&self) -> &str {
        &self.holder.mark
    }

    /// Runs a program to its end; anything but success is an error that shows what it said.
    pub fn run(&self, argv: &[&str]) -> Result<Output> {
        let output = self.try_run(argv)?;
        ensure!(
            output.success(),
            "{}: {}: {}",
            self.name,
            argv.join(" "),
            output.summary()
        );
        Ok(output)
    }

    /// Runs a program to its end; also a failure is an answer.
    pub fn try_run(&self, argv: &[&str]) -> Result<Output> {
        let (program, arguments) = argv.split_first().context("no program was named")?;
        self.output(Command::new(program).args(arguments))
    }

    /// Runs a line of shell; anything but success is an error that shows what it said.
    pub fn sh(&self, script: &str) -> Result<Output> {
        self.run(&["sh", "-ec", script])
    }

    /// Runs a prepared command to its end; also a failure is an answer.
    pub fn output(&self, command: &mut Command) -> Result<Output> {
        let output = self.enter(Depth::Processes, || command.output())?;
        Ok(output
            .with_context(|| format!("{}: cannot run {command:?}", self.name))?
            .into())
    }

    /// Starts a prepared command in the host. It runs until it ends, is killed, or the host is
    /// dropped; dropping the handle does not end it.
    pub fn spawn(&self, command: &mut Command) -> Result<Process> {
        let child = self.enter(Depth::Processes, || command.spawn())?;
        let child = child.with_context(|| format!("{}: cannot start {command:?}", self.name))?;
        let process = Process::new(format!("{}: {command:?}", self.name), child);
        let mut started = self
            .started
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        started.retain(process::still_runs);
        started.push(process.shared());
        Ok(process)
    }

    /// Runs `work` on a thread that is in the host's network and mounts (a tokio runtime may be
    /// built there), and gives back what it returns. A panic in it goes on in the caller. Processes
    /// it starts keep the caller's pid namespace: start those with [`Host::spawn`]. `/proc/net` is
    /// the main thread's there: read `/proc/thread-self/net`.
    pub fn exec_in<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.enter(Depth::Here, work)
    }

    /// Sets a sysctl in the host, by dotted name. A slash in a name stands for a dot in a device's
    /// name, as in sysctl(8).
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        let path = sysctl_path(name);
        self.exec_in(|| std::fs::write(&path, value))?
            .with_context(|| format!("{}: setting {name}={value} ({})", self.name, path.display()))
    }

    /// Reads a sysctl in the host, by dotted name.
    pub fn sysctl(&self, name: &str) -> Result<String> {
        let path = sysctl_path(name);
        let value = self.exec_in(|| std::fs::read_to_string(&path))?;
        Ok(value
            .with_context(|| format!("{}: reading {name}", self.name))?
            .trim_end()
            .to_owned())
    }

    /// Lets the host live on after this process. It ends, with everything in it, when the process
    /// [`Host::pid`] is killed (SIGKILL).
    pub fn detach(mut self) -> Result<u32> {
        self.holder.detach()?;
        self.detached = true;
        Ok(self.pid())
    }

    fn enter<T: Send>(&self, depth: Depth, work: impl FnOnce() -> T + Send) -> Result<T> {
        enter(&self.holder, depth, work).with_context(|| format!("entering the host {}", self.name))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        // A dead child without a waiter keeps its pid namespace alive, and the holder could not
        // end.
        let started = self
            .started
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for process in started.drain(..) {
            process::end(&process);
        }
        self.holder.stop();
    }
}

/// `net.ipv4.conf.br100.forwarding` → its file.
fn sysctl_path(name: &str) -> PathBuf {
    let file: String = name
        .chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect();
    Path::new("/proc/sys").join(file)
}

/// Runs `work` on a thread of its own that has entered the holder's namespaces. Only a fresh thread
/// can: the namespaces of a thread that is used again for something else would be a surprise, and
/// the mount namespace needs a file-system context that is not shared.
fn enter<T: Send>(holder: &Holder, depth: Depth, work: impl FnOnce() -> T + Send) -> Result<T> {
    let folder = std::env::current_dir().ok();
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("lab-host".into())
            .spawn_scoped(scope, || -> Result<T> {
                let join =
                    |fd: &OwnedFd, kind| setns(fd, kind).with_context(|| format!("setns {kind:?}"));
                join(&holder.net, CloneFlags::CLONE_NEWNET)?;
                if depth != Depth::Network {
                    unshare(CloneFlags::CLONE_FS).context("unshare CLONE_FS")?;
                    join(&holder.uts, CloneFlags::CLONE_NEWUTS)?;
                    join(&holder.mnt, CloneFlags::CLONE_NEWNS)?;
                    // Entering a mount namespace moves to its root; go back where the caller is, so
                    // that relative paths still mean the same.
                    if let Some(folder) = &folder {
                        let _hidden_in_the_host_is_fine = nix::unistd::chdir(folder);
                    }
                }
                if depth == Depth::Here {
                    own_proc()?;
                }
                if depth == Depth::Processes {
                    join(&holder.pid_namespace, CloneFlags::CLONE_NEWPID)?;
                }
                Ok(work())
            })?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// `/proc` in a host shows the host's processes, and neither `self` nor `net` to a process outside.
/// A thread that enters the host keeps its own pids, so it gets a `/proc` that fits them. Other
/// mounts made from here are shared with the host.
fn own_proc() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare CLONE_NEWNS")?;
    let none = None::<&str>;
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        none,
    )
    .context("mounting /proc")
}
