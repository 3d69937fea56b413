//! Enslaving an interface that carries the host's own addresses, and giving it back.

use crate::link::{State, inside, noticed, picture, sh};
use crate::subsystem::{Driven, bridge, gateway, name};
use novanet_agent::link::{LinkKey, Links};
use novanet_agent::settings::Settings;
use novanet_lab::{Host, eventually};
use novanet_reconcile::{Change, Desired, Subsystem};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A host whose eth1 leads to a LAN, with every kind of address and route of an administrator.
pub(crate) fn lan() -> Host {
    let lan = Host::new("lan").unwrap();
    sh(&format!(
        "ip link add dev eth1 type veth peer name lan0 netns {}; ip link set dev eth1 up
         ip address add 192.0.2.10/24 brd + dev eth1
         ip address add 192.0.2.11/24 brd + dev eth1 label eth1:1
         ip address add 198.51.100.1/25 dev eth1",
        lan.pid()
    ));
    lan.sh("ip link set dev lan0 up; ip address add 192.0.2.1/24 dev lan0")
        .unwrap();
    sh("ip route add default via 192.0.2.1 dev eth1 proto dhcp metric 100 src 192.0.2.10
        ip route add 203.0.113.0/24 via 192.0.2.1 dev eth1 mtu 1400
        ip route add 203.0.114.0/24 nexthop via 192.0.2.1 dev eth1 weight 2 nexthop via 192.0.2.2 dev eth1
        ip route add 203.0.115.0/24 via 192.0.2.1 dev eth1 table 77
        ip address add 2001:db8::1/64 dev eth1 nodad; ip route add 2001:db8:9::/48 via 2001:db8::9 dev eth1");
    lan
}

pub(crate) fn with_uplink(state: &State) -> Driven<Links> {
    let settings = Settings {
        flat_interface: Some(name("eth1")),
        vlan_interface: name("eth0"),
        ..state.settings()
    };
    Driven::new(Links::new(&settings).unwrap())
}

/// Addresses and routes of a device, without timers and without its name and index.
pub(crate) fn config(device: &str) -> String {
    let text = sh(&format!(
        "ip -o address show dev {device} scope global | sed -E 's/(valid|preferred)_lft [0-9]+sec//g; s/^[0-9]+: //'
         ip route show table all dev {device} | grep -vE '^(local|broadcast|multicast|anycast|fe80)' || true
         ip route show 203.0.114.0/24; ip -6 route show table main dev {device} | grep -vE '^fe80' || true"
    ));
    let mut lines: Vec<_> = text
        .replace(device, "DEV")
        .lines()
        .map(|line| {
            line.replace("linkdown", "")
                .replace("nodad", "")
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

/// Also when the test fails in between.
struct EndsOnDrop<'a>(&'a AtomicBool);

impl Drop for EndsOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn there_and_back(state: &State, before: &str) {
    let want = |links: &mut Driven<Links>| {
        links.want(&bridge(1, "br100"));
        links.want(&gateway(1, "br100", "10.0.0.1/24"));
    };
    let mut links = state.links();
    want(&mut links);
    links.converge().await;
    // As after a kill in the middle of the move: enslaved, addresses and routes not moved.
    sh("ip link set dev eth1 master br100");
    let mut links = with_uplink(state);
    want(&mut links);
    links.converge().await;
    // As after a kill behind it: the next agent finds all done.
    let mut links = with_uplink(state);
    want(&mut links);
    links.converge().await;
    let on_bridge = config("br100");
    let foreign: Vec<_> = on_bridge
        .lines()
        .filter(|line| !line.contains("10.0.0."))
        .collect();
    assert_eq!(foreign.join("\n"), before);
    let left = config("eth1");
    assert!(
        left.lines()
            .all(|line| line.starts_with("203.0.114") || line.starts_with("nexthop")),
        "{left}"
    );
    assert_eq!(
        sh("cat /sys/class/net/br100/address"),
        sh("cat /sys/class/net/eth1/address"),
        "the neighbours know the addresses by this MAC"
    );
    // Novanet's objects are removed; the interface has its own addresses again.
    links.desired = Desired::new(Vec::new());
    links.converge().await;
}

#[test]
fn an_uplinks_addresses_and_routes_go_to_the_bridge_and_back() {
    inside(|| async {
        let lan = lan();
        let before = config("eth1");
        let listing = sh(
            "ip address show dev eth1 | grep -v -e _lft -e fe80; ip route show table all | grep -v -e ff00 -e fe80 | sort",
        );
        let state = State::new();

        // A connection from the LAN to the host, which must survive.
        let listener = TcpListener::bind("192.0.2.10:7000").unwrap();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut one = [0];
            while stream.read_exact(&mut one).is_ok() && stream.write_all(&one).is_ok() {}
        });
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let talker = scope.spawn(|| {
                lan.exec_in(|| {
                    let mut stream = TcpStream::connect("192.0.2.10:7000").unwrap();
                    stream
                        .set_read_timeout(Some(Duration::from_secs(20)))
                        .unwrap();
                    let (mut rounds, mut longest) = (0, Duration::ZERO);
                    // It sends all the time, and on a busy machine a little longer.
                    while !over.load(Ordering::Relaxed) || rounds < 10 {
                        let began = Instant::now();
                        stream.write_all(b"x").unwrap();
                        stream.read_exact(&mut [0]).unwrap();
                        longest = longest.max(began.elapsed());
                        rounds += 1;
                    }
                    let gap = format!("the longest of {rounds} rounds took {longest:?}");
                    assert!(longest < Duration::from_secs(5), "{gap}");
                })
                .unwrap();
            });
            let ends = EndsOnDrop(&over);
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(there_and_back(&state, &before));
            });
            drop(ends);
            talker.join().unwrap();
        });
        echo.join().unwrap();
        assert_eq!(config("eth1"), before);
        let after = sh(
            "ip address show dev eth1 | grep -v -e _lft -e fe80; ip route show table all | grep -v -e ff00 -e fe80 | sort",
        );
        assert_eq!(listing, after);
        assert!(!sh("ip link").contains("br100"));
    });
}

