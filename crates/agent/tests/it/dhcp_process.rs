//! The dnsmasq process is killed, adopted, bound to a removed bridge, stopped, removed.

use crate::dhcp_support::{Cloud, WEB, lease, range, servers, settings};
use crate::engine_support;
use crate::link::{inside, noticed, sh};
use crate::subsystem::{Driven, binding};
use novanet_agent::dhcp::DhcpServers;
use novanet_lab::Quickest;
use novanet_model::wire::LeaseChange;
use novanet_reconcile::{Desired, Subsystem};
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn a_killed_dnsmasq_is_back_within_five_seconds_and_knows_its_leases() {
    inside(|| async {
        let (mut cloud, vm) = Cloud::with_web().await;
        cloud.leased(&vm, 1).await;
        let changed_externally = cloud.dhcp.subsystem.changed_externally();
        let mut signals = ["KILL", "TERM"].into_iter().cycle();
        let mut quickest = Quickest::within(Duration::from_secs(5));
        while quickest.again().unwrap() {
            let signal = signals.next().unwrap();
            let before = cloud.pid();
            sh(&format!("kill -{signal} {before}"));
            let began = Instant::now();
            // At the first event its helper may still look like the server.
            noticed(&changed_externally, "the end of dnsmasq").await;
            while cloud.dhcp.changes().await.is_empty() {
                noticed(&changed_externally, "the end of its helper").await;
            }
            cloud.dhcp.converge().await;
            quickest.took(began.elapsed());
            assert_ne!(before, cloud.pid());
        }
        // It has the lease although the client did not ask again: releasing it is an event.
        let journal = cloud.dhcp.subsystem.journal();
        let events = journal.pending().unwrap().len();
        journal.acknowledge(events).unwrap();
        cloud.unbind(1, WEB, "web").await;
        cloud.told(LeaseChange::Released, WEB, 1).await;
    });
}

#[test]
fn a_restarted_agent_adopts_the_running_dnsmasq_and_kills_no_other_process() {
    inside(|| async {
        let (mut cloud, vm) = Cloud::with_web().await;
        let pid = cloud.pid();
        // The journal has the events of the time without an agent.
        drop(std::mem::replace(
            &mut cloud.dhcp,
            Driven::new(DhcpServers::new(&settings(cloud.state.path())).unwrap()),
        ));
        std::fs::remove_file(cloud.state.path().join("dhcp/agent.sock")).unwrap();
        lease(&vm).unwrap();
        cloud.dhcp.want(&range());
        cloud.dhcp.want(&binding(1, "br100", 1, WEB, "web"));
        cloud.restart();
        cloud.dhcp.settled().await;
        assert_eq!(pid, cloud.pid());
        cloud.told(LeaseChange::Leased, WEB, 1).await;

        // A pid file that names a foreign process: the agent neither adopts nor kills it, and finds
        // dnsmasq without it.
        let mut bystander = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        for text in [
            format!("{}\n", bystander.id()),
            "nonsense".to_owned(),
            String::new(),
        ] {
            std::fs::write(cloud.files().pid(), text).unwrap();
            cloud.restart();
            cloud.dhcp.converge().await;
            assert_eq!(pid, cloud.pid());
        }
        std::fs::remove_file(cloud.files().pid()).unwrap();
        cloud.restart();
        cloud.dhcp.converge().await;
        assert_eq!(pid, cloud.pid());
        sh(&format!("kill -0 {pid}"));

        std::fs::write(cloud.files().pid(), format!("{}\n", bystander.id())).unwrap();
        sh(&format!("kill -9 {pid}"));
        cloud.ended(pid).await;
        cloud.restart();
        cloud.dhcp.converge().await;
        assert!(bystander.try_wait().unwrap().is_none(), "it was killed");
        bystander.kill().unwrap();
        bystander.wait().unwrap();
    });
}

