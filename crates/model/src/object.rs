//! Host objects: one keyed part of what a host must have. A host's objects are its desired state.
//!
//! Rows make objects ([`crate::plan`]), the server sends objects, the agent makes them true. The
//! body is JSON; a change of a field here is a change of the protocol between server and agent.

use crate::object_key::{ObjectKey, ObjectKind};
use crate::rule::{Source, Traffic};
use crate::{
    BlockId, CombinationId, DhcpOption, GroupId, IfName, InstanceId, MacAddr, NetworkId,
    ProjectNumber, RuleId,
};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// One keyed part of what a host must have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HostObject {
    /// A bridge, for one network. Two networks may name the same one.
    Bridge(Bridge),
    /// The network's gateway address on its bridge, with NAT to the outside.
    Gateway(Gateway),
    /// A DHCP range served on a bridge.
    Dhcp(Dhcp),
    /// Which address the DHCP server gives to a MAC.
    Binding(Binding),
    /// A floating IP in force: outside address, inside address.
    #[serde(rename = "float")]
    FloatingIp(FloatingIp),
    /// A security group that an instance on this host is in.
    Group(Group),
    /// A rule of such a group.
    Rule(Rule),
    /// A provider rule: traffic that no instance hears, whatever its groups accept.
    Block(Block),
    /// A member of a group that is the source of a rule on this host.
    Member(Member),
    /// An address of a project that has instances on this host.
    ProjectAddress(ProjectAddress),
    /// A port of an instance on this host: what may pass it, and where it is plugged.
    Port(Port),
    /// An instance on this host.
    Instance(Instance),
    /// A public UDP port that leads to a project's Cloudpipe.
    VpnForward(VpnForward),
}

/// See [`HostObject::Bridge`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// The network it is for.
    pub network: NetworkId,
    /// Its name, e.g. `br100`.
    pub bridge: IfName,
    /// The interface to enslave, from the network's row; `None`: the host's own `flat_interface`
    /// flag.
    pub interface: Option<IfName>,
    /// The 802.1Q tag of the device to enslave, in VLAN networks.
    pub vlan: Option<u16>,
    /// MTU; `None`: the host's `network_device_mtu` flag, or the kernel's default.
    pub mtu: Option<u32>,
    /// The administrator makes this bridge (flat networks): wait for it, never make or remove it.
    pub foreign: bool,
    /// The network's range where no [`Gateway`] tells it: the host must not live in it elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Ipv4Net>,
}

/// See [`HostObject::Gateway`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Instances leave the network with their own addresses (the first release had no such
    /// switch).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_snat: bool,
    /// The network it is for.
    pub network: NetworkId,
    /// The bridge that carries the address.
    pub bridge: IfName,
    /// Gateway address with the network's prefix length, e.g. `10.0.0.1/24`.
    pub address: Ipv4Net,
}

/// See [`HostObject::Dhcp`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dhcp {
    /// The network it is for.
    pub network: NetworkId,
    /// The bridge it is served on.
    pub bridge: IfName,
    /// The server's own address, on the bridge.
    pub server: Ipv4Addr,
    /// The instances' router, if it is another machine: then the address of the server comes with
    /// this object, and the host does not route for the network. `None`: the server, whose address
    /// comes with the [`Gateway`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Ipv4Addr>,
    /// The network.
    pub cidr: Ipv4Net,
    /// First address that may be handed out.
    pub start: Ipv4Addr,
    /// Length of a lease in seconds.
    pub lease_seconds: u32,
    /// DNS domain of the instances (`dhcp_domain`).
    pub domain: String,
    /// DNS servers to forward to; empty: the host's own resolver.
    pub dns: Vec<Ipv4Addr>,
    /// Further DHCP options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<DhcpOption>,
}

/// See [`HostObject::Binding`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The network it is in.
    pub network: NetworkId,
    /// The bridge of that network.
    pub bridge: IfName,
    /// The port that gets the address.
    pub mac: MacAddr,
    /// The address.
    pub address: Ipv4Addr,
    /// Host name, without the domain; at most 63 bytes.
    pub hostname: String,
    /// The instance; [`NO_INSTANCE`]: a reservation for a machine that is none.
    pub instance: InstanceId,
}

