//! Subnet carving: what `network create CIDR NUM SIZE` makes, given what exists.
//!
//! Pure: the caller loads the networks that exist and inserts what comes back, in one transaction.
//! The rules are nova's (2011.3 with its known bugs mended): subnets slide past those in use, a
//! range inside an existing network is refused, VLAN ids and VPN ports go on after those in use
//! (2011.3 began again at `vlan_start` with every call). Must not know: rows' ids, uuids, SQL.

mod addresses;
mod change;
mod error;
mod server;
mod subnets;
mod vlans;

pub use addresses::AddressPlan;
pub use change::{Change, MAX_DNS_SERVERS};
pub use error::CarveError;
pub use subnets::parse_range;

use crate::rows::Network;
use crate::{DhcpOption, IfName, ModelError, NetworkKind, NetworkSpec, ProjectId, check_domain};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::Deref;

/// What the user asked for. `None` is "as the flags say".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Kind of all of them.
    pub kind: NetworkKind,
    /// Name; with more than one network `_0`, `_1` … is put behind it.
    pub label: String,
    /// The range to carve from.
    pub range: Ipv4Net,
    /// How many.
    pub num_networks: u32,
    /// Addresses in each; `None`: the range shared out evenly, but at most the `network_size` flag.
    pub network_size: Option<u64>,
    /// Gateway, of a single network; that of a flat-DHCP network is another machine, unless it is
    /// the DHCP server.
    pub gateway: Option<Ipv4Addr>,
    /// The host's own address in a flat-DHCP network with another gateway; `None`: the first
    /// address that is not the gateway's.
    pub dhcp_server: Option<Ipv4Addr>,
    /// First address for instances, of a single network.
    pub dhcp_start: Option<Ipv4Addr>,
    /// Bridge; several VLAN networks always get `br<vlan>`.
    pub bridge: Option<IfName>,
    /// Interface under the bridge; `None`: each host's own flag.
    pub bridge_interface: Option<IfName>,
    /// First VLAN id; `None`: the next free ones.
    pub vlan: Option<u16>,
    /// First VPN port; `None`: the next free ones.
    pub vpn_port: Option<u16>,
    /// Public address of the VPN; `None`: the `vpn_ip` flag.
    pub vpn_address: Option<Ipv4Addr>,
    /// DNS servers.
    pub dns: Vec<Ipv4Addr>,
    /// DNS domain of the instances; `None`: the `dhcp_domain` flag.
    pub domain: Option<String>,
    /// Further DHCP options for the instances.
    pub dhcp_options: Vec<DhcpOption>,
    /// Instances leave with their own addresses.
    pub no_snat: bool,
    /// Every host is the gateway of its own instances.
    pub multi_host: Option<bool>,
    /// MTU.
    pub mtu: Option<u32>,
    /// Project to give it to.
    pub project: Option<ProjectId>,
}

impl Request {
    /// One network of the whole range, everything else as the flags say.
    pub fn new(kind: NetworkKind, label: impl Into<String>, range: Ipv4Net) -> Self {
        Self {
            kind,
            label: label.into(),
            range,
            num_networks: 1,
            network_size: None,
            gateway: None,
            dhcp_server: None,
            dhcp_start: None,
            bridge: None,
            bridge_interface: None,
            vlan: None,
            vpn_port: None,
            vpn_address: None,
            dns: Vec::new(),
            domain: None,
            dhcp_options: Vec::new(),
            no_snat: false,
            multi_host: None,
            mtu: None,
            project: None,
        }
    }
}

/// The flags that fill in what a request leaves open; see
/// [`crate::flags::Flags::network_defaults`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defaults {
    /// `network_size`.
    pub network_size: u64,
    /// `flat_network_bridge`.
    pub flat_network_bridge: IfName,
    /// `flat_network_dns`; written into instances of flat networks.
    pub flat_network_dns: Option<Ipv4Addr>,
    /// `flat_injected`.
    pub flat_injected: bool,
    /// `vlan_start`.
    pub vlan_start: u16,
    /// `vpn_start`.
    pub vpn_start: u16,
    /// `cnt_vpn_clients`.
    pub cnt_vpn_clients: u32,
    /// `multi_host`.
    pub multi_host: bool,
    /// The hosts' own interfaces, by the flags that name them: no bridge of ours can have their
    /// name.
    pub interfaces: Vec<(&'static str, IfName)>,
    /// VLAN ids whose device `vlan<id>` a host has without novanet, and which host: no network gets
    /// one. From the hosts' reports; empty as the flags have it.
    pub host_vlans: BTreeMap<u16, String>,
    /// Public UDP ports of the projects' VPNs. From the database; empty as the flags have it.
    pub vpn_ports: BTreeSet<u16>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            network_size: 256,
            flat_network_bridge: literal("br100"),
            flat_network_dns: Some(Ipv4Addr::new(8, 8, 4, 4)),
            flat_injected: true,
            vlan_start: 100,
            vpn_start: 1000,
            cnt_vpn_clients: 0,
            multi_host: false,
            interfaces: vec![
                ("public_interface", literal("eth0")),
                ("vlan_interface", literal("eth0")),
            ],
            host_vlans: BTreeMap::new(),
            vpn_ports: BTreeSet::new(),
        }
    }
}

fn literal(name: &str) -> IfName {
    IfName::new(name).unwrap_or_else(|e| unreachable!("a literal: {e}"))
}

