//! The plan: which host objects follow from which rows.
//!
//! The plan of a cloud is the union of these row-local functions over all rows; the incremental
//! plan is the same functions over the rows that changed. There is no second planner. Each function
//! answers with `(host, object)` pairs; what a host no longer gets, the store turns into
//! tombstones.

use crate::object::{
    AddressRange, Binding, Block, Bridge, Dhcp, FloatingIp, Gateway, Group, HostObject, Instance,
    Member, NO_INSTANCE, Port, ProjectAddress, Rule, VpnForward, port_name,
};
use crate::rows;
use crate::{GroupId, NetworkKind, ProjectNumber};
use std::net::Ipv4Addr;

/// An object and the host that must have it.
pub type Placed = (String, HostObject);

/// What every plan needs to know of the cloud's configuration (the server's flags).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudSettings {
    /// `dhcp_lease_time` in seconds.
    pub dhcp_lease_time: u32,
    /// `dhcp_domain`.
    pub dhcp_domain: String,
    /// `vpn_ip`: the public address of VPNs whose network has none.
    pub vpn_ip: Ipv4Addr,
}

/// The UDP port of the OpenVPN server in a Cloudpipe.
pub const VPN_PORT: u16 = 1194;

impl Default for CloudSettings {
    fn default() -> Self {
        Self {
            dhcp_lease_time: 120,
            dhcp_domain: "novalocal".to_owned(),
            vpn_ip: Ipv4Addr::LOCALHOST,
        }
    }
}

impl rows::Network {
    /// DNS domain of the instances; empty: none.
    pub fn domain_or<'a>(&'a self, settings: &'a CloudSettings) -> &'a str {
        self.domain.as_deref().unwrap_or(&settings.dhcp_domain)
    }
}

/// A network: bridge, gateway address and DHCP range on its host. A VLAN network has them while it
/// belongs to a project: no instance is in one that does not. Its DHCP server also serves the
/// operator's reservations.
pub fn objects_of_network(
    network: &rows::Network,
    reservations: &[rows::Reservation],
    settings: &CloudSettings,
) -> Vec<Placed> {
    let Some(host) = &network.host else {
        return Vec::new();
    };
    if network.kind == NetworkKind::Vlan && network.project.is_none() {
        return Vec::new();
    }
    let mut objects = vec![HostObject::Bridge(Bridge {
        network: network.id,
        bridge: network.bridge.clone(),
        interface: network.bridge_interface.clone(),
        vlan: network.vlan,
        mtu: network.mtu,
        foreign: network.kind == NetworkKind::Flat,
        cidr: (network.kind == NetworkKind::Flat || network.dhcp_server.is_some())
            .then_some(network.cidr),
    })];
    if network.kind != NetworkKind::Flat && network.dhcp_server.is_none() {
        let address = ipnet::Ipv4Net::new(network.gateway, network.cidr.prefix_len())
            .unwrap_or_else(|_| unreachable!("a prefix length taken from a network is valid"));
        objects.push(HostObject::Gateway(Gateway {
            no_snat: network.no_snat,
            network: network.id,
            bridge: network.bridge.clone(),
            address,
        }));
    }
    if network.kind != NetworkKind::Flat {
        objects.push(HostObject::Dhcp(Dhcp {
            network: network.id,
            bridge: network.bridge.clone(),
            server: network.dhcp_server.unwrap_or(network.gateway),
            router: network.dhcp_server.map(|_| network.gateway),
            cidr: network.cidr,
            start: network.dhcp_start,
            lease_seconds: settings.dhcp_lease_time,
            domain: network.domain_or(settings).to_owned(),
            dns: network.dns.clone(),
            options: network.dhcp_options.clone(),
        }));
        objects.extend(reservations.iter().map(|reservation| {
            HostObject::Binding(Binding {
                network: network.id,
                bridge: network.bridge.clone(),
                mac: reservation.mac,
                address: reservation.address,
                hostname: String::new(),
                instance: NO_INSTANCE,
            })
        }));
    }
    objects.extend(way_into_vlan(network, settings).map(HostObject::VpnForward));
    objects
        .into_iter()
        .map(|object| (host.clone(), object))
        .collect()
}

/// The way into a project's VLAN network: the public port leads to the network's second address,
/// whether a Cloudpipe runs there or not.
fn way_into_vlan(network: &rows::Network, settings: &CloudSettings) -> Option<VpnForward> {
    if network.kind != NetworkKind::Vlan || network.project.is_none() {
        return None;
    }
    Some(VpnForward {
        network: network.id,
        address: network.vpn_public_address.unwrap_or(settings.vpn_ip),
        port: network.vpn_public_port?,
        to_address: network.vpn_private_address?,
        to_port: VPN_PORT,
    })
}