/// The owner of a [`Binding`] that the operator reserved: no instance has this number.
pub const NO_INSTANCE: InstanceId = InstanceId(0);

/// See [`HostObject::FloatingIp`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingIp {
    /// The floating IP.
    pub address: Ipv4Addr,
    /// The fixed IP behind it.
    pub fixed: Ipv4Addr,
    /// The interface it is on; `None`: the host's `public_interface` flag.
    pub interface: Option<IfName>,
}

/// See [`HostObject::Group`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The group.
    pub group: GroupId,
    /// Its project: rules by address never let in another project's private addresses.
    pub project: ProjectNumber,
    /// Its name, for comments in the host's rules. EC2 cannot rename a group. `None`: planned by a
    /// server that did not send names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Addresses of its project's VPN clients, which reach the members without a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpn_clients: Option<AddressRange>,
}

/// Addresses from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AddressRange {
    /// The lowest address.
    pub first: Ipv4Addr,
    /// The highest address, not below `first`.
    pub last: Ipv4Addr,
}

impl AddressRange {
    /// Every address of the range, ascending.
    pub fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        (u32::from(self.first)..=u32::from(self.last)).map(Ipv4Addr::from)
    }
}

impl std::fmt::Display for AddressRange {
    /// As nft writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// See [`HostObject::VpnForward`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnForward {
    /// The network that the Cloudpipe is in.
    pub network: NetworkId,
    /// The public address.
    pub address: Ipv4Addr,
    /// The public UDP port.
    pub port: u16,
    /// The Cloudpipe's fixed IP.
    pub to_address: Ipv4Addr,
    /// The Cloudpipe's UDP port.
    pub to_port: u16,
}

/// See [`HostObject::Rule`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The rule.
    pub rule: RuleId,
    /// The group it belongs to.
    pub group: GroupId,
    /// What it lets through.
    pub traffic: Traffic,
    /// The source.
    pub source: Source,
}

/// See [`HostObject::Block`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The provider rule.
    pub block: BlockId,
    /// What is dropped.
    pub traffic: Traffic,
    /// Where it comes from.
    pub source: Ipv4Net,
}

/// See [`HostObject::Member`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The group.
    pub group: GroupId,
    /// A fixed IP of one of its instances, on whatever host.
    pub address: Ipv4Addr,
}

/// See [`HostObject::ProjectAddress`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectAddress {
    /// The project.
    pub project: ProjectNumber,
    /// A fixed IP of one of its instances, on whatever host.
    pub address: Ipv4Addr,
}

/// See [`HostObject::Port`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The instance.
    pub instance: InstanceId,
    /// 0 for `eth0`, 1 for `eth1` …
    pub index: u32,
    /// The network.
    pub network: NetworkId,
    /// Host end of the cable: [`port_name`].
    pub name: IfName,
    /// The bridge it is plugged into.
    pub bridge: IfName,
    /// The instance's MAC on it.
    pub mac: MacAddr,
    /// The instance's fixed IP on it.
    pub address: Ipv4Addr,
    /// Fixed IPs of the instance's other ports: a system that knows one default route only answers
    /// for them by this port. Empty for an instance with one port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub siblings: Vec<Ipv4Addr>,
    /// Number of the combination of `groups`, interned by the store; never re-used for another one.
    pub combination: CombinationId,
    /// The instance's groups, ascending.
    pub groups: Vec<GroupId>,
    /// A Cloudpipe's port: also machines with these addresses, the VPN clients, are behind it, with
    /// MACs of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpn_clients: Option<AddressRange>,
}

/// See [`HostObject::Instance`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The instance.
    pub instance: InstanceId,
    /// Its host name.
    pub hostname: String,
    /// Digest of its image, `sha256:…`.
    pub image: String,
    /// Memory limit in MiB.
    pub memory_mb: u32,
    /// Processor limit.
    pub vcpus: u32,
    /// Disk size in GiB; 0: as long as the image, and a little.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub disk_gb: u32,
    /// How many ports it has: it starts when all of them are known.
    pub ports: u32,
    /// Counts the reboots asked for; another number than the running one: stop and start.
    pub boot: i64,
    /// A user has stopped it: it must not run, and keeps its disk.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub halted: bool,
    /// Static network configuration to write before boot (flat networks without DHCP).
    pub injected: Option<InjectedNetwork>,
    /// The same for further ports, by index; empty for an instance with one such port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_injected: Vec<InjectedNetwork>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde asks
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Addresses that a flat network's instance finds in its file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectedNetwork {
    /// Index of the port that the addresses are for.
    #[serde(default, skip_serializing_if = "is_first")]
    pub port: u32,
    /// Address with prefix length.
    pub address: Ipv4Net,
    /// Default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// DNS servers.
    pub dns: Vec<Ipv4Addr>,
}

