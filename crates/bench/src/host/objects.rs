//! The measured host and its host objects. Depends on `lab` for the host and on `model` for the
//! objects.

use anyhow::Result;
use novanet_agent::settings::Settings;
use novanet_lab::{Host, HostOptions, connect};
use novanet_model::object::{
    FloatingIp, Gateway, Group, HostObject, Member, Port, ProjectAddress, Rule, port_name,
};
use novanet_model::rule::{Ports, Source, Traffic};
use novanet_model::{
    CombinationId, GroupId, IfName, InstanceId, Ipv4Net, MacAddr, NetworkId, ProjectNumber, RuleId,
};
use std::net::Ipv4Addr;
use std::path::Path;

const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const FIRST_FLOAT: u32 = 0xc612_0000; // 198.18.0.0
const FIRST_FIXED: u32 = 0x0a00_0100; // 10.0.1.0
const GROUPS: u32 = 3;

/// A host with a bridge and a public interface, and who is on the other end of that. It ends with
/// both.
pub(super) fn host() -> Result<(Host, Host)> {
    let options = HostOptions::default()
        .sysctl("net.bridge.bridge-nf-call-iptables", "1")
        .sysctl("net.bridge.bridge-nf-call-ip6tables", "1");
    let host = Host::with("cloud", &options)?;
    let outside = Host::new("outside")?;
    connect(&host, "pub0", &outside, "eth0")?;
    host.sh(&format!(
        "ip addr add {PUBLIC}/24 dev pub0 && ip link add br100 type bridge forward_delay 0 && \
         ip addr add {GATEWAY}/16 dev br100 && ip link set dev br100 up"
    ))?;
    Ok((host, outside))
}

/// The agent's settings on it.
pub(super) fn settings(state_path: &Path) -> Result<Settings> {
    let public = IfName::new("pub0")?;
    Ok(Settings::with_defaults("cloud", PUBLIC, public, state_path))
}

/// The floating IP with this number.
pub(super) fn float(number: u32) -> HostObject {
    HostObject::FloatingIp(FloatingIp {
        address: Ipv4Addr::from(FIRST_FLOAT + number),
        fixed: Ipv4Addr::from(FIRST_FIXED + number),
        interface: None,
    })
}

/// The network's gateway.
pub(super) fn gateway() -> Result<HostObject> {
    Ok(HostObject::Gateway(Gateway {
        no_snat: false,
        network: NetworkId(1),
        bridge: IfName::new("br100")?,
        address: Ipv4Net::new(GATEWAY, 16)?,
    }))
}

/// Ports of instances in three groups with five rules each, and what else they bring.
pub(super) fn ports(count: u32) -> Result<Vec<HostObject>> {
    let mut objects = Vec::new();
    for group in 1..=GROUPS {
        let id = GroupId(group.into());
        objects.push(HostObject::Group(Group {
            vpn_clients: None,
            group: id,
            project: ProjectNumber(1),
            name: Some("bench".to_owned()),
        }));
        let ports = [22, 80, 443].map(|port| {
            Traffic::Tcp(Ports {
                from: port,
                to: port,
            })
        });
        let anywhere = Source::Cidr("0.0.0.0/0".parse()?);
        let mut rules: Vec<_> = ports.map(|traffic| (traffic, anywhere)).to_vec();
        rules.push((Traffic::Any, Source::Group(id)));
        for (traffic, source) in rules {
            let rule = RuleId(i64::try_from(objects.len())?);
            objects.push(HostObject::Rule(Rule {
                rule,
                group: id,
                traffic,
                source,
            }));
        }
    }
    for number in 0..count {
        objects.extend(port(number)?);
    }
    Ok(objects)
}

fn port(number: u32) -> Result<[HostObject; 3]> {
    let instance = InstanceId(i64::from(number) + 1);
    let group = GroupId(i64::from(number % GROUPS) + 1);
    let address = Ipv4Addr::from(FIRST_FIXED + number);
    let [_, a, b, c] = number.to_be_bytes();
    Ok([
        HostObject::Port(Port {
            instance,
            index: 0,
            network: NetworkId(1),
            name: port_name(instance, 0),
            bridge: IfName::new("br100")?,
            mac: MacAddr([0x02, 0x16, 0x3e, a, b, c]),
            address,
            vpn_clients: None,
            siblings: Vec::new(),
            combination: CombinationId(group.0),
            groups: vec![group],
        }),
        HostObject::Member(Member { group, address }),
        HostObject::ProjectAddress(ProjectAddress {
            project: ProjectNumber(1),
            address,
        }),
    ])
}