#[test]
fn a_bridge_made_again_gets_its_server_back() {
    inside(|| async {
        let (mut cloud, vm) = Cloud::with_web().await;
        let changed_externally = cloud.dhcp.subsystem.changed_externally();
        sh("ip link del dev br100");
        cloud.links.converge().await;
        noticed(&changed_externally, "a bridge made again").await;
        cloud.dhcp.converge().await;
        assert!(lease(&vm).unwrap().starts_with("10.0.0.3 "));
    });
}

#[test]
fn nothing_is_left_behind_and_a_foreign_dnsmasq_lives() {
    inside(|| async {
        let mut cloud = Cloud::new().await;
        cloud.bind(1, WEB, "web").await;
        let foreign = cloud.state.path().join("foreign.pid");
        sh(&format!(
            "ip link add dev br7 type bridge; ip address add 10.7.0.1/24 dev br7; ip link set br7 up; \
             dnsmasq --conf-file= --bind-interfaces --interface=br7 --except-interface=lo --pid-file={} \
             --dhcp-range=10.7.0.2,10.7.0.9,120s --dhcp-leasefile={}",
            foreign.display(),
            cloud.state.path().join("foreign.leases").display(),
        ));
        let pid = cloud.pid();
        cloud.restart();
        cloud.dhcp.desired = Desired::new(Vec::new());
        cloud.dhcp.converge().await;
        cloud.ended(pid).await;
        sh(&format!("kill -0 $(cat {})", foreign.display()));
        let left = sh(&format!(
            "ls {}",
            cloud.state.path().join("networks").display()
        ));
        assert_eq!(left.trim(), "");
    });
}

#[test]
fn wherever_an_apply_is_killed_the_next_round_ends_in_the_same_state() {
    inside(|| async {
        let mut cloud = Cloud::new().await;
        let vm = cloud.instance(1).await;
        cloud.dhcp.want(&binding(1, "br100", 1, WEB, "web"));
        let networks = cloud.state.path().join("networks");
        let keep = |file: &Path| std::fs::read(file).unwrap();

        // After writing the hosts, before the SIGHUP.
        let (hosts, names) = (cloud.files().hosts(), cloud.files().names());
        let old = (keep(&hosts), keep(&names));
        cloud.dhcp.converge().await;
        let new = (keep(&hosts), keep(&names));
        std::fs::write(&hosts, &old.0).unwrap();
        std::fs::write(&names, &old.1).unwrap();
        sh(&format!("kill -HUP {}", cloud.pid()));
        std::fs::write(&hosts, &new.0).unwrap();
        std::fs::write(&names, &new.1).unwrap();
        cloud.restart();
        cloud.dhcp.settled().await;
        assert!(lease(&vm).unwrap().starts_with("10.0.0.3 "));

        // Between writing one hosts file and the other; a temporary file may be left.
        std::fs::write(&names, &old.1).unwrap();
        std::fs::write(networks.join(".tmpABC"), "half a li").unwrap();
        cloud.restart();
        cloud.dhcp.converge().await;
        assert_eq!(keep(&names), new.1);

        // After the end of the old process; after the start of the new one, before its pid is
        // written.
        cloud.end("TERM").await;
        cloud.restart();
        cloud.dhcp.converge().await;
        std::fs::remove_file(cloud.files().bound()).unwrap();
        cloud.restart();
        cloud.dhcp.converge().await;
        assert_eq!(servers(), 1);

        // In the middle of a removal: the process ended, files left.
        cloud.end("TERM").await;
        cloud.restart();
        cloud.dhcp.desired = Desired::new(Vec::new());
        cloud.dhcp.converge().await;
        assert!(!hosts.exists());
    });
}

