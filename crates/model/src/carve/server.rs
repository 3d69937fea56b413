//! The host's own address in a flat-DHCP network whose gateway is another machine. Depends on the
//! request and the network's other addresses.

use super::{AddressPlan, Request};
use crate::{ModelError, NetworkKind};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// The DHCP server's address; `None`: the host is the gateway, or there is no DHCP.
pub(super) fn of(request: &Request, cidr: Ipv4Net) -> Result<Option<Ipv4Addr>, ModelError> {
    let given = request.dhcp_server;
    let wrong =
        |server: Ipv4Addr, reason: &str| Err(ModelError::new("dhcp_server", server, reason));
    match (given, request.gateway, request.kind) {
        (Some(server), _, NetworkKind::Flat | NetworkKind::Vlan) => wrong(
            server,
            "is for flatdhcp networks: flat ones have no DHCP server, and the gateway of a vlan \
             network is its DHCP server",
        ),
        (Some(server), None, _) => wrong(
            server,
            "needs the gateway that it is not (--gateway=ADDRESS): without one the host is both",
        ),
        (Some(server), Some(gateway), _) if server == gateway => Ok(None),
        (Some(server), Some(_), _) => {
            let usable = server > cidr.network() && server < cidr.broadcast();
            if !usable {
                return wrong(server, &format!("must be an address for hosts in {cidr}"));
            }
            Ok(Some(server))
        }
        (None, Some(gateway), NetworkKind::FlatDhcp) => {
            Ok(cidr.hosts().find(|host| *host != gateway))
        }
        (None, _, _) => Ok(None),
    }
}

/// The first address for instances behind the first addresses of the network, if gateway and DHCP
/// server are these; `None`: as in other networks.
pub(super) fn start(request: &Request, cidr: Ipv4Net, server: Ipv4Addr) -> Option<Ipv4Addr> {
    let gateway = u32::from(request.gateway?);
    let server = u32::from(server);
    let is_first = gateway.min(server) == u32::from(cidr.network()) + 1;
    (is_first && gateway.abs_diff(server) == 1).then(|| (gateway.max(server) + 1).into())
}

/// The addresses that no instance gets, the DHCP server's too.
pub(super) fn reserved(plan: &AddressPlan, server: Option<Ipv4Addr>) -> Vec<(Ipv4Addr, Ipv4Addr)> {
    let mut ranges = plan.reserved();
    if let Some(server) = server
        && !ranges
            .iter()
            .any(|(first, last)| *first <= server && server <= *last)
    {
        ranges.push((server, server));
        ranges.sort();
    }
    ranges
}
