//! Rows as the store reads them and the plan uses them: parsed, so that they cannot be wrong.
//! The SQL names and types are in the store's migrations and in docs/schema.md.

use crate::network::NetworkSpec;
use crate::object::AddressRange;
use crate::rule::{Source, Traffic};
use crate::{
    CombinationId, FloatingIpId, GroupId, IfName, ImageId, InstanceId, MacAddr, NetworkId,
    NetworkKind, ProjectId, ProjectNumber, ReservationId, RuleId, VpnId,
};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};

/// A network: what `network create` was asked for, and what the database adds. Its fields read like
/// those of its [`NetworkSpec`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Row id.
    pub id: NetworkId,
    /// The settings.
    #[serde(flatten)]
    pub spec: NetworkSpec,
    /// The host that is its gateway; `None` until one takes it.
    pub host: Option<String>,
    /// A name for other programs that never changes.
    pub uuid: String,
}

impl Deref for Network {
    type Target = NetworkSpec;
    fn deref(&self) -> &NetworkSpec {
        &self.spec
    }
}

impl DerefMut for Network {
    fn deref_mut(&mut self) -> &mut NetworkSpec {
        &mut self.spec
    }
}

/// An address of a network that the operator reserved for a machine that is no instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The machine.
    pub mac: MacAddr,
    /// Its address.
    pub address: Ipv4Addr,
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
    /// The host that answers DHCP there; `None`: no host yet.
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
    /// A user has stopped it.
    pub halted: bool,
    /// Being deleted: no objects any more, the row waits for the hosts.
    pub deleting: bool,
    /// Ports, by index.
    pub ports: Vec<InstancePort>,
    /// Groups, ascending.
    pub groups: Vec<GroupId>,
    /// Number of this combination of groups.
    pub combination: CombinationId,
    /// The addresses of the VPN clients behind it, if it is its project's Cloudpipe.
    #[serde(default)]
    pub vpn_clients: Option<AddressRange>,
}

/// A project's VPN as the plan needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpn {
    /// Row id.
    pub id: VpnId,
    /// Its project.
    pub project: ProjectId,
    /// The network that the Cloudpipe is in.
    pub network: NetworkId,
    /// Kind of that network.
    pub kind: NetworkKind,
    /// The host that is the network's gateway; `None`: no host yet.
    pub host: Option<String>,
    /// Where clients connect to.
    pub public_address: Ipv4Addr,
    /// UDP port there.
    pub public_port: u16,
    /// The Cloudpipe's fixed IP.
    pub private_address: Ipv4Addr,
    /// Addresses of its clients.
    pub clients: AddressRange,
    /// The Cloudpipe, the last one that was launched.
    pub instance: Option<InstanceId>,
    /// It is ended: the row waits for the hosts to let go of the Cloudpipe.
    pub deleting: bool,
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
    /// The project that has allocated it.
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

/// A provider rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Row id.
    pub id: crate::BlockId,
    /// What is dropped.
    pub traffic: Traffic,
    /// Where it comes from.
    pub source: ipnet::Ipv4Net,
}

/// A security group rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityRule {
    /// Row id.
    pub id: RuleId,
    /// Its group.
    pub group: GroupId,
    /// Protocol and ports.
    pub traffic: Traffic,
    /// The source.
    pub source: Source,
    /// For people; `None`: the rule has none.
    #[serde(default)]
    pub description: Option<String>,
}
