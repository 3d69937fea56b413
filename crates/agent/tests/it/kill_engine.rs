//! A whole agent with its real subsystems is killed, by SIGKILL, while it makes one state of a host
//! out of another: after its first action, after its second …, and at moments drawn by lot. The
//! next agent ends in the same state as one that was not killed.

use crate::engine_support::{eventually, list};
use crate::instance::parts::{self, VethAttacher, sh};
use crate::subsystem;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use novanet_agent::dhcp::DhcpServers;
use novanet_agent::firewall::Firewall;
use novanet_agent::link::Links;
use novanet_agent::runtime::Engine;
use novanet_agent::settings::Settings;
use novanet_lab::{HostOptions, eventually_async, inside_host, this_test};
use novanet_model::HostObject;
use novanet_model::wire::InstanceState;
use novanet_reconcile::{
    Change, Desired, FirewallGate, Inspect, Subsystem, SubsystemError, Subsystems, Timing,
};
use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Set in the agent that is to be killed: where it keeps its state.
const STATE: &str = "NOVANET_TEST_KILLED_AGENT";

/// Which state it comes from and goes to, and when it dies.
const WAY: &str = "NOVANET_TEST_KILLED_WAY";

/// How many more actions the subsystems may do.
#[derive(Clone)]
struct KillAfter(Arc<AtomicUsize>);

impl KillAfter {
    fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(usize::MAX)))
    }

    fn set(&self, actions: usize) {
        self.0.store(actions, Ordering::SeqCst);
    }

    /// Takes so many actions, or as many as are left.
    fn take(&self, actions: usize) -> usize {
        let less = |left: usize| Some(left.saturating_sub(actions));
        let order = Ordering::SeqCst;
        let left = self.0.fetch_update(order, order, less).unwrap();
        left.min(actions)
    }
}

/// A subsystem that kills the agent after so many actions.
struct Killable<R> {
    subsystem: R,
    kill_after: KillAfter,
}

impl<R: Subsystem> Subsystem for Killable<R> {
    type Key = R::Key;
    type Value = R::Value;
    const NAME: &'static str = R::NAME;

    fn base_items(&self) -> Vec<(R::Key, R::Value)> {
        self.subsystem.base_items()
    }

    fn items(&self, object: &HostObject) -> Vec<(R::Key, R::Value)> {
        self.subsystem.items(object)
    }

    fn changed_externally(&self) -> Arc<Notify> {
        self.subsystem.changed_externally()
    }

    async fn observe(
        &mut self,
        desired: &Desired<R::Key, R::Value>,
    ) -> Result<BTreeMap<R::Key, R::Value>, SubsystemError> {
        self.subsystem.observe(desired).await
    }

    async fn apply(
        &mut self,
        changes: &[Change<R::Key, R::Value>],
        desired: &Desired<R::Key, R::Value>,
    ) -> Vec<(R::Key, SubsystemError)> {
        let may = self.kill_after.take(changes.len());
        let failed = self.subsystem.apply(&changes[..may], desired).await;
        if may < changes.len() {
            die();
        }
        failed
    }
}

impl<R: Inspect> Inspect for Killable<R> {
    fn describe(value: &R::Value) -> String {
        R::describe(value)
    }

    async fn show(&mut self) -> Result<String, SubsystemError> {
        self.subsystem.show().await
    }

    async fn finish(&mut self) {
        self.subsystem.finish().await;
    }

    fn set_firewall_gate(&mut self, firewall_gate: FirewallGate) {
        self.subsystem.set_firewall_gate(firewall_gate);
    }

    async fn in_use(&mut self) -> Result<String, SubsystemError> {
        self.subsystem.in_use().await
    }
}

fn die() -> ! {
    kill(Pid::this(), Signal::SIGKILL).unwrap();
    unreachable!("that cannot be caught")
}

/// Runs an agent's engine while `work` lasts.
async fn agent<T>(
    settings: &Settings,
    kill_after: &KillAfter,
    work: impl AsyncFnOnce(&Engine) -> T,
) -> T {
    let (sender, mut reports) = mpsc::unbounded_channel();
    let kill_after = || kill_after.clone();
    let subsystems = Subsystems {
        links: Killable {
            subsystem: Links::new(settings).unwrap(),
            kill_after: kill_after(),
        },
        firewall: Killable {
            subsystem: Firewall::new(settings).unwrap(),
            kill_after: kill_after(),
        },
        dhcp: Killable {
            subsystem: DhcpServers::new(settings).unwrap(),
            kill_after: kill_after(),
        },
        instances: Killable {
            subsystem: parts::subsystem(settings, sender, Arc::new(VethAttacher)),
            kill_after: kill_after(),
        },
    };
    let (engine, workers) = Engine::new(subsystems, None, &Timing::default());
    // Ends when the instances subsystem has ended with its worker.
    let hear = async {
        while let Some(report) = reports.recv().await {
            engine.report(report);
        }
    };
    let work = async {
        let done = work(&engine).await;
        engine.stop();
        done
    };
    tokio::join!(workers.run(), work, hear).1
}

