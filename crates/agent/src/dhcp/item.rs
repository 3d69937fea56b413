//! The items of the DHCP subsystem, ranges and the hosts in them, and the translation of host
//! objects into items. Pure; depends on model and the settings.

use crate::settings::Settings;
use ipnet::Ipv4Net;
use novanet_model::object::{Binding, Dhcp, HostObject};
use novanet_model::{DhcpOption, IfName, MacAddr, NetworkId};
use std::fmt;
use std::net::Ipv4Addr;

/// Identity of an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DhcpKey {
    /// A network's range, served on a bridge. Networks of one bridge share a process.
    Range(IfName, NetworkId),
    /// The binding of an address to its owner.
    Host(IfName, Ipv4Addr),
}

impl DhcpKey {
    /// The bridge of the item; its dnsmasq serves it.
    pub fn bridge(&self) -> &IfName {
        match self {
            Self::Range(bridge, _) | Self::Host(bridge, _) => bridge,
        }
    }
}

impl fmt::Display for DhcpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(bridge, network) => {
                write!(f, "dhcp range of network {network} on {bridge}")
            }
            Self::Host(bridge, address) => write!(f, "dhcp binding of {address} on {bridge}"),
        }
    }
}

/// Content of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DhcpValue {
    /// Of [`DhcpKey::Range`].
    Range(RangeSpec),
    /// Of [`DhcpKey::Host`].
    Host(HostSpec),
    /// Observed only: the item differs from the desired one in this way, for people.
    Otherwise(String),
    /// Observed only: this MAC has a lease of the address and does not own it (any more).
    StaleLease(MacAddr),
}

impl fmt::Display for DhcpValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(spec) => {
                write!(
                    f,
                    "{} from {}, served by {}, leases of {} s",
                    spec.cidr, spec.start, spec.server, spec.lease_seconds
                )?;
                if let Some(router) = spec.router {
                    write!(f, ", router {router}")?;
                }
                if !spec.domain.is_empty() {
                    write!(f, ", domain {}", spec.domain)?;
                }
                spec.dns
                    .iter()
                    .try_for_each(|dns| write!(f, ", dns {dns}"))?;
                let mut options = spec.options.iter();
                options.try_for_each(|option| write!(f, ", option {option}"))
            }
            Self::Host(spec) if spec.hostname.is_empty() => write!(f, "{}", spec.mac),
            Self::Host(spec) => write!(f, "{} {}", spec.mac, spec.hostname),
            Self::Otherwise(what) => f.write_str(what),
            Self::StaleLease(mac) => write!(f, "still leased to {mac}"),
        }
    }
}

/// A network's range, as dnsmasq serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSpec {
    /// The server's address, on the bridge; the instances' DNS server.
    pub server: Ipv4Addr,
    /// The instances' router, if it is another machine; `None`: the server.
    pub router: Option<Ipv4Addr>,
    /// The network.
    pub cidr: Ipv4Net,
    /// First address that dnsmasq may lease.
    pub start: Ipv4Addr,
    /// Length of a lease, in seconds.
    pub lease_seconds: u32,
    /// DNS domain of the instances; empty: none.
    pub domain: String,
    /// Upstream DNS servers, in the order of use; empty: the host's resolver.
    pub dns: Vec<Ipv4Addr>,
    /// Further DHCP options.
    pub options: Vec<DhcpOption>,
}

/// The owner of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSpec {
    /// The instance's MAC.
    pub mac: MacAddr,
    /// Its name without the domain; empty: none.
    pub hostname: String,
    /// The network that gives it its domain.
    pub network: NetworkId,
}

/// The items that follow from one object.
pub(crate) fn items(settings: &Settings, object: &HostObject) -> Vec<(DhcpKey, DhcpValue)> {
    match object {
        HostObject::Dhcp(dhcp) => vec![range(settings, dhcp)],
        HostObject::Binding(binding) => vec![host(binding)],
        HostObject::Bridge(_)
        | HostObject::Gateway(_)
        | HostObject::FloatingIp(_)
        | HostObject::Group(_)
        | HostObject::Rule(_)
        | HostObject::Block(_)
        | HostObject::Member(_)
        | HostObject::ProjectAddress(_)
        | HostObject::VpnForward(_)
        | HostObject::Port(_)
        | HostObject::Instance(_) => Vec::new(),
    }
}

fn range(settings: &Settings, dhcp: &Dhcp) -> (DhcpKey, DhcpValue) {
    let dns = if dhcp.dns.is_empty() {
        settings.dns_server.clone()
    } else {
        dhcp.dns.clone()
    };
    (
        DhcpKey::Range(dhcp.bridge.clone(), dhcp.network),
        DhcpValue::Range(RangeSpec {
            server: dhcp.server,
            router: dhcp.router,
            cidr: dhcp.cidr,
            start: dhcp.start,
            lease_seconds: dhcp.lease_seconds,
            domain: if is_domain(&dhcp.domain) {
                dhcp.domain.clone()
            } else {
                String::new()
            },
            dns,
            options: dhcp.options.clone(),
        }),
    )
}

fn host(binding: &Binding) -> (DhcpKey, DhcpValue) {
    (
        DhcpKey::Host(binding.bridge.clone(), binding.address),
        DhcpValue::Host(HostSpec {
            mac: binding.mac,
            hostname: if is_label(&binding.hostname) {
                binding.hostname.clone()
            } else {
                String::new()
            },
            network: binding.network,
        }),
    )
}

/// Whether dnsmasq accepts the name. A name that it does not accept ends the process, or becomes a
/// line of its own in the hosts file.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_domain(text: &str) -> bool {
    text.len() < 190 && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_be_a_line_of_its_own_is_left_out() {
        for bad in ["", "a b", "a\nb", "a,b", "-a", "a-", "ä", &"a".repeat(64)] {
            assert!(!is_label(bad), "{bad:?}");
        }
        for good in ["web", "server-1", "a", &"a".repeat(63)] {
            assert!(is_label(good), "{good:?}");
        }
        assert!(is_domain("novalocal") && is_domain("cloud.example.org"));
        assert!(!is_domain("") && !is_domain("a..b") && !is_domain("a b") && !is_domain("a/b"));
    }
}
