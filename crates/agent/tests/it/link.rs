//! Links on a real kernel.

use crate::subsystem::{Driven, bridge, gateway, name, port, settings};
use novanet_agent::link::{Links, attach};
use novanet_agent::settings::Settings;
use novanet_lab::{Host, HostOptions, eventually_async, inside_host};
use novanet_model::object::{Bridge, HostObject};
use novanet_reconcile::{Desired, Subsystem};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Runs a test as a process in a host of its own, on a runtime like the agent's.
pub(crate) fn inside<F: Future>(body: impl FnOnce() -> F) {
    inside_host(&HostOptions::default(), || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(body());
    })
    .unwrap();
}

pub(crate) fn sh(script: &str) -> String {
    let output = std::process::Command::new("sh")
        .args(["-ec", script])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Output of `ip -d address` for a device (or all), without timers.
pub(crate) fn picture(device: &str) -> String {
    sh(&format!(
        "ip -d address show {device} | sed -E 's/[a-z_]+_timer +[0-9.]+//g; s/ tentative//'"
    ))
}

/// Waits until the subsystem notifies of a change by others.
pub(crate) async fn noticed(changed_externally: &Notify, what: &str) {
    let said = tokio::time::timeout(Duration::from_secs(20), changed_externally.notified());
    said.await
        .unwrap_or_else(|_| panic!("nobody noticed: {what}"));
}

/// Waits until no notification is pending.
pub(crate) async fn quiet(changed_externally: &Notify) {
    let pause = Duration::from_millis(200);
    while tokio::time::timeout(pause, changed_externally.notified())
        .await
        .is_ok()
    {}
}

pub(crate) struct State {
    folder: tempfile::TempDir,
}

impl State {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn settings(&self) -> Settings {
        settings(self.path())
    }

    pub(crate) fn links(&self) -> Driven<Links> {
        Driven::new(Links::new(&self.settings()).unwrap())
    }
}

#[test]
fn a_network_gets_its_bridge_and_gateway_and_loses_them_again() {
    inside(|| async {
        sh("sysctl -qw net.ipv4.ip_forward=0 net.bridge.bridge-nf-call-ip6tables=0");
        let before = sh("ip -d address; ip route show table all; sysctl net.ipv4.ip_forward");
        let state = State::new();
        let mut links = state.links();
        links.want(&bridge(1, "br100"));
        links.want(&gateway(1, "br100", "10.0.0.1/24"));
        links.converge().await;

        let link = sh("ip -d link show dev br100");
        for part in [
            ",UP",
            "novanet:bridge:br100",
            "forward_delay 0",
            "stp_state 0",
            &Settings::bridge_mac(&name("br100")).to_string(),
        ] {
            assert!(link.contains(part), "{part} in {link}");
        }
        let address = sh("ip -4 address show");
        assert!(
            address.contains("inet 10.0.0.1/24 brd 10.0.0.255 scope global br100"),
            "{address}"
        );
        assert!(!address.contains("169.254.169.254"), "{address}");
        assert_eq!(
            sh(
                "sysctl -n net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables"
            ),
            "1\n1\n1\n"
        );

        // Everything is removed, and the settings have their old values.
        let mut links = state.links();
        links.desired = Desired::new(Vec::new());
        links.converge().await;
        assert_eq!(
            before,
            sh("ip -d address; ip route show table all; sysctl net.ipv4.ip_forward")
        );
    });
}

#[test]
fn a_foreign_bridge_under_novanets_name_is_an_error_and_stays_as_it_is() {
    inside(|| async {
        sh(
            "ip link add dev br100 type bridge stp_state 1; ip address add 172.16.0.1/16 dev br100; ip link add dev nv1 type veth peer name other",
        );
        let before = sh("ip -d address show");
        let state = State::new();
        let mut links = state.links();
        links.want(&bridge(1, "br100"));
        links.want(&HostObject::Port(port(1, "br100")));
        let failed = links.round().await;
        let texts: Vec<_> = failed.iter().map(|(k, e)| format!("{k}: {e}")).collect();
        assert_eq!(
            texts,
            [
                "bridge br100: bridge br100: the name is taken by a bridge that novanet did not make; \
             rename or remove it, or give the network another bridge name",
                "port nv1: port nv1: the name is taken by a veth that novanet did not make; \
             remove or rename it (ip link set nv1 name …)",
            ]
        );
        links.desired = Desired::new(Vec::new());
        links.round().await;
        assert_eq!(before, sh("ip -d address show"));
    });
}

#[test]
fn a_flat_networks_bridge_is_waited_for_and_never_made_or_removed() {
    inside(|| async {
        let state = State::new();
        let mut links = state.links();
        let flat = HostObject::Bridge(Bridge {
            network: novanet_model::NetworkId(1),
            bridge: name("br100"),
            interface: None,
            vlan: None,
            mtu: None,
            foreign: true,
            cidr: None,
        });
        links.want(&flat);
        let failed = links.round().await;
        assert_eq!(failed.len(), 1);
        assert!(
            failed[0]
                .1
                .to_string()
                .contains("the administrator makes it"),
            "{}",
            failed[0].1
        );

        links.changes().await; // the subsystem knows what it waits for
        let changed_externally = links.subsystem.changed_externally();
        sh("ip link add dev br100 type bridge");
        noticed(&changed_externally, "a link that came").await;
        links.converge().await;
        links.drop_object(&flat);
        links.converge().await;
        sh("ip link show dev br100");
    });
}

#[test]
fn a_device_under_the_name_of_a_refused_bridge_is_left_and_its_end_is_noticed() {
    inside(|| async {
        let state = State::new();
        let mut links = state.links();
        sh(
            "ip link add dev br100 type bridge; ip address add 10.0.0.1/24 dev br100; ip link set br100 up",
        );
        let before = picture("dev br100");
        let objects = [
            bridge(1, "br100"),
            gateway(1, "br100", "10.0.0.1/24"),
            HostObject::Port(port(1, "br100")),
        ];
        for object in &objects {
            links.want_unavailable(object);
        }
        links.settled().await; // nothing to do, whatever is there
        let foreign_devices = links.subsystem.foreign_devices().unwrap();
        let stranger = foreign_devices.get(&name("br100")).unwrap();
        assert!(stranger.is_bridge);
        assert_eq!(stranger.what, "a bridge that novanet did not make");
        assert!(foreign_devices.contains_key(&name("lo")));

        let changed_externally = links.subsystem.changed_externally();
        quiet(&changed_externally).await;
        sh("ip link set dev br100 down; ip link set dev br100 name br7");
        noticed(&changed_externally, "the stranger has another name").await;
        sh("ip link set dev br7 up");
        assert_eq!(before.replace("br100", "br7"), picture("dev br7"));
        sh("ip link add dev br100 type veth peer name other");
        links.settled().await;
        quiet(&changed_externally).await;
        sh("ip link delete dev br100");
        noticed(&changed_externally, "the stranger has gone").await;
        links.settled().await;
        assert!(
            !links
                .subsystem
                .foreign_devices()
                .unwrap()
                .contains_key(&name("br100"))
        );

        for object in &objects {
            links.want(object);
        }
        links.converge().await;
        assert!(
            !links
                .subsystem
                .foreign_devices()
                .unwrap()
                .contains_key(&name("br100"))
        );
    });
}

#[test]
fn a_gateway_address_goes_on_a_bridge_of_novanets_only() {
    inside(|| async {
        let state = State::new();
        let mut links = state.links();
        sh("ip link add dev br100 type bridge");
        // The bridge was novanet's at the last observation.
        links.want(&gateway(1, "br100", "10.0.0.1/24"));
        let failed = links.round().await;
        let texts: Vec<_> = failed.iter().map(|(_, e)| e.to_string()).collect();
        assert_eq!(
            texts,
            ["address 10.0.0.1/24: br100 is a bridge that novanet did not make"]
        );
        assert!(!sh("ip address show dev br100").contains("10.0.0.1"));
    });
}

#[test]
fn an_attached_instance_is_in_the_bridge_with_its_mac_and_stays_there() {
    inside(|| async {
        let state = State::new();
        let mut links = state.links();
        let nv1 = port(1, "br100");
        links.want(&bridge(1, "br100"));
        links.want(&gateway(1, "br100", "10.0.0.9/24"));
        links.want(&HostObject::Port(nv1.clone()));
        links.converge().await; // without an instance there is nothing to plug

        let vm = Host::new("vm").unwrap();
        let pid = i32::try_from(vm.pid()).unwrap();
        attach(&nv1, pid, "eth0").await.unwrap();
        let first = sh("cat /sys/class/net/nv1/ifindex");
        attach(&nv1, pid, "eth0").await.unwrap();
        assert_eq!(
            first,
            sh("cat /sys/class/net/nv1/ifindex"),
            "a second plug makes no second cable"
        );
        links.settled().await;
        assert!(
            vm.run(&["cat", "/sys/class/net/eth0/address"])
                .unwrap()
                .stdout
                .contains("02:16:3e:00:00:01")
        );
        vm.sh("ip address add 10.0.0.1/24 dev eth0; ip link set dev eth0 up")
            .unwrap();
        eventually_async(Duration::from_secs(20), || async {
            vm.sh("ping -c1 -W1 10.0.0.9").map(drop)
        })
        .await
        .unwrap();

        // Others rebuild the bridge: it is noticed, and made again with its port.
        let changed_externally = links.subsystem.changed_externally();
        sh("ip link del dev br100");
        noticed(&changed_externally, "a bridge that went").await;
        links.converge().await;
        eventually_async(Duration::from_secs(20), || async {
            vm.sh("ping -c1 -W1 10.0.0.9").map(drop)
        })
        .await
        .unwrap();

        // Hairpin off, down, out of the bridge: each is noticed and repaired.
        for damage in [
            "bridge link set dev nv1 hairpin off",
            "ip link set dev nv1 group default",
            "ip link set dev nv1 down",
            "ip link set dev nv1 nomaster",
        ] {
            quiet(&changed_externally).await;
            sh(damage);
            noticed(&changed_externally, damage).await;
            links.converge().await;
        }

        // The instance's next run, before the kernel removed the namespace of the last one.
        let again = Host::new("again").unwrap();
        attach(&nv1, i32::try_from(again.pid()).unwrap(), "eth0")
            .await
            .unwrap();
        assert!(vm.sh("ip link show dev eth0").is_err());
        again.sh("ip link show dev eth0").unwrap();
        links.drop_object(&HostObject::Port(nv1));
        links.converge().await;
        assert!(!sh("ip link").contains("nv1"));
    });
}

#[test]
fn a_hundred_ports_are_removed_at_once() {
    inside(|| async {
        let state = State::new();
        let mut links = state.links();
        let vm = Host::new("vm").unwrap();
        let ports: Vec<_> = (1..=100).map(|i| port(i, "br100")).collect();
        links.want(&bridge(1, "br100"));
        links.converge().await;
        for port in &ports {
            links.want(&HostObject::Port(port.clone()));
            attach(
                port,
                i32::try_from(vm.pid()).unwrap(),
                &format!("eth{}", port.instance.0),
            )
            .await
            .unwrap();
        }
        links.settled().await;
        sh("ip link add dev mine type veth peer name other");
        for port in ports {
            links.drop_object(&HostObject::Port(port));
        }
        // A bound for a busy machine; the benchmark has the figure.
        let began = Instant::now();
        links.converge().await;
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?}",
            began.elapsed()
        );
        assert!(!sh("ip link").contains(": nv"));
        sh("ip link show dev mine");
    });
}
