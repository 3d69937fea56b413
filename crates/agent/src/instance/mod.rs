//! The instances of this host: the subsystem runs a machine for each `Instance` object whose `Port`
//! objects it has, and removes it with its object. Depends on a [`Driver`] for machines, a
//! [`PortAttacher`] for network cards and the image cache; tests replace the first two.
//!
//! One background task per instance ([`supervisor`]) does the slow work: fetch, make, stop, remove.
//! A round only sets goals and reads the known states. Instances are not children of the agent and
//! outlive it; it finds them again by their folders and their processes' start times.

mod console;
mod disk;
mod driver;
mod files;
mod inject;
pub mod oci;
mod process;
mod program;
mod range;
mod supervisor;

pub use driver::{Driver, FirstBoot, FirstBootSource, Gate, InjectedFile, Machine};

use crate::image::Images;
use crate::settings::Settings;
use files::{Folders, Spec};
use futures_util::future::BoxFuture;
use novanet_model::object::{Instance, Port};
use novanet_model::wire::InstanceReport;
use novanet_model::{HostObject, InstanceId, NetworkId};
use novanet_reconcile::{Change, Desired, Subsystem, SubsystemError};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use supervisor::{Goal, InstanceSupervisor};
use tokio::sync::{Notify, mpsc};

/// Attaches an instance's network card to its bridge. The link subsystem implements it.
pub trait PortAttacher: Send + Sync {
    /// Makes the veth pair of `port.name` (in this network namespace, in its bridge, up) and
    /// `ifname` (with the port's MAC, in the network namespace of `pid`). Removes an earlier pair
    /// of that name first.
    fn attach<'a>(
        &'a self,
        port: &'a Port,
        pid: i32,
        ifname: &'a str,
    ) -> BoxFuture<'a, Result<(), SubsystemError>>;

    /// Whether the host's end exists.
    fn is_attached(&self, port: &Port) -> bool {
        nix::net::if_::if_nametoindex(port.name.as_str()).is_ok()
    }
}

/// Identity of an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A port of an instance, by its index. (The veth pair itself is the link subsystem's.)
    Port(InstanceId, u32),
    /// The machine.
    Instance(InstanceId),
}

impl Key {
    fn instance(&self) -> InstanceId {
        match self {
            Self::Port(id, _) | Self::Instance(id) => *id,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(id, index) => write!(f, "{id} eth{index}"),
            Self::Instance(id) => write!(f, "{id}"),
        }
    }
}

/// Content of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// See [`Key::Port`].
    Port(Port),
    /// A port in a network that this host cannot have: its instance stays as it is meanwhile.
    Unavailable {
        /// The network of the port.
        network: NetworkId,
        /// For people.
        why: String,
    },
    /// See [`Key::Instance`].
    Instance {
        /// As it runs, or last ran.
        instance: Instance,
        /// Whether all its ports are attached.
        plugged: bool,
    },
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => {
                write!(
                    f,
                    "{} {} as {} in {}",
                    port.mac, port.address, port.name, port.bridge
                )
            }
            Self::Unavailable { network, .. } => {
                write!(f, "of network {network}, which this host cannot have")
            }
            Self::Instance { instance, plugged } => {
                let plugged = if *plugged { "" } else { ", not plugged" };
                let halted = if instance.halted { ", stopped" } else { "" };
                write!(
                    f,
                    "{} boot {}, {} MB, {} processors{plugged}{halted}, image {}",
                    instance.hostname,
                    instance.boot,
                    instance.memory_mb,
                    instance.vcpus,
                    instance.image
                )
            }
        }
    }
}

/// The subsystem. See the head of this file.
pub struct Instances {
    supervisor: Arc<InstanceSupervisor>,
    /// Ports of desired instances, and of those that an earlier agent left.
    ports: BTreeMap<(InstanceId, u32), Port>,
    adopted: bool,
}

