//! Floating IPs on the public interface, and the notifications of changes.

use crate::engine_support as cloud;
use crate::link::{State, inside, noticed, quiet, sh};
use crate::subsystem::{Driven, bridge, float, gateway};
use novanet_agent::link::{LinkKey, Links, PROTOCOL};
use novanet_agent::settings::{FloatingAddressMode, Settings};
use novanet_lab::{Host, Quickest, Wire, eventually_async};
use novanet_reconcile::{Change, Subsystem};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// An outside interface, to announce on.
fn outside() -> Host {
    let outside = Host::new("outside").unwrap();
    sh(&format!(
        "ip link add dev eth0 type veth peer name up0 netns {}; ip link set dev eth0 up; \
         ip address add 192.0.2.1/24 dev eth0",
        outside.pid()
    ));
    outside
        .sh(
            "ip link set dev up0 up; ip address add 192.0.2.2/24 dev up0; \
             ip route add 203.0.113.0/24 dev up0",
        )
        .unwrap();
    outside
}

#[test]
fn floating_ips_answer_from_outside_in_both_modes() {
    inside(|| async {
        let outside = outside();
        let state = State::new();
        for mode in [FloatingAddressMode::Route, FloatingAddressMode::Address] {
            let settings = Settings {
                floating_address_mode: mode,
                ..state.settings()
            };
            // The second mode replaces what the first one made.
            let mut links = Driven::new(Links::new(&settings).unwrap());
            let floats: Vec<_> = (1..=100).map(|i| float([203, 0, 113, i])).collect();
            for float in &floats {
                links.want(float);
            }
            links.converge().await;
            outside
                .sh("ping -c1 -W2 203.0.113.1; ping -c1 -W2 203.0.113.100")
                .unwrap();
            let addresses = sh("ip address show dev eth0").matches("/32").count();
            let routes = sh(&format!("ip route show table local proto {PROTOCOL}"))
                .lines()
                .count();
            match mode {
                FloatingAddressMode::Route => assert_eq!((addresses, routes), (0, 100)),
                FloatingAddressMode::Address => assert_eq!((addresses, routes), (100, 0)),
            }
        }
        let mut links = state.links();
        links.converge().await;
        assert_eq!(sh("ip address show dev eth0").matches("/32").count(), 0);
        assert!(outside.sh("ping -c1 -W1 203.0.113.1").is_err());
    });
}

#[test]
fn a_floating_ip_that_moves_here_is_announced() {
    inside(|| async {
        let outside = outside();
        outside
            .sh("ip neighbour replace 203.0.113.7 lladdr 02:00:00:00:00:99 nud reachable dev up0")
            .unwrap();
        let state = State::new();
        let mut links = state.links();
        links.want(&float([203, 0, 113, 7]));
        links.converge().await;
        let mac = sh("cat /sys/class/net/eth0/address");
        eventually_async(Duration::from_secs(20), || async {
            let entry = outside.sh("ip neighbour show 203.0.113.7").unwrap().stdout;
            if entry.contains(mac.trim()) {
                Ok(())
            } else {
                Err(entry)
            }
        })
        .await
        .unwrap();
    });
}

/// Counts announcements of 203.0.113.7 and .8 on the wire until one has `wanted` (or a minute has
/// passed): requests and replies by the last octet.
fn announcements(wire: &Wire, wanted: (u8, u16, usize)) -> BTreeMap<(u8, u16), usize> {
    let began = Instant::now();
    let mut seen = BTreeMap::new();
    while began.elapsed() < Duration::from_mins(1)
        && seen.get(&(wanted.0, wanted.1)) != Some(&wanted.2)
    {
        let Some(frame) = wire.receive(Duration::from_secs(1)).unwrap() else {
            continue;
        };
        // Sender and target are the same address.
        let is_arp = frame.len() >= 42 && frame[12..14] == [0x08, 0x06];
        if is_arp && frame[28..31] == [203, 0, 113] && frame[28..32] == frame[38..42] {
            let operation = u16::from_be_bytes([frame[20], frame[21]]);
            *seen.entry((frame[31], operation)).or_default() += 1;
        }
    }
    seen
}

