//! What the host's settings say for all instances: the address that they leave with, the networks
//! that see their fixed IPs, the networks that they do not reach. Depends on the settings only.

use crate::settings::Settings;
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// Link-local services of a cloud that this host is itself an instance of. Our own metadata service
/// is redirected before a backend compares with this.
const LINK_LOCAL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);

/// Rules that every host has, whatever its objects.
#[derive(Debug, Clone)]
pub struct HostPolicy {
    /// TCP port of the metadata service on this host.
    pub metadata_port: u16,
    /// Instances without a floating IP leave with this address; `None`: the host has no address
    /// yet, and nothing leaves.
    pub source: Option<Ipv4Addr>,
    /// `source` is the host's own address and changes with it; otherwise a flag fixed it.
    pub source_follows: bool,
    /// Destinations that see the fixed IP (`dmz_cidr`), aggregated.
    pub direct: Vec<Ipv4Net>,
    /// Destinations for which networks without SNAT are translated too (`force_snat_range`),
    /// aggregated.
    pub forced: Vec<Ipv4Net>,
    /// Destinations that instances do not reach (`blocked_cidr` and link-local), aggregated; a
    /// network of ours inside such a range is reachable.
    pub blocked: Vec<Ipv4Net>,
}

impl HostPolicy {
    /// The policy of a host with these settings.
    pub fn new(settings: &Settings) -> Self {
        Self {
            metadata_port: settings.metadata_port,
            source: usable(settings.routing_source_ip),
            source_follows: settings.source_follows,
            direct: Ipv4Net::aggregate(&settings.dmz_cidr),
            forced: Ipv4Net::aggregate(&settings.force_snat_range),
            blocked: Ipv4Net::aggregate(&[&settings.blocked_cidr[..], &[LINK_LOCAL]].concat()),
        }
    }

    /// Takes the host's present address; `true`: the policy is another because of it. A host that
    /// lost its address keeps the old one here: nothing leaves anyway until there is another.
    pub fn follow(&mut self, source: Option<Ipv4Addr>) -> bool {
        let source = source.and_then(usable);
        let other = self.source_follows && source.is_some() && self.source != source;
        if other {
            self.source = source;
        }
        other
    }

    /// For tests of the text.
    #[cfg(test)]
    pub(super) fn example() -> Self {
        let net = |text: &str| -> Ipv4Net { text.parse().expect("a network") };
        Self {
            metadata_port: 8775,
            source: Some(Ipv4Addr::new(203, 0, 113, 1)),
            source_follows: true,
            direct: vec![net("10.128.0.0/24"), net("198.51.100.0/24")],
            forced: vec![net("192.0.2.128/25")],
            blocked: vec![net("100.100.100.200/32"), LINK_LOCAL],
        }
    }
}

/// No machine outside answers to 127.0.0.1.
fn usable(source: Ipv4Addr) -> Option<Ipv4Addr> {
    (!source.is_loopback() && !source.is_unspecified()).then_some(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_leave_with_the_hosts_address_and_never_with_127_0_0_1() {
        let with = |source| HostPolicy {
            source,
            ..HostPolicy::example()
        };
        let (one, two) = (Ipv4Addr::new(203, 0, 113, 2), Ipv4Addr::new(203, 0, 113, 3));
        let mut policy = with(usable(Ipv4Addr::LOCALHOST));
        assert_eq!(policy.source, None);
        assert!(!policy.follow(None));
        assert!(!policy.follow(Some(Ipv4Addr::LOCALHOST)));
        assert!(policy.follow(Some(one)) && !policy.follow(Some(one)));
        assert_eq!(policy.source, Some(one));
        // Gone for a moment: as it was. Another one: with that.
        assert!(!policy.follow(None) && policy.follow(Some(two)));
        let mut fixed = HostPolicy {
            source_follows: false,
            ..with(Some(one))
        };
        assert!(!fixed.follow(Some(two)), "a flag gave it");
    }
}
