//! Rows as the store reads them and the plan uses them: parsed, so that they cannot be wrong.
//! The SQL names and types are in the store's migrations and in docs/schema.md.

use crate::rule::{Source, Traffic};
use crate::{
    CombinationId, FloatingIpId, GroupId, IfName, ImageId, InstanceId, MacAddr, NetworkId,
    NetworkKind, ProjectId, ProjectNumber, ReservationId, RuleId,
};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Row id.
    pub id: NetworkId,
    /// Name for people; not unique.
    pub label: String,
    /// Its kind.
    pub kind: NetworkKind,
    /// The subnet.
    pub cidr: Ipv4Net,
    /// Gateway, usually the first address.
    pub gateway: Ipv4Addr,
    /// First address for instances.
    pub dhcp_start: Ipv4Addr,
    /// The bridge.
    pub bridge: IfName,
    /// The interface under the bridge; `None`: the host's flag.
    pub bridge_interface: Option<IfName>,
    /// 802.1Q tag of a VLAN network.
    pub vlan: Option<u16>,
    /// DNS servers for the instances.
    pub dns: Vec<Ipv4Addr>,
    /// Public address of the project's VPN; `None`: the `vpn_ip` flag.
    pub vpn_public_address: Option<Ipv4Addr>,
    /// Public UDP port of the project's VPN.
    pub vpn_public_port: Option<u16>,
    /// Where the cloudpipe instance sits.
    pub vpn_private_address: Option<Ipv4Addr>,
    /// The project that owns it, in VLAN mode.
    pub project: Option<ProjectId>,
    /// The host that is its gateway; `None` until one takes it.
    pub host: Option<String>,
    /// Every host is the gateway of its own instances.
    pub multi_host: bool,
    /// Write addresses into the instance's file system (flat).
    pub injected: bool,
    /// MTU, `None` = default.
    pub mtu: Option<u32>,
    /// Addresses at the end of the range that are kept for VPN clients.
    pub vpn_clients: u32,
    /// uuid.
    pub uuid: String,
}

/// One port of an instance: its fixed IP and MAC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstancePort {
    /// 0 for eth0.
    pub index: u32,
    /// The network.
    pub network: NetworkId,
    /// That network's bridge.
    pub bridge: IfName,
    /// The host that answers DHCP there; `None`: nobody yet.
    pub network_host: Option<String>,
    /// Kind of that network.
    pub kind: NetworkKind,
    /// MAC.
    pub mac: MacAddr,
    /// Fixed IP.
    pub address: Ipv4Addr,
    /// What to write into the instance, for injected networks.
    pub injected: Option<crate::object::InjectedNetwork>,
}

/// An instance as the plan needs it: with its ports and groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Row id.
    pub id: InstanceId,
    /// Its reservation.
    pub reservation: ReservationId,
    /// Project.
    pub project: ProjectId,
    /// The project's number.
    pub project_number: ProjectNumber,
    /// The host it runs on; `None` until placed.
    pub host: Option<String>,
    /// Host name.
    pub hostname: String,
    /// Its image.
    pub image: ImageId,
    /// The image's digest.
    pub image_digest: String,
    /// Memory limit in MiB.
    pub memory_mb: u32,
    /// Processors.
    pub vcpus: u32,
    /// Disk size in GiB; 0: as long as the image, and a little.
    pub disk_gb: u32,
    /// Reboot counter.
    pub boot: i64,
    /// Being deleted: no objects any more, the row waits for the hosts.
    pub deleting: bool,
    /// Ports, by index.
    pub ports: Vec<InstancePort>,
    /// Groups, ascending.
    pub groups: Vec<GroupId>,
    /// Number of this combination of groups.
    pub combination: CombinationId,
}

/// A floating IP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingIp {
    /// Row id; EC2's allocation id has the same number.
    pub id: FloatingIpId,
    /// The address.
    pub address: Ipv4Addr,
    /// Pool.
    pub pool: String,
    /// Interface, `None` = the host's flag.
    pub interface: Option<IfName>,
    /// Invalid text in `interface`. While set, the address cannot be associated.
    pub bad_interface: Option<String>,
    /// Who has allocated it.
    pub project: Option<ProjectId>,
    /// Why no instance can have it: a host has reported it as its own, or as a next hop.
    #[serde(default)]
    pub conflict: Option<String>,
    /// The fixed IP it leads to.
    pub fixed: Option<FloatTarget>,
}

/// Where a floating IP leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatTarget {
    /// The fixed IP.
    pub address: Ipv4Addr,
    /// The instance that has it.
    pub instance: InstanceId,
    /// The host that is the gateway of its network and so carries the floating IP.
    pub host: Option<String>,
}

/// A security group rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityRule {
    /// Row id.
    pub id: RuleId,
    /// Its group.
    pub group: GroupId,
    /// What.
    pub traffic: Traffic,
    /// From whom.
    pub source: Source,
}
