//! Keeps the parts of a host (its *subsystems*) as the host's objects say: desired, observed,
//! difference, retries. Depends on `novanet-model` for the objects only.

mod barrier;
mod cadence;
mod command;
mod conflict;
mod failure;
pub mod fake;
mod hurry;
mod network_conflicts;
mod reconcile;
mod render;
mod standing;
mod subsystem;
mod waiting;
mod worker;
mod workers;

pub use barrier::FirewallGate;
pub use cadence::Timing;
pub use command::{ObjectChange, Progress, Query, Shows};
pub use failure::{LONGEST_WAIT, host_key, jitter};
pub use reconcile::{Reconciler, Round};
pub use subsystem::{
    Change, Desired, Foreign, ForeignDevice, ForeignDevices, Origin, Subsystem, SubsystemError,
    diff,
};
pub use waiting::Blocked;
pub use worker::SubsystemWorker;
pub use workers::{DHCP, FIREWALL, INSTANCES, LINKS, Subsystems, WorkerHandles, Workers};
