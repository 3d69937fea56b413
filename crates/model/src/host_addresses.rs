//! The addresses, routes and next hops of a host that are not novanet's, and which ranges and
//! addresses the cloud cannot use because of them. Server and agents decide with the same
//! functions. Depends on nothing but the other types of this crate. Pure.

use crate::IfName;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

/// A route with a shorter prefix than this is as good as a default route (VPN clients set
/// 0.0.0.0/1 and 128.0.0.0/1): it conflicts with no range.
const SHORTEST_ROUTE: u8 = 8;

/// What a host reports about itself: `POST /agent/v1/hosts/{host}/addresses`, when it changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostAddresses {
    /// Addresses on devices, but for 127.0.0.0/8 and for those that novanet set.
    pub addresses: BTreeSet<HostAddress>,
    /// Routes of the main table, without novanet's and without those that the kernel makes of
    /// addresses.
    pub routes: BTreeSet<HostRoute>,
    /// The host's `flat_interface` flag.
    #[serde(default)]
    pub flat_interface: Option<IfName>,
    /// Ids of the devices `vlan<id>` on the host that novanet did not make: no network gets one of
    /// them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub vlans: BTreeSet<u16>,
}

/// An address of the host's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostAddress {
    /// The address with the prefix length of its subnet.
    pub address: Ipv4Net,
    /// The device; of an address that novanet moved to a bridge, the interface where it was.
    pub interface: String,
}

/// A route of the host's own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostRoute {
    /// Where it leads; 0.0.0.0/0 is a default route.
    pub destination: Ipv4Net,
    /// The next hop; `None`: the destination is on the link.
    pub via: Option<Ipv4Addr>,
    /// The device; of a route that novanet moved to a bridge, the interface where it was.
    pub interface: String,
}

/// What a network needs of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The network's range.
    pub cidr: Ipv4Net,
    /// The address that the host's bridge gets; `None`: none (flat networks).
    pub gateway: Option<Ipv4Addr>,
    /// The network's bridge.
    pub bridge: &'a IfName,
    /// The interface in the bridge; `None`: the host's `flat_interface` flag.
    pub interface: Option<&'a IfName>,
}

/// The occasion on which a conflict is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// A network that does not exist yet.
    Create,
    /// A network that exists, on its host. A route that contains the whole range is no conflict
    /// then: the network's own route is longer, and a VPN client must not take a cloud down.
    Keep,
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.address, self.interface)
    }
}

impl fmt::Display for HostRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.destination.prefix_len() {
            0 => f.write_str("a default route")?,
            _ => write!(f, "a route to {}", self.destination)?,
        }
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        write!(f, " on {}", self.interface)
    }
}

impl HostAddresses {
    /// What of this host conflicts with a network, as the rest of "HOST has …"; `None`: nothing.
    ///
    /// A network may be the LAN of its own bridge. It may be the LAN of the interface in its bridge
    /// if the bridge takes no address there but one that the operator chose: the network's first
    /// address, the default, is the router's on most LANs.
    pub fn conflict(&self, claim: &Claim<'_>, when: When) -> Option<String> {
        let interface = claim.interface.or(self.flat_interface.as_ref());
        let chosen = self.gateway_is_chosen(claim);
        let is_lan = |name: &str| {
            name == claim.bridge.as_str() || chosen && interface.is_some_and(|i| i.as_str() == name)
        };
        let mut addresses = self.addresses.iter();
        let address = addresses.find(|a| overlap(a.address, claim.cidr) && !is_lan(&a.interface));
        if let Some(address) = address {
            return Some(address.to_string());
        }
        let mut routes = self.routes.iter();
        // The bridge would answer for the router.
        if let Some(route) = routes
            .clone()
            .find(|r| r.via == claim.gateway && r.via.is_some())
        {
            return Some(route.to_string());
        }
        let taken = |route: &&HostRoute| {
            let to = route.destination;
            let contains = to.prefix_len() < claim.cidr.prefix_len() && to.contains(&claim.cidr);
            to.prefix_len() >= SHORTEST_ROUTE
                && overlap(to, claim.cidr)
                && !(contains && when == When::Keep)
                && !is_lan(&route.interface)
        };
        routes.find(taken).map(ToString::to_string)
    }

    fn gateway_is_chosen(&self, claim: &Claim<'_>) -> bool {
        let first = u32::from(claim.cidr.network()).saturating_add(1);
        claim.gateway.is_none_or(|gateway| {
            gateway != Ipv4Addr::from(first)
                || self.addresses.iter().any(|a| a.address.addr() == gateway)
        })
    }

    /// Addresses that the cloud never gives to an instance, each with the rest of "HOST has …": the
    /// host's own, its next hops, and network and broadcast addresses of its subnets.
    pub fn reserved(&self) -> BTreeMap<Ipv4Addr, String> {
        let mut reserved = BTreeMap::new();
        for address in &self.addresses {
            let net = address.address;
            if net.prefix_len() < 31 {
                for (ip, what) in [(net.network(), "network"), (net.broadcast(), "broadcast")] {
                    reserved
                        .entry(ip)
                        .or_insert_with(|| format!("{address}, whose {what} address it is"));
                }
            }
        }
        for route in &self.routes {
            if let Some(via) = route.via {
                reserved.insert(via, route.to_string());
            }
        }
        for address in &self.addresses {
            reserved.insert(address.address.addr(), address.to_string());
        }
        reserved
    }

