//! Names in the kernel: our table, its sets, and the chains of groups and their combinations, with
//! the comments that name the EC2 object behind them. Depends on the model only.

use novanet_model::rule::{Ports, Source, Traffic};
use novanet_model::{CombinationId, GroupId, ProjectNumber};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Name of our table in every family.
pub(in crate::firewall) const TABLE: &str = "nova";

/// Tables, by the family word of nft.
pub(in crate::firewall) const FAMILIES: [&str; 3] = ["ip", "ip6", "bridge"];

/// A set or map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Set {
    /// Bridges of our networks.
    Bridges,
    /// Those of them whose networks have another machine as their gateway.
    UnroutedBridges,
    /// Our networks.
    Networks,
    /// Those of our networks that leave untranslated.
    DirectNetworks,
    /// Bridge and its gateway address: instances may ask for DNS there.
    Gateways,
    /// Gateway addresses of all bridges.
    GatewayAddresses,
    /// Floating IP to fixed IP.
    FloatingToFixed,
    /// Fixed IP to floating IP.
    FixedToFloating,
    /// All floating IPs, translated or not yet: none of them is the host's own address.
    FloatingIps,
    /// Fixed IPs of the ports on this host.
    FixedIps,
    /// Fixed IP to the number of its combination of groups.
    PortGroups,
    /// That number to its chain.
    GroupChains,
    /// Port and its MAC.
    PortMac,
    /// Port and its MAC as the client address in a DHCP message.
    PortDhcpMac,
    /// Port, its MAC and an address of its instance.
    PortMacIp,
    /// MACs of the ports on this host, for the bridges.
    PortMacs,
    /// Fixed addresses of the ports on this host, for the bridges.
    PortIps,
    /// VPN: public address and UDP port → a Cloudpipe's.
    VpnForwards,
    /// Ports of Cloudpipes (bridge).
    VpnPorts,
    /// A Cloudpipe's port and an address of a VPN client behind it (bridge).
    VpnPortIps,
    /// Addresses of a group's members.
    Members(GroupId),
    /// Addresses of a project.
    Project(ProjectNumber),
}

/// The sets that every host has, by their names; and the names that the first builds gave them.
const FIXED: [(Set, &str, &str); 20] = [
    (Set::Bridges, "bridges", "brs"),
    (Set::UnroutedBridges, "unrouted_bridges", "unrouted_brs"),
    (Set::Networks, "networks", "nets"),
    (Set::DirectNetworks, "direct_networks", "direct_nets"),
    (Set::Gateways, "gateways", "gw"),
    (Set::GatewayAddresses, "gateway_addresses", "gws"),
    (Set::FloatingToFixed, "floating_to_fixed", "fipin"),
    (Set::FixedToFloating, "fixed_to_floating", "fipout"),
    (Set::FloatingIps, "floating_ips", "floats"),
    (Set::FixedIps, "fixed_ips", "fixed"),
    (Set::PortGroups, "port_groups", "comb"),
    (Set::GroupChains, "group_chains", "kv"),
    (Set::PortMac, "port_mac", "pmac"),
    (Set::PortDhcpMac, "port_dhcp_mac", "pch"),
    (Set::PortMacIp, "port_mac_ip", "pip"),
    (Set::PortMacs, "port_macs", "macs"),
    (Set::PortIps, "port_ips", "ips"),
    (Set::VpnForwards, "vpn_forwards", "vpn_forwards"),
    (Set::VpnPorts, "vpn_ports", "vpn_ports"),
    (Set::VpnPortIps, "vpn_port_ips", "vpn_port_ips"),
];

/// The chain of the provider rules.
pub(in crate::firewall) const PROVIDER_RULES: &str = "provider_rules";

/// Chains that know the valid generation: today's, and that of the first builds.
pub(in crate::firewall) const ESTABLISHED: [&str; 2] = ["established", "c_valid"];

