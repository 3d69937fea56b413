//! Packets that other machines must not forge, and packets that an instance must not send past its
//! bridge: raw frames, and foreign machines on our bridge and outside.

use crate::firewall_objects::*;
use crate::firewall_world::*;
use anyhow::Result;
use novanet_lab::packet::{Arp, BROADCAST, Ends, ethernet};
use novanet_lab::{Host, Wire, eventually};
use novanet_model::HostObject;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

/// The kernel's bridge does not look at frames for these addresses: the port's own stack gets them.
const LINK_LOCAL: [u8; 6] = [0x01, 0x80, 0xc2, 0, 0, 0x0e];
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

fn with_float() -> Vec<HostObject> {
    let mut objects = two_projects();
    objects.push(float(13, 3));
    objects
}

/// Whether a datagram in a frame of this kind gets to a socket of the host.
fn host_hears(world: &World, from: &Host, device: &str, ends: Ends, port: u16) -> Result<bool> {
    let socket = world
        .cloud
        .exec_in(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))??;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    Wire::tap(from, device)?.send(&ends.udp(4000, port, b"hello"))?;
    Ok(socket.recv_from(&mut [0; 16]).is_ok())
}

fn past_the_bridge(number: u8) -> Ends {
    Ends {
        from_mac: mac(number).0,
        to_mac: LINK_LOCAL,
        from: fixed(number),
        to: GATEWAY,
    }
}

#[test]
pub(crate) fn a_frame_that_the_bridge_does_not_look_at_does_not_get_to_the_host() -> Result<()> {
    let world = World::new(&[3])?;
    let a = world.instance(3);
    assert!(host_hears(&world, a, "eth0", past_the_bridge(3), 6000)?);
    let mut agent = world.agent(&two_projects())?;
    agent.converge(&world.cloud)?;
    assert!(!host_hears(&world, a, "eth0", past_the_bridge(3), 6000)?);
    Ok(())
}

#[test]
pub(crate) fn a_port_without_a_bridge_does_not_get_to_the_host() -> Result<()> {
    let world = World::new(&[3])?;
    let port = novanet_model::object::port_name(novanet_model::InstanceId(3), 0);
    world
        .cloud
        .sh(&format!("ip link set dev {port} nomaster"))?;
    let ends = Ends {
        to_mac: Wire::tap(&world.cloud, port.as_str())?.mac(),
        ..past_the_bridge(3)
    };
    let a = world.instance(3);
    assert!(host_hears(&world, a, "eth0", ends, 6000)?);
    let mut agent = world.agent(&two_projects())?;
    agent.converge(&world.cloud)?;
    assert!(!host_hears(&world, a, "eth0", ends, 6000)?);
    Ok(())
}

