//! The engine with real subsystems, and a test that breaks its work: the engine repairs it soon, at
//! whatever moment it breaks.

use crate::engine_support as cloud;
use crate::engine_support::{eventually, list, machine};
use crate::firewall_repair::in_order;
use crate::link::{inside, sh};
use novanet_lab::Quickest;
use novanet_model::HostObject;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

const FLUSH: &str = "nft flush ruleset";

pub(crate) fn objects() -> Vec<HostObject> {
    vec![
        cloud::bridge(1, "br100"),
        cloud::gateway(1, "br100"),
        cloud::group(1),
        cloud::rule(1, 1, 22),
        cloud::member(1, 3),
        cloud::port(1, "br100", 1),
        cloud::float(1, 3),
    ]
}

fn rules() -> String {
    in_order(&sh("nft -nn list ruleset"))
}

/// The last chains of the first and of the last table that is written.
fn is_back() -> bool {
    let listed = std::process::Command::new("sh")
        .args([
            "-c",
            "nft list chain ip nova groups_1 && nft list chain bridge nova to_port",
        ])
        .output();
    listed.is_ok_and(|listed| listed.status.success())
}

/// Flushes; answers with how long it takes until the rules are back.
async fn flush() -> Duration {
    sh(FLUSH);
    let began = Instant::now();
    eventually("the rules are back", || is_back().then_some(()).ok_or(())).await;
    began.elapsed()
}

/// The same after a second flush, this much later.
async fn second_flush(pause: Duration) -> Duration {
    sh(FLUSH);
    tokio::time::sleep(pause).await;
    flush().await
}

async fn all_is_back(right: &str) {
    eventually("all of it is back", || {
        let now = rules();
        (now == right).then_some(()).ok_or(now)
    })
    .await;
}

#[test]
fn the_second_of_two_flushes_is_repaired_within_200_ms() {
    inside(|| async {
        let (_state, _engine) = cloud::real(&objects()).await;
        let right = rules();
        for pause in [50, 100, 150] {
            let mut quickest = Quickest::within(Duration::from_millis(200));
            while quickest.again().unwrap() {
                quickest.took(second_flush(Duration::from_millis(pause)).await);
                all_is_back(&right).await;
            }
        }
    });
}

#[test]
fn a_flush_right_after_a_repair_is_repaired_as_quickly_as_the_first() {
    inside(|| async {
        let (_state, _engine) = cloud::real(&objects()).await;
        let right = rules();
        let mut pairs = vec![];
        for _ in 0..12 {
            // Until the firewall was looked at without a repair: that cost little.
            tokio::time::sleep(Duration::from_millis(1300)).await;
            let (first, second) = (flush().await, flush().await);
            all_is_back(&right).await;
            // A pause of four times the cost of the first repair makes it more than three times; a
            // busy machine may do that too, but not each time.
            if second < first * 2 {
                return;
            }
            pairs.push((first, second));
        }
        panic!("first and second: {pairs:?}");
    });
}

/// What a careless administrator, a firewall service or a bad script may do.
const BREAKS: [&str; 9] = [
    FLUSH,
    "nft flush table ip nova",
    "nft flush chain ip nova host_services",
    "nft insert rule ip nova host_services accept",
    "nft insert rule ip nova to_instances accept",
    "nft delete table bridge nova",
    "nft flush set ip nova fixed_ips",
    "nft 'add element ip nova fixed_ips { 192.0.2.77 }'",
    "nft 'add chain ip nova forward { policy drop; }'",
];

#[test]
fn whatever_is_changed_at_whatever_moment_the_rules_end_as_if_written_fresh() {
    inside(|| async {
        let (_state, engine) = cloud::real(&objects()).await;
        let fresh = rules();
        // The same numbers each time, and others in each round.
        let mut random: u32 = 1;
        let mut next = |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % below
        };
        for round in 0..6 {
            let mut done = Vec::new();
            for _ in 0..12 {
                let number = usize::try_from(next(9)).unwrap();
                // It may fail: the table is just gone.
                let line = format!("{} 2>/dev/null || :", BREAKS[number]);
                tokio::task::spawn_blocking(move || sh(&line))
                    .await
                    .unwrap();
                let pause = next(100);
                done.push((BREAKS[number], pause));
                tokio::time::sleep(Duration::from_millis(pause.into())).await;
            }
            eventually(&format!("as if fresh, round {round}, {done:?}"), || {
                let now = rules();
                (now == fresh).then_some(()).ok_or(now)
            })
            .await;
        }
        engine.stop();
    });
}

#[test]
fn when_an_obstacle_is_gone_everything_is_there_within_five_seconds() {
    inside(|| async {
        machine();
        let state = tempfile::tempdir().unwrap();
        // A foreign bridge, and a foreign DHCP server.
        sh("ip link add br100 type bridge");
        let server = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 67)).unwrap();
        let engine = cloud::start_with_dhcp(state.path());
        let mut all = objects();
        all.push(cloud::dhcp(1, "br100"));
        engine.merge(list(1, &all));
        eventually("they are told of", || {
            let errors = cloud::errors(&engine);
            (!errors.is_empty()).then_some(()).ok_or(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(8500)).await; // it lasts

        sh("ip link delete br100");
        drop(server);
        let began = Instant::now();
        eventually("a network in force", || {
            let address = sh("ip address show dev br100 2>/dev/null || :");
            let sockets = sh("ss -lun");
            let errors = cloud::errors(&engine);
            let done =
                address.contains("10.0.1.1/24") && sockets.contains(":67 ") && errors.is_empty();
            done.then_some(()).ok_or((address, sockets, errors))
        })
        .await;
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    });
}
