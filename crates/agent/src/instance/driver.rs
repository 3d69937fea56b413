//! What the subsystem asks of the thing that runs instances. An OCI runtime does it today; a virtual machine
//! would do the same with other means.

use crate::subsystem::SubsystemError;
use futures_util::future::BoxFuture;
use novanet_model::InstanceId;
use std::path::PathBuf;

/// A machine to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Whose.
    pub instance: InstanceId,
    /// Its host name.
    pub hostname: String,
    /// Memory limit in MiB.
    pub memory_mb: u32,
    /// Processor limit.
    pub vcpus: u32,
    /// The unpacked image; shared, never written to. Its files belong to the ids from
    /// `instance_uid_base`.
    pub image: PathBuf,
    /// The host's id of the instance's root: the first of 65,536 that it has.
    pub root_id: u32,
    /// The instance's own folder: its disk and its console (a FIFO) are in here, made by the subsystem;
    /// everything else the driver needs goes in here too.
    pub folder: PathBuf,
    /// What the driver writes into the disk as `/etc/network/interfaces`; `None`: nothing.
    pub interfaces: Option<String>,
}

/// The firewall around the instances. The engine asks before it sets a goal; the subsystem asks again
/// before a first instruction and before a cable, as there may be a long download in between.
pub trait Gate: Send + Sync {
    /// Why the firewall is not around this instance now; `None`: it is.
    fn reason_not_ready(&self, instance: InstanceId) -> Option<String>;

    /// Waits until it is.
    fn ready(&self, instance: InstanceId) -> BoxFuture<'_, ()>;
}

/// Runs machines. Every call may have been made before by an agent that was killed in the middle.
pub trait Driver: Send + Sync {
    /// Makes the machine up to the moment before its first instruction, and answers with its first
    /// process, in whose network namespace the ports are plugged. What is left of an earlier one of the
    /// same instance is removed first.
    fn create<'a>(&'a self, machine: &'a Machine) -> BoxFuture<'a, Result<i32, SubsystemError>>;

    /// Lets it go.
    fn start(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), SubsystemError>>;

    /// Removes what the driver keeps of the instance outside of its folder; what still runs is killed.
    fn clean(&self, instance: InstanceId) -> BoxFuture<'_, Result<(), SubsystemError>>;

    /// Whether instances can have ids of the host that no other instance has. Blocks.
    fn has_id_ranges(&self) -> bool {
        false
    }

    /// Called when no instance is left: removes what is shared by all.
    fn sweep(&self);
}