#[test]
fn wherever_enslaving_is_killed_the_next_round_finishes_it() {
    inside(|| async {
        let lan = lan();
        let state = State::new();
        let want = |links: &mut Driven<Links>| links.want(&bridge(1, "br100"));
        // A link that just went up may lose the first packet.
        let reachable = || {
            eventually(Duration::from_secs(20), || {
                lan.sh("ping -c1 -W1 192.0.2.10").map(drop)
            })
        };
        // Enslaved, addresses and routes not moved.
        let mut links = state.links();
        want(&mut links);
        links.converge().await;
        sh("ip link set dev eth1 master br100");
        let mut links = with_uplink(&state);
        want(&mut links);
        links.converge().await;
        reachable().unwrap();
        let good = config("br100");
        for damage in [
            // addresses moved, not enslaved
            "ip link set dev eth1 nomaster",
            // a DHCP client renewed on its interface
            "ip address add 192.0.2.10/24 brd + dev eth1",
            // others removed the bridge, and the addresses with it
            "ip link del dev br100",
            "ip link set dev eth1 down",
        ] {
            sh(damage);
            let mut links = with_uplink(&state);
            want(&mut links);
            links.converge().await;
            reachable().expect(damage);
            assert!(
                sh("ip route show default").contains("via 192.0.2.1 dev br100"),
                "{damage}"
            );
        }
        // A record of a migration that never started.
        let mut links = with_uplink(&state);
        links.desired = Desired::new(Vec::new());
        links.converge().await;
        let record = state.path().join("links/uplink-eth1.json");
        assert!(!record.exists());
        sh("ip address show dev eth1");
        let mut links = with_uplink(&state);
        want(&mut links);
        links.converge().await;
        let text = std::fs::read(&record).unwrap();
        let mut links = with_uplink(&state);
        links.desired = Desired::new(Vec::new());
        links.converge().await;
        std::fs::create_dir_all(record.parent().unwrap()).unwrap();
        std::fs::write(&record, text).unwrap();
        let mut links = with_uplink(&state);
        want(&mut links);
        links.converge().await;
        reachable().unwrap();
        assert_eq!(good, config("br100"));
        // And one whose objects were removed meanwhile; others removed the bridge.
        sh("ip link del dev br100");
        let mut links = with_uplink(&state);
        links.desired = Desired::new(Vec::new());
        links.converge().await;
        reachable().unwrap();
        assert!(!record.exists());
    });
}

