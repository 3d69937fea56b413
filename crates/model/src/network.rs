//! The kinds of network, and the settings of one: those of a planned network and of a row. Depends
//! on ids and names only.

use crate::{DhcpOption, IfName, ModelError, ProjectId};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
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
    /// Takes our words, nova's class names and their full paths
    /// (`nova.network.manager.VlanManager`).
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

/// The settings of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Name for people; not unique.
    pub label: String,
    /// Its kind.
    pub kind: NetworkKind,
    /// The subnet.
    pub cidr: Ipv4Net,
    /// Gateway, usually the first address.
    pub gateway: Ipv4Addr,
    /// The DHCP server's address on the bridge, if the gateway of a flat-DHCP network is another
    /// machine; `None`: the host is the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dhcp_server: Option<Ipv4Addr>,
    /// First address for instances.
    pub dhcp_start: Ipv4Addr,
    /// The bridge.
    pub bridge: IfName,
    /// The interface under the bridge; `None`: the host's flag.
    pub bridge_interface: Option<IfName>,
    /// 802.1Q tag of a VLAN network.
    pub vlan: Option<u16>,
    /// DNS servers for the instances.
    pub dns: Vec<Ipv4Addr>,
    /// DNS domain of the instances; `None`: the `dhcp_domain` flag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Further DHCP options for the instances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dhcp_options: Vec<DhcpOption>,
    /// Instances leave with their own addresses: the host translates nothing for the network but
    /// floating IPs, and what `force_snat_range` says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_snat: bool,
    /// Public address of the project's VPN; `None`: the `vpn_ip` flag.
    pub vpn_public_address: Option<Ipv4Addr>,
    /// Public UDP port of the project's VPN.
    pub vpn_public_port: Option<u16>,
    /// The address of the cloudpipe instance.
    pub vpn_private_address: Option<Ipv4Addr>,
    /// The project that owns it, in VLAN mode.
    pub project: Option<ProjectId>,
    /// Every host is the gateway of its own instances.
    pub multi_host: bool,
    /// Write addresses into the instance's file system (flat).
    pub injected: bool,
    /// MTU, `None` = default.
    pub mtu: Option<u32>,
    /// Addresses at the end of the range that are kept for VPN clients.
    pub vpn_clients: u32,
}

/// Checks a DNS domain as dnsmasq takes one: labels of letters, digits and `-`.
pub fn check_domain(domain: &str) -> Result<(), ModelError> {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if domain.len() < 190 && domain.split('.').all(is_label) {
        return Ok(());
    }
    Err(ModelError::new(
        "domain",
        domain,
        "must be a DNS domain like cloud.example.org, shorter than 190 bytes",
    ))
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