/// An IPv6 router advertisement with a prefix, in a frame for the link-local group.
fn advertisement(number: u8) -> Vec<u8> {
    let from = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number];
    let to = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let mut icmp = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    icmp.extend([3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0]);
    icmp.extend([0xfd, 0, 0, 0x66, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let length = u16::try_from(icmp.len()).unwrap();
    let pseudo = [
        &from[..],
        &to,
        &[0, 0],
        &length.to_be_bytes(),
        &[0, 0, 0, 58],
    ]
    .concat();
    let words = [&pseudo[..], &icmp].concat();
    let mut sum: u32 = words
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !u16::try_from(sum).unwrap();
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let head = [0x60, 0, 0, 0, 0, length.to_be_bytes()[1], 58, 255];
    let packet = [&head[..], &from, &to, &icmp].concat();
    ethernet(mac(number).0, LINK_LOCAL, 0x86dd, &packet)
}

#[test]
pub(crate) fn an_instance_does_not_give_the_host_an_ipv6_address() -> Result<()> {
    let believed = |rules: bool| -> Result<bool> {
        let world = World::new(&[3])?;
        let port = novanet_model::object::port_name(novanet_model::InstanceId(3), 0);
        for (key, value) in [
            ("accept_ra", 2),
            ("accept_dad", 0),
            ("disable_ipv6", 1),
            ("disable_ipv6", 0),
        ] {
            world.cloud.sh(&format!(
                "echo {value} > /proc/sys/net/ipv6/conf/{port}/{key}"
            ))?;
        }
        if rules {
            world.agent(&two_projects())?.converge(&world.cloud)?;
        }
        let wire = Wire::tap(world.instance(3), "eth0")?;
        let seen = eventually(
            Duration::from_secs(3),
            || -> std::result::Result<(), String> {
                wire.send(&advertisement(3)).map_err(|e| e.to_string())?;
                let shown = world.cloud.sh(&format!("ip -6 addr show dev {port}"));
                let text = shown.map_err(|e| e.to_string())?.stdout;
                if text.contains("fd00:66:") {
                    Ok(())
                } else {
                    Err(text)
                }
            },
        );
        Ok(seen.is_ok())
    };
    assert!(believed(false)?, "it works without rules");
    assert!(!believed(true)?);
    Ok(())
}

#[test]
pub(crate) fn a_machine_outside_does_not_pass_for_an_instance() -> Result<()> {
    let world = World::new(&[3, 4])?;
    world.route(13)?;
    let mut agent = world.agent(&with_float())?;
    agent.converge(&world.cloud)?;
    let (net, a) = (&world.internet, world.instance(3));
    let public_mac = Wire::tap(&world.cloud, "pub0")?.mac();
    let heard = |from: Ipv4Addr| -> Result<bool> {
        let receiver = a.exec_in(|| UdpSocket::bind(("0.0.0.0", 7000)))??;
        receiver.set_read_timeout(Some(Duration::from_millis(300)))?;
        let wire = Wire::tap(net, "eth0")?;
        let ends = Ends {
            from_mac: wire.mac(),
            to_mac: public_mac,
            from,
            to: public(13),
        };
        wire.send(&ends.udp(4000, 7000, b"hello"))?;
        Ok(receiver.recv_from(&mut [0; 16]).is_ok())
    };
    assert!(!heard(fixed(4))?, "a member's address, from outside");
    let open = rule(20, 1, udp(7000, 7000), anywhere());
    assert!(agent.set(&world.cloud, &open)?.is_empty());
    assert!(heard(OUTSIDE)?, "its own address");
    assert!(!heard(fixed(4))?, "not even where everybody may");
    Ok(())
}

/// Frames of a foreign machine on our bridge with the address, or the MAC, of instance 4.
fn foreign_frames(wire: &Wire) -> Vec<(&'static str, Vec<u8>)> {
    let ends = |from_mac, from| Ends {
        from_mac,
        to_mac: mac(3).0,
        from,
        to: fixed(3),
    };
    let claim = Arp::answer(wire.mac(), fixed(4), mac(3).0, fixed(3));
    vec![
        (
            "its address",
            ends(wire.mac(), fixed(4)).udp(4000, 7000, b""),
        ),
        ("its MAC", ends(mac(4).0, fixed(200)).udp(4000, 7000, b"")),
        ("its address, by ARP", claim.frame(wire.mac(), BROADCAST)),
    ]
}

#[test]
pub(crate) fn a_foreign_machine_on_our_bridge_does_not_pass_for_an_instance() -> Result<()> {
    let world = World::new(&[3, 4])?;
    let foreign = world.foreign("fo0", fixed(200))?;
    let mut objects = two_projects();
    objects.push(rule(20, 1, novanet_model::rule::Traffic::Any, anywhere()));
    objects.push(project(1, 200));
    let mut agent = world.agent(&objects)?;
    agent.converge(&world.cloud)?;
    let wire = Wire::tap(&foreign, "eth0")?;
    let ear = Wire::tap(world.instance(3), "eth0")?;
    let true_one = Ends {
        from_mac: wire.mac(),
        to_mac: mac(3).0,
        from: fixed(200),
        to: fixed(3),
    };
    let hears = |frame: &[u8]| -> Result<bool> {
        wire.send(frame)?;
        Ok(ear
            .sniff(Duration::from_millis(150))?
            .iter()
            .any(|seen| seen.len() >= 42 && seen[6..42] == frame[6..42]))
    };
    assert!(hears(&true_one.udp(4000, 7000, b""))?, "its own address");
    for (what, frame) in foreign_frames(&wire) {
        assert!(!hears(&frame)?, "{what}");
    }
    Ok(())
}

#[test]
pub(crate) fn metadata_of_an_instance_is_for_its_own_port_only() -> Result<()> {
    let world = World::new(&[3])?;
    let a = world.instance(3);
    let honest = world.foreign("fo0", fixed(200))?;
    let liar = world.foreign("fo1", fixed(3))?;
    let mut agent = world.agent(&two_projects())?;
    agent.converge(&world.cloud)?;
    let cloud = &world.cloud;
    let redirected = |from: &Host| connects_through(from, (METADATA, 80), cloud, METADATA_PORT);
    assert_eq!(redirected(a)?, Some(fixed(3).into()));
    for (who, machine) in [("honest", &honest), ("liar", &liar)] {
        assert_eq!(redirected(machine)?, None, "{who}");
        let direct = connects(machine, cloud, GATEWAY, METADATA_PORT)?;
        assert_eq!(direct, None, "{who}, past the redirect");
    }
    let outside = connects(&world.internet, cloud, PUBLIC, METADATA_PORT)?;
    assert_eq!(outside, None, "from outside");
    let own = connects(cloud, cloud, Ipv4Addr::LOCALHOST, METADATA_PORT)?;
    assert!(own.is_some(), "the host itself");
    Ok(())
}

#[test]
fn a_float_whose_translation_is_missing_does_not_answer_as_the_host() -> Result<()> {
    let world = World::new(&[3])?;
    let (net, cloud) = (&world.internet, &world.cloud);
    world.route(13)?;
    assert!(connects(net, cloud, public(13), 22)?.is_some(), "no rules");
    world.agent(&with_float())?.converge(cloud)?;
    cloud.run(&["nft", "flush map ip nova floating_to_fixed"])?;
    assert_eq!(connects(net, cloud, public(13), 22)?, None);
    assert!(
        connects(net, cloud, PUBLIC, 22)?.is_some(),
        "the host's own"
    );
    Ok(())
}

#[test]
pub(crate) fn the_host_is_guarded_also_when_somebody_overwrites_packet_marks() -> Result<()> {
    let world = World::new(&[3])?;
    let (a, cloud) = (world.instance(3), &world.cloud);
    cloud.sh("nft add table ip other && \
         nft 'add chain ip other pre { type filter hook prerouting priority -150; }' && \
         nft add rule ip other pre meta mark set ct mark")?;
    world.agent(&two_projects())?.converge(cloud)?;
    assert_eq!(connects(a, cloud, GATEWAY, 22)?, None);
    assert!(
        connects(a, cloud, GATEWAY, 53)?.is_some(),
        "what is offered"
    );
    let seen = connects_through(a, (METADATA, 80), cloud, METADATA_PORT)?;
    assert_eq!(seen, Some(fixed(3).into()), "metadata");
    Ok(())
}

/// The public interface is a port of the bridge, and its address the bridge's.
fn behind_the_bridge(world: &World) -> Result<()> {
    world.cloud.sh(&format!(
        "ip addr flush dev pub0 && ip link set dev pub0 master br100 && ip addr add {PUBLIC}/24 dev br100"
    ))?;
    Ok(())
}

#[test]
pub(crate) fn an_instance_gets_out_by_a_bridge_that_has_the_public_interface() -> Result<()> {
    let world = World::new(&[3])?;
    let (a, net) = (world.instance(3), &world.internet);
    behind_the_bridge(&world)?;
    world.agent(&two_projects())?.converge(&world.cloud)?;
    assert_eq!(connects(a, net, OUTSIDE, 443)?, Some(PUBLIC.into()));
    // What crosses the bridge and is not routed keeps its address.
    a.sh(&format!("ip route add {OUTSIDE} dev eth0"))?;
    net.sh("ip route add 10.0.0.0/24 dev eth0")?;
    assert_eq!(connects(a, net, OUTSIDE, 444)?, Some(fixed(3).into()));
    Ok(())
}

#[test]
pub(crate) fn names_are_looked_up_for_our_networks_only() -> Result<()> {
    let world = World::new(&[3])?;
    let (a, net, cloud) = (world.instance(3), &world.internet, &world.cloud);
    behind_the_bridge(&world)?;
    world.agent(&two_projects())?.converge(cloud)?;
    assert_eq!(connects(net, cloud, PUBLIC, 53)?, None, "by TCP");
    assert_eq!(arrives(net, cloud, PUBLIC, 53)?, None, "by UDP");
    assert!(connects(net, cloud, PUBLIC, 22)?.is_some(), "the operator");
    assert!(connects(a, cloud, GATEWAY, 53)?.is_some(), "an instance");
    Ok(())
}

#[test]
pub(crate) fn flows_that_a_killed_agent_did_not_end_are_ended_by_the_next() -> Result<()> {
    let world = World::new(&[3, 4])?;
    let (a, b, net, cloud) = (
        world.instance(3),
        world.instance(4),
        &world.internet,
        &world.cloud,
    );
    world.route(13)?;
    world.route(14)?;
    let mut before = with_float();
    before.push(float(14, 4));
    world.agent(&before)?.converge(cloud)?;
    let mut inward = TcpSession::start(net, a, public(13), 22)?;
    let mut outward = TcpSession::start(a, net, OUTSIDE, 443)?;
    let mut other = TcpSession::start(net, b, public(14), 22)?;
    assert!(inward.goes_on() && outward.goes_on() && other.goes_on());
    // As if it had been killed between its elements and the end of their flows.
    cloud.sh(if is_iptables() {
        "to='-d 203.0.113.13 -j DNAT --to-destination 10.0.0.3' && \
         iptables -t nat -D nova-network-PREROUTING $to && \
         iptables -t nat -D nova-network-OUTPUT $to && \
         iptables -t nat -D nova-network-floating-snat -s 10.0.0.3 -j SNAT \
         --to-source 203.0.113.13 && \
         ipset del nova-floating-fixed-ips 10.0.0.3 && ipset del nova-floating-ips 203.0.113.13"
    } else {
        "nft 'delete element ip nova floating_to_fixed { 203.0.113.13 }; \
         delete element ip nova fixed_to_floating { 10.0.0.3 }; \
         delete element ip nova floating_ips { 203.0.113.13 }'"
    })?;
    let mut after = two_projects();
    after.push(float(14, 4));
    let mut agent = world.agent(&after)?;
    assert!(
        agent.differences(cloud)?.is_empty(),
        "the elements are right"
    );
    assert!(!inward.goes_on() && !outward.goes_on());
    assert!(other.goes_on());
    Ok(())
}

#[test]
pub(crate) fn rules_that_are_written_anew_end_flows_that_none_of_them_allows() -> Result<()> {
    let world = World::new(&[3])?;
    let (a, net, cloud) = (world.instance(3), &world.internet, &world.cloud);
    world.route(13)?;
    let mut objects = with_float();
    objects.push(rule(20, 1, tcp(80, 80), anywhere()));
    world.agent(&objects)?.converge(cloud)?;
    let mut revoked = TcpSession::start(net, a, public(13), 80)?;
    let mut stays = TcpSession::start(net, a, public(13), 22)?;
    assert!(revoked.goes_on() && stays.goes_on());
    // Removed while the tables were missing too: no backend sees a rule that goes.
    cloud.run(&["nft", "flush ruleset"])?;
    std::fs::remove_file(world.state_path().join("firewall.json"))?;
    objects.pop();
    world.agent(&objects)?.converge(cloud)?;
    assert!(stays.goes_on());
    assert!(!revoked.goes_on());
    Ok(())
}

#[test]
fn chains_of_others_that_drop_what_we_accept_are_named_with_what_to_do() -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    let mut agent = Agent::start(&cloud, state.path(), &two_projects())?;
    agent.converge(&cloud)?;
    let shown = cloud.exec_in(|| block_on(agent.firewall.show()))??;
    assert!(!shown.contains('#'), "{shown}");
    cloud.run(&[
        "nft",
        "add table ip filter; \
         add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }; \
         add chain ip filter INPUT { type filter hook input priority 0; policy accept; }",
    ])?;
    let shown = cloud.exec_in(|| block_on(agent.firewall.show()))??;
    let troubles: Vec<_> = shown.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert!(troubles[0].contains("ip filter FORWARD") && troubles[0].contains("policy"));
    assert!(agent.converge(&cloud)?.is_empty(), "not ours to change");
    Ok(())
}
