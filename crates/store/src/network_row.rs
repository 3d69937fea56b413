//! Reads a network's row, which operators edit by hand: strictly, as `network create` would accept
//! it; and as far as possible, for checks that must not overlook it. Depends on the model's
//! carving.

use crate::read::Reader;
use crate::{Result, StoreError};
use novanet_model::carve::{AddressPlan, CarveError, parse_range};
use novanet_model::rows::Network;
use novanet_model::{
    DhcpOption, IfName, Ipv4Net, ModelError, NetworkId, NetworkKind, NetworkSpec, check_domain,
};
use sqlx::any::AnyRow;
use std::net::Ipv4Addr;

pub(crate) const COLUMNS: &str = "id, uuid, label, kind, injected, multi_host, cidr, gateway, \
    dhcp_start, dns1, dns2, bridge, bridge_interface, vlan, vpn_public_address, vpn_public_port, \
    vpn_private_address, vpn_clients, project_id, host, mtu, dhcp_server, \
    domain, dhcp_options, snat";

/// What can be said of any network's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brief {
    /// Row id.
    pub id: NetworkId,
    /// Name for people.
    pub label: String,
    /// The subnet, as it is written there.
    pub cidr: String,
    /// The project that owns it, as it is written there.
    pub project: Option<String>,
    /// Its kind, as it is written there.
    pub kind: String,
}

/// A row that does not validate.
#[derive(Debug)]
pub struct BadNetwork {
    /// The readable part of the row.
    pub brief: Brief,
    /// The mistake: a [`StoreError::BadRow`].
    pub why: StoreError,
}

pub(crate) fn brief(row: &AnyRow) -> Result<Brief> {
    let r = Reader::new("network", row);
    Ok(Brief {
        id: NetworkId(r.int("id")?),
        label: r.text("label")?,
        cidr: r.text("cidr")?,
        project: r.maybe_text("project_id")?.filter(|p| !p.is_empty()),
        kind: r.text("kind")?,
    })
}

/// The network, if its row is as `network create` would have made one.
pub(crate) fn network(row: &AnyRow) -> Result<Network> {
    let r = Reader::new("network", row);
    let spec = NetworkSpec {
        label: r.text("label")?,
        kind: r.parse("kind")?,
        injected: r.flag("injected")?,
        multi_host: r.flag("multi_host")?,
        cidr: r.cidr("cidr")?,
        gateway: r.parse("gateway")?,
        dhcp_server: r.maybe("dhcp_server")?,
        dhcp_start: r.parse("dhcp_start")?,
        dns: [r.maybe("dns1")?, r.maybe("dns2")?]
            .into_iter()
            .flatten()
            .collect(),
        domain: r.maybe_text("domain")?.filter(|domain| !domain.is_empty()),
        dhcp_options: r
            .maybe_text("dhcp_options")?
            .unwrap_or_default()
            .lines()
            .map(|line| {
                line.parse::<DhcpOption>()
                    .map_err(|e| r.bad("dhcp_options", line, e))
            })
            .collect::<Result<_>>()?,
        no_snat: !r.flag("snat")?,
        bridge: r.parse("bridge")?,
        bridge_interface: r.maybe("bridge_interface")?,
        vlan: r.maybe_number("vlan")?,
        vpn_public_address: r.maybe("vpn_public_address")?,
        vpn_public_port: r.maybe_number("vpn_public_port")?,
        vpn_private_address: r.maybe("vpn_private_address")?,
        vpn_clients: r.number("vpn_clients")?,
        project: r.maybe("project_id")?,
        mtu: r.maybe_number("mtu")?,
    };
    let network = Network {
        id: NetworkId(r.int("id")?),
        spec,
        host: r.maybe_text("host")?,
        uuid: r.text("uuid")?,
    };
    check(&network).map_err(StoreError::bad_row(format!("network {}", network.id)))?;
    Ok(network)
}

fn is_for_hosts(cidr: Ipv4Net, ip: Ipv4Addr) -> bool {
    ip > cidr.network() && ip < cidr.broadcast()
}

fn check(network: &Network) -> Result<(), ModelError> {
    parse_range(&network.cidr.to_string())
        .map_err(|e| ModelError::new("cidr", network.cidr, e.reason))?;
    let plan = AddressPlan::new(
        network.cidr,
        Some(network.gateway),
        Some(network.dhcp_start),
        network.kind == NetworkKind::Vlan,
        network.vpn_clients,
    );
    match plan {
        Err(CarveError::Invalid(error)) => return Err(error),
        Err(other) => return Err(ModelError::new("cidr", network.cidr, other.to_string())),
        Ok(_) => {}
    }
    network.domain.as_deref().map_or(Ok(()), check_domain)?;
    if let Some(server) = network.dhcp_server
        && (server == network.gateway || !is_for_hosts(network.cidr, server))
    {
        let reason = "must be another address for hosts of the network than the gateway";
        return Err(ModelError::new("dhcp_server", server, reason));
    }
    let usable = |ip: &Ipv4Addr| !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast();
    if let Some(server) = network.dns.iter().find(|ip| !usable(ip)) {
        return Err(ModelError::new("dns", server, "is no server's address"));
    }
    match network.mtu {
        Some(mtu) if !(576..=65_535).contains(&mtu) => {
            Err(ModelError::new("mtu", mtu, "must be 576 to 65535"))
        }
        _ => Ok(()),
    }
}

/// The range, tag, bridge and port that any row takes from others, whatever mistakes it has.
/// `None`: not even its range can be read.
pub(crate) fn shadow(row: &AnyRow) -> Option<Network> {
    if let Ok(network) = network(row) {
        return Some(network);
    }
    let r = Reader::new("network", row);
    let cidr = r.cidr("cidr").ok()?;
    let first = cidr.network();
    let spec = NetworkSpec {
        label: r.text("label").ok()?,
        kind: r.parse("kind").ok()?,
        injected: false,
        multi_host: false,
        cidr: cidr.trunc(),
        gateway: first,
        dhcp_server: None,
        dhcp_start: first,
        dns: Vec::new(),
        domain: None,
        dhcp_options: Vec::new(),
        no_snat: false,
        bridge: r.parse("bridge").unwrap_or_else(|_| IfName::vlan_bridge(0)),
        bridge_interface: r.maybe("bridge_interface").unwrap_or(None),
        vlan: r.maybe_number("vlan").unwrap_or(None),
        vpn_public_address: r.maybe("vpn_public_address").unwrap_or(None),
        vpn_public_port: r.maybe_number("vpn_public_port").unwrap_or(None),
        vpn_private_address: None,
        vpn_clients: 0,
        project: r.maybe("project_id").unwrap_or(None),
        mtu: r.maybe_number("mtu").unwrap_or(None),
    };
    Some(Network {
        id: NetworkId(r.int("id").ok()?),
        spec,
        host: r.maybe_text("host").unwrap_or(None),
        uuid: r.text("uuid").ok()?,
    })
}