impl Instances {
    /// Runs instances by the OCI runtime of this host. A host without one still works as a network
    /// host: each instance then fails with the package to install.
    pub fn new(
        settings: &Settings,
        images: Arc<Images>,
        attacher: Arc<dyn PortAttacher>,
        reports: mpsc::UnboundedSender<InstanceReport>,
    ) -> Self {
        let driver = oci::Oci::probe(settings).map(|oci| {
            let missing = oci.cgroups().missing();
            if !missing.is_empty() {
                tracing::info!(
                    missing = missing.join(", "),
                    "this host's cgroups cannot be used for all limits: instances run without these"
                );
            }
            Arc::new(oci) as Arc<dyn Driver>
        });
        if let Err(error) = &driver {
            tracing::warn!(%error, "this host cannot run instances");
        }
        Self::with_driver(settings, driver, images, attacher, reports)
    }

    /// Runs instances by another driver.
    pub fn with_driver(
        settings: &Settings,
        driver: Result<Arc<dyn Driver>, SubsystemError>,
        images: Arc<Images>,
        attacher: Arc<dyn PortAttacher>,
        reports: mpsc::UnboundedSender<InstanceReport>,
    ) -> Self {
        let folders = Folders::new(&settings.state_path, settings.instance_uid_base);
        Self {
            supervisor: InstanceSupervisor::new(
                folders,
                driver.map_err(|e| e.to_string()),
                images,
                settings.tiny_disk_mb,
                attacher,
                reports,
            ),
            ports: BTreeMap::new(),
            adopted: false,
        }
    }

    /// From now on the subsystem starts and attaches instances only when this gate is ready. A
    /// second call changes nothing.
    pub fn set_gate(&self, gate: Arc<dyn Gate>) {
        self.supervisor.set_gate(gate);
    }

    /// From now on instances of flat networks get what this source says before their first boot. A
    /// second call changes nothing.
    pub fn set_first_boot_source(&self, source: Arc<dyn FirstBootSource>) {
        self.supervisor.set_first_boot_source(source);
    }

    /// The last 64 KiB of an instance's console. `None`: this host has no such instance.
    pub fn console(&self, instance: InstanceId) -> Option<std::io::Result<String>> {
        self.supervisor.console(instance)
    }

    /// A handle for reading consoles while a worker owns the subsystem.
    pub fn consoles(&self) -> Consoles {
        Consoles(Arc::clone(&self.supervisor))
    }

    /// Why this host cannot run instances, with the remedy. `None`: it can.
    pub fn problem(&self) -> Option<&str> {
        self.supervisor.problem()
    }

    /// Waits until no task works on an instance.
    pub async fn wait_idle(&self) {
        self.supervisor.wait_idle().await;
    }

    /// Reports every instance's state again: a restored server has lost the earlier reports.
    pub fn report_all(&self) {
        self.supervisor.report_all();
    }
}

/// Reads consoles.
#[derive(Clone)]
pub struct Consoles(Arc<InstanceSupervisor>);

impl Consoles {
    /// As [`Instances::console`].
    pub fn read(&self, instance: InstanceId) -> Option<std::io::Result<String>> {
        self.0.console(instance)
    }
}

/// The goal of an instance, by the desired state. `None`: it stays as it is.
fn goal(id: InstanceId, desired: &Desired<Key, Value>) -> Result<Option<Goal>, SubsystemError> {
    let Some(Value::Instance { instance, .. }) = desired.get(&Key::Instance(id)) else {
        return Ok(Some(Goal::Gone));
    };
    let mut ports = Vec::new();
    for (_, value) in desired.range(Key::Port(id, 0)..=Key::Port(id, u32::MAX)) {
        match value {
            Value::Port(port) => ports.push(port.clone()),
            // To stop, it needs no network.
            Value::Unavailable { .. } if instance.halted => {}
            Value::Unavailable { .. } => return Ok(None),
            Value::Instance { .. } => {}
        }
    }
    if ports.len() != instance.ports as usize && !instance.halted {
        return Err(SubsystemError::Refused(format!(
            "{id}: waits for its ports: {} of {} are known",
            ports.len(),
            instance.ports
        )));
    }
    Ok(Some(Goal::Run(Arc::new(Spec {
        instance: instance.clone(),
        ports,
    }))))
}

impl Subsystem for Instances {
    type Key = Key;
    type Value = Value;
    const NAME: &'static str = "instance";

