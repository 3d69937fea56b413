//! Host objects of few keys and values, for tests on a [`super::FakeHost`]. Depends on the model
//! only.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used)]

use novanet_model::object::{
    Binding, Bridge, Dhcp, FloatingIp, Gateway, Group, Instance, Member, Port, ProjectAddress,
    Rule, port_name,
};
use novanet_model::rule::{Ports, Source, Traffic};
use novanet_model::{
    CombinationId, GroupId, HostObject, IfName, InstanceId, MacAddr, NetworkId, ProjectNumber,
    RuleId,
};
use std::net::Ipv4Addr;

/// The bridge of a network.
pub fn bridge(network: i64, name: &str) -> HostObject {
    HostObject::Bridge(Bridge {
        network: NetworkId(network),
        bridge: IfName::new(name).unwrap(),
        interface: None,
        vlan: None,
        mtu: None,
        foreign: false,
        cidr: None,
    })
}

/// The gateway of network `network`: 10.0.`network`.1/24.
pub fn gateway(network: i64, name: &str) -> HostObject {
    HostObject::Gateway(Gateway {
        no_snat: false,
        network: NetworkId(network),
        bridge: IfName::new(name).unwrap(),
        address: format!("10.0.{network}.1/24").parse().unwrap(),
    })
}

/// The DHCP server of network `network`: 10.0.`network`.0/24.
pub fn dhcp(network: i64, name: &str) -> HostObject {
    HostObject::Dhcp(Dhcp {
        network: NetworkId(network),
        bridge: IfName::new(name).unwrap(),
        server: format!("10.0.{network}.1").parse().unwrap(),
        router: None,
        cidr: format!("10.0.{network}.0/24").parse().unwrap(),
        start: format!("10.0.{network}.2").parse().unwrap(),
        lease_seconds: 120,
        domain: "novalocal".to_owned(),
        dns: Vec::new(),
        options: Vec::new(),
    })
}

/// Floating IP 203.0.0.`n` of fixed IP 10.0.0.`fixed`.
pub fn float(n: u32, fixed: u32) -> HostObject {
    HostObject::FloatingIp(FloatingIp {
        address: Ipv4Addr::from(0xcb00_0000 + n),
        fixed: Ipv4Addr::from(0x0a00_0000 + fixed),
        interface: None,
    })
}

/// A security group of project 1.
pub fn group(group: i64) -> HostObject {
    HostObject::Group(Group {
        group: GroupId(group),
        project: ProjectNumber(1),
        name: None,
        vpn_clients: None,
    })
}

/// A rule that admits everyone to one TCP port.
pub fn rule(group: i64, rule: i64, port: u16) -> HostObject {
    HostObject::Rule(Rule {
        rule: RuleId(rule),
        group: GroupId(group),
        traffic: Traffic::Tcp(Ports {
            from: port,
            to: port,
        }),
        source: Source::Cidr("0.0.0.0/0".parse().unwrap()),
    })
}

/// Address 10.0.0.`n` as a member of a group.
pub fn member(group: i64, n: u32) -> HostObject {
    HostObject::Member(Member {
        group: GroupId(group),
        address: Ipv4Addr::from(0x0a00_0000 + n),
    })
}

/// Address 10.0.0.`n` as one of project 1.
pub fn project_address(n: u32) -> HostObject {
    HostObject::ProjectAddress(ProjectAddress {
        project: ProjectNumber(1),
        address: Ipv4Addr::from(0x0a00_0000 + n),
    })
}

/// The port of an instance; ports of one combination share an item of the firewall.
pub fn port(instance: i64, bridge: &str, combination: i64) -> HostObject {
    HostObject::Port(Port {
        instance: InstanceId(instance),
        index: 0,
        network: NetworkId(1),
        name: port_name(InstanceId(instance), 0),
        bridge: IfName::new(bridge).unwrap(),
        mac: mac(instance),
        address: address(instance),
        vpn_clients: None,
        siblings: Vec::new(),
        combination: CombinationId(combination),
        groups: vec![GroupId(combination)],
    })
}

/// The DHCP binding of an instance on network 1.
pub fn binding(instance: i64, bridge: &str) -> HostObject {
    HostObject::Binding(Binding {
        network: NetworkId(1),
        bridge: IfName::new(bridge).unwrap(),
        mac: mac(instance),
        address: address(instance),
        hostname: format!("host-{instance}"),
        instance: InstanceId(instance),
    })
}

/// An instance with one port.
pub fn instance(instance: i64, boot: i64) -> HostObject {
    HostObject::Instance(Instance {
        instance: InstanceId(instance),
        hostname: format!("host-{instance}"),
        image: "sha256:00".to_owned(),
        memory_mb: 64,
        vcpus: 1,
        disk_gb: 0,
        ports: 1,
        boot,
        halted: false,
        injected: None,
        more_injected: Vec::new(),
    })
}

fn mac(instance: i64) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, u8::try_from(instance).unwrap()])
}

fn address(instance: i64) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0002 + u32::try_from(instance).unwrap())
}