/// nft and the kernel take 128 bytes; 129 are an error.
const MAX_COMMENT: usize = 128;

/// A set that the kernel lists, under the name that it has there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::firewall) struct KernelSet {
    pub(in crate::firewall) set: Set,
    pub(in crate::firewall) name: String,
}

impl KernelSet {
    /// `None`: no set of ours has or had that name.
    pub(in crate::firewall) fn named(name: &str) -> Option<Self> {
        let set = set_named(name).or_else(|| set_once_named(name))?;
        Some(Self {
            set,
            name: name.to_owned(),
        })
    }

    /// Whether an agent of the first builds made it: its tables are replaced as a whole.
    pub(in crate::firewall) fn is_of_old_layout(&self) -> bool {
        set_named(&self.name).is_none()
    }
}

impl Set {
    /// The set with that name.
    pub(in crate::firewall) fn named(name: &str) -> Option<Self> {
        set_named(name)
    }

    /// Its name in the kernel.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Members(group) => format!("members_{}", in_name(group)),
            Self::Project(project) => format!("project_{project}"),
            fixed => FIXED
                .iter()
                .find(|(set, ..)| *set == fixed)
                .map_or_else(String::new, |(_, name, _)| (*name).to_owned()),
        }
    }

    /// Whether it belongs to the bridge family; all others are IPv4.
    pub(crate) fn is_bridge(self) -> bool {
        matches!(
            self,
            Self::PortMac
                | Self::PortDhcpMac
                | Self::PortMacIp
                | Self::PortMacs
                | Self::PortIps
                | Self::VpnPorts
                | Self::VpnPortIps
        )
    }

    /// What its comment says; `None`: every host has it, and its name says what it is.
    pub(in crate::firewall) fn comment(self) -> Option<String> {
        match self {
            Self::Members(group) => Some(format!("{group}: fixed IPs of its members")),
            Self::Project(project) => Some(format!("project {project}: its fixed IPs")),
            _ => None,
        }
    }
}

fn set_named(name: &str) -> Option<Set> {
    if let Some((set, ..)) = FIXED.iter().find(|(_, known, _)| *known == name) {
        return Some(*set);
    }
    if let Some(group) = name.strip_prefix("members_sg_") {
        let group = i64::from_str_radix(group, 16).ok()?;
        return Some(Set::Members(GroupId(group)));
    }
    let project = name.strip_prefix("project_")?.parse().ok()?;
    Some(Set::Project(ProjectNumber(project)))
}

fn set_once_named(name: &str) -> Option<Set> {
    if let Some((set, ..)) = FIXED.iter().find(|(.., known)| *known == name) {
        return Some(*set);
    }
    let number = |prefix| name.strip_prefix(prefix)?.parse().ok();
    let group = number('m').map(|group| Set::Members(GroupId(group)));
    group.or_else(|| Some(Set::Project(ProjectNumber(number('p')?))))
}

/// A group's EC2 id as names in nft allow it: `sg_0000000a`.
fn in_name(group: GroupId) -> String {
    group.to_string().replace('-', "_")
}

/// Name of the chain of a group.
pub(in crate::firewall) fn group_chain(group: GroupId) -> String {
    in_name(group)
}

/// Name of the chain of a combination of groups.
pub(in crate::firewall) fn combination_chain(combination: CombinationId) -> String {
    format!("groups_{combination}")
}

/// The comment of a group's chain, and of the jumps to it: its id and name.
pub(in crate::firewall) fn group_comment(group: GroupId, name: Option<&str>) -> String {
    comment(group, name, "")
}

/// The comment of the rule that lets the VPN clients of a group's project in.
pub(in crate::firewall) fn vpn_comment(group: GroupId, name: Option<&str>) -> String {
    comment(group, name, ": VPN clients of its project")
}