/// All of it in force, all that should run running.
async fn reaches(engine: &Engine, version: i64, objects: &[HostObject]) {
    engine.merge(list(version, objects));
    eventually("the state without errors", || {
        let status = engine.status();
        let running = |object: &HostObject| match object {
            HostObject::Instance(wanted) => status
                .instances
                .iter()
                .any(|i| i.instance == wanted.instance && i.state == InstanceState::Running),
            _ => true,
        };
        let clean = status.version >= version && status.errors.is_empty();
        (clean && objects.iter().all(running))
            .then_some(())
            .ok_or(status)
    })
    .await;
}

/// The two states between which a host goes to and fro.
fn states(instances: bool) -> [Vec<HostObject>; 2] {
    let network = vec![
        subsystem::bridge(1, "br100"),
        subsystem::gateway(1, "br100", "10.0.0.1/24"),
        subsystem::dhcp(1, "br100", "10.0.0.0/24", [10, 0, 0, 1]),
    ];
    let with = |number: i64, group: i64| {
        let mut port = parts::port(number, 0);
        port.groups = vec![novanet_model::GroupId(group)];
        port.combination = novanet_model::CombinationId(group);
        let low = u8::try_from(number).unwrap();
        let mut binding = subsystem::binding(1, "br100", low, [10, 0, 0, low + 1], "vm");
        if let HostObject::Binding(binding) = &mut binding {
            binding.mac = port.mac;
        }
        let machine = instances.then(|| HostObject::Instance(parts::instance(number)));
        [HostObject::Port(port), binding].into_iter().chain(machine)
    };
    // A network that gets another gateway, and, while an instance is in it, another bridge.
    let modified = |bridge: &str, gateway: u8| {
        let mut port = parts::port(3, 0);
        port.network = novanet_model::NetworkId(3);
        // In no group, so not of the combination of the instance that is in group 1.
        port.combination = novanet_model::CombinationId(3);
        port.bridge = bridge.parse().unwrap();
        port.address = [10, 0, 3, 9].into();
        let address = format!("10.0.3.{gateway}/24");
        let mut all = vec![
            subsystem::bridge(3, bridge),
            subsystem::gateway(3, bridge, &address),
            subsystem::dhcp(3, bridge, "10.0.3.0/24", [10, 0, 3, gateway]),
            HostObject::Port(port),
        ];
        all.extend(instances.then(|| HostObject::Instance(parts::instance(3))));
        all
    };
    let mut one = network.clone();
    one.extend(modified("br300", 1));
    one.extend(with(1, 1));
    one.extend([
        crate::engine_support::group(1),
        crate::engine_support::rule(1, 1, 22),
        crate::engine_support::member(1, 2),
        subsystem::float([203, 0, 113, 1]),
    ]);
    let mut other = network;
    other.extend(modified(if instances { "br301" } else { "br300" }, 254));
    other.extend(with(2, 2));
    other.extend([
        subsystem::bridge(2, "br101"),
        subsystem::gateway(2, "br101", "10.0.2.1/24"),
        subsystem::dhcp(2, "br101", "10.0.2.0/24", [10, 0, 2, 1]),
        crate::engine_support::group(2),
        crate::engine_support::rule(2, 2, 80),
        crate::engine_support::member(2, 3),
        subsystem::float([203, 0, 113, 2]),
    ]);
    [one, other]
}

/// The host's state, in the words of tools that know nothing of novanet.
fn dump(state: &Path) -> String {
    let addresses = "ip -o addr show | awk '{print $2, $4}' | grep -v fe80 | sort";
    let links = "ip -o link | sed 's/^[0-9]*: //; s/ state [A-Z]*//; s/@[^:]*:/:/' \
        | grep -o '^[^:]*:\\|master [a-z0-9]*\\|alias .*' | paste -sd' '";
    // The generation of the flows is another one when rules were written anew.
    let rules = "nft -s list ruleset | tr ',{}' '\\n' | sed 's/^[ \\t]*//; s/[ \\t]*$//' \
        | grep -v '^ct mark\\|^$' | sort";
    let dnsmasq = "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$f 2>/dev/null; echo; done \
        | grep ^dnsmasq | sort";
    let mut text = String::new();
    for line in [
        addresses,
        links,
        "ip -4 route show table all | sed 's/ linkdown//' | sort",
        rules,
    ] {
        text += &sh(line);
    }
    text += &sh(&format!("{dnsmasq} || true"));
    text += &sh(&format!(
        "cd {}/networks && grep -r --exclude=*.pid --exclude=*.bound . . | sort",
        state.display()
    ));
    text
}

/// One host, two states, and agents that die on the way from one to the other.
struct Deaths {
    settings: Settings,
    states: [Vec<HostObject>; 2],
    right: [String; 2],
}

