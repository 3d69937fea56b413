//! The firewall of a host: NAT, floating IPs, security groups, anti-spoofing, and the guard of the
//! host against its instances. Depends on the subsystem contract and on [`crate::netlink`].
//!
//! [`Intent`] says what is meant, [`HostPolicy`] what the settings add, and a [`FirewallBackend`]
//! renders both: [`Nft`] or [`Iptables`], by the flag `firewall_driver`. Default deny: a port that is not registered passes
//! nothing, so an instance without rules is cut off, never open.

mod backend;
mod diagnose;
mod driver;
mod explain;
mod intent;
mod iptables;
mod nft;
mod policy;
mod program;
mod view;

pub use backend::{FirewallBackend, Items};
pub use driver::Driver;
pub use intent::Intent;
pub use iptables::Iptables;
pub use nft::Nft;
pub use nft::item::{ElementKey, Key, Set, Value};
pub use policy::HostPolicy;

use crate::settings::Settings;
use novanet_model::HostObject;
use novanet_model::wire::{Explanation, Packet, RulesView};
use novanet_reconcile::{Change, Desired, Foreign, Subsystem, SubsystemError};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// The firewall subsystem, with the driver of the settings unless another backend is named.
#[derive(Debug)]
pub struct Firewall<B = Driver> {
    backend: B,
}

impl Firewall {
    /// Opens the kernel in the network namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// A program is missing (the error names the package), or the kernel refuses a socket.
    pub fn new(settings: &Settings) -> Result<Self, SubsystemError> {
        Ok(Self::with_backend(Driver::new(settings)?))
    }
}

impl<B: FirewallBackend> Firewall<B> {
    /// A firewall that this backend renders.
    pub fn with_backend(backend: B) -> Self {
        Self { backend }
    }

    /// See [`FirewallBackend::warnings`].
    pub fn warnings(&self) -> &BTreeMap<String, String> {
        self.backend.warnings()
    }

    /// See [`FirewallBackend::show`].
    pub async fn show(&self) -> Result<String, SubsystemError> {
        self.backend.show().await
    }
}

impl<B: FirewallBackend> Firewall<B> {
    /// See [`FirewallBackend::view`].
    pub async fn view(
        &mut self,
        view: RulesView,
        desired: &Desired<B::Key, B::Value>,
    ) -> Result<String, SubsystemError> {
        self.backend.view(view, desired).await
    }

    /// See [`FirewallBackend::explain`].
    pub fn explain(
        &self,
        packet: Packet,
        desired: &Desired<B::Key, B::Value>,
    ) -> Result<Explanation, SubsystemError> {
        self.backend.explain(packet, desired)
    }
}

impl<B: FirewallBackend> Subsystem for Firewall<B> {
    type Key = B::Key;
    type Value = B::Value;

    const NAME: &'static str = "firewall";

    fn base_items(&self) -> Vec<(B::Key, B::Value)> {
        self.backend.base()
    }

    fn items(&self, object: &HostObject) -> Vec<(B::Key, B::Value)> {
        Intent::of(object).map_or_else(Vec::new, |intent| self.backend.items(intent))
    }

    fn follow(&mut self, foreign: &Foreign) -> Vec<(B::Key, B::Value)> {
        self.backend.follow(foreign.source)
    }

    fn changed_externally(&self) -> Arc<Notify> {
        self.backend.changed_externally()
    }

    async fn observe(
        &mut self,
        _desired: &Desired<B::Key, B::Value>,
    ) -> Result<BTreeMap<B::Key, B::Value>, SubsystemError> {
        self.backend.observe().await
    }

    async fn apply(
        &mut self,
        changes: &[Change<B::Key, B::Value>],
        desired: &Desired<B::Key, B::Value>,
    ) -> Vec<(B::Key, SubsystemError)> {
        self.backend.apply(changes, desired).await
    }
}
