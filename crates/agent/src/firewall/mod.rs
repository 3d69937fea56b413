//! The firewall of a host: NAT, floating addresses, security groups, anti-spoofing, and the guard
//! of the host against its instances.
//!
//! One desired state ([`item`]), rendered by a driver. `nft` is the first; one for iptables takes
//! the same items. Default deny: a port that is not registered passes nothing, so that an instance
//! whose rules are not there yet is cut off, never open.
//!
//! Must not know: SQL, EC2, how ports and bridges are made.

mod nft;

pub use nft::item::{Key, Set, Slot, Value};

use crate::settings::Settings;
use crate::subsystem::{Change, Desired, Foreign, Subsystem, SubsystemError};
use novanet_model::HostObject;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// The firewall subsystem.
#[derive(Debug)]
pub struct Firewall {
    driver: nft::Nft,
}

impl Firewall {
    /// Opens the kernel in the network namespace of the calling thread. Refuses when the `nft`
    /// program is missing, and names the package.
    pub fn new(settings: &Settings) -> Result<Self, SubsystemError> {
        Ok(Self {
            driver: nft::Nft::new(settings)?,
        })
    }

    /// Chains of others that drop what ours let through, by name, with the remedy; as last observed.
    pub fn warnings(&self) -> &BTreeMap<String, String> {
        self.driver.warnings()
    }

    /// The rules as the kernel has them, as text for people.
    pub async fn show(&self) -> Result<String, SubsystemError> {
        self.driver.show().await
    }
}

impl Subsystem for Firewall {
    type Key = Key;
    type Value = Value;

    const NAME: &'static str = "firewall";

    fn base_items(&self) -> Vec<(Key, Value)> {
        vec![(Key::Skeleton, self.driver.skeleton())]
    }

    fn items(&self, object: &HostObject) -> Vec<(Key, Value)> {
        nft::item::items_of(object)
    }

    fn follow(&mut self, foreign: &Foreign) -> Vec<(Key, Value)> {
        let skeleton = self.driver.follow(foreign.source);
        skeleton
            .map(|value| (Key::Skeleton, value))
            .into_iter()
            .collect()
    }

    fn changed_externally(&self) -> Arc<Notify> {
        self.driver.changed_externally()
    }

    async fn observe(
        &mut self,
        _desired: &Desired<Key, Value>,
    ) -> Result<BTreeMap<Key, Value>, SubsystemError> {
        self.driver.observe()
    }

    async fn apply(
        &mut self,
        changes: &[Change<Key, Value>],
        desired: &Desired<Key, Value>,
    ) -> Vec<(Key, SubsystemError)> {
        self.driver.apply(changes, desired).await
    }
}
