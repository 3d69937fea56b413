//! A bridge of novanet's whose alias others removed: it gets its alias again if it surely is the
//! bridge that novanet made. Otherwise it stays as it is, with the command that gives it back.

use crate::engine_support as cloud;
use crate::engine_support::eventually;
use crate::link::{State, inside, noticed, quiet, sh};
use crate::subsystem::{bridge, gateway, name};
use novanet_agent::link::{Adopted, adopt};
use novanet_lab::Quickest;
use novanet_reconcile::{Desired, Subsystem};
use std::time::{Duration, Instant};

const GIVE_BACK: &str = "ip link set dev br100 alias novanet:bridge:br100";

fn alias() -> String {
    let text = std::fs::read_to_string("/sys/class/net/br100/ifalias").unwrap();
    text.trim().to_owned()
}

#[test]
fn a_removed_alias_of_a_bridge_is_shown_and_restored() {
    inside(|| async {
        sh("ip link add dev eth1 type veth peer name far1; ip address add 192.0.2.9/24 dev eth1");
        let state = State::new();
        let mut settings = state.settings();
        // With an uplink the bridge has the uplink's MAC.
        for uplink in [None, Some(name("eth1"))] {
            settings.flat_interface = uplink;
            let subsystem = || novanet_agent::link::Links::new(&settings).unwrap();
            let mut links = crate::subsystem::Driven::new(subsystem());
            links.want(&bridge(1, "br100"));
            links.want(&gateway(1, "br100", "10.0.0.1/24"));
            links.round().await;
            links.converge().await;

            let changed_externally = links.subsystem.changed_externally();
            quiet(&changed_externally).await;
            sh("ip link set dev br100 alias ''");
            noticed(&changed_externally, "a mark that was taken").await;
            let changes = links.changes().await;
            assert_eq!(changes.len(), 1, "{changes:?}");
            let from = changes[0].from.as_ref().unwrap().to_string();
            assert!(from.ends_with(" without novanet's mark"), "{from}");
            assert!(
                !links
                    .subsystem
                    .foreign_devices()
                    .unwrap()
                    .contains_key(&name("br100"))
            );
            links.converge().await;
            assert_eq!(alias(), "novanet:bridge:br100");

            // A new agent recognises it by the record, also if it only has to remove it.
            sh("ip link set dev br100 alias ''");
            let mut links = crate::subsystem::Driven::new(subsystem());
            links.desired = Desired::new(Vec::new());
            links.converge().await;
            assert!(!sh("ip address").contains("br100"));
            assert!(!state.path().join("links").exists(), "notes are left");
        }
        assert!(sh("ip address show dev eth1").contains("192.0.2.9/24"));
    });
}

#[test]
fn a_record_that_could_not_be_written_is_written_as_soon_as_it_can() {
    inside(|| async {
        sh("mount -t tmpfs -o size=64k none /mnt; mkdir /mnt/links");
        let settings = crate::subsystem::settings("/mnt".as_ref());
        let subsystem = || novanet_agent::link::Links::new(&settings).unwrap();
        let mut links = crate::subsystem::Driven::new(subsystem());
        links.want(&bridge(1, "br100"));
        sh("head -c 65536 /dev/zero >/mnt/full || true");
        links.round().await;
        links.changes().await; // the bridge exists and cannot be recorded
        let note = || std::fs::read_to_string("/mnt/links/bridge-br100").unwrap_or_default();
        assert_eq!(note(), "");
        sh("rm /mnt/full");
        links.changes().await;
        assert_ne!(note(), "");
        // So a new agent recognises it.
        sh("ip link set dev br100 alias ''");
        let mut links = crate::subsystem::Driven::new(subsystem());
        links.want(&bridge(1, "br100"));
        links.converge().await;
        assert_eq!(alias(), "novanet:bridge:br100");
    });
}