/// The way into a VPN in a shared network, on that network's host. In a VLAN network it follows
/// from the network's row.
pub fn objects_of_vpn(vpn: &rows::Vpn) -> Vec<Placed> {
    let (Some(host), true, false) = (&vpn.host, vpn.kind != NetworkKind::Vlan, vpn.deleting) else {
        return Vec::new();
    };
    vec![(
        host.clone(),
        HostObject::VpnForward(VpnForward {
            network: vpn.network,
            address: vpn.public_address,
            port: vpn.public_port,
            to_address: vpn.private_address,
            to_port: VPN_PORT,
        }),
    )]
}

/// An instance: itself and its ports on its host, a DHCP binding on each network's host.
pub fn objects_of_instance(instance: &rows::Instance) -> Vec<Placed> {
    let Some(host) = &instance.host else {
        return Vec::new();
    };
    if instance.deleting {
        return Vec::new();
    }
    let mut injected = instance.ports.iter().filter_map(|p| p.injected.clone());
    let mut placed = vec![(
        host.clone(),
        HostObject::Instance(Instance {
            instance: instance.id,
            hostname: instance.hostname.clone(),
            image: instance.image_digest.clone(),
            memory_mb: instance.memory_mb,
            vcpus: instance.vcpus,
            disk_gb: instance.disk_gb,
            ports: u32::try_from(instance.ports.len()).unwrap_or(u32::MAX),
            boot: instance.boot,
            halted: instance.halted,
            injected: injected.next(),
            more_injected: injected.collect(),
        }),
    )];
    for port in &instance.ports {
        let others = instance.ports.iter().filter(|o| o.index != port.index);
        placed.push((
            host.clone(),
            HostObject::Port(Port {
                instance: instance.id,
                index: port.index,
                network: port.network,
                name: port_name(instance.id, port.index),
                bridge: port.bridge.clone(),
                mac: port.mac,
                address: port.address,
                siblings: others.map(|other| other.address).collect(),
                combination: instance.combination,
                groups: instance.groups.clone(),
                vpn_clients: instance.vpn_clients.filter(|_| port.index == 0),
            }),
        ));
        if let (Some(network_host), true) = (&port.network_host, port.kind != NetworkKind::Flat) {
            placed.push((
                network_host.clone(),
                HostObject::Binding(Binding {
                    network: port.network,
                    bridge: port.bridge.clone(),
                    mac: port.mac,
                    address: port.address,
                    hostname: instance.hostname.clone(),
                    instance: instance.id,
                }),
            ));
        }
    }
    placed
}

/// An instance's addresses as a member of its groups and its project, on the hosts that need them:
/// `group_hosts` has the hosts with a rule whose source is that group, `project_hosts` those with
/// an instance of the project.
pub fn objects_of_membership(
    instance: &rows::Instance,
    group_hosts: impl Fn(GroupId) -> Vec<String>,
    project_hosts: &[String],
) -> Vec<Placed> {
    if instance.deleting || instance.host.is_none() {
        return Vec::new();
    }
    let mut placed = Vec::new();
    for port in &instance.ports {
        for &group in &instance.groups {
            for host in group_hosts(group) {
                placed.push((
                    host,
                    HostObject::Member(Member {
                        group,
                        address: port.address,
                    }),
                ));
            }
        }
        for host in project_hosts {
            placed.push((
                host.clone(),
                HostObject::ProjectAddress(ProjectAddress {
                    project: instance.project_number,
                    address: port.address,
                }),
            ));
        }
    }
    placed
}

/// A group, on the hosts that have an instance in it. `vpn_clients`: those of its project.
pub fn objects_of_group(
    group: GroupId,
    project: ProjectNumber,
    name: &str,
    vpn_clients: Option<AddressRange>,
    member_hosts: &[String],
) -> Vec<Placed> {
    let object = Group {
        group,
        project,
        name: Some(name.to_owned()),
        vpn_clients,
    };
    member_hosts
        .iter()
        .map(|host| (host.clone(), HostObject::Group(object.clone())))
        .collect()
}

/// A rule, on the hosts that have an instance in its group.
pub fn objects_of_rule(rule: &rows::SecurityRule, member_hosts: &[String]) -> Vec<Placed> {
    let object = Rule {
        rule: rule.id,
        group: rule.group,
        traffic: rule.traffic,
        source: rule.source,
    };
    member_hosts
        .iter()
        .map(|host| (host.clone(), HostObject::Rule(object.clone())))
        .collect()
}

/// A provider rule, on all hosts.
pub fn objects_of_block(block: &rows::Block, hosts: &[String]) -> Vec<Placed> {
    let object = Block {
        block: block.id,
        traffic: block.traffic,
        source: block.source,
    };
    hosts
        .iter()
        .map(|host| (host.clone(), HostObject::Block(object.clone())))
        .collect()
}

/// A floating IP that leads somewhere, on the gateway host of that address.
pub fn objects_of_floating_ip(float: &rows::FloatingIp) -> Vec<Placed> {
    let Some(target) = &float.fixed else {
        return Vec::new();
    };
    let Some(host) = &target.host else {
        return Vec::new();
    };
    vec![(
        host.clone(),
        HostObject::FloatingIp(FloatingIp {
            address: float.address,
            fixed: target.address,
            interface: float.interface.clone(),
        }),
    )]
}
