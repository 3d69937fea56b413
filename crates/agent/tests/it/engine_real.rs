//! The agent with its real subsystems, in a host of its own, against a server that speaks the
//! protocol.

use crate::engine_support as cloud;
use crate::engine_support::eventually;
use crate::link::inside;
use crate::protocol_server::Cloud;
use crate::subsystem;
use novanet_agent::link::attach;
use novanet_agent::local;
use novanet_agent::runtime::{
    AgentError, Offline, Options, offline, run_with, saved_settings, saved_settings_path,
};
use novanet_agent::server_client::ServerAddress;
use novanet_agent::settings::Settings;
use novanet_lab::{Quickest, eventually_async};
use novanet_model::HostObject;
use novanet_model::wire::{Answer, HostRole, Question};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Agent {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), AgentError>>,
}

impl Agent {
    fn start(settings: &Settings) -> Self {
        let (stop, stopped) = oneshot::channel();
        let server = ServerAddress::Unix(settings.state_path.join("server.sock"));
        let options = Options {
            roles: vec![HostRole::Network],
            ..Options::default()
        };
        let running = run_with(settings.clone(), options, server, async {
            let _ = stopped.await;
        });
        let task = tokio::spawn(running);
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{line}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

async fn shows(line: &str, part: &str, there: bool) {
    eventually(&format!("{part} in {line} ({there})"), || {
        let text = sh(line);
        if text.contains(part) == there {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await;
}

async fn in_force(cloud: &Cloud, version: i64) {
    eventually("the version without errors", || {
        let last = cloud.state().statuses.last().cloned();
        let clean = last
            .as_ref()
            .is_some_and(|s| s.version >= version && s.errors.is_empty());
        if clean { Ok(()) } else { Err(last) }
    })
    .await;
}

fn objects() -> Vec<HostObject> {
    vec![
        cloud::bridge(1, "br100"),
        cloud::gateway(1, "br100"),
        cloud::dhcp(1, "br100"),
        cloud::float(1, 3),
    ]
}

const QUIET: &str = "links\n  nothing differs\nfirewall\n  nothing differs\n\
                     dhcp\n  nothing differs\ninstance\n  nothing differs\n";

/// Asks the agent that runs until it says so.
async fn nothing_differs(settings: &Settings) {
    eventually_async(Duration::from_secs(20), || async {
        let question = Question::Plan { diff: true };
        match local::ask(&settings.state_path, &question).await {
            Ok(Answer::Text { text }) if text == QUIET => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
}

async fn a_life(settings: Settings) {
    // An interface as a machine has one, and things that are not ours.
    sh(
        "ip link add eth0 type veth peer name outside && ip link set eth0 up && ip link set outside up",
    );
    sh("ip address add 192.0.2.1/24 dev eth0; sysctl -qw net.ipv4.ip_forward=0");
    sh("ip link add foreign0 type bridge && nft add table ip foreign");
    let cloud = Cloud::new();
    let version = cloud.change(&objects(), &[]);
    let _serving = cloud.serve(&settings.state_path.join("server.sock"));

    let agent = Agent::start(&settings);
    in_force(&cloud, version).await;
    shows("ip address show dev br100", "10.0.1.1/24", true).await;
    shows("nft -s list ruleset", "203.0.0.1 counter : 10.0.0.3", true).await;
    let dnsmasq = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '";
    shows(dnsmasq, "dnsmasq", true).await;

    nothing_differs(&settings).await;
    let mut quickest = Quickest::within(Duration::from_millis(500));
    while quickest.again().unwrap() {
        let began = Instant::now();
        sh("nft delete table ip nova");
        shows("nft -s list ruleset", "203.0.0.1 counter : 10.0.0.3", true).await;
        quickest.took(began.elapsed());
    }
    let mut quickest = Quickest::within(Duration::from_secs(5));
    while quickest.again().unwrap() {
        let began = Instant::now();
        sh("ip link delete br100");
        shows("ip address", "10.0.1.1/24", true).await;
        quickest.took(began.elapsed());
    }
    // The DNS server is bound to the bridge that went, and comes after the new one.
    nothing_differs(&settings).await;

    let version = cloud.change(&[cloud::float(2, 9)], &[&cloud::float(1, 3)]);
    in_force(&cloud, version).await;
    shows("nft -s list ruleset", "203.0.0.2 counter : 10.0.0.9", true).await;
    shows("nft list ruleset", "203.0.0.1", false).await;

    agent.stop().await;
    shows("nft -s list ruleset", "203.0.0.2 counter : 10.0.0.9", true).await;
    shows("ip address", "10.0.1.1/24", true).await;
    shows(dnsmasq, "dnsmasq", true).await;

    let planned = offline(&settings, Offline::Plan { diff: true })
        .await
        .unwrap();
    assert_eq!(planned.as_deref(), Ok(QUIET));
    // `host plan` without the agent's flags reads its settings from its folder, as root only.
    let kept = saved_settings(&settings.state_path);
    assert_eq!(kept.as_ref(), Some(&settings));
    let mode = std::fs::metadata(saved_settings_path(&settings.state_path)).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    let cleaned = offline(
        &settings,
        Offline::Cleanup {
            dry_run: true,
            force: true,
        },
    )
    .await
    .unwrap()
    .unwrap();
    let back = "  remove sysctl net.ipv4.ip_forward: 1, goes back to 0\n";
    assert!(cleaned.contains(back), "{cleaned}");
    let cleaned = offline(
        &settings,
        Offline::Cleanup {
            dry_run: false,
            force: true,
        },
    )
    .await
    .unwrap();
    let cleaned = cleaned.unwrap();
    assert!(cleaned.contains("br100"), "{cleaned}");
    assert!(!sh("ip address").contains("br100"));
    shows(dnsmasq, "dnsmasq", false).await;
    let rules = sh("nft list ruleset");
    assert_eq!(
        rules.trim(),
        "table ip foreign {\n}",
        "only what is foreign is left"
    );
    assert!(sh("ip link").contains("foreign0"));
}

#[test]
fn a_real_host_is_made_repaired_left_alone_and_cleaned_up() {
    inside(|| async {
        let dir = tempfile::tempdir().unwrap();
        a_life(subsystem::settings(dir.path())).await;
    });
}

/// How long the administrator's bridge is away.
const AWAY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(8)];

#[test]
fn ports_are_back_in_an_administrators_bridge_within_five_seconds_of_its_return() {
    inside(|| async {
        let dir = tempfile::tempdir().unwrap();
        let settings = subsystem::settings(dir.path());
        sh("ip link add eth0 type veth peer name outside && ip link set eth0 up");
        let bridge = "ip link add br200 type bridge; ip link set br200 up; \
                      ip address add 10.8.0.1/24 dev br200";
        sh(bridge);
        let cloud = Cloud::new();
        let port = subsystem::port(2, "br200");
        let flat = HostObject::Bridge(novanet_model::object::Bridge {
            network: port.network,
            bridge: port.bridge.clone(),
            interface: None,
            vlan: None,
            mtu: None,
            foreign: true,
            cidr: Some("10.8.0.0/24".parse().unwrap()),
        });
        let version = cloud.change(&[flat, HostObject::Port(port.clone())], &[]);
        let _serving = cloud.serve(&settings.state_path.join("server.sock"));
        let agent = Agent::start(&settings);
        let vm = novanet_lab::Host::new("vm").unwrap();
        let pid = i32::try_from(vm.pid()).unwrap();
        attach(&port, pid, "eth0").await.unwrap();
        in_force(&cloud, version).await;
        for away in AWAY {
            sh("ip link delete br200");
            shows("ip link show dev nv2", "master", false).await;
            tokio::time::sleep(away).await;
            assert!(!sh("ip link").contains("br200"), "no bridge of ours");
            sh(bridge);
            let began = Instant::now();
            shows("ip link show dev nv2", "master br200", true).await;
            assert!(began.elapsed() < Duration::from_secs(5), "{away:?}");
            in_force(&cloud, version).await;
        }
        agent.stop().await;
    });
}
