//! The backend that the flag `firewall_driver` names. A host that changes its driver has the rules
//! of the new one in force before those of the old one go; depends on both backends.

use super::backend::FirewallBackend;
use super::explain;
use super::intent::Intent;
use super::iptables::{Iptables, Leftovers};
use super::nft::Nft;
use super::nft::item::{Key, Value};
use super::view;
use crate::settings::{FirewallDriver, Settings};
use novanet_model::wire::{Explanation, Packet, RulesView};
use novanet_reconcile::{Change, Desired, SubsystemError};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::sync::Notify;

/// One of the two backends; they share their items.
#[derive(Debug)]
pub enum Driver {
    /// Everything in nftables.
    Nftables {
        /// The backend.
        nft: Box<Nft>,
        /// What iptables has from the time of the other driver.
        leftovers: Leftovers,
    },
    /// The IP families in iptables.
    Iptables(Box<Iptables>),
}

impl Driver {
    /// See [`super::Firewall::new`].
    ///
    /// # Errors
    ///
    /// A program is missing, or the kernel refuses a socket.
    pub fn new(settings: &Settings) -> Result<Self, SubsystemError> {
        Ok(match settings.firewall_driver {
            FirewallDriver::Nftables => Self::Nftables {
                nft: Box::new(Nft::new(settings)?),
                leftovers: Leftovers::of_iptables(),
            },
            FirewallDriver::Iptables => Self::Iptables(Box::new(Iptables::new(settings)?)),
        })
    }
}

/// The same call on either backend.
macro_rules! either {
    ($driver:expr, $backend:ident => $call:expr) => {
        match $driver {
            Driver::Nftables { nft: $backend, .. } => $call,
            Driver::Iptables($backend) => $call,
        }
    };
}

impl FirewallBackend for Driver {
    type Key = Key;
    type Value = Value;

    fn base(&self) -> Vec<(Key, Value)> {
        either!(self, backend => backend.base())
    }

    fn items(&self, intent: Intent<'_>) -> Vec<(Key, Value)> {
        either!(self, backend => backend.items(intent))
    }

    fn follow(&mut self, source: Option<Ipv4Addr>) -> Vec<(Key, Value)> {
        either!(self, backend => backend.follow(source))
    }

    fn changed_externally(&self) -> Arc<Notify> {
        either!(self, backend => backend.changed_externally())
    }

    async fn observe(&mut self) -> Result<BTreeMap<Key, Value>, SubsystemError> {
        let Self::Nftables { nft, leftovers } = self else {
            return either!(self, backend => backend.observe().await);
        };
        let items = nft.observe().await?;
        let base = items.get(&Key::BaseRuleset);
        if base.is_some_and(|value| nft.base().iter().any(|(_, wanted)| wanted == value)) {
            let is_ours = nft.has_iptables();
            if leftovers.remove_once(is_ours).await {
                nft.set_iptables(false);
            }
        }
        Ok(items)
    }

    async fn apply(
        &mut self,
        changes: &[Change<Key, Value>],
        desired: &Desired<Key, Value>,
    ) -> Vec<(Key, SubsystemError)> {
        either!(self, backend => backend.apply(changes, desired).await)
    }

    fn warnings(&self) -> &BTreeMap<String, String> {
        either!(self, backend => backend.warnings())
    }

    async fn show(&self) -> Result<String, SubsystemError> {
        either!(self, backend => backend.show().await)
    }

    fn explain(
        &self,
        packet: Packet,
        desired: &Desired<Key, Value>,
    ) -> Result<Explanation, SubsystemError> {
        let policy = either!(self, backend => backend.policy());
        let missing = || SubsystemError::Refused("this host has no firewall".to_owned());
        explain::explain(desired, policy.ok_or_else(missing)?, packet)
    }

    async fn view(
        &mut self,
        view: RulesView,
        desired: &Desired<Key, Value>,
    ) -> Result<String, SubsystemError> {
        let found = match self {
            Self::Nftables { nft, .. } => nft.in_force()?,
            Self::Iptables(iptables) => iptables.in_force().await?,
        };
        view::render(&found, view, desired)
    }
}
