//! The instances of this host: each `Instance` object becomes a machine, as soon as all its `Port` objects
//! are known, and goes when its object goes.
//!
//! What takes time (fetching, making, stopping, removing) happens in one background task per instance
//! ([`supervisor`]); a round only sets goals and looks at what is known. Instances are not our children and
//! outlive the agent; their folders and their processes' start times are how it knows them again.
//! Must not know: how bridges and veths are made ([`PortAttacher`]), what a runtime is ([`Driver`]).

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

pub use driver::{Driver, Gate, Machine};

use crate::image::Images;
use crate::settings::Settings;
use crate::subsystem::{Change, Desired, Subsystem, SubsystemError};
use files::{Folders, Spec};
use futures_util::future::BoxFuture;
use novanet_model::object::{Instance, Port};
use novanet_model::wire::InstanceReport;
use novanet_model::{HostObject, InstanceId, NetworkId};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use supervisor::{Goal, InstanceSupervisor};
use tokio::sync::{Notify, mpsc};

/// Plugs an instance's card into its bridge; the link subsystem does it.
pub trait PortAttacher: Send + Sync {
    /// Makes the cable `port.name` (in this network namespace, in its bridge) to `ifname` with the port's MAC
    /// in the network namespace of `pid`, up on the host's side. What is left of an earlier cable of that
    /// name is removed first.
    fn attach<'a>(
        &'a self,
        port: &'a Port,
        pid: i32,
        ifname: &'a str,
    ) -> BoxFuture<'a, Result<(), SubsystemError>>;

    /// Whether the host's end is there.
    fn is_attached(&self, port: &Port) -> bool {
        nix::net::if_::if_nametoindex(port.name.as_str()).is_ok()
    }
}

/// What an item of this subsystem is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A port that an instance will be plugged with. (The cable itself is the link subsystem's.)
    Port(InstanceId, u32),
    /// An instance.
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

/// What an item of this subsystem is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// See [`Key::Port`].
    Port(Port),
    /// A port in a network that this host cannot have: its instance stays as it is until it can.
    Unavailable {
        /// Which.
        network: NetworkId,
        /// For people.
        why: String,
    },
    /// See [`Key::Instance`].
    Instance {
        /// As it runs (or last ran).
        instance: Instance,
        /// Its cables are in.
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
                write!(
                    f,
                    "{} boot {}, {} MB, {} processors{plugged}, image {}",
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
    /// Ports that we were told of.
    ports: BTreeMap<(InstanceId, u32), Port>,
    adopted: bool,
}

impl Instances {
    /// Instances by the OCI runtime of this host. A host without one still works as a network host: then
    /// each instance it is asked to run fails with the package to install.
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

    /// Instances by another driver.
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

    /// From now on nothing is started or plugged without this gate's leave. The first one stays.
    pub fn set_gate(&self, gate: Arc<dyn Gate>) {
        self.supervisor.set_gate(gate);
    }

    /// The last 64 KiB that an instance wrote to its console. `None`: there is no such instance here.
    pub fn console(&self, instance: InstanceId) -> Option<std::io::Result<String>> {
        self.supervisor.console(instance)
    }

    /// A handle for reading consoles while the engine owns the subsystem.
    pub fn consoles(&self) -> Consoles {
        Consoles(Arc::clone(&self.supervisor))
    }

    /// Why this host cannot run instances, with the remedy. `None`: it can.
    pub fn problem(&self) -> Option<&str> {
        self.supervisor.problem()
    }

    /// Waits until no instance is being worked on.
    pub async fn wait_idle(&self) {
        self.supervisor.wait_idle().await;
    }

    /// Says every instance's state again (a server that was restored has forgotten them).
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

/// What the desired state says of an instance; `None`: that it stays as it is.
fn goal(id: InstanceId, desired: &Desired<Key, Value>) -> Result<Option<Goal>, SubsystemError> {
    let Some(Value::Instance { instance, .. }) = desired.get(&Key::Instance(id)) else {
        return Ok(Some(Goal::Gone));
    };
    let mut ports = Vec::new();
    for (_, value) in desired.range(Key::Port(id, 0)..=Key::Port(id, u32::MAX)) {
        match value {
            Value::Port(port) => ports.push(port.clone()),
            Value::Unavailable { .. } => return Ok(None),
            Value::Instance { .. } => {}
        }
    }
    if ports.len() != instance.ports as usize {
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

    /// What runs goes on: its network may come back.
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

    fn hold_back(&mut self, _: &Key, value: &Value, why: &str) {
        if let Value::Instance { instance, .. } = value {
            self.supervisor.wait(instance, why);
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
        // Whatever is there of these is as it must be.
        for (port, value) in desired.iter() {
            let Value::Unavailable { why, .. } = value else {
                continue;
            };
            there.insert(port.clone(), value.clone());
            let key = Key::Instance(port.instance());
            if let Some(wanted @ Value::Instance { instance, .. }) = desired.get(&key) {
                self.supervisor.wait(instance, why);
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
                        self.supervisor.wait(instance, &error.to_string());
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
