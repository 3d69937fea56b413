//! Packets that an instance must not forge. Every attempt is made without rules first, where it
//! works: so the rules stop it, and not the laboratory.

use crate::firewall_objects::*;
use crate::firewall_world::*;
use anyhow::{Context, Result};
use novanet_lab::packet::{checksum, ethernet};
use novanet_lab::{Host, Wire};
use novanet_model::HostObject;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

/// 3, 4 and 6 of project 1, all in group 1, whose members may send each other anything.
fn objects() -> Vec<HostObject> {
    let mut objects = two_projects();
    objects.extend([port(6, 1, &[1]), member(1, 6), project(1, 6)]);
    objects
}

/// Makes the attempt without rules, where it must succeed, and with them, where it must not.
fn refused(attempt: impl Fn(&World) -> Result<bool>) -> Result<()> {
    let world = World::new(&[3, 4, 6])?;
    assert!(attempt(&world)?, "the attempt works without rules");
    let mut agent = world.agent(&objects())?;
    agent.converge(&world.cloud)?;
    assert!(!attempt(&world)?, "the attempt works in spite of the rules");
    Ok(())
}

/// Whether a datagram, as large as a DHCP request, arrives.
pub(crate) fn datagram(
    from: &Host,
    source: (Ipv4Addr, u16),
    to: &Host,
    target: (Ipv4Addr, u16),
) -> Result<bool> {
    let receiver = to.exec_in(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, target.1)))??;
    receiver.set_read_timeout(Some(Duration::from_millis(150)))?;
    let sender = from
        .exec_in(|| UdpSocket::bind(source))?
        .context("the sender's socket")?;
    sender.set_broadcast(true)?;
    // What the port looks at in a request for an address.
    let mut payload = [0; 240];
    payload[..3].copy_from_slice(&[1, 1, 6]);
    payload[28..34].copy_from_slice(&mac(3).0);
    sender.send_to(&payload, target)?;
    Ok(receiver.recv_from(&mut [0; 240]).is_ok())
}

#[test]
pub(crate) fn another_mac_is_dropped() -> Result<()> {
    refused(|world| {
        let a = world.instance(3);
        a.sh(&format!("ip link set dev eth0 address {}", mac(99)))?;
        pings(a, GATEWAY)
    })
}

#[test]
pub(crate) fn the_mac_of_another_instance_is_dropped() -> Result<()> {
    refused(|world| {
        let a = world.instance(3);
        a.sh(&format!("ip link set dev eth0 address {}", mac(6)))?;
        pings(a, GATEWAY)
    })
}

#[test]
pub(crate) fn another_source_address_is_dropped() -> Result<()> {
    refused(|world| {
        let (a, b) = (world.instance(3), world.instance(4));
        a.sh(&format!("ip addr replace {}/32 dev eth0", fixed(6)))?;
        datagram(a, (fixed(6), 4000), b, (fixed(4), 5000))
    })
}

/// An ICMP redirect: 10.0.0.99 is the better way to instance 6 (RFC 792).
fn redirect(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let ip = |protocol: u8, length: u16, from: Ipv4Addr, to: Ipv4Addr| {
        let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header.extend(from.octets().into_iter().chain(to.octets()));
        let sum = checksum(&header).to_be_bytes();
        header[10..12].copy_from_slice(&sum);
        header
    };
    let mut icmp = vec![5, 1, 0, 0];
    icmp.extend(fixed(99).octets());
    icmp.extend(ip(17, 28, to, fixed(6)));
    icmp.extend([0, 1, 0, 1, 0, 8, 0, 0]);
    let sum = checksum(&icmp).to_be_bytes();
    icmp[2..4].copy_from_slice(&sum);
    let length = u16::try_from(20 + icmp.len()).expect("short");
    [ip(1, length, from, to), icmp].concat()
}

