//! The contract between the reconciler and the subsystems of a host.
//!
//! A subsystem's state is a map from keys to values, both desired and observed. Therefore one
//! generic difference serves all subsystems, each has a fake for free ([`crate::fake`]), and one
//! changed object touches only its own items.

use crate::desired::{Change, Desired};
use crate::foreign::{Foreign, ForeignDevices};
use novanet_model::{HostObject, ObjectKey};
use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::Notify;

/// One part of a host: links, firewall, DHCP or instances.
///
/// # Expected flow
/// 1. The reconciler calls [`base_items`](Self::base_items) once, and [`items`](Self::items) for
///    every object that is new or different. Both return *items*: a key and its desired value.
/// 2. On its first round it calls [`observe`](Self::observe), takes the difference, and passes the
///    changes to [`apply`](Self::apply).
/// 3. For each later change of an object (the hot path) it calls `items` and `apply` only. It does
///    not observe: it relies on the values that it observed or applied last.
/// 4. It observes again after some seconds, soon after it changed something, and at once after
///    [`changed_externally`](Self::changed_externally). It then corrects every difference.
///
/// # Guarantees
/// The reconciler guarantees that
/// * one thread at a time uses the subsystem, and never two calls at once;
/// * `apply` gets creations and changes in key order, then removals in reverse key order, so that
///   the order of keys is the order of work;
/// * `apply` gets no change of an item that must wait (see the crate's page for the reasons),
///   except removals: those never wait for the firewall;
/// * if several objects claim one key, the item exists until the last of them is gone, and its
///   value is the first object's by key;
/// * it calls nothing that changes the host before it knows all objects of the host.
///
/// # Assumptions
/// The reconciler assumes that
/// * `items` is pure and depends on the one object only;
/// * `observe` returns every item that carries novanet's ownership tag, whether desired or not. If
///   a foreign thing has the place of a desired key, `observe` returns that key with a value that
///   differs from the desired one, and returns no other foreign thing;
/// * after `apply` without an error, `observe` returns the desired value;
/// * the process may end after any step of `apply`: the next `observe` and `apply` reach the same
///   state;
/// * `apply` never changes or removes a foreign thing.
///
/// # Errors
/// `apply` does as many changes as it can and returns each failure under the key of its item. The
/// reconciler reports the failure under the objects that claim the item, and tries again after a
/// backoff. A [`SubsystemError::Waits`] is no failure while a subsystem below still works on the
/// same batch. If `observe` fails, the reconciler applies nothing and reports the error under
/// `host/<NAME>`. No error ends the worker.
#[allow(async_fn_in_trait)] // subsystems are used as concrete types only
pub trait Subsystem {
    /// Names an item; the order is the order of applying.
    type Key: Ord + Clone + Display + Debug + Send + Sync + 'static;
    /// The properties of an item that the subsystem compares.
    type Value: Clone + Eq + Debug + Send + Sync + 'static;

    /// Name of the subsystem, for logs and `plan --diff`.
    const NAME: &'static str;

    /// Items that every host has, whatever its objects.
    fn base_items(&self) -> Vec<(Self::Key, Self::Value)>;

    /// Items that follow from one object. Pure.
    fn items(&self, object: &HostObject) -> Vec<(Self::Key, Self::Value)>;

    /// Items of an object whose name, address or network this host cannot have, because of `_why`.
    /// They replace [`items`](Self::items). Empty: everything of the object goes. A subsystem
    /// returns what must stay (an instance that runs).
    fn items_when_unavailable(
        &self,
        _object: &HostObject,
        _why: &str,
    ) -> Vec<(Self::Key, Self::Value)> {
        Vec::new()
    }

    /// Whether an item of a guarded object waits for the firewall. `false`: it lets no packet through
    /// (an instance that must not run).
    fn waits_for_firewall(&self, _key: &Self::Key, _value: &Self::Value) -> bool {
        true
    }

    /// The reconciler does not make this item for now, because the firewall does not protect it.
    fn hold_back(&mut self, _key: &Self::Key, _value: &Self::Value, _why: &str) {}

    /// The foreign devices, as last observed. Only the links subsystem observes any.
    fn foreign_devices(&self) -> Option<ForeignDevices> {
        None
    }

    /// The host's own addresses changed. Returns the base items whose values change with them.
    fn follow(&mut self, _foreign: &Foreign) -> Vec<(Self::Key, Self::Value)> {
        Vec::new()
    }

    /// The message for an object that claims `key` with another value than `first`, the object
    /// whose value the item has. `None`: the object can live with that value.
    fn detect_conflict(
        &self,
        _key: &Self::Key,
        _first: (&ObjectKey, &Self::Value),
        _other: (&ObjectKey, &Self::Value),
    ) -> Option<String> {
        None
    }

    /// Notified when another process may have changed items of this subsystem (a kernel
    /// notification, a process that ended). The worker then observes at once.
    fn changed_externally(&self) -> Arc<Notify>;

    /// Whether this removal removes something from the host. `false`: the log does not call the
    /// item removed.
    fn takes_away(&self, _removal: &Change<Self::Key, Self::Value>) -> bool {
        true
    }

    /// The items on the host now.
    async fn observe(
        &mut self,
        desired: &Desired<Self::Key, Self::Value>,
    ) -> Result<BTreeMap<Self::Key, Self::Value>, SubsystemError>;

    /// Makes these changes. `desired` is the whole desired state, for renderings that need the
    /// neighbours of an item (a chain is all its rules).
    async fn apply(
        &mut self,
        changes: &[Change<Self::Key, Self::Value>],
        desired: &Desired<Self::Key, Self::Value>,
    ) -> Vec<(Self::Key, SubsystemError)>;
}

/// Why one item could not be made, changed or removed. The text names the object or the command,
/// and the remedy.
#[derive(Debug, Error)]
pub enum SubsystemError {
    /// A program failed.
    #[error("{command}: {message}")]
    Command {
        /// The command line, without secrets.
        command: String,
        /// Its stderr, or why it could not be started.
        message: String,
    },
    /// The kernel refused.
    #[error("{what}: {source}")]
    Kernel {
        /// The operation and its object.
        what: String,
        /// errno.
        source: std::io::Error,
    },
    /// Something foreign is in the way, or the host cannot do it.
    #[error("{0}")]
    Refused(String),
    /// A subsystem below must do its part first. While that subsystem still works on the batch,
    /// the worker does not report this: it tries again when the subsystem below has moved.
    #[error("{0}")]
    Waits(String),
}

impl SubsystemError {
    /// The kernel (or a file) refused `what`.
    pub fn kernel(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::Kernel {
            what: what.into(),
            source: source.into(),
        }
    }
}
