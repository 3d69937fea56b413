//! Two networks whose bridges want one uplink, or one bridge in two ways: the first by key has it,
//! and the other gets an error.

use crate::engine_support::{delta, eventually, list, reached};
use crate::link::{State, sh};
use crate::subsystem::name;
use novanet_agent::link::Links;
use novanet_agent::runtime::Engine;
use novanet_agent::settings::Settings;
use novanet_model::HostObject;
use novanet_model::object::Bridge;
use novanet_reconcile::fake::{FakeDhcp, FakeFirewall, FakeHost, FakeInstances};
use novanet_reconcile::{Reconciler, Subsystems, Timing};
use tokio::time::Instant;

/// In a host with a public interface, for which it would wait otherwise.
fn inside<F: Future>(body: impl FnOnce() -> F) {
    crate::link::inside(|| {
        sh("ip link add dev eth0 type veth peer name outside");
        body()
    });
}

const WHY: &str = "interface eth1 is the uplink of bridge br100 (network 1) and cannot be that of \
                   bridge br101 (network 2) too: create one of the two networks with another \
                   bridge_interface, or both with the same bridge";

/// Bridge of a network; the interface is the network's own, or the host's `flat_interface`.
fn bridge(network: i64, bridge: &str, interface: Option<&str>) -> HostObject {
    let HostObject::Bridge(plain) = crate::subsystem::bridge(network, bridge) else {
        unreachable!("a bridge is a bridge");
    };
    HostObject::Bridge(Bridge {
        interface: interface.map(name),
        ..plain
    })
}

fn interface() {
    sh(
        "ip link add dev eth1 type veth peer name far1; ip link set dev far1 up; \
        ip link set dev eth1 up; ip address add 192.0.2.10/24 dev eth1; \
        ip route add default via 192.0.2.1 dev eth1",
    );
}

fn master() -> String {
    let text = sh("ip -o link show dev eth1");
    let found = text.split("master ").nth(1);
    let found = found.and_then(|rest| rest.split_whitespace().next());
    found.unwrap_or("nobody").to_owned()
}

/// The device with the host's own address, and that of its default route.
fn addressed() -> (String, String) {
    let word = |text: &str, after: &str| {
        let rest = text.split(after).nth(1).unwrap_or_default().to_owned();
        rest.split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let address = sh("ip -o address show to 192.0.2.10");
    let route = sh("ip route show default");
    (word(&address, ": "), word(&route, "dev "))
}

async fn right(links: &mut Reconciler<Links>, owner: &str, told: &[(&str, &str)]) {
    let round = links.settle(Instant::now()).await;
    assert_eq!(round.failed, 0, "{:?}", links.errors());
    // Nothing flaps: another observation finds no difference.
    for _ in 0..3 {
        assert!(links.difference().await.unwrap().is_empty());
        assert!(links.round(Instant::now()).await.is_quiet());
        assert_eq!(master(), owner);
        assert_eq!(addressed(), (owner.to_owned(), owner.to_owned()));
    }
    let errors: Vec<_> = links
        .errors()
        .into_iter()
        .map(|(key, message)| (key.0, message))
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|(key, message)| ((*key).to_owned(), format!("links uplink eth1: {message}")))
        .collect();
    assert_eq!(errors, told);
}

#[test]
fn the_first_network_keeps_the_uplink_and_the_second_gets_an_error() {
    inside(|| async {
        interface();
        let state = State::new();
        let mut links = Reconciler::new(Links::new(&state.settings()).unwrap());
        let (one, two) = (
            bridge(1, "br100", Some("eth1")),
            bridge(2, "br101", Some("eth1")),
        );
        links.set_objects([&one, &two]);
        right(&mut links, "br100", &[("bridge/2", WHY)]).await;
        // It becomes the other network's, with its addresses, when the first does not want it any
        // more.
        links.change(&one.key(), None);
        right(&mut links, "br101", &[]).await;
        links.change(&one.key(), Some(&one));
        right(&mut links, "br100", &[("bridge/2", WHY)]).await;
        // The conflict is resolved.
        let elsewhere = bridge(2, "br100", Some("eth1"));
        links.change(&two.key(), Some(&elsewhere));
        right(&mut links, "br100", &[]).await;
    });
}