#[test]
pub(crate) fn an_instance_redirects_no_other() -> Result<()> {
    refused(|world| {
        let (a, b) = (world.instance(3), world.instance(4));
        assert!(
            pings(a, GATEWAY)? && pings(b, GATEWAY)?,
            "the bridge knows both"
        );
        // The flow that the redirect names: conntrack calls the redirect related to it.
        let flow = b.exec_in(|| UdpSocket::bind((fixed(4), 1)))??;
        flow.send_to(b".", (fixed(6), 1))?;
        let (sender, receiver) = (Wire::tap(a, "eth0")?, Wire::tap(b, "eth0")?);
        let packet = redirect(fixed(3), fixed(4));
        sender.send(&ethernet(mac(3).0, mac(4).0, 0x0800, &packet))?;
        while let Some(frame) = receiver.receive(Duration::from_millis(300))? {
            if frame.get(23) == Some(&1) && frame.get(34) == Some(&5) {
                return Ok(true);
            }
        }
        Ok(false)
    })
}

#[test]
pub(crate) fn a_claim_of_the_gateways_address_by_arp_is_dropped() -> Result<()> {
    refused(|world| {
        let (a, b) = (world.instance(3), world.instance(4));
        a.sh("ip addr flush dev eth0 && ip addr add 10.0.0.1/24 dev eth0")?;
        assert!(pings(b, GATEWAY)?, "the victim knows its gateway");
        announce(a, GATEWAY)?;
        let neighbours = b.sh("ip neigh show 10.0.0.1")?.stdout;
        a.sh(&format!(
            "ip addr flush dev eth0 && ip addr add {}/24 dev eth0",
            fixed(3)
        ))?;
        b.sh("ip neigh flush dev eth0")?;
        Ok(neighbours.contains(&mac(3).to_string()))
    })
}

/// Gratuitous ARP. No station answers, which the program reports as a failure.
fn announce(from: &Host, address: Ipv4Addr) -> Result<()> {
    let address = address.to_string();
    let said = from.try_run(&[
        "arping", "-U", "-c1", "-w1", "-i", "eth0", "-S", &address, &address,
    ])?;
    anyhow::ensure!(said.stdout.contains("1 packets transmitted"), "{said:?}");
    Ok(())
}

#[test]
pub(crate) fn an_instance_is_no_dhcp_server() -> Result<()> {
    refused(|world| {
        let (a, b) = (world.instance(3), world.instance(4));
        datagram(a, (fixed(3), 67), b, (fixed(4), 68))
    })?;
    refused(|world| {
        let (a, b) = (world.instance(3), world.instance(4));
        datagram(a, (fixed(3), 67), b, (Ipv4Addr::BROADCAST, 68))
    })
}

#[test]
pub(crate) fn ip_broadcasts_of_instances_are_dropped() -> Result<()> {
    refused(|world| {
        let (a, b) = (world.instance(3), world.instance(4));
        datagram(a, (fixed(3), 4000), b, (Ipv4Addr::new(10, 0, 0, 255), 137))
    })
}

#[test]
pub(crate) fn ipv6_of_instances_is_dropped() -> Result<()> {
    refused(|world| {
        let (a, b) = (world.instance(3), world.instance(4));
        a.sh("ip -6 addr replace fd00::3/64 dev eth0 nodad")?;
        b.sh("ip -6 addr replace fd00::4/64 dev eth0 nodad")?;
        // Some, because the first may find the link still getting ready.
        let said = a.try_run(&["ping", "-n", "-c5", "-i0.2", "-W0.3", "fd00::4"])?;
        Ok(said.success())
    })
}

/// Whether `to` sees frames that the host sends to this MAC and address.
fn frames_reach(world: &World, to: &Host, mac: &str, address: Ipv4Addr) -> Result<bool> {
    let count = || -> Result<u64> {
        let text = to.sh("cat /sys/class/net/eth0/statistics/rx_packets")?;
        Ok(text.stdout.trim().parse()?)
    };
    world.cloud.sh(&format!(
        "ip neigh replace {address} lladdr {mac} dev br100 nud permanent"
    ))?;
    let before = count()?;
    // Twenty frames, so that a stray frame proves nothing.
    world.cloud.try_run(&[
        "ping",
        "-n",
        "-q",
        "-c20",
        "-i0.002",
        "-W0.1",
        &address.to_string(),
    ])?;
    world
        .cloud
        .sh(&format!("ip neigh del {address} dev br100"))?;
    Ok(count()? >= before + 20)
}

