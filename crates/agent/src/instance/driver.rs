//! The contracts of a machine driver and of the gate that it waits for. An OCI runtime implements
//! the driver today; virtual machines would be another implementation.

use futures_util::future::BoxFuture;
use novanet_model::InstanceId;
use novanet_reconcile::SubsystemError;
use std::fmt;
use std::path::PathBuf;

/// All that a driver needs to make a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The instance that it runs.
    pub instance: InstanceId,
    /// Without a domain.
    pub hostname: String,
    /// Memory limit in MiB; 0: none.
    pub memory_mb: u32,
    /// Processor limit; 0: none.
    pub vcpus: u32,
    /// The unpacked image, shared and read-only. Its files belong to the ids from
    /// `instance_uid_base`.
    pub image: PathBuf,
    /// The host's id of the instance's root: the first of its 65,536 ids.
    pub root_id: u32,
    /// The instance's own folder, with its disk and its console (a FIFO). The driver puts all its
    /// own files of the instance here.
    pub folder: PathBuf,
    /// The driver writes these to the disk before it makes the machine.
    pub files: Vec<InjectedFile>,
}

/// A file on an instance's disk.
#[derive(Clone, PartialEq, Eq)]
pub struct InjectedFile {
    /// Below the instance's `/`, without links: `etc/hostname`.
    pub path: &'static str,
    /// Permissions; the owner is root.
    pub mode: u32,
    /// Behind the content of the image's own file, if it has one.
    pub append: bool,
    /// Content.
    pub content: Vec<u8>,
}

impl InjectedFile {
    /// A file that replaces the image's own.
    pub fn new(path: &'static str, mode: u32, content: Vec<u8>) -> Self {
        Self {
            path,
            mode,
            append: false,
            content,
        }
    }
}

impl fmt::Debug for InjectedFile {
    /// Without the content, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{} ({} bytes)", self.path, self.content.len())
    }
}

/// What an instance of flat networks, where no metadata service answers, must know at its first
/// boot.
#[derive(Clone, PartialEq, Eq)]
pub struct FirstBoot {
    /// Host name with domain.
    pub full_name: String,
    /// Public keys of the key pair, in OpenSSH's format.
    pub keys: Vec<String>,
    /// User-data, decoded.
    pub user_data: Option<Vec<u8>>,
}

/// Where [`FirstBoot`] comes from: the server.
pub trait FirstBootSource: Send + Sync {
    /// For this instance. The error is for people.
    fn first_boot(&self, instance: InstanceId) -> BoxFuture<'_, Result<FirstBoot, String>>;
}

/// The firewall around the instances. The worker asks before it sets a goal; the supervisor asks
/// again before it starts an instance or attaches a port, as a long download may lie between.
pub trait Gate: Send + Sync {
    /// Why the firewall does not filter this instance now, for people. `None`: it does.
    fn reason_not_ready(&self, instance: InstanceId) -> Option<String>;

    /// Waits until the firewall filters this instance.
    fn ready(&self, instance: InstanceId) -> BoxFuture<'_, ()>;
}

/// Runs machines. An agent that was killed may have made every call before, and have left it
/// halfway.
pub trait Driver: Send + Sync {
    /// Makes the machine up to the moment before its first instruction. Returns its first process;
    /// the subsystem attaches the ports in its network namespace. Removes an earlier machine of the
    /// same instance first.
    fn create<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<i32, SubsystemError>>;

    /// Lets a created machine run.
    fn start(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), SubsystemError>>;

    /// Kills the machine if it runs, and removes all that the driver has of it outside of its
    /// folder.
    fn clean(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), SubsystemError>>;

    /// Whether instances can have ids of the host that no other instance has. Blocks.
    fn has_id_ranges(&self) -> bool {
        false
    }

    /// Removes what all machines share. The subsystem calls it when no instance is left.
    fn sweep(&self);
}
