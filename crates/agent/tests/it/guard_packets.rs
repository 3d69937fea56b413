//! Packets that machines elsewhere must not send: DHCP answers to our instances, questions to our
//! DNS.

use crate::firewall_objects::*;
use crate::firewall_world::*;
use anyhow::Result;
use novanet_lab::Host;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

/// A world whose internet knows the way to the instances, as a neighbour of the host may.
fn routed() -> Result<World> {
    let world = World::new(&[3])?;
    world
        .internet
        .sh(&format!("ip route add 10.0.0.0/24 via {PUBLIC}"))?;
    Ok(world)
}

/// Whether an answer of DHCP from `from` gets to the client of an instance.
fn answered(from: &Host, instance: &Host) -> Result<bool> {
    let client = instance.exec_in(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68)))??;
    client.set_read_timeout(Some(Duration::from_millis(300)))?;
    let server = from.exec_in(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)))??;
    server.send_to(b"hello", (fixed(3), 68))?;
    Ok(client.recv_from(&mut [0; 16]).is_ok())
}

#[test]
fn an_answer_of_dhcp_comes_from_the_same_bridge_only() -> Result<()> {
    let world = routed()?;
    let (a, net) = (world.instance(3), &world.internet);
    let server = world.foreign("fo0", fixed(2))?;
    assert!(answered(net, a)?, "it works without rules");
    let mut agent = world.agent(&two_projects())?;
    agent.converge(&world.cloud)?;
    assert!(!answered(net, a)?);
    assert!(answered(&server, a)?, "a server of the network");
    assert!(answered(&world.cloud, a)?, "the host's own");
    Ok(())
}

#[test]
fn an_answer_of_dhcp_does_not_come_over_another_bridge() -> Result<()> {
    let world = routed()?;
    let (a, cloud) = (world.instance(3), &world.cloud);
    // A second network of this host; its machines are routed to the first.
    cloud.sh("ip link add br101 type bridge forward_delay 0 && ip addr add 10.0.1.1/24 dev br101 && ip link set dev br101 up")?;
    let other = Host::new("other")?;
    novanet_lab::connect(cloud, "fo1", &other, "eth0")?;
    cloud.sh("ip link set dev fo1 master br101")?;
    other.sh("ip addr add 10.0.1.7/24 dev eth0 && ip route add default via 10.0.1.1")?;
    let mut objects = two_projects();
    objects.push(second_gateway());
    let mut agent = world.agent(&objects)?;
    assert!(answered(&other, a)?, "it works without rules");
    agent.converge(cloud)?;
    assert!(!answered(&other, a)?);
    assert_eq!(arrives(&other, cloud, GATEWAY, 53)?, None);
    let own = Ipv4Addr::new(10, 0, 1, 1);
    assert!(arrives(&other, cloud, own, 53)?.is_some());
    Ok(())
}

fn second_gateway() -> novanet_model::HostObject {
    novanet_model::HostObject::Gateway(novanet_model::object::Gateway {
        no_snat: false,
        network: novanet_model::NetworkId(2),
        bridge: name("br101"),
        address: "10.0.1.1/24".parse().unwrap(),
    })
}

#[test]
fn the_dns_of_a_network_is_for_its_own_bridge() -> Result<()> {
    let world = routed()?;
    let (a, net, cloud) = (world.instance(3), &world.internet, &world.cloud);
    assert!(arrives(net, cloud, GATEWAY, 53)?.is_some(), "without rules");
    assert!(connects(net, cloud, GATEWAY, 53)?.is_some());
    let mut agent = world.agent(&two_projects())?;
    agent.converge(cloud)?;
    assert_eq!(arrives(net, cloud, GATEWAY, 53)?, None);
    assert_eq!(connects(net, cloud, GATEWAY, 53)?, None);
    // Whom it is for, and a name server of the host's own.
    let neighbour = world.foreign("fo0", fixed(2))?;
    for (from, address) in [
        (a, GATEWAY),
        (&neighbour, GATEWAY),
        (cloud, GATEWAY),
        (net, PUBLIC),
    ] {
        let who = from.name();
        assert!(arrives(from, cloud, address, 53)?.is_some(), "{who}");
        assert!(connects(from, cloud, address, 53)?.is_some(), "{who}");
    }
    Ok(())
}