#[test]
pub(crate) fn frames_for_nobody_are_not_flooded_to_instances() -> Result<()> {
    refused(|world| {
        let strange = "02:16:3e:77:77:77";
        frames_reach(world, world.instance(3), strange, fixed(77))
    })
}

#[test]
pub(crate) fn an_instance_gets_nothing_for_the_address_of_another() -> Result<()> {
    refused(|world| {
        let own = mac(3).to_string();
        frames_reach(world, world.instance(3), &own, fixed(4))
    })
}

#[test]
pub(crate) fn without_bridge_netfilter_instances_are_cut_off_from_each_other_not_open() -> Result<()>
{
    let world = World::new(&[3, 4, 5])?;
    let (a, b, c) = (world.instance(3), world.instance(4), world.instance(5));
    let (cloud, net) = (&world.cloud, &world.internet);
    world.route(13)?;
    let mut objects = objects();
    objects.push(float(13, 3));
    let mut agent = world.agent(&objects)?;
    agent.converge(cloud)?;
    assert!(pings(a, fixed(4))?);

    cloud.set_sysctl("net.bridge.bridge-nf-call-iptables", "0")?;
    assert_eq!(connects(c, a, fixed(3), 80)?, None, "another project");
    assert!(!pings(a, fixed(4))?, "nobody can tell friend from foe");
    assert!(pings(a, GATEWAY)? && pings(cloud, fixed(4))?, "the host");
    assert_eq!(
        connects(net, a, public(13), 22)?,
        Some(OUTSIDE.into()),
        "what is routed"
    );
    assert_eq!(connects(a, net, OUTSIDE, 443)?, Some(public(13).into()));

    cloud.set_sysctl("net.bridge.bridge-nf-call-iptables", "1")?;
    assert!(pings(a, fixed(4))? && pings(b, fixed(3))?);
    Ok(())
}

#[test]
pub(crate) fn an_answer_of_a_dhcp_server_on_another_host_passes() -> Result<()> {
    let world = World::new(&[3])?;
    let server = world.foreign("fo0", fixed(2))?;
    let mut agent = world.agent(&objects())?;
    agent.converge(&world.cloud)?;
    let a = world.instance(3);
    assert!(datagram(&server, (fixed(2), 67), a, (fixed(3), 68))?);
    assert!(!datagram(&server, (fixed(2), 66), a, (fixed(3), 68))?);
    Ok(())
}

#[test]
pub(crate) fn what_an_instance_needs_passes() -> Result<()> {
    let world = World::new(&[3, 4])?;
    let (a, b, cloud) = (world.instance(3), world.instance(4), &world.cloud);
    let mut agent = world.agent(&objects())?;
    agent.converge(cloud)?;
    // An answer of the host's DHCP server, to one and to all.
    assert!(datagram(cloud, (GATEWAY, 67), a, (fixed(3), 68))?);
    let all = (Ipv4Addr::new(10, 0, 0, 255), 68);
    assert!(datagram(cloud, (GATEWAY, 67), a, all)?);
    // A request of a client that has no address yet.
    a.sh("ip addr flush dev eth0 && ip route add 255.255.255.255 dev eth0")?;
    let request = (Ipv4Addr::BROADCAST, 67);
    assert!(datagram(a, (Ipv4Addr::UNSPECIFIED, 68), cloud, request)?);
    // Duplicate address detection of IPv4, and its own announcement.
    let gateway = GATEWAY.to_string();
    assert!(
        a.try_run(&["arping", "-0", "-c1", "-w1", "-i", "eth0", &gateway])?
            .success()
    );
    a.sh(&format!("ip addr add {}/24 dev eth0", fixed(3)))?;
    announce(a, fixed(3))?;
    assert!(pings(a, fixed(4))? && pings(b, fixed(3))?);
    Ok(())
}
