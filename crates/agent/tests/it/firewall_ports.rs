//! An instance with two ports whose system knows one default route: it answers for both of its
//! addresses by the first port, and for no other address.

use crate::firewall_objects::*;
use crate::firewall_spoof::datagram;
use crate::firewall_world::*;
use anyhow::Result;
use ipnet::Ipv4Net;
use novanet_agent::link::PORTS;
use novanet_lab::connect;
use novanet_model::object::{
    FloatingIp, Gateway, HostObject, Member, Port, ProjectAddress, port_name,
};
use novanet_model::{GroupId, InstanceId, MacAddr, NetworkId, ProjectNumber};
use std::net::Ipv4Addr;

const SECOND: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);
const SECOND_MAC: MacAddr = MacAddr([0x02, 0x16, 0x3e, 0, 1, 3]);
const FOREIGN: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 9);

/// The objects of both ports of instance 3, as the plan has them, and of what leads to the second.
fn objects() -> Vec<HostObject> {
    let mut objects = two_projects();
    objects.retain(|object| object.key().0 != "port/3/0");
    let HostObject::Port(first) = port(3, 1, &[1]) else {
        unreachable!("a port");
    };
    let second = Port {
        index: 1,
        network: NetworkId(2),
        name: port_name(InstanceId(3), 1),
        bridge: name("br101"),
        mac: SECOND_MAC,
        address: SECOND,
        vpn_clients: None,
        siblings: vec![first.address],
        ..first.clone()
    };
    let first = Port {
        vpn_clients: None,
        siblings: vec![SECOND],
        ..first
    };
    objects.extend([
        HostObject::Gateway(Gateway {
            no_snat: false,
            network: NetworkId(2),
            bridge: name("br101"),
            address: Ipv4Net::new_assert([10, 1, 0, 1].into(), 24),
        }),
        HostObject::Port(first),
        HostObject::Port(second),
        HostObject::Member(Member {
            group: GroupId(1),
            address: SECOND,
        }),
        HostObject::ProjectAddress(ProjectAddress {
            project: ProjectNumber(1),
            address: SECOND,
        }),
        HostObject::FloatingIp(FloatingIp {
            address: public(13),
            fixed: SECOND,
            interface: None,
        }),
    ]);
    objects
}

#[test]
pub(crate) fn an_instance_with_one_default_route_answers_for_all_its_addresses_and_no_others()
-> Result<()> {
    let world = World::new(&[3, 4])?;
    let (cloud, a, b) = (&world.cloud, world.instance(3), world.instance(4));
    let port = port_name(InstanceId(3), 1);
    connect(cloud, port.as_str(), a, "eth1")?;
    cloud.sh(&format!(
        "ip link add br101 type bridge forward_delay 0 && ip addr add 10.1.0.1/24 dev br101 && \
         ip link set dev br101 up && ip link set dev {port} group {PORTS} && \
         ip link set dev {port} master br101"
    ))?;
    a.sh(&format!(
        "ip link set dev eth1 address {SECOND_MAC} && ip addr add {SECOND}/24 dev eth1"
    ))?;
    world.route(13)?;
    let mut agent = world.agent(&objects())?;
    agent.converge(cloud)?;

    assert!(connects(&world.internet, a, public(13), 22)?.is_some());
    assert!(pings(b, SECOND)?, "a member of the same group");
    assert!(pings(cloud, SECOND)?);
    a.sh("ip route del 10.1.0.0/24 dev eth1")?; // the gateway is asked for in the second's name
    a.sh("ip neigh flush all")?;
    let udp = |source, port| datagram(a, (source, 4000), b, (fixed(4), port));
    assert!(udp(SECOND, 5000)?, "its own");

    a.sh(&format!("ip addr add {FOREIGN}/32 dev eth0"))?;
    assert!(!udp(FOREIGN, 5001)?, "nobody's");
    a.sh(&format!("ip addr add {}/32 dev eth0", fixed(5)))?;
    assert!(!udp(fixed(5), 5002)?, "another project's");
    Ok(())
}