#[test]
fn a_bridge_that_may_be_foreign_is_left_and_the_error_has_the_command_that_gives_it_back() {
    inside(|| async {
        let state = State::new();
        let mut links = state.links();
        links.want(&bridge(1, "br100"));
        links.converge().await;
        let mac = sh("cat /sys/class/net/br100/address");
        let told = |what: &str| {
            format!(
                "bridge br100: bridge br100: the name is taken by a bridge {what} \
                     (give it back: {GIVE_BACK}); rename or remove it, \
                     or give the network another bridge name"
            )
        };
        let again = format!(
            "ip link delete dev br100; ip link add dev br100 address {} type bridge",
            mac.trim()
        );
        let theirs = "with alias \"mine\" in the place of novanet's mark";
        for (how, what) in [
            // A bridge with another alias is foreign.
            ("ip link set dev br100 alias mine", theirs),
            // Another device, although it looks like novanet's.
            (again.as_str(), "that has lost novanet's mark"),
        ] {
            sh(how);
            let before = sh("ip -d link show dev br100 | sed -E 's/[a-z_]+_timer +[0-9.]+//g'");
            let failed = links.round().await;
            let failed: Vec<_> = failed.iter().map(|(k, e)| format!("{k}: {e}")).collect();
            assert_eq!(failed, [told(what)]);
            let after = sh("ip -d link show dev br100 | sed -E 's/[a-z_]+_timer +[0-9.]+//g'");
            assert_eq!(before, after);
            sh(GIVE_BACK);
            links.converge().await;
        }
        // For a bridge that never looked like novanet's there is no such command.
        sh("ip link delete dev br100; ip link add dev br100 type bridge");
        let failed = links.round().await;
        assert!(!failed[0].1.to_string().contains("alias"), "{failed:?}");
    });
}

#[test]
fn a_network_whose_bridge_got_another_alias_runs_again_as_soon_as_it_is_given_back() {
    inside(|| async {
        let objects = [cloud::bridge(1, "br100"), cloud::gateway(1, "br100")];
        let (_state, engine) = cloud::real(&objects).await;
        let mut quickest = Quickest::within(Duration::from_secs(5));
        while quickest.again().unwrap() {
            sh("ip link set dev br100 alias mine");
            let says_how = |text: &str| text.lines().any(|line| line.contains(GIVE_BACK));
            eventually("the error that says how", || {
                let errors = cloud::errors(&engine);
                let told = errors.iter().any(|(_, error)| says_how(error));
                told.then_some(()).ok_or(errors)
            })
            .await;
            let plan = engine.plan(true).await.unwrap();
            assert!(says_how(&plan), "{plan}");
            sh(GIVE_BACK);
            let given = Instant::now();
            cloud::no_error(&engine).await;
            quickest.took(given.elapsed());
            let plan = engine.plan(true).await.unwrap();
            assert!(plan.starts_with("links\n  nothing differs\n"), "{plan}");
        }
    });
}

#[test]
fn a_foreign_bridge_is_adopted_by_command_only_with_the_gateway_and_not_the_hosts_addresses() {
    inside(|| async {
        // As nova-network left it, with an address of the administrator's beside.
        sh("ip link add dev br100 type bridge; ip link set dev br100 up
            ip address add 10.0.0.1/24 dev br100; ip address add 192.0.2.9/24 dev br100
            ip link add dev dum type veth peer name dump; ip link add dev mine type bridge
            ip link set dev mine alias 'of the administrator'");
        let state = State::new();
        let mut links = state.links();
        links.want(&bridge(1, "br100"));
        links.want(&gateway(1, "br100", "10.0.0.1/24"));
        let failed = links.round().await;
        assert!(
            failed[0].1.to_string().contains("is taken by a bridge"),
            "{failed:?}"
        );
        let gateway = ["10.0.0.1/24".parse().unwrap()];
        for (device, why) in [
            ("dum", "only a bridge or a VLAN device"),
            ("mine", "of another program: take it away first"),
            ("br7", "is not there"),
        ] {
            let refused = adopt(&name(device), &gateway).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        assert_eq!(adopt(&name("br100"), &gateway), Ok(Adopted::Tagged));
        assert_eq!(adopt(&name("br100"), &gateway), Ok(Adopted::Already));
        links.converge().await;
        assert_eq!(alias(), "novanet:bridge:br100");

        // What is not wanted any more goes, but for what is the host's.
        links.desired = Desired::new(Vec::new());
        let failed = links.round().await;
        let kept = failed
            .iter()
            .map(|(_, e)| e.to_string())
            .collect::<String>();
        assert!(kept.contains("192.0.2.9/24 is on it"), "{kept}");
        assert!(!sh("ip address show dev br100").contains("10.0.0.1/24"));
        sh("ip address delete 192.0.2.9/24 dev br100");
        links.converge().await;
        assert!(!sh("ip link").contains("br100"));
        assert!(sh("ip link").contains("mine"));
    });
}