#[test]
fn dnsmasq_is_not_root_where_its_files_can_be_read_by_others() {
    inside(|| async {
        let mut cloud = Cloud::new().await;
        let uid = |pid: i32| {
            sh(&format!("grep ^Uid: /proc/{pid}/status"))
                .split_whitespace()
                .nth(2)
                .unwrap()
                .to_owned()
        };
        sh(&format!("chmod 700 {}", cloud.state.path().display()));
        cloud.dhcp.converge().await;
        assert_eq!(uid(cloud.pid()), "0");
        sh(&format!("chmod 755 {}", cloud.state.path().display()));
        cloud.dhcp.converge().await;
        assert_ne!(uid(cloud.pid()), "0");
        // It still reads its hosts on SIGHUP, and leases to them.
        let vm = cloud.instance(1).await;
        cloud.bind(1, WEB, "web").await;
        assert!(lease(&vm).unwrap().starts_with("10.0.0.3 "));
        cloud.told(LeaseChange::Leased, WEB, 1).await;
    });
}

#[test]
fn a_stopped_dnsmasq_is_shown_and_goes_on_with_its_helper() {
    inside(|| async {
        let (mut cloud, vm) = Cloud::with_web().await;
        let pid = cloud.pid();
        let helper = sh(&format!("cat /proc/{pid}/task/{pid}/children"));
        let helper = helper.trim();
        assert_ne!(helper, "", "it tells of leases by a helper");
        let server = pid.to_string();
        for (stopped, named) in [
            (server.clone(), server.as_str()),
            (helper.to_owned(), helper),
            (format!("{server} {helper}"), server.as_str()),
        ] {
            sh(&format!(
                "kill -STOP {stopped}; for pid in {stopped}; do \
                     until grep -q 'State:.T' /proc/$pid/status; do :; done; done"
            ));
            let changes = cloud.dhcp.changes().await;
            let shown: Vec<_> = changes
                .iter()
                .map(|c| c.from.as_ref().unwrap().to_string())
                .collect();
            let why = format!("dnsmasq {named} is stopped (by a signal) and serves nobody");
            assert_eq!(shown, [why]);
            cloud.dhcp.converge().await;
            assert_eq!(cloud.pid(), pid, "it was replaced");
        }
        cloud.leased(&vm, 1).await;
    });
}

#[test]
fn a_dnsmasq_that_another_program_keeps_stopping_is_replaced() {
    inside(|| async {
        let (mut cloud, vm) = Cloud::with_web().await;
        let before = cloud.pid();
        let keeps = format!("while kill -STOP {before}; do :; done");
        let mut somebody = std::process::Command::new("timeout")
            .args(["20", "sh", "-c", &keeps])
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Between two signals the agent may see it run.
        while cloud.pid() == before {
            cloud.dhcp.round().await;
        }
        somebody.wait().unwrap(); // it has no process to stop any more
        cloud.dhcp.converge().await;
        assert_ne!(cloud.pid(), before);
        cloud.leased(&vm, 1).await;
    });
}

#[test]
fn a_stopped_dnsmasq_serves_again_within_five_seconds() {
    inside(|| async {
        engine_support::machine();
        let state = tempfile::tempdir().unwrap();
        let engine = engine_support::start_with_dhcp(state.path());
        let objects = [
            engine_support::bridge(1, "br100"),
            engine_support::gateway(1, "br100"),
            engine_support::dhcp(1, "br100"),
        ];
        engine.merge(engine_support::list(1, &objects));
        engine_support::in_force(&engine, 1).await;
        let pid = std::fs::read_to_string(state.path().join("networks/nova-br100.pid"));
        let pid = pid.unwrap().trim().to_owned();
        let is_stopped = || sh(&format!("ps -o stat= -p {pid}")).starts_with('T');
        let mut quickest = Quickest::within(Duration::from_secs(5));
        while quickest.again().unwrap() {
            sh(&format!("kill -STOP {pid}"));
            let began = Instant::now();
            engine_support::eventually("it goes on", || {
                (!is_stopped()).then_some(()).ok_or("stopped")
            })
            .await;
            quickest.took(began.elapsed());
        }
    });
}
