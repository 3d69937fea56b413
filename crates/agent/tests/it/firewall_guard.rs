//! A floating IP is never an address of the host: not before it leads to its instance, not after,
//! not while the agent starts or cleans up. The host runs services on every address; none of them
//! may get a packet to a floating IP.

use crate::engine_support as cloud;
use crate::engine_support::{delta, in_force, list, reached, start_real};
use crate::firewall_objects::*;
use crate::firewall_world::*;
use crate::link;
use anyhow::Result;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto,
    setsockopt, socket, sockopt,
};
use novanet_agent::link::PROTOCOL;
use novanet_lab::Host;
use novanet_model::HostObject;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const SERVICE: u16 = 5000;

/// Whether a station at `address` answers an unexpected SYN/ACK (with a reset, if it is not
/// dropped). Conntrack calls it invalid.
fn answers_invalid(from: &Host, address: Ipv4Addr) -> Result<bool> {
    let raw = from.exec_in(|| {
        socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::empty(),
            SockProtocol::Tcp,
        )
    })??;
    setsockopt(
        &raw,
        sockopt::ReceiveTimeout,
        &nix::sys::time::TimeVal::new(0, 200_000),
    )?;
    let mut segment = [0_u8; 20];
    segment[..2].copy_from_slice(&4000_u16.to_be_bytes());
    segment[2..4].copy_from_slice(&SERVICE.to_be_bytes());
    segment[4..8].copy_from_slice(&1_u32.to_be_bytes());
    segment[8..12].copy_from_slice(&1_u32.to_be_bytes());
    segment[12] = 5 << 4;
    segment[13] = 0x12; // SYN, ACK
    segment[14] = 0x20;
    let pseudo = [
        &OUTSIDE.octets()[..],
        &address.octets(),
        &[0, 6, 0, 20],
        &segment,
    ];
    let sum = checksum(&pseudo.concat());
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    let target = SockaddrIn::from(SocketAddrV4::new(address, 0));
    sendto(raw.as_raw_fd(), &segment, &target, MsgFlags::empty())?;
    let mut buffer = [0; 256];
    while let Ok(length) = recv(raw.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
        if length >= 20 && buffer[12..16] == address.octets() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// Whether the host itself answers at a floating address, by any means.
fn host_answers(world: &World, address: Ipv4Addr) -> Result<Vec<&'static str>> {
    let (cloud, net) = (&world.cloud, &world.internet);
    let ways = [
        ("datagram", arrives(net, cloud, address, SERVICE)?.is_some()),
        ("connection", connects(net, cloud, address, 22)?.is_some()),
        ("echo", pings(net, address)?),
        ("stray answer", answers_invalid(net, address)?),
    ];
    let heard = ways.into_iter().filter(|(_, heard)| *heard);
    Ok(heard.map(|(way, _)| way).collect())
}

#[test]
pub(crate) fn the_guard_of_a_float_stays_as_long_as_the_host_answers_for_it() -> Result<()> {
    let world = World::new(&[3])?;
    let cloud = &world.cloud;
    cloud.sh(&format!(
        "ip route add local {} dev lo proto {PROTOCOL}",
        public(13)
    ))?;
    let all = ["datagram", "connection", "echo", "stray answer"];
    assert_eq!(host_answers(&world, public(13))?, all, "without rules");

    let mut objects = two_projects();
    objects.push(float(13, 3));
    let mut agent = world.agent(&objects)?;
    agent.converge(cloud)?;
    assert_eq!(host_answers(&world, public(13))?, ["echo"], "its instance");

    let failed = agent.unset(cloud, &float(13, 3))?;
    let texts: Vec<_> = failed.iter().map(|(_, error)| error.to_string()).collect();
    assert_eq!(
        texts,
        [
            "floating_ips 203.0.113.13 stays until the host does not answer for that address any more"
        ]
    );
    assert_eq!(host_answers(&world, public(13))?.len(), 0);
    // So it is when all of it is written again.
    cloud.sh(if is_iptables() {
        "ip6tables -F"
    } else {
        "nft delete table ip6 nova"
    })?;
    let changes = agent.differences(cloud)?;
    assert_eq!(agent.apply(cloud, &changes)?.len(), 1);
    assert_eq!(host_answers(&world, public(13))?.len(), 0);

    cloud.sh(&format!("ip route del local {}", public(13)))?;
    agent.converge(cloud)?;
    let listed = cloud.run(&["nft", "list ruleset"])?.stdout;
    assert!(!listed.contains("203.0.113.13"), "{listed}");
    Ok(())
}