/// `skip_serializing_if` of a field that the first release did not have.
#[allow(clippy::trivially_copy_pass_by_ref)] // serde calls it so
fn is_first(port: &u32) -> bool {
    *port == 0
}

/// Name of an instance's port on its host: `nv` (the prefix that the host guard hangs on), the
/// instance's number in hex, and `.1`, `.2` … for further ports.
pub fn port_name(instance: InstanceId, index: u32) -> IfName {
    let name = if index == 0 {
        format!("nv{:x}", instance.0)
    } else {
        format!("nv{:x}.{index}", instance.0)
    };
    IfName::new(name).unwrap_or_else(|e| unreachable!("instance numbers stay far below 2^44: {e}"))
}

impl HostObject {
    /// Its key on a host.
    pub fn key(&self) -> ObjectKey {
        ObjectKey(match self {
            Self::Bridge(o) => format!("bridge/{}", o.network),
            Self::Gateway(o) => format!("gateway/{}", o.network),
            Self::Dhcp(o) => format!("dhcp/{}", o.network),
            Self::Binding(o) => format!("binding/{}/{}", o.network, o.address),
            Self::FloatingIp(o) => format!("float/{}", o.address),
            Self::Group(o) => format!("group/{}", o.group.0),
            Self::Rule(o) => format!("rule/{}/{}", o.group.0, o.rule),
            Self::Block(o) => format!("block/{}", o.block),
            Self::Member(o) => format!("member/{}/{}", o.group.0, o.address),
            Self::ProjectAddress(o) => format!("project/{}/{}", o.project, o.address),
            Self::Port(o) => format!("port/{}/{}", o.instance.0, o.index),
            Self::Instance(o) => format!("instance/{}", o.instance.0),
            Self::VpnForward(o) => format!("vpn/{}/{}", o.address, o.port),
        })
    }

    /// Its kind.
    pub fn kind(&self) -> ObjectKind {
        match self {
            Self::Bridge(_) => ObjectKind::Bridge,
            Self::Gateway(_) => ObjectKind::Gateway,
            Self::Dhcp(_) => ObjectKind::Dhcp,
            Self::Binding(_) => ObjectKind::Binding,
            Self::FloatingIp(_) => ObjectKind::FloatingIp,
            Self::Group(_) => ObjectKind::Group,
            Self::Rule(_) => ObjectKind::Rule,
            Self::Block(_) => ObjectKind::Block,
            Self::Member(_) => ObjectKind::Member,
            Self::ProjectAddress(_) => ObjectKind::ProjectAddress,
            Self::Port(_) => ObjectKind::Port,
            Self::Instance(_) => ObjectKind::Instance,
            Self::VpnForward(_) => ObjectKind::VpnForward,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_port_name_fits() {
        assert_eq!(port_name(InstanceId(10), 0).as_str(), "nva");
        assert_eq!(
            port_name(InstanceId(0xffff_ffff), 9).as_str(),
            "nvffffffff.9"
        );
    }

    #[test]
    fn a_body_survives_json() {
        let object = HostObject::Rule(Rule {
            rule: RuleId(1),
            group: GroupId(2),
            traffic: Traffic::Icmp {
                icmp_type: Some(8),
                code: None,
            },
            source: Source::Cidr("0.0.0.0/0".parse().expect("a cidr")),
        });
        let text = serde_json::to_string(&object).expect("serialises");
        assert_eq!(
            text,
            r#"{"kind":"rule","rule":1,"group":2,"traffic":{"protocol":"icmp","icmp_type":8,"code":null},"source":{"cidr":"0.0.0.0/0"}}"#
        );
        assert_eq!(
            serde_json::from_str::<HostObject>(&text).expect("parses"),
            object
        );
    }
}