#[test]
fn an_interface_that_cannot_be_enslaved_keeps_its_addresses() {
    inside(|| async {
        // The kernel refuses a device without MAC after the addresses moved.
        sh("ip tuntap add dev eth1 mode tun; ip link set dev eth1 up; ip address add 192.0.2.10/24 dev eth1
            ip route add default via 192.0.2.1 dev eth1");
        let before = config("eth1");
        let state = State::new();
        let mut links = with_uplink(&state);
        links.want(&bridge(1, "br100"));
        let failed = links.round().await;
        assert_eq!(failed.len(), 1);
        assert!(
            failed[0].1.to_string().starts_with("enslave eth1 to br100"),
            "{}",
            failed[0].1
        );
        assert_eq!(before, config("eth1"));
        assert!(!sh("ip -4 address show dev br100").contains("192.0.2.10"));
    });
}

#[test]
fn a_bridge_is_no_uplink_and_keeps_its_addresses() {
    inside(|| async {
        sh(
            "ip link add dev eth1 type bridge; ip link set dev eth1 up; ip address add 192.0.2.10/24 dev eth1",
        );
        let before = config("eth1");
        let state = State::new();
        let mut links = with_uplink(&state);
        links.want(&bridge(1, "br100"));
        let failed = links.round().await;
        assert_eq!(failed.len(), 1);
        assert_eq!(
            failed[0].1.to_string(),
            "interface eth1 is a bridge, and no bridge can be a port of another: make it the bridge \
             of a flat network (nova-manage network create --kind=flat --bridge=eth1), or choose \
             another flat_interface"
        );
        assert_eq!(before, config("eth1"));
        assert!(!sh("ip -4 address show dev br100").contains("192.0.2.10"));
    });
}

#[test]
fn an_uplink_whose_address_is_leased_is_refused_before_anything_moves() {
    inside(|| async {
        let _lan = lan();
        sh("ip address add 198.51.100.9/25 dev eth1 valid_lft 3000 preferred_lft 2000");
        let before = config("eth1");
        let state = State::new();
        let mut links = with_uplink(&state);
        links.want(&bridge(1, "br100"));
        let failed = links.round().await;
        let text = failed[0].1.to_string();
        assert!(
            text.starts_with("interface eth1 has 198.51.100.9 from DHCP"),
            "{text}"
        );
        assert!(text.contains("static address"), "{text}");
        assert_eq!(before, config("eth1"));
        // With a static address it works.
        sh("ip address del 198.51.100.9/25 dev eth1");
        links.converge().await;
    });
}

#[test]
fn a_bridge_stays_while_it_has_the_addresses_of_an_uplink() {
    inside(|| async {
        let _lan = lan();
        let state = State::new();
        let mut links = with_uplink(&state);
        links.want(&bridge(1, "br100"));
        links.converge().await;
        let carried = config("br100");
        // As after a release that failed in the same round.
        let removal = Change {
            key: LinkKey::Bridge(name("br100")),
            from: None,
            to: None,
        };
        let failed = links
            .subsystem
            .apply(&[removal], &Desired::new(Vec::new()))
            .await;
        let text = failed[0].1.to_string();
        assert!(
            text.contains("still carries what belongs to eth1"),
            "{text}"
        );
        assert_eq!(config("br100"), carried);
    });
}

#[test]
fn a_foreign_bridge_in_the_place_of_novanets_keeps_its_port_and_addresses() {
    inside(|| async {
        let _lan = lan();
        let state = State::new();
        let mut links = with_uplink(&state);
        links.want(&bridge(1, "br100"));
        links.converge().await;
        sh("ip link delete dev br100; ip link add dev br100 type bridge
                ip link set dev eth1 master br100; ip link set dev br100 up
                ip address add 192.168.77.1/24 dev br100");
        let before = (picture(""), sh("ip route show table all"));
        // The host cannot have the network now: its uplink is released.
        links.want_unavailable(&bridge(1, "br100"));
        links.converge().await;
        assert_eq!(before, (picture(""), sh("ip route show table all")));
    });
}

#[test]
fn an_interface_of_a_foreign_bridge_is_refused() {
    inside(|| async {
        let _lan = lan();
        sh("ip link add dev mine type bridge; ip link set dev eth1 master mine");
        let state = State::new();
        let mut links = with_uplink(&state);
        links.want(&bridge(1, "br100"));
        let failed = links.round().await;
        assert_eq!(
            failed[0].1.to_string(),
            "interface eth1 is a port of another bridge or bond: \
             free it (ip link set eth1 nomaster) or choose another flat_interface"
        );
        links.desired = Desired::new(Vec::new());
        links.round().await;
        assert!(sh("ip link show dev eth1").contains("master mine"));
        // An interface that is plugged in later.
        sh("ip link del dev eth1");
        links.want(&bridge(1, "br100"));
        let failed = links.round().await;
        assert!(
            failed[0]
                .1
                .to_string()
                .starts_with("interface eth1 is not there"),
            "{}",
            failed[0].1
        );
        let changed_externally = links.subsystem.changed_externally();
        links.changes().await;
        sh("ip link add dev eth1 type veth peer name other");
        noticed(&changed_externally, "a link that came").await;
        links.converge().await;
    });
}

#[test]
fn an_uplink_goes_on_learning_and_flooding_whatever_others_set() {
    inside(|| async {
        sh("ip link add dev eth1 type veth peer name far1; ip link set dev far1 up");
        let state = State::new();
        let mut settings = state.settings();
        settings.flat_interface = Some(name("eth1"));
        let mut links = Driven::new(Links::new(&settings).unwrap());
        links.want(&bridge(1, "br100"));
        links.round().await;
        links.converge().await;
        let options = || sh("bridge -d link show dev eth1 | grep learning");
        let before = options();
        assert!(before.contains("learning on flood on"), "{before}");
        sh(
            "bridge link set dev eth1 learning off flood off bcast_flood off isolated on locked on \
            hairpin on guard on; bridge link set dev eth1 state 0",
        );
        let changes = links.changes().await;
        let from = changes[0].from.as_ref().unwrap().to_string();
        let words =
            "changed: hairpin, guard, learning, flood, bcast_flood, isolated, locked, state";
        assert_eq!(from, format!("in bridge br100 up, {words}"));
        links.converge().await;
        assert_eq!(options(), before);
        assert!(sh("bridge link show dev eth1").contains("state forwarding"));
    });
}
