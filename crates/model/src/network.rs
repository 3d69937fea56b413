//! The kinds of network, and the addresses that a network keeps for itself.

use crate::ModelError;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// How a network reaches its instances; nova's network managers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// Addresses are written into the instance's file system; the administrator makes the bridge.
    Flat,
    /// One bridge for all projects, addresses by DHCP.
    FlatDhcp,
    /// A VLAN, a bridge and a DHCP server for each project. nova's default.
    Vlan,
}

impl NetworkKind {
    /// The word in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flat => "flat",
            Self::FlatDhcp => "flatdhcp",
            Self::Vlan => "vlan",
        }
    }
}

impl fmt::Display for NetworkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for NetworkKind {
    type Err = ModelError;
    /// Takes our words, nova's class names and their full paths (`nova.network.manager.VlanManager`).
    fn from_str(text: &str) -> Result<Self, ModelError> {
        let name = text.rsplit('.').next().unwrap_or(text);
        match name.to_ascii_lowercase().as_str() {
            "flat" | "flatmanager" => Ok(Self::Flat),
            "flatdhcp" | "flatdhcpmanager" => Ok(Self::FlatDhcp),
            "vlan" | "vlanmanager" => Ok(Self::Vlan),
            _ => Err(ModelError::new(
                "network manager",
                text,
                "must be FlatManager, FlatDHCPManager or VlanManager (or flat, flatdhcp, vlan)",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manuals_class_names_are_read() {
        assert_eq!(
            "nova.network.manager.FlatDHCPManager".parse(),
            Ok(NetworkKind::FlatDhcp)
        );
        assert_eq!("FlatManager".parse(), Ok(NetworkKind::Flat));
        assert_eq!("vlan".parse(), Ok(NetworkKind::Vlan));
        assert!("QuantumManager".parse::<NetworkKind>().is_err());
    }
}
