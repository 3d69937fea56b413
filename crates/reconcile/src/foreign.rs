//! Devices, addresses and routes of the host that novanet does not own. The links subsystem
//! observes them; [`crate::network_conflicts`] decides by them. Depends on the model only.

use novanet_model::{HostAddresses, IfName};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A snapshot that workers share.
pub type ForeignDevices = Arc<Foreign>;

/// Devices, addresses and routes that are not ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreign {
    /// Devices by name.
    pub devices: BTreeMap<IfName, ForeignDevice>,
    /// Addresses and routes.
    pub addresses: HostAddresses,
    /// The source address of the host's own traffic; `None`: the host has none yet.
    pub source: Option<Ipv4Addr>,
    /// The kernel makes 802.1Q devices.
    pub vlans: bool,
    /// The public interface or its address, if it is missing, with the remedy.
    pub waits: Option<String>,
}

impl std::ops::Deref for Foreign {
    type Target = BTreeMap<IfName, ForeignDevice>;

    fn deref(&self) -> &Self::Target {
        &self.devices
    }
}

/// A device of [`Foreign`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignDevice {
    /// Whether it is a bridge: a flat network may use a bridge that the administrator made.
    pub is_bridge: bool,
    /// Its kind and name in words, for an error message.
    pub what: String,
}
