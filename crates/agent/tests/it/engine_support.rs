//! Engines over a fake host, objects, news and waiting for tests of the engine.

use crate::link::sh;
use novanet_agent::dhcp::DhcpServers;
use novanet_agent::firewall::Firewall;
use novanet_agent::link::Links;
use novanet_agent::runtime::Engine;
use novanet_model::HostObject;
use novanet_model::wire::{Change, Objects};
use novanet_reconcile::fake::{FakeDhcp, FakeHost, FakeInstances};
use novanet_reconcile::{Subsystems, Timing};
use std::path::Path;
use std::time::Duration;

pub(crate) use novanet_reconcile::fake::objects::{
    binding, bridge, dhcp, float, gateway, group, instance, member, port, rule,
};

/// A network with one instance.
pub(crate) fn small_cloud() -> Vec<HostObject> {
    vec![
        bridge(1, "br100"),
        gateway(1, "br100"),
        dhcp(1, "br100"),
        binding(1, "br100"),
        port(1, "br100", 1),
        instance(1, 0),
        group(1),
        rule(1, 1, 22),
        float(1, 3),
    ]
}

/// An engine whose subsystems are the host's.
pub(crate) fn start(host: &FakeHost) -> Engine {
    let (engine, workers) = Engine::new(host.subsystems(), None, &Timing::default());
    tokio::spawn(workers.run());
    engine
}

/// An engine over subsystems some of which are real, each worker in a task of its own, as the agent runs them.
macro_rules! engine_over {
    ($state:expr, $dhcp:expr) => {{
        let settings = crate::subsystem::settings($state);
        let dhcp = $dhcp;
        let subsystems = Subsystems {
            links: Links::new(&settings).unwrap(),
            firewall: Firewall::new(&settings).unwrap(),
            dhcp: dhcp(&settings),
            instances: FakeHost::new().subsystem::<FakeInstances>(),
        };
        let (engine, workers) = Engine::new(subsystems, None, &Timing::default());
        tokio::spawn(workers.links.run());
        tokio::spawn(workers.firewall.run());
        tokio::spawn(workers.dhcp.run());
        tokio::spawn(workers.instances.run());
        engine
    }};
}

/// An engine whose links and firewall are real.
pub(crate) fn start_real(state: &Path) -> Engine {
    engine_over!(state, |_| FakeHost::new().subsystem::<FakeDhcp>())
}

/// An engine whose links, firewall and DHCP are real.
pub(crate) fn start_with_dhcp(state: &Path) -> Engine {
    engine_over!(state, |settings| DhcpServers::new(settings).unwrap())
}

/// A public interface, as a machine has one.
pub(crate) fn machine() {
    sh("ip link set dev lo up; ip link add eth0 type veth peer name outside; ip link set eth0 up");
    sh("ip link set outside up; ip address add 192.0.2.1/24 dev eth0");
}

/// A machine on which an engine, its links and firewall real, has these objects in force.
pub(crate) async fn real(objects: &[HostObject]) -> (tempfile::TempDir, Engine) {
    machine();
    let state = tempfile::tempdir().unwrap();
    let engine = start_real(state.path());
    engine.merge(list(1, objects));
    in_force(&engine, 1).await;
    (state, engine)
}

/// An engine that has applied this first list.
pub(crate) async fn started(host: &FakeHost, objects: &[HostObject]) -> Engine {
    let engine = start(host);
    engine.merge(list(1, objects));
    reached(&engine, 1).await;
    engine
}

/// A host on which an engine runs the small cloud.
pub(crate) async fn running() -> (FakeHost, Engine) {
    let host = FakeHost::new();
    let engine = started(&host, &small_cloud()).await;
    (host, engine)
}

/// A whole list at this version.
pub(crate) fn list(version: i64, objects: &[HostObject]) -> Objects {
    news(true, version, objects, &[])
}

/// What changed up to this version.
pub(crate) fn delta(version: i64, objects: &[HostObject], gone: &[&HostObject]) -> Objects {
    news(false, version, objects, gone)
}

fn news(whole: bool, version: i64, objects: &[HostObject], gone: &[&HostObject]) -> Objects {
    let there = objects.iter().map(|object| Change {
        key: object.key(),
        version,
        object: Some(object.clone()),
    });
    let gone = gone.iter().map(|object| Change {
        key: object.key(),
        version,
        object: None,
    });
    Objects {
        epoch: "e1".to_owned(),
        version,
        whole,
        changes: there.chain(gone).collect(),
        // A list of a test's replaces what is there, as after an operator's decision.
        accepts: Vec::from_iter(whole.then(|| "e1".to_owned())),
        questions: Vec::new(),
    }
}

/// Errors of a status as text.
pub(crate) fn errors(engine: &Engine) -> Vec<(String, String)> {
    let errors = engine.status().errors.into_iter();
    errors.map(|error| (error.key.0, error.message)).collect()
}

/// Waits until nothing fails any more.
pub(crate) async fn no_error(engine: &Engine) {
    eventually("no error", || {
        let errors = errors(engine);
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    })
    .await;
}

/// Waits until all is done up to this version, and nothing fails.
pub(crate) async fn in_force(engine: &Engine, version: i64) {
    reached(engine, version).await;
    no_error(engine).await;
}

/// Waits until the engine has done everything up to this version.
pub(crate) async fn reached(engine: &Engine, version: i64) {
    eventually(&format!("version {version}"), || {
        let status = engine.status();
        (status.version >= version).then_some(()).ok_or(status)
    })
    .await;
}

/// Waits until `check` is satisfied; shows its last state if that takes too long.
pub(crate) async fn eventually<T, S: std::fmt::Debug>(
    what: &str,
    mut check: impl FnMut() -> Result<T, S>,
) -> T {
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    loop {
        match check() {
            Ok(done) => return done,
            Err(state) => assert!(
                tokio::time::Instant::now() < deadline,
                "{what} was not reached: {state:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
