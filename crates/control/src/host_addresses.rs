//! What hosts report about their own addresses, and what is refused because of it: networks that
//! overlap a host's addresses or routes, floating IPs that a host has itself.

use crate::{Caller, Cloud, ControlError, Kind, Result};
use novanet_model::carve::NewNetwork;
use novanet_model::host_addresses::{Claim, HostAddress, When};
use novanet_model::rows::Network;
use novanet_model::{HostAddresses, NetworkId, NetworkKind};
use novanet_store::host_addresses::{self as store, HostReserved};
use novanet_store::{Conn, Tx, hosts, networks};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Reports by host.
pub(crate) type Reports = BTreeMap<String, HostAddresses>;

impl Cloud {
    /// A host's addresses, routes and next hops. Written only if they are other than before.
    pub async fn report_addresses(&self, host: &str, addresses: &HostAddresses) -> Result<()> {
        {
            let mut tx = self.db().read().await?;
            if store::all(&mut tx).await?.get(host) == Some(addresses) {
                return Ok(());
            }
        }
        let mut tx = self.db().begin_planned().await?;
        if hosts::by_name(&mut tx, host).await?.is_none() {
            return Err(ControlError::not_found(Kind::Host, host));
        }
        store::set(&mut tx, host, addresses).await?;
        let reserved = reserved(&store::all(&mut tx).await?);
        store::mark_floating_ips(&mut tx, &reserved).await?;
        for network in networks::list(&mut tx).await? {
            store::reserve(&mut tx, &network, &reserved).await?;
        }
        tx.commit().await?;
        tracing::info!(host, "reported its addresses and routes");
        Ok(())
    }
}

/// Addresses that are not the cloud's to give, and why.
pub(crate) fn reserved(reports: &Reports) -> HostReserved {
    let all = reports.iter().flat_map(|(host, addresses)| {
        let reserved = addresses.reserved().into_iter();
        reserved.map(move |(ip, has)| (ip, format!("host {host} has {has}")))
    });
    all.collect()
}

/// [`reserved`], as hosts have reported it.
pub(crate) async fn all_reserved(c: &mut Conn) -> Result<HostReserved> {
    Ok(reserved(&store::all(c).await?))
}

/// Refuses a network in whose range a host lives.
pub(crate) fn refuse_network(reports: &Reports, new: &NewNetwork) -> Result<()> {
    let claim = claim(new);
    let mut conflicts = reports.iter().filter_map(|(host, addresses)| {
        let has = addresses.conflict(&claim, When::Create)?;
        Some(format!("host {host} has {has}: choose another range"))
    });
    if let Some(reason) = conflicts.next() {
        return Err(ControlError::in_use(Kind::Network, new.cidr, reason));
    }
    let reserved = reserved(reports);
    match new
        .dhcp_server
        .and_then(|server| Some((server, reserved.get(&server)?)))
    {
        None => Ok(()),
        Some((server, why)) => {
            let reason = format!(
                "its DHCP server cannot have {server} ({why}): name a free address of the network \
                 (--dhcp_server=ADDRESS)"
            );
            Err(ControlError::in_use(Kind::Network, new.cidr, reason))
        }
    }
}

/// What a network that does not exist yet will need of its host.
pub fn claim(new: &NewNetwork) -> Claim<'_> {
    Claim {
        cidr: new.cidr,
        gateway: (new.kind != NetworkKind::Flat && new.dhcp_server.is_none())
            .then_some(new.gateway),
        bridge: &new.bridge,
        interface: new.bridge_interface.as_ref(),
    }
}

/// A network whose gateway may be another machine, and what its host reported.
pub(crate) struct NetworkAndHost {
    network: Network,
    report: Option<HostAddresses>,
}

impl NetworkAndHost {
    pub(crate) async fn load(c: &mut Conn, id: NetworkId) -> Result<Self> {
        let network = networks::by_id(c, id).await?;
        let network = network.ok_or_else(|| ControlError::not_found(Kind::Network, id))?;
        let mut reports = store::all(c).await?;
        let report = network.host.as_ref().and_then(|host| reports.remove(host));
        Ok(Self { network, report })
    }

    /// Whether the network's gateway is an address of its host on its bridge. Otherwise answers
    /// leave by another machine, which does not know what the host translated.
    pub(crate) fn translates(&self) -> bool {
        let network = &self.network;
        let is_gateway = |a: &HostAddress| {
            a.address.addr() == network.gateway && a.interface == network.bridge.as_str()
        };
        let report = self
            .report
            .as_ref()
            .filter(|_| network.dhcp_server.is_none());
        report.is_some_and(|report| report.addresses.iter().any(is_gateway))
    }

    pub(crate) fn refuse_floating_ip(&self, caller: &Caller, address: Ipv4Addr) -> Result<()> {
        if self.translates() {
            return Ok(());
        }
        let network = &self.network;
        let (cidr, kind, gateway) = (network.cidr, network.kind, network.gateway);
        if network.dhcp_server.is_some() {
            let reason = format!(
                "the gateway {gateway} of {kind} network {cidr} is another machine, and no host \
                 routes for the network: reach the instance at its own address, or use an instance \
                 in another network"
            );
            return Err(ControlError::NoGateway { address, reason });
        }
        let bridge = &network.bridge;
        // What hosts there are is the operator's business only.
        let host = match &network.host {
            Some(host) if caller.admin => format!("host {host}"),
            _ => "the cloud's host".to_owned(),
        };
        let reason = format!(
            "the gateway {gateway} of {kind} network {cidr} is not an address of {host} on {bridge}, \
             so that host cannot translate it: use an instance in another network, or give {bridge} \
             the address {gateway}"
        );
        Err(ControlError::NoGateway { address, reason })
    }
}

/// Refuses floating IPs of which a host has one itself.
pub(crate) fn refuse_floating(reserved: &HostReserved, addresses: &[Ipv4Addr]) -> Result<()> {
    let taken = addresses
        .iter()
        .find_map(|ip| Some((ip, reserved.get(ip)?)));
    let Some((ip, why)) = taken else {
        return Ok(());
    };
    let reason = match addresses {
        [_] => why.clone(),
        _ => format!("{why}: choose a range without this address"),
    };
    Err(ControlError::in_use(Kind::FloatingIp, ip, reason))
}

/// Reserves the addresses of a new network that hosts have themselves.
pub(crate) async fn reserve(tx: &mut Tx, reports: &Reports, network: &Network) -> Result<()> {
    let reserved = reserved(reports);
    let mut within = reserved.range(network.cidr.network()..=network.cidr.broadcast());
    if within.next().is_none() {
        return Ok(());
    }
    Ok(store::reserve(tx, network, &reserved).await?)
}
