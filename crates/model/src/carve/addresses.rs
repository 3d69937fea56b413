//! Which addresses of a subnet mean something: gateway, cloudpipe, first and last for instances.

use super::CarveError;
use crate::ModelError;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// The special addresses of one network. nova's layout: `.0` network, `.1` gateway, in VLAN
/// networks `.2` cloudpipe, then instances, then the VPN clients, then broadcast. (2011.3 gave out
/// the broadcast address and one VPN client's: bug 816630.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressPlan {
    /// The subnet.
    pub cidr: Ipv4Net,
    /// Its gateway.
    pub gateway: Ipv4Addr,
    /// Where the cloudpipe instance sits, in VLAN networks.
    pub vpn: Option<Ipv4Addr>,
    /// First address for instances.
    pub dhcp_start: Ipv4Addr,
    /// Last address for instances.
    pub last: Ipv4Addr,
}

impl AddressPlan {
    /// Lays out a subnet. `gateway` and `dhcp_start` may be given; the others follow.
    pub fn new(
        cidr: Ipv4Net,
        gateway: Option<Ipv4Addr>,
        dhcp_start: Option<Ipv4Addr>,
        with_vpn: bool,
        vpn_clients: u32,
    ) -> Result<Self, CarveError> {
        let (network, broadcast) = (u32::from(cidr.network()), u32::from(cidr.broadcast()));
        let first = network + 1;
        let gateway = gateway.map_or(first, u32::from);
        if gateway <= network || gateway >= broadcast {
            return Err(outside("gateway", gateway, first, broadcast - 1, cidr));
        }
        let next = |at: u32| if at == gateway { at + 1 } else { at };
        // The manual's places, also when the gateway is elsewhere: cloudpipe on the second address.
        let vpn = with_vpn.then(|| next(network + 2));
        let least = next(vpn.map_or(first, |v| v + 1));
        let last = broadcast.saturating_sub(1).saturating_sub(vpn_clients);
        let last = if last == gateway { last - 1 } else { last };
        if least > last {
            return Err(ModelError::new(
                "network_size",
                u64::from(broadcast - network) + 1,
                "leaves no address for an instance: choose a larger size",
            )
            .into());
        }
        let usual = least.max(next(network + 2)).min(last);
        let start = dhcp_start.map_or(usual, u32::from);
        if start < least || start > last {
            return Err(outside("dhcp_start", start, least, last, cidr));
        }
        if start == gateway {
            let reason = "is the gateway: choose the address after it, or another gateway";
            return Err(ModelError::new("dhcp_start", Ipv4Addr::from(start), reason).into());
        }
        Ok(Self {
            cidr,
            gateway: gateway.into(),
            vpn: vpn.map(Ipv4Addr::from),
            dhcp_start: start.into(),
            last: last.into(),
        })
    }

    /// The addresses that no instance gets, as inclusive ranges, ascending and not touching.
    pub fn reserved(&self) -> Vec<(Ipv4Addr, Ipv4Addr)> {
        let below = u32::from(self.dhcp_start) - 1;
        let above = u32::from(self.last) + 1;
        let mut ranges = vec![(self.cidr.network(), below.into())];
        if self.gateway > self.dhcp_start && self.gateway < self.last {
            ranges.push((self.gateway, self.gateway));
        }
        ranges.push((above.into(), self.cidr.broadcast()));
        ranges
    }
}

fn outside(what: &'static str, given: u32, from: u32, to: u32, cidr: Ipv4Net) -> CarveError {
    ModelError::new(
        what,
        Ipv4Addr::from(given),
        format!(
            "must be an address from {} to {} in {cidr}",
            Ipv4Addr::from(from),
            Ipv4Addr::from(to)
        ),
    )
    .into()
}
