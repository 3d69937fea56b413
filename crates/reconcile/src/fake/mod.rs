//! A host that exists in memory only, with the subsystems' own interface: for property tests and
//! simulations. It can be killed after any action, made to fail, slowed down and interfered with.
//!
//! Must not know: the engine. It is a stand-in for kernels, not for our code.

pub mod objects;
mod subjects;

use crate::command::Inspect;
use crate::desired::{Change, Desired};
use crate::foreign::{Foreign, ForeignDevice, ForeignDevices};
use crate::subsystem::{Subsystem, SubsystemError};
use crate::workers::Subsystems;
use novanet_model::{HostAddresses, HostObject, IfName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Key of an item in a fake subsystem, e.g. `bridge/br100`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FakeKey(pub String);

impl fmt::Display for FakeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a fake subsystem is about.
pub trait Subject: Send + Sync + 'static {
    /// Its name, as of the real subsystem.
    const NAME: &'static str;
    /// What every host has.
    fn base() -> Vec<(String, String)> {
        Vec::new()
    }
    /// Whether it is the subsystem that sees what is foreign.
    const SEES: bool = false;
    /// What follows from an object.
    fn items(object: &HostObject) -> Vec<(String, String)>;
    /// What stays of one whose network the host cannot have.
    fn items_when_unavailable(_object: &HostObject) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// A fake subsystem for links.
pub struct FakeLinks;
/// A fake subsystem for the firewall.
pub struct FakeFirewall;
/// A fake subsystem for DHCP.
pub struct FakeDhcp;
/// A fake subsystem for instances.
pub struct FakeInstances;

/// A subsystem of a [`FakeHost`].
pub struct FakeSubsystem<S> {
    host: FakeHost,
    changed_externally: Arc<Notify>,
    subject: PhantomData<S>,
}

/// The subsystems of a fake host.
pub type FakeSubsystems = Subsystems<
    FakeSubsystem<FakeLinks>,
    FakeSubsystem<FakeFirewall>,
    FakeSubsystem<FakeDhcp>,
    FakeSubsystem<FakeInstances>,
>;

/// The host in memory. Outlives the subsystems, as a kernel outlives the agent.
#[derive(Clone, Default)]
pub struct FakeHost {
    state: Arc<Mutex<State>>,
    killed: Arc<Notify>,
}

type FakeItem = (&'static str, String);

#[derive(Default)]
struct State {
    items: BTreeMap<FakeItem, String>,
    foreign: BTreeSet<FakeItem>,
    addresses: HostAddresses,
    source: Option<Ipv4Addr>,
    failing: BTreeSet<FakeItem>,
    unobservable: BTreeSet<&'static str>,
    slow: BTreeMap<&'static str, Duration>,
    changed_externally: BTreeMap<&'static str, Arc<Notify>>,
    actions: Vec<String>,
    kill_at: Option<usize>,
    observations: BTreeMap<&'static str, usize>,
    guards: BTreeMap<FakeItem, FakeItem>,
}

impl FakeHost {
    /// A host with nothing on it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Subsystems of this host, as a new agent makes them.
    pub fn subsystems(&self) -> FakeSubsystems {
        Subsystems {
            links: self.subsystem(),
            firewall: self.subsystem(),
            dhcp: self.subsystem(),
            instances: self.subsystem(),
        }
    }

    /// One subsystem of this host.
    pub fn subsystem<S: Subject>(&self) -> FakeSubsystem<S> {
        let mut state = self.state();
        FakeSubsystem {
            host: self.clone(),
            changed_externally: Arc::clone(state.changed_externally.entry(S::NAME).or_default()),
            subject: PhantomData,
        }
    }

    /// Everything of ours on the host: `subsystem key` → value.
    pub fn items(&self) -> BTreeMap<String, String> {
        let items = self.state().items.clone();
        let name = |((subsystem, key), value)| (format!("{subsystem} {key}"), value);
        items.into_iter().map(name).collect()
    }

    /// Another program puts an item with our ownership tag there (or changes it), unnoticed.
    pub fn put(&self, subsystem: &'static str, key: &str, value: &str) {
        let item = (subsystem, key.to_owned());
        self.state().items.insert(item, value.to_owned());
    }

    /// The subsystem keeps the first item (subsystem and key) for as long as the second is there.
    pub fn keep_while(&self, guard: (&'static str, &str), guarded: (&'static str, &str)) {
        let owned = |(subsystem, key): (&'static str, &str)| (subsystem, key.to_owned());
        self.state().guards.insert(owned(guard), owned(guarded));
    }

    fn is_kept(&self, item: &FakeItem) -> bool {
        let state = self.state();
        let guarded = state.guards.get(item);
        guarded.is_some_and(|guarded| state.items.contains_key(guarded))
    }

    /// Another program removes an item, unnoticed.
    pub fn take_away(&self, subsystem: &'static str, key: &str) {
        self.state().items.remove(&(subsystem, key.to_owned()));
    }

    /// The kernel tells the subsystem that something of it changed.
    pub fn change_externally(&self, subsystem: &'static str) {
        if let Some(notify) = self.state().changed_externally.get(subsystem) {
            notify.notify_one();
        }
    }

    /// Something foreign stands where this item would be; if that is a bridge, a bridge.
    pub fn occupy(&self, subsystem: &'static str, key: &str) {
        self.state().foreign.insert((subsystem, key.to_owned()));
    }

    /// And goes away again.
    pub fn vacate(&self, subsystem: &'static str, key: &str) {
        self.state().foreign.remove(&(subsystem, key.to_owned()));
    }

    /// The host has these addresses and routes of its own from now on.
    pub fn lives_at(&self, addresses: HostAddresses) {
        self.state().addresses = addresses;
    }

    /// The host uses this address towards others from now on.
    pub fn leaves_with(&self, source: Ipv4Addr) {
        self.state().source = Some(source);
    }

    /// From now on changes of this item fail (or no longer).
    pub fn fail(&self, subsystem: &'static str, key: &str, fails: bool) {
        let item = (subsystem, key.to_owned());
        let mut state = self.state();
        if fails {
            state.failing.insert(item);
        } else {
            state.failing.remove(&item);
        }
    }

    /// From now on the subsystem cannot be observed (or can again).
    pub fn fail_observing(&self, subsystem: &'static str, fails: bool) {
        let mut state = self.state();
        if fails {
            state.unobservable.insert(subsystem);
        } else {
            state.unobservable.remove(subsystem);
        }
    }

    /// Every action in this subsystem takes this long.
    pub fn slow(&self, subsystem: &'static str, each: Duration) {
        self.state().slow.insert(subsystem, each);
    }

    /// The agent dies after this many more actions: subsystems hang, [`Self::killed`] returns.
    pub fn kill_after(&self, actions: usize) {
        let mut state = self.state();
        state.kill_at = Some(state.actions.len() + actions);
    }

    /// Waits until the agent is killed. Drop its engine or reconciler then.
    pub async fn killed(&self) {
        self.killed.notified().await;
        self.state().kill_at = None;
    }

    /// All actions so far: `subsystem action key`.
    pub fn actions(&self) -> Vec<String> {
        self.state().actions.clone()
    }

    /// How often a subsystem was observed.
    pub fn observations(&self, subsystem: &'static str) -> usize {
        self.state()
            .observations
            .get(subsystem)
            .copied()
            .unwrap_or(0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One numbered action: done, refused, or never done because the agent was killed before it.
    async fn act(&self, item: &FakeItem, value: Option<&str>) -> Result<(), SubsystemError> {
        let slow = self.state().slow.get(item.0).copied();
        if let Some(each) = slow {
            tokio::time::sleep(each).await;
        }
        if let Some(result) = self.try_act(item, value) {
            return result;
        }
        self.killed.notify_one();
        std::future::pending().await
    }

    fn try_act(&self, item: &FakeItem, value: Option<&str>) -> Option<Result<(), SubsystemError>> {
        let mut state = self.state();
        if state.kill_at.is_some_and(|at| state.actions.len() >= at) {
            return None;
        }
        if state.foreign.contains(item) {
            let message = format!("{} is taken by something foreign", item.1);
            return Some(Err(SubsystemError::Refused(message)));
        }
        if state.failing.contains(item) {
            let source = std::io::Error::from_raw_os_error(28);
            return Some(Err(SubsystemError::kernel(&item.1, source)));
        }
        let word = if value.is_some() { "put" } else { "remove" };
        state.actions.push(format!("{} {word} {}", item.0, item.1));
        match value {
            Some(value) => state.items.insert(item.clone(), value.to_owned()),
            None => state.items.remove(item),
        };
        Some(Ok(()))
    }
}

impl<S: Subject> Subsystem for FakeSubsystem<S> {
    type Key = FakeKey;
    type Value = String;

    const NAME: &'static str = S::NAME;

    fn base_items(&self) -> Vec<(FakeKey, String)> {
        keyed(S::base())
    }

    fn items(&self, object: &HostObject) -> Vec<(FakeKey, String)> {
        keyed(S::items(object))
    }

    fn items_when_unavailable(&self, object: &HostObject, _: &str) -> Vec<(FakeKey, String)> {
        keyed(S::items_when_unavailable(object))
    }

    fn foreign_devices(&self) -> Option<ForeignDevices> {
        let state = self.host.state();
        let bridges = state.foreign.iter().filter_map(|(subsystem, key)| {
            let name = key
                .strip_prefix("bridge/")
                .filter(|_| *subsystem == S::NAME)?;
            let stranger = ForeignDevice {
                is_bridge: true,
                what: "somebody's bridge".to_owned(),
            };
            Some((IfName::new(name).ok()?, stranger))
        });
        S::SEES.then(|| {
            Arc::new(Foreign {
                devices: bridges.collect(),
                addresses: state.addresses.clone(),
                source: state.source,
                vlans: false,
                waits: None,
            })
        })
    }

    fn changed_externally(&self) -> Arc<Notify> {
        Arc::clone(&self.changed_externally)
    }

    async fn observe(
        &mut self,
        desired: &Desired<FakeKey, String>,
    ) -> Result<BTreeMap<FakeKey, String>, SubsystemError> {
        let mut state = self.host.state();
        *state.observations.entry(S::NAME).or_default() += 1;
        if state.unobservable.contains(S::NAME) {
            return Err(SubsystemError::Refused(
                "the fake kernel does not answer".to_owned(),
            ));
        }
        let mut seen = BTreeMap::new();
        for ((subsystem, key), value) in &state.items {
            if *subsystem == S::NAME {
                seen.insert(FakeKey(key.clone()), value.clone());
            }
        }
        for (subsystem, key) in &state.foreign {
            let key = FakeKey(key.clone());
            if *subsystem == S::NAME && desired.get(&key).is_some() {
                seen.insert(key, "foreign".to_owned());
            }
        }
        Ok(seen)
    }

    async fn apply(
        &mut self,
        changes: &[Change<FakeKey, String>],
        _desired: &Desired<FakeKey, String>,
    ) -> Vec<(FakeKey, SubsystemError)> {
        let mut failures = Vec::new();
        for change in changes {
            let item = (S::NAME, change.key.0.clone());
            let mut result = Ok(());
            // A change is two actions, so that there is a moment in between to be killed in.
            if change.to.is_none() && self.host.is_kept(&item) {
                result = Err(SubsystemError::Waits(format!(
                    "{} is still needed",
                    change.key
                )));
            } else if change.from.is_some() {
                result = self.host.act(&item, None).await;
            }
            if let (Ok(()), Some(to)) = (&result, &change.to) {
                result = self.host.act(&item, Some(to)).await;
            }
            if let Err(error) = result {
                failures.push((change.key.clone(), error));
            }
        }
        failures
    }
}

impl<S: Subject> Inspect for FakeSubsystem<S> {
    async fn show(&mut self) -> Result<String, SubsystemError> {
        let items = self.host.items().into_iter();
        let ours = items.filter(|(name, _)| name.starts_with(S::NAME));
        let text = ours
            .map(|(name, value)| name + ": " + &value + "\n")
            .collect();
        Ok(text)
    }

    async fn in_use(&mut self) -> Result<String, SubsystemError> {
        let items = self.host.items().into_keys();
        let mark = format!("{} port/", S::NAME);
        let ports: Vec<_> = items.filter(|name| name.starts_with(&mark)).collect();
        Ok(ports.join(", "))
    }
}

fn keyed(items: Vec<(String, String)>) -> Vec<(FakeKey, String)> {
    let keyed = items.into_iter().map(|(key, value)| (FakeKey(key), value));
    keyed.collect()
}