impl Deaths {
    async fn new(state: &Path, instances: bool) -> Self {
        sh(
            "ip link add eth0 type veth peer name outside && ip link set eth0 up && \
            ip link set outside up && ip address add 192.0.2.1/24 dev eth0",
        );
        let mut deaths = Self {
            settings: subsystem::settings(state),
            states: states(instances),
            right: Default::default(),
        };
        // The first time rules and sets are made that stay: only then is a state right.
        for to in [0, 1, 0, 1, 0] {
            deaths.right[to] = deaths.next_agent(to).await;
        }
        assert_ne!(deaths.right[0], deaths.right[1]);
        deaths
    }

    /// Runs an agent to its end from the present state. Returns the state then.
    async fn next_agent(&self, to: usize) -> String {
        let settings = &self.settings;
        agent(settings, &KillAfter::new(), async |engine| {
            reaches(engine, 1, &self.states[to]).await;
            eventually_async(Duration::from_mins(1), || async {
                let differs = engine.plan(true).await.unwrap();
                let settled = differs.matches("nothing differs").count() == 4;
                settled.then_some(()).ok_or(differs)
            })
            .await
            .unwrap();
        })
        .await;
        dump(&settings.state_path)
    }

    /// An agent that is killed on its way, `when`: `after 3` actions or `within 700` microseconds.
    /// Whether it died.
    fn killed_agent(&self, to: usize, when: &str) -> bool {
        let test = this_test().unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &test, "--nocapture", "--test-threads=1"])
            .env(STATE, &self.settings.state_path)
            .env(WAY, format!("{} {to} {when}", 1 - to))
            // The harness in it would say there that a test has passed.
            .stdout(Stdio::null())
            .status()
            .unwrap();
        let died = status.signal() == Some(Signal::SIGKILL as i32);
        assert!(died || status.success(), "{status}");
        died
    }

    /// Whether the next agent ends in the right state.
    async fn next_is_right(&self, to: usize, when: &str) {
        let there = self.next_agent(to).await;
        let (there, right): (Vec<_>, Vec<_>) =
            (there.lines().collect(), self.right[to].lines().collect());
        let only = |one: &[&str], other: &[&str]| {
            let missing = one.iter().filter(|line| !other.contains(line));
            missing.map(|line| (*line).to_owned()).collect::<Vec<_>>()
        };
        let (more, less) = (only(&there, &right), only(&right, &there));
        assert!(
            there == right,
            "killed {when} on the way to {to}: more {more:#?}, less {less:#?}"
        );
    }
}

/// The agent that is killed.
async fn go_and_die(settings: Settings, way: &str, instances: bool) {
    let words: Vec<&str> = way.split(' ').collect();
    let number = |n: usize| words[n].parse::<usize>().unwrap();
    let states = states(instances);
    let (from, to) = (&states[number(0)], &states[number(1)]);
    let kill_after = KillAfter::new();
    agent(&settings, &kill_after, async |engine| {
        reaches(engine, 1, from).await;
        if words[2] == "after" {
            kill_after.set(number(3));
        } else {
            let life = Duration::from_micros(number(3).try_into().unwrap());
            std::thread::spawn(move || {
                std::thread::sleep(life);
                die();
            });
        }
        reaches(engine, 2, to).await;
    })
    .await;
}

fn on_a_host(instances: bool, body: impl AsyncFnOnce(Deaths)) {
    let inside = || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        if let Some(state) = std::env::var_os(STATE) {
            let way = std::env::var(WAY).unwrap();
            let settings = subsystem::settings(Path::new(&state));
            runtime.block_on(go_and_die(settings, &way, instances));
            return;
        }
        let state = tempfile::tempdir().unwrap();
        runtime.block_on(async {
            body(Deaths::new(state.path(), instances).await).await;
        });
    };
    inside_host(&HostOptions::default(), inside).unwrap();
}

#[test]
fn killed_after_any_action_of_any_real_subsystem_the_next_agent_ends_in_the_same_state() {
    on_a_host(false, async |deaths| {
        let mut actions = 0;
        loop {
            let mut deaths_now = 0;
            for to in [1, 0] {
                let when = format!("after {actions}");
                deaths_now += usize::from(deaths.killed_agent(to, &when));
                deaths.next_is_right(to, &when).await;
            }
            if deaths_now == 0 {
                break;
            }
            actions += 1;
        }
        assert!(actions > 15, "{actions} actions prove little");
    });
}

#[test]
fn killed_at_any_moment_the_next_agent_ends_in_the_same_state_with_its_instances() {
    on_a_host(true, async |deaths| {
        let mut died = 0;
        for round in 0..6_u64 {
            for to in [1, 0] {
                // Most of the work is done early.
                let life =
                    [300, 2_000, 8_000, 20_000, 60_000, 150_000][usize::try_from(round).unwrap()];
                let when = format!("within {life}");
                died += usize::from(deaths.killed_agent(to, &when));
                deaths.next_is_right(to, &when).await;
            }
        }
        assert!(died > 3, "only {died} died");
    });
}