#[test]
fn an_address_of_the_hosts_own_is_given_back_to_it() -> Result<()> {
    let world = World::new(&[])?;
    let cloud = &world.cloud;
    cloud.sh(&format!("ip addr add {}/32 dev pub0", public(13)))?;
    let mut objects = two_projects();
    objects.push(float(13, 3));
    let mut agent = world.agent(&objects)?;
    agent.converge(cloud)?;
    assert!(agent.unset(cloud, &float(13, 3))?.is_empty());
    assert!(host_answers(&world, public(13))?.contains(&"datagram"));
    Ok(())
}

/// A station outside that sends to an address all the time, and a service of the host that listens.
struct Fire {
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
    service: UdpSocket,
    _outside: Host,
}

const FLOAT: Ipv4Addr = Ipv4Addr::new(203, 0, 0, 1);

impl Fire {
    /// The sender knows the host's MAC already: no packet waits for an answer to ARP.
    fn open() -> Self {
        let outside = Host::new("outside").unwrap();
        link::sh(&format!(
            "ip link add dev eth0 type veth peer name up0 netns {}; ip link set dev eth0 up; \
             ip address add 192.0.2.1/24 dev eth0",
            outside.pid()
        ));
        let mac = link::sh("cat /sys/class/net/eth0/address");
        outside
            .sh(&format!(
                "ip link set dev up0 up; ip address add 192.0.2.2/24 dev up0; \
                 ip route add {FLOAT} dev up0; ip neighbour add {FLOAT} lladdr {} dev up0",
                mac.trim()
            ))
            .unwrap();
        let service = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, SERVICE)).unwrap();
        service
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let socket = outside.exec_in(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        let socket = socket.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sender = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let _ = socket.send_to(b"hello", (FLOAT, SERVICE));
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        let fire = Self {
            stop,
            sender: Some(sender),
            service,
            _outside: outside,
        };
        // It is heard where it can be: once without rules.
        link::sh(&format!("ip route add local {FLOAT} dev lo"));
        assert!(fire.heard());
        link::sh(&format!("ip route del local {FLOAT} dev lo"));
        fire.service
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        while fire.heard() {}
        fire
    }

    fn heard(&self) -> bool {
        self.service.recv(&mut [0; 8]).is_ok()
    }
}

impl Drop for Fire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.sender.take().map(JoinHandle::join);
    }
}

fn base() -> Vec<HostObject> {
    vec![cloud::bridge(1, "br100"), cloud::gateway(1, "br100")]
}

fn answered() -> bool {
    link::sh("ip route show table local").contains(&format!("local {FLOAT} "))
}

#[test]
fn a_float_that_comes_and_goes_under_fire_is_never_the_hosts() {
    link::inside(|| async {
        let fire = Fire::open();
        let state = tempfile::tempdir().unwrap();
        let engine = start_real(state.path());
        engine.merge(list(1, &base()));
        in_force(&engine, 1).await;
        let float = cloud::float(1, 3);
        for round in 1..=40 {
            engine.merge(delta(2 * round, std::slice::from_ref(&float), &[]));
            reached(&engine, 2 * round).await;
            assert!(answered());
            engine.merge(delta(2 * round + 1, &[], &[&float]));
            // On a very busy machine the guard has to wait for the route: told, and tried again.
            in_force(&engine, 2 * round + 1).await;
            assert!(!answered());
            assert!(!fire.heard(), "in round {round}");
        }
    });
}

#[test]
fn a_float_that_went_while_the_agent_was_away_is_never_the_hosts() {
    link::inside(|| async {
        let fire = Fire::open();
        let state = tempfile::tempdir().unwrap();
        for round in 1..=5 {
            let engine = start_real(state.path());
            let mut objects = base();
            objects.push(cloud::float(1, 3));
            engine.merge(list(1, &objects));
            in_force(&engine, 1).await;
            assert!(answered());
            engine.stop();
            assert!(!fire.heard(), "when it came in round {round}");

            let engine = start_real(state.path());
            engine.merge(list(2, &base()));
            in_force(&engine, 2).await;
            assert!(!answered());
            assert!(!fire.heard(), "when it went in round {round}");
            let rules = link::sh("nft list table ip nova");
            assert!(!rules.contains(&FLOAT.to_string()), "{rules}");
            engine.stop();
        }
    });
}

#[test]
fn a_host_that_is_cleaned_up_does_not_answer_at_its_floats() {
    link::inside(|| async {
        let fire = Fire::open();
        let state = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            let engine = start_real(state.path());
            let mut objects = base();
            objects.push(cloud::float(1, 3));
            engine.merge(list(1, &objects));
            in_force(&engine, 1).await;
            engine.cleanup(false, true).await.unwrap();
            assert!(!answered());
            assert_eq!(link::sh("nft list ruleset"), "");
            engine.stop();
            assert!(!fire.heard());
        }
    });
}