/// A network to insert: [`crate::rows::Network`] without what the database gives (id, uuid, host).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNetwork {
    /// The settings.
    pub spec: NetworkSpec,
    /// Last address for instances.
    pub last: Ipv4Addr,
    /// Addresses that no instance gets, as inclusive ranges, ascending: few, however big the
    /// subnet.
    pub reserved: Vec<(Ipv4Addr, Ipv4Addr)>,
}

impl Deref for NewNetwork {
    type Target = NetworkSpec;
    fn deref(&self) -> &NetworkSpec {
        &self.spec
    }
}

/// What to insert, and what to tell the user about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carved {
    /// The networks, ascending by address.
    pub networks: Vec<NewNetwork>,
    /// Decisions that the user did not make and that may surprise.
    pub notes: Vec<String>,
}

/// Plans the networks of a request around those that exist. All or nothing.
pub fn carve(
    request: &Request,
    existing: &[Network],
    defaults: &Defaults,
) -> Result<Carved, CarveError> {
    let mut notes = Vec::new();
    check_label(&request.label)?;
    check_single(request)?;
    check_mtu(request.mtu)?;
    request.domain.as_deref().map_or(Ok(()), check_domain)?;
    if let (NetworkKind::Flat, Some(option)) = (request.kind, request.dhcp_options.first()) {
        let reason = "a flat network has no DHCP server";
        return Err(ModelError::new("dhcp_option", option, reason).into());
    }
    let vlan_kind = request.kind == NetworkKind::Vlan;
    let vpn_clients = if vlan_kind {
        defaults.cnt_vpn_clients
    } else {
        0
    };
    let size = subnets::size_of_each(request, defaults.network_size, vpn_clients, &mut notes)?;
    let cidrs = subnets::free_subnets(request.range, request.num_networks, size, existing)?;
    let links = vlans::links(request, existing, defaults, &mut notes)?;
    let mut networks = Vec::with_capacity(cidrs.len());
    for (index, (cidr, link)) in cidrs.into_iter().zip(links).enumerate() {
        let dhcp_server = server::of(request, cidr)?;
        if request.no_snat && (request.kind == NetworkKind::Flat || dhcp_server.is_some()) {
            let reason = "another machine routes for this network: translate there, or not";
            return Err(ModelError::new("snat", "F", reason).into());
        }
        // The default of nova, behind the addresses of gateway and DHCP server.
        let start = request
            .dhcp_start
            .or_else(|| server::start(request, cidr, dhcp_server?));
        let plan = AddressPlan::new(cidr, request.gateway, start, vlan_kind, vpn_clients)?;
        let spec = NetworkSpec {
            label: label_of(request, index),
            kind: request.kind,
            cidr,
            gateway: plan.gateway,
            dhcp_server,
            dhcp_start: plan.dhcp_start,
            bridge: link.bridge,
            bridge_interface: request.bridge_interface.clone(),
            vlan: link.vlan,
            dns: dns_of(request, defaults),
            domain: request.domain.clone(),
            dhcp_options: request.dhcp_options.clone(),
            no_snat: request.no_snat,
            vpn_public_address: request.vpn_address.filter(|_| vlan_kind),
            vpn_public_port: link.vpn_port,
            vpn_private_address: plan.vpn,
            project: request.project.clone(),
            multi_host: request.multi_host.unwrap_or(defaults.multi_host),
            injected: request.kind == NetworkKind::Flat && defaults.flat_injected,
            mtu: request.mtu,
            vpn_clients,
        };
        if let Some(server) = dhcp_server {
            notes.push(format!(
                "gateway {} is another machine: the host serves DHCP at {server} \
                 (--dhcp_server=ADDRESS) and does not route for the network",
                plan.gateway
            ));
        }
        networks.push(NewNetwork {
            spec,
            last: plan.last,
            reserved: server::reserved(&plan, dhcp_server),
        });
    }
    Ok(Carved { networks, notes })
}

fn label_of(request: &Request, index: usize) -> String {
    if request.num_networks == 1 {
        request.label.clone()
    } else {
        format!("{}_{index}", request.label)
    }
}

/// In 2011.3 `dns1` reached only instances with written addresses; dnsmasq never saw it. So the
/// flag's 8.8.4.4 fills in for flat networks only, and the others use the host's own resolver.
fn dns_of(request: &Request, defaults: &Defaults) -> Vec<Ipv4Addr> {
    if request.dns.is_empty() && request.kind == NetworkKind::Flat {
        defaults.flat_network_dns.into_iter().collect()
    } else {
        request.dns.clone()
    }
}

fn check_label(label: &str) -> Result<(), ModelError> {
    if label.is_empty() || label.len() > 255 || label.chars().any(char::is_control) {
        return Err(ModelError::new(
            "label",
            label,
            "must be 1 to 255 bytes without control characters",
        ));
    }
    Ok(())
}

fn check_single(request: &Request) -> Result<(), ModelError> {
    let several = |what, value: Option<Ipv4Addr>| match value {
        Some(v) if request.num_networks != 1 => Err(ModelError::new(
            what,
            v,
            format!(
                "fits one network only, and num_networks is {}",
                request.num_networks
            ),
        )),
        _ => Ok(()),
    };
    several("gateway", request.gateway)?;
    several("dhcp_server", request.dhcp_server)?;
    several("dhcp_start", request.dhcp_start)
}

fn check_mtu(mtu: Option<u32>) -> Result<(), ModelError> {
    match mtu {
        Some(mtu) if !(576..=65_535).contains(&mtu) => {
            Err(ModelError::new("mtu", mtu, "must be 576 to 65535"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
