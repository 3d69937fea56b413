//! Finds which limits this host can enforce on instances. Depends on `/sys/fs/cgroup`: hosts have
//! cgroup v1, v2 or both, and in a sandbox often none that the agent can write. A missing limit is
//! a warning, not an error.

use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::path::{Path, PathBuf};

/// What the host's cgroups can limit.
#[allow(clippy::struct_excessive_bools)] // each is a controller of its own
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cgroups {
    /// The kind of their hierarchy.
    pub version: Version,
    /// Memory can be limited.
    pub memory: bool,
    /// Swap can be limited, too.
    pub swap: bool,
    /// Processor time can be limited.
    pub cpu: bool,
    /// The number of processes can be limited.
    pub pids: bool,
}

/// The kind of a host's cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy for each controller, perhaps beside a v2 one for naming only.
    V1,
    /// One hierarchy.
    V2,
}

const ROOT: &str = "/sys/fs/cgroup";

impl Cgroups {
    /// Reads what this host has.
    pub fn probe() -> Self {
        let unified = Path::new(ROOT).join("cgroup.controllers");
        if let Ok(controllers) = std::fs::read_to_string(&unified) {
            let has = |name: &str| {
                is_writable(Path::new(ROOT)) && controllers.split_whitespace().any(|c| c == name)
            };
            return Self {
                version: Version::V2,
                memory: has("memory"),
                swap: has("memory") && kernel_swaps(&own_group(), "memory.swap.max"),
                cpu: has("cpu"),
                pids: has("pids"),
            };
        }
        let has = |name: &str| {
            let folder = Path::new(ROOT).join(name);
            folder.join("cgroup.procs").exists() && is_writable(&folder)
        };
        Self {
            version: Version::V1,
            memory: has("memory"),
            swap: has("memory")
                && kernel_swaps(
                    &Path::new(ROOT).join("memory"),
                    "memory.memsw.limit_in_bytes",
                ),
            cpu: has("cpu"),
            pids: has("pids"),
        }
    }

    /// The limits that this host cannot enforce, for the log and for tests.
    pub fn missing(&self) -> Vec<&'static str> {
        [
            (self.memory, "memory"),
            (self.cpu, "cpu"),
            (self.pids, "pids"),
        ]
        .into_iter()
        .filter_map(|(there, name)| (!there).then_some(name))
        .collect()
    }
}

/// Whether this kernel counts swap: some are started with `swapaccount=0`.
fn kernel_swaps(folder: &Path, file: &str) -> bool {
    folder.join(file).exists()
}

/// The agent's own cgroup: the root cgroup of v2 has no files of limits.
fn own_group() -> PathBuf {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"));
    Path::new(ROOT).join(own.unwrap_or_default())
}

fn is_writable(folder: &Path) -> bool {
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok()
}

/// The existing folders of the cgroup `name`: one for each hierarchy.
pub(super) fn folders(name: &str) -> Vec<PathBuf> {
    let mut found = vec![Path::new(ROOT).join(name)];
    if let Ok(entries) = std::fs::read_dir(ROOT) {
        found.extend(entries.flatten().map(|entry| entry.path().join(name)));
    }
    found.retain(|path| path.is_dir());
    found
}

/// Ends the processes of the cgroup `name` and removes it, in all hierarchies. Fails while a killed
/// process is still in it.
pub(super) fn remove(name: &str) -> io::Result<()> {
    folders(name)
        .iter()
        .try_for_each(|folder| remove_tree(folder))
}

/// A cgroup has files that cannot be removed: only its folders are.
fn remove_tree(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    let members = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let pids = members.lines().filter_map(|line| line.parse().ok());
    for pid in pids.filter_map(Pid::from_raw) {
        // One that has ended meanwhile is as wanted.
        let _ = kill_process(pid, Signal::KILL);
    }
    std::fs::remove_dir(folder)
}