#[test]
fn a_network_that_gets_another_bridge_takes_its_uplink_along() {
    inside(|| async {
        interface();
        let state = State::new();
        let mut links = Reconciler::new(Links::new(&state.settings()).unwrap());
        let before = bridge(1, "br100", Some("eth1"));
        links.set_objects([&before]);
        right(&mut links, "br100", &[]).await;
        links.change(&before.key(), Some(&bridge(1, "br107", Some("eth1"))));
        right(&mut links, "br107", &[]).await;
        assert!(!sh("ip link").contains("br100"));
    });
}

#[test]
fn a_plan_shows_who_does_not_get_the_hosts_flat_interface() {
    inside(|| async {
        interface();
        let state = State::new();
        let settings = Settings {
            flat_interface: Some(name("eth1")),
            vlan_interface: name("eth0"),
            ..state.settings()
        };
        let fake = FakeHost::new();
        let subsystems = Subsystems {
            links: Links::new(&settings).unwrap(),
            firewall: fake.subsystem::<FakeFirewall>(),
            dhcp: fake.subsystem::<FakeDhcp>(),
            instances: fake.subsystem::<FakeInstances>(),
        };
        let (engine, workers) = Engine::new(subsystems, None, &Timing::default());
        tokio::spawn(workers.run());
        let second = bridge(2, "br101", None);
        engine.merge(list(1, &[bridge(1, "br100", None), second.clone()]));
        reached(&engine, 1).await;
        told(&engine, 1).await;
        let plan = engine.plan(true).await.unwrap();
        let refused = format!("links\n  refuse uplink eth1 to bridge/2: {WHY}\nfirewall\n");
        assert!(plan.starts_with(&refused), "{plan}");
        engine.merge(delta(2, &[], &[&second]));
        reached(&engine, 2).await;
        told(&engine, 0).await;
        let plan = engine.plan(true).await.unwrap();
        assert!(plan.starts_with("links\n  nothing differs\n"), "{plan}");
        engine.stop();
    });
}

#[test]
fn the_first_network_keeps_the_mtu_of_a_shared_bridge_and_the_second_gets_an_error() {
    inside(|| async {
        let with = |network, mtu| {
            let HostObject::Bridge(plain) = bridge(network, "br100", None) else {
                unreachable!("a bridge is a bridge");
            };
            HostObject::Bridge(Bridge { mtu, ..plain })
        };
        let state = State::new();
        let mut links = Reconciler::new(Links::new(&state.settings()).unwrap());
        links.set_objects([&with(1, Some(1400)), &with(2, Some(9000))]);
        links.settle(Instant::now()).await;
        assert!(sh("ip -o link show br100").contains("mtu 1400"));
        let why = "links bridge br100: bridge br100 has MTU 1400 (network 1) and cannot have MTU 9000 \
                       (network 2) too: give both networks the same mtu, or one of them another bridge";
        let told = |links: &Reconciler<Links>| links.errors().into_iter().collect::<Vec<_>>();
        let second = with(2, None).key();
        assert_eq!(told(&links), [(second.clone(), why.to_owned())]);
        links.change(&second, Some(&with(2, None)));
        let why = why.replace("MTU 9000", "the kernel's MTU");
        assert_eq!(told(&links), [(second.clone(), why)]);
        links.change(&second, Some(&with(2, Some(1400))));
        assert_eq!(told(&links), []);
    });
}

async fn told(engine: &Engine, errors: usize) {
    eventually("the errors", || {
        let status = engine.status();
        (status.errors.len() == errors).then_some(()).ok_or(status)
    })
    .await;
}

#[test]
fn a_flat_and_a_flatdhcp_network_do_not_share_a_bridge_and_the_second_gets_an_error() {
    inside(|| async {
        let state = State::new();
        let mut links = Reconciler::new(Links::new(&state.settings()).unwrap());
        let ours = bridge(1, "br100", None);
        let HostObject::Bridge(plain) = bridge(2, "br100", None) else {
            unreachable!("a bridge is a bridge");
        };
        let flat = HostObject::Bridge(Bridge {
            foreign: true,
            ..plain
        });
        links.set_objects([&ours, &flat]);
        let round = links.settle(Instant::now()).await;
        assert_eq!(round.failed, 0, "{:?}", links.errors());
        let errors = links.errors();
        let (key, why) = errors.iter().next().unwrap();
        assert_eq!((errors.len(), key.0.as_str()), (1, "bridge/2"));
        let both = "bridge br100 cannot be made by the administrator (flat network 2) and by novanet \
                    (network 1)";
        assert!(why.contains(both), "{why}");
    });
}