#[test]
fn an_announcement_is_repeated_in_both_forms_until_the_floating_ip_leaves() {
    inside(|| async {
        let outside = outside();
        let wire = Wire::tap(&outside, "up0").unwrap();
        let state = State::new();
        let mut settings = state.settings();
        settings.send_arp_for_ha_count = 60;
        let mut links = Driven::new(Links::new(&settings).unwrap());
        links.want(&float([203, 0, 113, 7]));
        links.want(&float([203, 0, 113, 8]));
        links.converge().await;
        let seen = announcements(&wire, (8, 2, 2));
        assert_eq!(seen.get(&(7, 1)), Some(&2), "{seen:?}");
        links.drop_object(&float([203, 0, 113, 7]));
        links.converge().await;
        drain(&wire);
        let more = announcements(&wire, (8, 2, 2));
        assert_eq!(more.get(&(8, 1)), Some(&2), "{more:?}");
        assert_eq!(more.get(&(7, 1)), None, "{more:?}");
        links.drop_object(&float([203, 0, 113, 8]));
        links.converge().await;
        drain(&wire);

        // One announcement, where the flag is off.
        settings.send_arp_for_ha = false;
        let mut links = Driven::new(Links::new(&settings).unwrap());
        links.want(&float([203, 0, 113, 7]));
        links.converge().await;
        let seen = announcements(&wire, (7, 2, 1));
        assert_eq!(seen, BTreeMap::from([((7, 1), 1), ((7, 2), 1)]));
        assert!(wire_is_quiet(&wire));
    });
}

/// Takes what arrived until now.
fn drain(wire: &Wire) {
    while wire.receive(Duration::from_millis(1)).unwrap().is_some() {}
}

/// Whether two seconds pass without another announcement.
fn wire_is_quiet(wire: &Wire) -> bool {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        if let Some(frame) = wire.receive(Duration::from_secs(2)).unwrap()
            && frame.len() >= 42
            && frame[28..31] == [203, 0, 113]
            && frame[28..32] == frame[38..42]
        {
            return false;
        }
    }
    true
}

#[test]
fn an_address_of_the_host_itself_is_not_taken_as_a_floating_ip() {
    inside(|| async {
        let _outside = outside();
        // The kernel reports the carrier of the veth pair later.
        let routes = || sh("ip route show table local").replace(" linkdown", "");
        let before = routes();
        let state = State::new();
        let mut links = state.links();
        links.want(&float([192, 0, 2, 1]));
        let failed = links.round().await;
        assert_eq!(failed.len(), 1, "{failed:?}");
        assert!(
            failed[0]
                .1
                .to_string()
                .contains("the host has this address itself")
        );
        links.drop_object(&float([192, 0, 2, 1]));
        links.converge().await;
        assert_eq!(before, routes());
    });
}

#[test]
fn one_more_floating_ip_costs_the_same_beside_ten_thousand() {
    inside(|| async {
        let _outside = outside();
        let state = State::new();
        let mut links = state.links();
        for i in 0..10_000_u32 {
            let [_, _, c, d] = i.to_be_bytes();
            links.want(&float([198, 18, c, d]));
        }
        // Bounds for a debug build on a busy machine; the benchmark has the figures.
        let began = Instant::now();
        links.converge().await;
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "{:?}",
            began.elapsed()
        );
        let mut took = Vec::new();
        for i in 0..50 {
            let one = float([203, 0, 113, i]);
            links.want(&one);
            let changes: Vec<_> = links
                .subsystem
                .items(&one)
                .into_iter()
                .map(|(key, to)| Change {
                    key,
                    from: None,
                    to: Some(to),
                })
                .collect();
            let began = Instant::now();
            let failed = links.subsystem.apply(&changes, &links.desired).await;
            took.push(began.elapsed());
            assert!(failed.is_empty(), "{failed:?}");
        }
        // Most measurements include other work of the machine; the smallest is the cost.
        let quickest = took.iter().min().unwrap();
        assert!(*quickest < Duration::from_millis(1), "{took:?}");
        assert!(matches!(
            links.desired.iter().last(),
            Some((LinkKey::FloatingIp(_), _))
        ));
        links.settled().await;
    });
}

