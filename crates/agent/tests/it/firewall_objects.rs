//! The objects that the firewall's tests are made of: two projects on one network.

use ipnet::Ipv4Net;
use novanet_agent::settings::{FirewallDriver, Settings};
use novanet_model::object::{
    FloatingIp, Gateway, Group, HostObject, Member, Port, ProjectAddress, Rule, port_name,
};
use novanet_model::rule::{Source, Traffic};
use novanet_model::{
    CombinationId, GroupId, IfName, InstanceId, MacAddr, NetworkId, ProjectNumber, RuleId,
};
use std::cell::Cell;
use std::net::Ipv4Addr;
use std::path::Path;

pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 100);
pub(crate) const METADATA_PORT: u16 = 8775;

thread_local! {
    /// The driver of the firewall of the test that this thread runs.
    static DRIVER: Cell<FirewallDriver> = const { Cell::new(FirewallDriver::Nftables) };
}

/// Runs a test with the iptables driver.
pub(crate) fn on_iptables<T>(test: impl FnOnce() -> T) -> T {
    with_driver(FirewallDriver::Iptables, test)
}

/// Runs something with a driver.
pub(crate) fn with_driver<T>(driver: FirewallDriver, run: impl FnOnce() -> T) -> T {
    DRIVER.set(driver);
    run()
}

/// The driver of this test.
pub(crate) fn is_iptables() -> bool {
    DRIVER.get() == FirewallDriver::Iptables
}

pub(crate) fn settings(state_path: &Path) -> Settings {
    Settings {
        dmz_cidr: vec!["198.51.100.0/24".parse().unwrap()],
        force_snat_range: vec!["198.18.0.0/24".parse().unwrap()],
        blocked_cidr: ["168.63.129.16/32", "100.100.100.200/32"]
            .map(|net| net.parse().unwrap())
            .into(),
        firewall_driver: DRIVER.get(),
        metadata_port: METADATA_PORT,
        ..Settings::with_defaults("cloud", PUBLIC, name("pub0"), state_path)
    }
}

pub(crate) fn name(text: &str) -> IfName {
    IfName::new(text).unwrap()
}

/// An instance: its number is in its MAC and its port's name, its address is `10.0.0.<number>`.
pub(crate) fn fixed(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

pub(crate) fn mac(number: u8) -> MacAddr {
    MacAddr([0x02, 0x16, 0x3e, 0, 0, number])
}

/// A provider rule.
pub(crate) fn block(id: i64, traffic: Traffic, source: &str) -> HostObject {
    HostObject::Block(novanet_model::object::Block {
        block: novanet_model::BlockId(id),
        traffic,
        source: source.parse().unwrap(),
    })
}

pub(crate) fn gateway() -> HostObject {
    HostObject::Gateway(Gateway {
        no_snat: false,
        network: NetworkId(1),
        bridge: name("br100"),
        address: Ipv4Net::new(GATEWAY, 24).unwrap(),
    })
}

pub(crate) fn port(number: u8, combination: i64, groups: &[i64]) -> HostObject {
    let instance = InstanceId(number.into());
    HostObject::Port(Port {
        instance,
        index: 0,
        network: NetworkId(1),
        name: port_name(instance, 0),
        bridge: name("br100"),
        mac: mac(number),
        address: fixed(number),
        vpn_clients: None,
        siblings: Vec::new(),
        combination: CombinationId(combination),
        groups: groups.iter().copied().map(GroupId).collect(),
    })
}

pub(crate) fn group(group: i64, project: i64) -> HostObject {
    HostObject::Group(Group {
        group: GroupId(group),
        project: ProjectNumber(project),
        name: None,
        vpn_clients: None,
    })
}

pub(crate) fn rule(rule: i64, group: i64, traffic: Traffic, source: Source) -> HostObject {
    HostObject::Rule(Rule {
        rule: RuleId(rule),
        group: GroupId(group),
        traffic,
        source,
    })
}

pub(crate) fn member(group: i64, number: u8) -> HostObject {
    HostObject::Member(Member {
        group: GroupId(group),
        address: fixed(number),
    })
}

pub(crate) fn project(project: i64, number: u8) -> HostObject {
    HostObject::ProjectAddress(ProjectAddress {
        project: ProjectNumber(project),
        address: fixed(number),
    })
}

pub(crate) fn float(last: u8, number: u8) -> HostObject {
    HostObject::FloatingIp(FloatingIp {
        address: public(last),
        fixed: fixed(number),
        interface: None,
    })
}

pub(crate) fn public(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, last)
}

pub(crate) fn tcp(from: u16, to: u16) -> Traffic {
    Traffic::Tcp(novanet_model::rule::Ports { from, to })
}

pub(crate) fn udp(from: u16, to: u16) -> Traffic {
    Traffic::Udp(novanet_model::rule::Ports { from, to })
}

pub(crate) const PING: Traffic = Traffic::Icmp {
    icmp_type: Some(8),
    code: None,
};

pub(crate) fn anywhere() -> Source {
    Source::Cidr("0.0.0.0/0".parse().unwrap())
}

/// Instances 3 and 4 of project 1 (group 1: members may talk, ping and tcp 22 from everywhere;
/// 4 is in group 2 too: udp 5000 and tcp 8000 to 8099), 5 of project 2 (group 3: members, tcp 22
/// from everywhere, tcp 3306 from group 2).
pub(crate) fn two_projects() -> Vec<HostObject> {
    vec![
        gateway(),
        group(1, 1),
        group(2, 1),
        group(3, 2),
        rule(1, 1, Traffic::Any, Source::Group(GroupId(1))),
        rule(2, 1, tcp(22, 22), anywhere()),
        rule(3, 1, PING, anywhere()),
        rule(4, 2, udp(5000, 5000), anywhere()),
        rule(5, 2, tcp(8000, 8099), anywhere()),
        rule(6, 3, Traffic::Any, Source::Group(GroupId(3))),
        rule(7, 3, tcp(3306, 3306), Source::Group(GroupId(2))),
        rule(8, 3, tcp(22, 22), anywhere()),
        port(3, 1, &[1]),
        port(4, 2, &[1, 2]),
        port(5, 3, &[3]),
        member(1, 3),
        member(1, 4),
        member(2, 4),
        member(3, 5),
        project(1, 3),
        project(1, 4),
        project(2, 5),
    ]
}
