//! What a bridge is like, wanted and observed. Pure.

use super::super::display;
use super::super::mtu::Mtu;
use crate::settings::Settings;
use novanet_model::object::Bridge;
use novanet_model::{IfName, MacAddr};
use std::fmt;

/// A device under the name of a network's bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BridgeValue {
    /// A bridge of novanet's.
    Ours(BridgeSpec),
    /// A bridge that the administrator makes: it exists.
    Administrators,
    /// A network that this host cannot have: the device stays as it is.
    Unmanaged,
    /// A device without novanet's alias, in words for an error. Observed only.
    Foreign(String),
    /// A bridge of novanet's that cannot be removed, with the reason and the remedy. Observed only.
    RemovalBlocked(String),
}

/// A bridge of novanet's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeSpec {
    /// The bridge's own MAC. While it has the MAC and addresses of its uplink, it is observed with
    /// its own.
    pub mac: MacAddr,
    /// [`Mtu::AsMade`] without a setting: the smallest MTU of its ports.
    pub mtu: Mtu,
    /// Administratively up.
    pub up: bool,
    /// Options that others changed, as `ip` and `bridge` call them. Wanted empty.
    pub changed: Vec<&'static str>,
    /// It has novanet's alias. Wanted true.
    pub tagged: bool,
}

impl fmt::Display for BridgeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(spec) => spec.fmt(f),
            Self::Administrators => f.write_str("made by the administrator"),
            Self::Unmanaged => f.write_str("left as it is"),
            Self::Foreign(what) => f.write_str(what),
            Self::RemovalBlocked(why) => write!(f, "is kept, {why}"),
        }
    }
}

impl fmt::Display for BridgeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = if self.tagged {
            ""
        } else {
            " without novanet's mark"
        };
        let (mac, mtu, up) = (self.mac, self.mtu, display::up_or_down(self.up));
        write!(f, "mac {mac}{mtu} {up}{tag}")?;
        display::write_changed(f, &self.changed)
    }
}

impl BridgeValue {
    /// The bridge that a network wants.
    pub(in super::super) fn wanted(settings: &Settings, bridge: &Bridge) -> Self {
        if bridge.foreign {
            return Self::Administrators;
        }
        let mtu = bridge.mtu.or(settings.network_device_mtu);
        Self::Ours(BridgeSpec {
            mac: Settings::bridge_mac(&bridge.bridge),
            mtu: mtu.map_or(Mtu::AsMade, Mtu::Fixed),
            up: true,
            changed: Vec::new(),
            tagged: true,
        })
    }
}

/// Why a network (`late`) does not get its bridge as it wants it.
pub(in super::super) fn conflict(
    bridge: &IfName,
    (first, had): (&str, &BridgeValue),
    (late, wish): (&str, &BridgeValue),
) -> String {
    if let (BridgeValue::Ours(had), BridgeValue::Ours(wish)) = (had, wish) {
        let mtu = |spec: &BridgeSpec| match spec.mtu {
            Mtu::Fixed(mtu) => format!("MTU {mtu}"),
            Mtu::AsMade | Mtu::Changed { .. } => "the kernel's MTU".to_owned(),
        };
        return format!(
            "bridge {bridge} has {} (network {first}) and cannot have {} (network {late}) too: \
             give both networks the same mtu, or one of them another bridge",
            mtu(had),
            mtu(wish)
        );
    }
    let (theirs, ours) = match had {
        BridgeValue::Administrators => (first, late),
        BridgeValue::Ours(_)
        | BridgeValue::Unmanaged
        | BridgeValue::Foreign(_)
        | BridgeValue::RemovalBlocked(_) => (late, first),
    };
    format!(
        "bridge {bridge} cannot be made by the administrator (flat network {theirs}) and by \
         novanet (network {ours}): create one of the two networks with another bridge"
    )
}