#[test]
fn a_removal_by_others_is_noticed_and_novanets_own_changes_are_not() {
    inside(|| async {
        let _outside = outside();
        let state = State::new();
        let mut links = state.links();
        links.want(&bridge(1, "br100"));
        links.want(&gateway(1, "br100", "10.0.0.1/24"));
        links.want(&float([203, 0, 113, 7]));
        links.converge().await;
        let changed_externally = links.subsystem.changed_externally();
        quiet(&changed_externally).await;
        // Novanet's own changes of floating IPs cause no notification. The kernel may send a late
        // event about the bridge: one of three rounds must be quiet.
        let mut woken = 0;
        for _ in 0..3 {
            for i in 10..20 {
                links.want(&float([203, 0, 113, i]));
                links.round().await;
            }
            for i in 10..20 {
                links.drop_object(&float([203, 0, 113, i]));
                links.round().await;
            }
            let said =
                tokio::time::timeout(Duration::from_millis(300), changed_externally.notified());
            if said.await.is_err() {
                break;
            }
            woken += 1;
        }
        assert!(woken < 3);
        for damage in [
            "ip address del 10.0.0.1/24 dev br100",
            "ip route del local 203.0.113.7 dev lo table local",
            "ip link set dev br100 down",
            "sysctl -qw net.bridge.bridge-nf-call-iptables=0",
            "ip link del dev br100",
        ] {
            quiet(&changed_externally).await;
            sh(damage);
            noticed(&changed_externally, damage).await;
            assert!(!links.changes().await.is_empty(), "{damage}");
            links.converge().await;
        }
    });
}

#[test]
fn a_namespace_without_a_single_address_can_be_observed() {
    // The kernel has not made the table of local addresses yet: listing it is an error.
    let bare = std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let state = State::new();
            let mut links = state.links();
            let changes = links.changes().await;
            assert!(
                changes
                    .iter()
                    .all(|change| matches!(change.key, LinkKey::Sysctl(_))),
                "{changes:?}"
            );
        });
    });
    bare.join().unwrap();
}

#[test]
fn a_floating_ip_that_its_interface_does_not_answer_for_is_an_error_with_the_remedy() {
    inside(|| async {
        let outside = outside();
        let state = State::new();
        let mut links = state.links();
        links.want(&float([203, 0, 113, 1]));
        sh("echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_ignore");
        for _ in 0..2 {
            let failed = links.round().await;
            let text = failed[0].1.to_string();
            assert!(text.contains("net.ipv4.conf.eth0.arp_ignore"), "{text}");
            assert!(text.contains("floating_address_mode"), "{text}");
        }
        sh("echo 0 > /proc/sys/net/ipv4/conf/eth0/arp_ignore");
        links.converge().await;
        outside.sh("ping -c1 -W2 203.0.113.1").unwrap();
    });
}

#[test]
fn an_arp_ignore_that_others_set_for_all_is_an_error_of_each_floating_ip_and_left_to_them() {
    inside(|| async {
        let (_state, engine) = cloud::real(&[cloud::float(0x7101, 3)]).await;
        let mut quickest = Quickest::within(Duration::from_secs(5));
        while quickest.again().unwrap() {
            sh("sysctl -qw net.ipv4.conf.all.arp_ignore=1");
            let set = Instant::now();
            let says = |text: &str| text.contains("arp_ignore") && text.contains("set both to 0");
            cloud::eventually("the reason", || {
                let errors = cloud::errors(&engine);
                let told = errors
                    .iter()
                    .any(|(key, error)| key == "float/203.0.113.1" && says(error));
                told.then_some(()).ok_or(errors)
            })
            .await;
            quickest.took(set.elapsed());
            for diff in [false, true] {
                let plan = engine.plan(diff).await.unwrap();
                assert!(says(&plan), "{plan}");
            }
            assert_eq!(sh("sysctl -n net.ipv4.conf.all.arp_ignore"), "1\n");
            sh("sysctl -qw net.ipv4.conf.all.arp_ignore=0");
            cloud::no_error(&engine).await;
        }
    });
}
