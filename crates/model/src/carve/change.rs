//! Changes of a network's settings: what its row becomes, or why it cannot. Pure; depends on the
//! rules for bridges and addresses of new networks.

use super::{AddressPlan, CarveError, Defaults, NewNetwork, Request, check_label, server, vlans};
use crate::rows::Network;
use crate::{IfName, ModelError, NetworkKind};
use std::net::Ipv4Addr;

/// The most DNS servers that a network's row has room for.
pub const MAX_DNS_SERVERS: usize = 2;

/// What is to be changed of a network's settings; `None`: stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Name for people.
    pub label: Option<String>,
    /// The bridge. A VLAN network's `br<old id>` follows a new id by itself.
    pub bridge: Option<IfName>,
    /// The interface under the bridge; `Some(None)`: each host's own flag.
    pub bridge_interface: Option<Option<IfName>>,
    /// The VLAN id, 1 to 4094.
    pub vlan: Option<u16>,
    /// The gateway.
    pub gateway: Option<Ipv4Addr>,
    /// First address for instances.
    pub dhcp_start: Option<Ipv4Addr>,
    /// DNS servers, at most [`MAX_DNS_SERVERS`]; empty: the hosts' own resolver.
    pub dns: Option<Vec<Ipv4Addr>>,
    /// Whether the host translates what leaves the network.
    pub snat: Option<bool>,
}

impl Change {
    /// The network with this change, beside all `others`.
    pub fn of(
        &self,
        network: &Network,
        others: &[Network],
        defaults: &Defaults,
    ) -> Result<NewNetwork, CarveError> {
        let mut spec = network.spec.clone();
        if let Some(label) = &self.label {
            check_label(label)?;
            spec.label.clone_from(label);
        }
        if let Some(interface) = &self.bridge_interface {
            spec.bridge_interface.clone_from(interface);
        }
        if let Some(vlan) = self.vlan {
            check_vlan(network, vlan, others, defaults)?;
            let named = network.vlan.map(IfName::vlan_bridge);
            if named.as_ref() == Some(&network.bridge) {
                spec.bridge = IfName::vlan_bridge(vlan);
            }
            spec.vlan = Some(vlan);
        }
        if let Some(bridge) = &self.bridge {
            spec.bridge.clone_from(bridge);
        }
        let links = |n: &crate::NetworkSpec| (n.bridge.clone(), n.bridge_interface.clone());
        if links(&spec) != links(network) {
            let request = Request {
                bridge_interface: spec.bridge_interface.clone(),
                mtu: spec.mtu,
                ..Request::new(spec.kind, spec.label.as_str(), spec.cidr)
            };
            vlans::check_bridge(&spec.bridge, &request, others, defaults)?;
        }
        if let Some(dns) = &self.dns {
            check_dns(dns)?;
            spec.dns.clone_from(dns);
        }
        if let Some(snat) = self.snat {
            if network.kind == NetworkKind::Flat || network.dhcp_server.is_some() {
                let reason = "another machine routes for this network: translate there, or not";
                let word = if snat { "T" } else { "F" };
                return Err(ModelError::new("snat", word, reason).into());
            }
            spec.no_snat = !snat;
        }
        let plan = self.addresses(network)?;
        spec.gateway = plan.gateway;
        spec.dhcp_start = plan.dhcp_start;
        Ok(NewNetwork {
            last: plan.last,
            reserved: server::reserved(&plan, spec.dhcp_server),
            spec,
        })
    }

    fn addresses(&self, network: &Network) -> Result<AddressPlan, CarveError> {
        let gateway = self.gateway.unwrap_or(network.gateway);
        if self.gateway.is_some() && network.vpn_private_address == Some(gateway) {
            return Err(CarveError::conflict(
                "gateway",
                gateway,
                "is the address of the project's VPN instance: choose another",
            ));
        }
        if network.dhcp_server == Some(gateway) {
            return Err(CarveError::conflict(
                "gateway",
                gateway,
                "is the address of the network's DHCP server: choose another",
            ));
        }
        // The first address for instances makes room for a gateway that moves there.
        let moved = network.dhcp_start == gateway && self.dhcp_start.is_none();
        let start = if moved {
            u32::from(gateway).saturating_add(1).into()
        } else {
            self.dhcp_start.unwrap_or(network.dhcp_start)
        };
        AddressPlan::new(
            network.cidr,
            Some(gateway),
            Some(start),
            network.kind == NetworkKind::Vlan,
            network.vpn_clients,
        )
    }
}

/// One VLAN id per cloud.
fn check_vlan(
    network: &Network,
    vlan: u16,
    others: &[Network],
    defaults: &Defaults,
) -> Result<(), CarveError> {
    if network.vlan == Some(vlan) {
        return Ok(());
    }
    if network.kind != NetworkKind::Vlan {
        let reason = format!("a {} network has no VLAN", network.kind);
        return Err(ModelError::new("vlan", vlan, reason).into());
    }
    if !(1..=4094).contains(&vlan) {
        return Err(ModelError::new("vlan", vlan, "must be 1 to 4094").into());
    }
    vlans::check_free(vlan, others, defaults)
}

fn check_dns(dns: &[Ipv4Addr]) -> Result<(), ModelError> {
    if let Some(third) = dns.get(MAX_DNS_SERVERS) {
        let reason = format!("is one too many: a network has at most {MAX_DNS_SERVERS}");
        return Err(ModelError::new("dns", third, reason));
    }
    let bad = |ip: &&Ipv4Addr| ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast();
    match dns.iter().find(bad) {
        Some(ip) => Err(ModelError::new("dns", ip, "is no server's address")),
        None => Ok(()),
    }
}