/// The comment of a rule: `sg-00000001 web: tcp 80 from 0.0.0.0/0`.
pub(in crate::firewall) fn rule_comment(
    group: GroupId,
    name: Option<&str>,
    traffic: Traffic,
    source: Source,
) -> String {
    let from = match source {
        Source::Cidr(net) => net.trunc().to_string(),
        Source::Group(group) => group.to_string(),
    };
    comment(group, name, &format!(": {} from {from}", words(traffic)))
}

/// The comment of a combination's chain: the ids of its groups, as many as fit.
pub(in crate::firewall) fn combination_comment(groups: &[GroupId]) -> String {
    let mut text = "groups".to_owned();
    for group in groups {
        let next = format!(" {group}");
        if text.len() + next.len() > MAX_COMMENT - 4 {
            text.push_str(" ...");
            break;
        }
        text.push_str(&next);
    }
    text
}

/// Id, name and `end` in 128 bytes: the name is cut where they do not fit. Whatever could end the
/// quotes or the line becomes a question mark.
fn comment(group: GroupId, name: Option<&str>, end: &str) -> String {
    let mut text = group.to_string();
    if let Some(name) = name {
        let room = MAX_COMMENT.saturating_sub(text.len() + 1 + end.len());
        text.push(' ');
        text.extend(name.chars().map(plain).take(room));
    }
    text.push_str(end);
    text
}

fn plain(c: char) -> char {
    match c {
        'A'..='Z' | 'a'..='z' | '0'..='9' | ' ' | '.' | '_' | ':' | '/' | '-' => c,
        _ => '?',
    }
}

fn words(traffic: Traffic) -> String {
    let ports = |protocol: &str, ports: Ports| match (ports.from, ports.to) {
        (0, u16::MAX) => protocol.to_owned(),
        _ => format!("{protocol} {ports}"),
    };
    match traffic {
        Traffic::Any => "all".to_owned(),
        Traffic::Tcp(range) => ports("tcp", range),
        Traffic::Udp(range) => ports("udp", range),
        Traffic::Icmp { icmp_type, code } => {
            let mut text = "icmp".to_owned();
            if let Some(kind) = icmp_type {
                let _ = write!(text, " type {kind}");
                if let Some(code) = code {
                    let _ = write!(text, " code {code}");
                }
            }
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_known_by_its_name_and_by_its_name_of_before() {
        let more = [
            (Set::Members(GroupId(26)), "members_sg_0000001a", "m26"),
            (Set::Project(ProjectNumber(26)), "project_26", "p26"),
        ];
        for (set, name, before) in FIXED.into_iter().chain(more) {
            assert_eq!(set.name(), name);
            for (name, old) in [(name, false), (before, name != before)] {
                let found = KernelSet::named(name).expect(name);
                assert_eq!((found.set, found.is_of_old_layout()), (set, old), "{name}");
            }
        }
        assert_eq!(KernelSet::named("friends"), None);
    }

    #[test]
    fn a_comment_keeps_what_a_rule_says_and_cuts_the_groups_name() {
        let port = Traffic::Tcp(Ports { from: 80, to: 80 });
        let anywhere = Source::Cidr("0.0.0.0/0".parse().expect("a network"));
        let of = |name: Option<&str>| rule_comment(GroupId(1), name, port, anywhere);
        assert_eq!(of(Some("web")), "sg-00000001 web: tcp 80 from 0.0.0.0/0");
        assert_eq!(of(None), "sg-00000001: tcp 80 from 0.0.0.0/0");
        assert_eq!(
            of(Some("a\"\n;é")),
            "sg-00000001 a????: tcp 80 from 0.0.0.0/0"
        );
        let long = of(Some(&"é".repeat(255)));
        assert_eq!(long.len(), MAX_COMMENT);
        assert!(long.ends_with("??: tcp 80 from 0.0.0.0/0"), "{long}");
        let many: Vec<_> = (1..30).map(GroupId).collect();
        let text = combination_comment(&many);
        assert!(
            text.len() <= MAX_COMMENT && text.ends_with(" ..."),
            "{text}"
        );
    }
}
