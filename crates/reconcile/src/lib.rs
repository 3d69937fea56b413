//! Keeps the parts of one host as the host's objects say. Depends on `novanet-model` for the
//! objects; knows no kernel, no server and no database.
//!
//! # Words
//! A **subsystem** ([`Subsystem`]) is one part of a host: links, firewall, DHCP, instances. An
//! **object** ([`novanet_model::HostObject`]) is what the server wants on the host: a bridge, a
//! port, a rule. An **item** is one thing that a subsystem makes: a key and a value. Objects
//! *claim* items; several objects may claim the same item. [`Desired`] is the set of all claims.
//!
//! # How a change travels
//! 1. The agent passes changed objects, as a numbered batch, to [`WorkerHandles::send`].
//! 2. Each of the four [`SubsystemWorker`]s takes the batch. Creations wait for the workers below
//!    (links ← firewall ← DHCP ← instances), removals for the workers above, both with a time
//!    limit ([`Timing`]).
//! 3. The worker's [`Reconciler`] asks the subsystem which items follow from the objects, and
//!    [`settle`](Reconciler::settle)s: it compares the touched items with the last observation and
//!    applies the difference. It does not observe: one changed object among 10,000 costs only
//!    its own items.
//! 4. From time to time, and after external changes, the worker runs a
//!    [`round`](Reconciler::round): observe everything, correct every difference.
//! 5. Each worker publishes its [`Progress`]: the batch that is done, and the errors by object.
//!
//! No function retries by itself. A failed item has a time at which it is due again, and the worker
//! runs the next round then.
//!
//! # Why an item is not made
//! An item that is not on the host as an object claims it has exactly one reason, its *hold*:
//!
//! | hold | begins | ends | reported |
//! |---|---|---|---|
//! | `DependencyOrder` | `apply` returns [`SubsystemError::Waits`] while a worker below is busy with the same batch | a worker below moves | no |
//! | `Retry` | `apply` fails | an attempt succeeds; attempts are due after a backoff, or earlier when something changed that may have been the cause | under the objects that claim the item |
//! | `FirewallNotReady` | the firewall has not attempted the object's batch, failed with it, or is itself not in force | the firewall moves ([`FirewallGate`]); no time limit | only a failure of the firewall |
//! | `NetworkUnavailable` | a foreign device has the bridge's name, or the host itself uses the address or the range | the foreign thing goes ([`ForeignDevices`]) | once per network or address, by the links subsystem |
//! | `Conflict` | another object with a smaller key claims the item with another value | the claims change | under the object that lost |
//!
//! `DependencyOrder`, `Retry` and `FirewallNotReady` hold the item itself; `NetworkUnavailable` and
//! `Conflict` hold one object's claim of it. Removals are never held by the firewall.
//!
//! # Where to read on
//! [`Subsystem`] is the contract (flow, guarantees, assumptions, errors). [`fake`] is a host in
//! memory that fulfils it; the tests of this crate need no root.

mod backoff;
mod cadence;
mod command;
mod conflict;
mod desired;
pub mod fake;
mod firewall_gate;
mod foreign;
mod hold;
mod holds;
mod network_conflicts;
mod plan;
mod progress;
mod reconciler;
mod report;
mod subsystem;
mod worker;
mod workers;

pub use backoff::{Backoff, jitter};
pub use cadence::Timing;
pub use command::{Inspect, ObjectChange, Query};
pub use desired::{Change, Desired, Origin, diff};
pub use firewall_gate::FirewallGate;
pub use foreign::{Foreign, ForeignDevice, ForeignDevices};
pub use hold::Blocked;
pub use progress::Progress;
pub use reconciler::{MAX_RETRY_PAUSE, Reconciler, Round};
pub use report::host_key;
pub use subsystem::{Subsystem, SubsystemError};
pub use worker::SubsystemWorker;
pub use workers::{DHCP, FIREWALL, INSTANCES, LINKS, Subsystems, WorkerHandles, Workers};