    fn base_items(&self) -> Vec<(Key, Value)> {
        Vec::new()
    }

    fn items(&self, object: &HostObject) -> Vec<(Key, Value)> {
        match object {
            HostObject::Port(port) => vec![(
                Key::Port(port.instance, port.index),
                Value::Port(port.clone()),
            )],
            HostObject::Instance(instance) => vec![(
                Key::Instance(instance.instance),
                Value::Instance {
                    instance: instance.clone(),
                    plugged: true,
                },
            )],
            _ => Vec::new(),
        }
    }

    /// A running instance goes on: its network may come back.
    fn items_when_unavailable(&self, object: &HostObject, why: &str) -> Vec<(Key, Value)> {
        match object {
            HostObject::Port(port) => vec![(
                Key::Port(port.instance, port.index),
                Value::Unavailable {
                    network: port.network,
                    why: why.to_owned(),
                },
            )],
            _ => Vec::new(),
        }
    }

    fn waits_for_firewall(&self, _: &Key, value: &Value) -> bool {
        !matches!(value, Value::Instance { instance, .. } if instance.halted)
    }

    fn hold_back(&mut self, _: &Key, value: &Value, why: &str) {
        if let Value::Instance { instance, .. } = value {
            self.supervisor.report_waiting(instance, why);
        }
    }

    fn changed_externally(&self) -> Arc<Notify> {
        self.supervisor.changed_externally()
    }

    fn takes_away(&self, removal: &Change<Key, Value>) -> bool {
        self.supervisor.is_made(removal.key.instance())
    }

    async fn observe(
        &mut self,
        desired: &Desired<Key, Value>,
    ) -> Result<BTreeMap<Key, Value>, SubsystemError> {
        if !self.adopted {
            for spec in self.supervisor.adopt().await? {
                for port in spec.ports {
                    let key = (port.instance, port.index);
                    self.ports.insert(key, port);
                }
            }
            self.adopted = true;
        }
        let wanted = |id| match desired.get(&Key::Instance(id)) {
            Some(Value::Instance { instance, .. }) => Some(instance),
            _ => None,
        };
        let mut there: BTreeMap<Key, Value> = self
            .ports
            .iter()
            .map(|(&(id, index), port)| (Key::Port(id, index), Value::Port(port.clone())))
            .collect();
        for (instance, plugged) in self.supervisor.observe(wanted) {
            there.insert(
                Key::Instance(instance.instance),
                Value::Instance { instance, plugged },
            );
        }
        // Instances in unavailable networks count as unchanged.
        for (port, value) in desired.iter() {
            let Value::Unavailable { why, .. } = value else {
                continue;
            };
            there.insert(port.clone(), value.clone());
            let key = Key::Instance(port.instance());
            if let Some(wanted @ Value::Instance { instance, .. }) = desired.get(&key)
                && !instance.halted
            {
                self.supervisor.report_waiting(instance, why);
                there.insert(key, wanted.clone());
            }
        }
        Ok(there)
    }

    async fn apply(
        &mut self,
        changes: &[Change<Key, Value>],
        desired: &Desired<Key, Value>,
    ) -> Vec<(Key, SubsystemError)> {
        let mut touched = BTreeSet::new();
        for change in changes {
            if let Key::Port(id, index) = change.key {
                match &change.to {
                    Some(Value::Port(port)) => self.ports.insert((id, index), port.clone()),
                    Some(_) => None,
                    None => self.ports.remove(&(id, index)),
                };
            }
            touched.insert(change.key.instance());
        }
        let mut errors = Vec::new();
        for id in touched {
            let done = match goal(id, desired) {
                Ok(Some(goal)) => self.supervisor.set_goal(id, goal),
                Ok(None) => Ok(()),
                Err(error) => {
                    if let Some(Value::Instance { instance, .. }) = desired.get(&Key::Instance(id))
                    {
                        self.supervisor.report_waiting(instance, &error.to_string());
                    }
                    Err(error)
                }
            };
            if let Err(error) = done {
                errors.push((Key::Instance(id), error));
            }
        }
        errors
    }
}