    /// The host's own address, as the rest of "HOST has …".
    pub fn own(&self, ip: Ipv4Addr) -> Option<String> {
        let mut addresses = self.addresses.iter();
        addresses
            .find(|a| a.address.addr() == ip)
            .map(ToString::to_string)
    }
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    let (a, b) = (a.trunc(), b.trunc());
    a.contains(&b) || b.contains(&a)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn host(addresses: &[(&str, &str)], routes: &[(&str, &str, &str)]) -> HostAddresses {
        let addresses = addresses.iter().map(|(address, interface)| HostAddress {
            address: address.parse().unwrap(),
            interface: (*interface).to_owned(),
        });
        let routes = routes.iter().map(|(to, via, interface)| HostRoute {
            destination: to.parse().unwrap(),
            via: via.parse().ok(),
            interface: (*interface).to_owned(),
        });
        HostAddresses {
            addresses: addresses.collect(),
            routes: routes.collect(),
            flat_interface: Some(IfName::new("eth1").unwrap()),
            vlans: BTreeSet::new(),
        }
    }

    fn lan() -> HostAddresses {
        host(
            &[
                ("203.0.113.2/24", "eth0"),
                ("192.0.2.9/24", "eth1"),
                ("198.51.100.1/24", "br200"),
            ],
            &[
                ("0.0.0.0/0", "203.0.113.1", "eth0"),
                ("0.0.0.0/1", "10.8.0.1", "tun0"),
                ("10.0.0.0/8", "203.0.113.9", "eth0"),
                ("172.20.5.0/24", "", "eth0"),
            ],
        )
    }

    fn conflict(cidr: &str, gateway: Option<&str>, bridge: &str, when: When) -> Option<String> {
        let bridge = IfName::new(bridge).unwrap();
        let claim = Claim {
            cidr: cidr.parse().unwrap(),
            gateway: gateway.map(|g| g.parse().unwrap()),
            bridge: &bridge,
            interface: None,
        };
        lan().conflict(&claim, when)
    }

    #[test]
    fn a_range_conflicts_with_what_the_host_has_either_way_round() {
        let at_create = |cidr| conflict(cidr, Some("10.255.0.1"), "br300", When::Create);
        let has = |text: &str| Some(text.to_owned());
        let lan = has("203.0.113.2/24 on eth0");
        for cidr in ["203.0.113.0/25", "203.0.113.128/25", "203.0.112.0/22"] {
            assert_eq!(at_create(cidr), lan, "{cidr}");
        }
        assert_eq!(
            at_create("172.16.0.0/12"),
            has("a route to 172.20.5.0/24 on eth0")
        );
        assert_eq!(
            at_create("172.20.5.64/26"),
            has("a route to 172.20.5.0/24 on eth0")
        );
        assert_eq!(
            at_create("10.0.0.0/24"),
            has("a route to 10.0.0.0/8 via 203.0.113.9 on eth0")
        );
        // Default routes, in one part or in two, conflict with no network.
        assert_eq!(at_create("192.168.0.0/24"), None);
    }

    #[test]
    fn a_network_in_force_outlives_a_wider_route_and_no_narrower_one() {
        let kept = |cidr| conflict(cidr, Some("10.255.0.1"), "br300", When::Keep);
        assert_eq!(kept("10.0.0.0/24"), None);
        assert!(kept("10.0.0.0/8").is_some());
        assert!(kept("172.20.0.0/16").is_some());
        assert!(kept("203.0.113.0/25").is_some());
    }

    #[test]
    fn a_network_may_be_the_lan_of_its_own_bridge_or_interface() {
        let flat = |cidr, bridge| conflict(cidr, None, bridge, When::Create);
        assert_eq!(flat("198.51.100.0/24", "br200"), None);
        assert!(flat("198.51.100.0/24", "br300").is_some());
        assert_eq!(flat("192.0.2.0/24", "br300"), None);
        assert!(flat("203.0.113.0/24", "br300").is_some());
        let dhcp = |gateway| conflict("192.0.2.0/24", Some(gateway), "br100", When::Create);
        assert!(
            dhcp("192.0.2.1").is_some(),
            "the default gateway is the router's"
        );
        assert_eq!(dhcp("192.0.2.254"), None);
        assert_eq!(dhcp("192.0.2.9"), None);
        // A next hop of the host is never the gateway address of a network.
        let router = conflict("203.0.113.0/24", Some("203.0.113.1"), "eth0", When::Create);
        assert_eq!(
            router.as_deref(),
            Some("a default route via 203.0.113.1 on eth0")
        );
    }

    #[test]
    fn addresses_next_hops_network_and_broadcast_are_reserved() {
        let reserved = host(
            &[
                ("203.0.113.2/24", "eth0"),
                ("192.0.2.1/31", "eth1"),
                ("203.0.113.7/32", "lo"),
            ],
            &[("0.0.0.0/0", "203.0.113.1", "eth0")],
        )
        .reserved();
        let lines: Vec<_> = reserved
            .iter()
            .map(|(ip, why)| format!("{ip}: {why}"))
            .collect();
        let expected = [
            "192.0.2.1: 192.0.2.1/31 on eth1",
            "203.0.113.0: 203.0.113.2/24 on eth0, whose network address it is",
            "203.0.113.1: a default route via 203.0.113.1 on eth0",
            "203.0.113.2: 203.0.113.2/24 on eth0",
            "203.0.113.7: 203.0.113.7/32 on lo",
            "203.0.113.255: 203.0.113.2/24 on eth0, whose broadcast address it is",
        ];
        assert_eq!(lines, expected);
    }
}
