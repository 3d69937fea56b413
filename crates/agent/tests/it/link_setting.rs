//! Kernel settings of the host and of the interfaces between which packets of instances go.

use crate::link::{State, inside, noticed, quiet, sh};
use crate::subsystem::{Driven, bridge, gateway, settings};
use novanet_agent::link::Links;
use novanet_reconcile::{Desired, Subsystem};

fn forwarding(interface: &str) -> String {
    let path = format!("/proc/sys/net/ipv4/conf/{interface}/forwarding");
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

fn off(interface: &str) {
    sh(&format!(
        "sysctl -qw net.ipv4.conf.{interface}.forwarding=0"
    ));
}

#[test]
fn forwarding_that_is_turned_off_is_noticed_shown_repaired_and_in_the_end_restored() {
    inside(|| async {
        sh(
            "ip link add dev eth0 type veth peer name far0; sysctl -qw net.ipv4.ip_forward=1; \
                sysctl -qw net.ipv4.conf.default.forwarding=0",
        );
        off("eth0");
        let state = State::new();
        let mut links = state.links();
        links.converge().await;
        assert_eq!(forwarding("eth0"), "1");
        links.want(&bridge(1, "br100"));
        links.round().await;
        // The watch sets it on a bridge that was made without it, as on one where it was turned
        // off.
        links.converge().await;
        assert_eq!(forwarding("br100"), "1");

        let changed_externally = links.subsystem.changed_externally();
        for interface in ["eth0", "br100"] {
            quiet(&changed_externally).await;
            off(interface);
            noticed(&changed_externally, "forwarding was turned off").await;
            let changes = links.changes().await;
            let shown: Vec<_> = changes
                .iter()
                .map(|c| format!("{}: {:?}", c.key, c.from.as_ref().map(ToString::to_string)))
                .collect();
            let expected = format!("sysctl net.ipv4.conf.{interface}.forwarding: Some(\"0\")");
            assert_eq!(shown, [expected]);
            links.converge().await;
            assert_eq!(forwarding(interface), "1");
        }

        let mut links = state.links();
        links.desired = Desired::new(Vec::new());
        links.converge().await;
        assert_eq!(forwarding("eth0"), "0");
        assert!(!state.path().join("links").exists(), "notes are left");
    });
}

#[test]
fn a_setting_stays_as_it_is_until_its_old_value_is_recorded() {
    inside(|| async {
        sh("sysctl -qw net.ipv4.ip_forward=0; mount -t tmpfs -o size=4k none /mnt");
        sh("head -c 4096 /dev/zero >/mnt/full");
        let settings = settings("/mnt".as_ref());
        let mut links = Driven::new(Links::new(&settings).unwrap());
        // A failed try leaves no file that the next one would take for the record.
        for _ in 0..2 {
            let failed = links.round().await;
            let texts: Vec<_> = failed.iter().map(|(_, e)| e.to_string()).collect();
            let why = "write /mnt/links/sysctl-net.ipv4.ip_forward: No space left on device";
            assert!(texts.iter().any(|text| text.contains(why)), "{texts:?}");
            assert_eq!(sh("sysctl -n net.ipv4.ip_forward"), "0\n");
        }
        sh("rm /mnt/full");
        links.converge().await;
        assert_eq!(sh("sysctl -n net.ipv4.ip_forward"), "1\n");
        links.desired = Desired::new(Vec::new());
        links.converge().await;
        assert_eq!(sh("sysctl -n net.ipv4.ip_forward; ls /mnt"), "0\n");
    });
}

#[test]
fn a_cleanup_says_before_what_each_setting_goes_back_to() {
    inside(|| async {
        let all = "net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables \
                       net.bridge.bridge-nf-call-ip6tables";
        sh(
            "ip link add dev eth0 type veth peer name far0; sysctl -qw net.ipv4.ip_forward=0; \
                sysctl -qw net.bridge.bridge-nf-call-iptables=0; \
                sysctl -qw net.bridge.bridge-nf-call-ip6tables=1",
        );
        let before = sh(&format!("sysctl {all}"));
        let state = State::new();
        let mut links = state.links();
        links.converge().await;
        links.desired = Desired::new(Vec::new());
        let shown: Vec<_> = links.changes().await.into_iter().rev().collect();
        let shown: Vec<_> = shown
            .iter()
            .map(|c| format!("{}: {}", c.key, c.from.as_ref().unwrap()))
            .collect();
        // A setting that was on before novanet stays on.
        let expected = [
            "sysctl net.bridge.bridge-nf-call-iptables: 1, goes back to 0",
            "sysctl net.ipv4.ip_forward: 1, goes back to 0",
            // The kernel turns off that of each interface with it.
        ];
        assert_eq!(shown, expected);
        links.converge().await;
        assert_eq!(before, sh(&format!("sysctl {all}")));
    });
}

#[test]
fn the_forwarding_of_a_foreign_bridge_under_novanets_name_stays_as_it_is() {
    inside(|| async {
        sh("ip link add dev br100 type bridge");
        let state = State::new();
        let mut links = state.links();
        links.round().await;
        off("br100");
        links.want(&bridge(1, "br100"));
        let failed: Vec<_> = links.round().await.into_iter().map(|f| f.0).collect();
        let keys: Vec<_> = failed.iter().map(ToString::to_string).collect();
        assert_eq!(keys, ["bridge br100"]);
        assert_eq!(forwarding("br100"), "0");
        // When the bridge is novanet's, it forwards.
        sh("ip link delete dev br100; sysctl -qw net.ipv4.conf.default.forwarding=0");
        links.round().await;
        links.converge().await;
        assert_eq!(forwarding("br100"), "1");
    });
}

#[test]
fn the_settings_of_a_bridge_are_restored_and_those_of_all_are_left_to_others() {
    inside(|| async {
        // Strict for all: without a larger value of its own the bridge would be strict too.
        sh("sysctl -qw net.ipv4.conf.all.rp_filter=1");
        let state = State::new();
        let mut links = state.links();
        links.want(&bridge(1, "br100"));
        links.converge().await;
        let names = [
            ("rp_filter", "2", "1"),
            ("arp_ignore", "0", "8"),
            ("arp_filter", "0", "1"),
            ("proxy_arp", "0", "1"),
            ("proxy_arp_pvlan", "0", "1"),
            ("route_localnet", "0", "1"),
        ];
        let path = |name: &str| format!("/proc/sys/net/ipv4/conf/br100/{name}");
        let is = |name: &str| std::fs::read_to_string(path(name)).unwrap();
        let changed_externally = links.subsystem.changed_externally();
        quiet(&changed_externally).await;
        for (name, right, wrong) in names {
            assert_eq!(is(name).trim(), right, "{name}");
            sh(&format!("echo {wrong} >{}", path(name)));
        }
        noticed(&changed_externally, "settings of a bridge").await;
        let changes = links.changes().await;
        let shown: Vec<_> = changes
            .iter()
            .map(|c| format!("{}: {}", c.key, c.from.as_ref().unwrap()))
            .collect();
        for (name, _, wrong) in names {
            let line = format!("sysctl net.ipv4.conf.br100.{name}: {wrong}");
            assert!(shown.contains(&line), "{line} in {shown:?}");
        }
        links.converge().await;
        for (name, right, _) in names {
            assert_eq!(is(name).trim(), right, "{name}");
        }
        assert_eq!(sh("sysctl -n net.ipv4.conf.all.rp_filter"), "1\n");
    });
}

#[test]
fn a_gateway_without_arp_answers_is_an_error_with_the_setting_and_is_right_after_it_is_undone() {
    inside(|| async {
        let state = State::new();
        let mut links = state.links();
        links.want(&bridge(1, "br100"));
        links.want(&gateway(1, "br100", "10.0.0.1/24"));
        links.converge().await;
        sh("sysctl -qw net.ipv4.conf.all.arp_ignore=8");
        for _ in 0..2 {
            let failed = links.round().await;
            let failed: Vec<_> = failed.iter().map(|(k, e)| format!("{k}: {e}")).collect();
            let why = "address 10.0.0.1 on br100: address 10.0.0.1/24: no instance gets an answer to ARP \
                       for it, because sysctl net.ipv4.conf.all.arp_ignore is 8: set it to 0, 1 or 2";
            assert_eq!(failed, [why]);
        }
        sh("sysctl -qw net.ipv4.conf.all.arp_ignore=2");
        links.settled().await;
    });
}
