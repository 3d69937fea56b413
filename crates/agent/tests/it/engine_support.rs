//! Engines over a fake host, objects, news and waiting for tests of the engine.

use crate::link::sh;
use novanet_agent::dhcp::DhcpServers;
use novanet_agent::engine::{Engine, Subsystems, Timing};
use novanet_agent::fake::{FakeDhcp, FakeHost, FakeInstances};
use novanet_agent::firewall::Firewall;
use novanet_agent::link::Links;
use novanet_model::object::{
    Binding, Bridge, Dhcp, FloatingIp, Gateway, Group, Instance, Member, Port, ProjectAddress,
    Rule, port_name,
};
use novanet_model::rule::{Ports, Source, Traffic};
use novanet_model::wire::{Change, Objects};
use novanet_model::{
    CombinationId, GroupId, HostObject, IfName, InstanceId, MacAddr, NetworkId, ProjectNumber,
    RuleId,
};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

pub(crate) fn bridge(network: i64, name: &str) -> HostObject {
    HostObject::Bridge(Bridge {
        network: NetworkId(network),
        bridge: IfName::new(name).unwrap(),
        interface: None,
        vlan: None,
        mtu: None,
        foreign: false,
        cidr: None,
    })
}

pub(crate) fn gateway(network: i64, name: &str) -> HostObject {
    HostObject::Gateway(Gateway {
        network: NetworkId(network),
        bridge: IfName::new(name).unwrap(),
        address: format!("10.0.{network}.1/24").parse().unwrap(),
    })
}

pub(crate) fn dhcp(network: i64, name: &str) -> HostObject {
    HostObject::Dhcp(Dhcp {
        network: NetworkId(network),
        bridge: IfName::new(name).unwrap(),
        server: format!("10.0.{network}.1").parse().unwrap(),
        cidr: format!("10.0.{network}.0/24").parse().unwrap(),
        start: format!("10.0.{network}.2").parse().unwrap(),
        lease_seconds: 120,
        domain: "novalocal".to_owned(),
        dns: Vec::new(),
    })
}

pub(crate) fn float(n: u32, fixed: u32) -> HostObject {
    HostObject::FloatingIp(FloatingIp {
        address: Ipv4Addr::from(0xcb00_0000 + n),
        fixed: Ipv4Addr::from(0x0a00_0000 + fixed),
        interface: None,
    })
}

pub(crate) fn group(group: i64) -> HostObject {
    HostObject::Group(Group {
        group: GroupId(group),
        project: ProjectNumber(1),
    })
}

pub(crate) fn rule(group: i64, rule: i64, port: u16) -> HostObject {
    HostObject::Rule(Rule {
        rule: RuleId(rule),
        group: GroupId(group),
        traffic: Traffic::Tcp(Ports {
            from: port,
            to: port,
        }),
        source: Source::Cidr("0.0.0.0/0".parse().unwrap()),
    })
}

pub(crate) fn member(group: i64, n: u32) -> HostObject {
    HostObject::Member(Member {
        group: GroupId(group),
        address: Ipv4Addr::from(0x0a00_0000 + n),
    })
}

pub(crate) fn project_address(n: u32) -> HostObject {
    HostObject::ProjectAddress(ProjectAddress {
        project: ProjectNumber(1),
        address: Ipv4Addr::from(0x0a00_0000 + n),
    })
}

/// The port of an instance; ports of one combination share an item of the firewall.
pub(crate) fn port(instance: i64, bridge: &str, combination: i64) -> HostObject {
    HostObject::Port(Port {
        instance: InstanceId(instance),
        index: 0,
        network: NetworkId(1),
        name: port_name(InstanceId(instance), 0),
        bridge: IfName::new(bridge).unwrap(),
        mac: mac(instance),
        address: address(instance),
        siblings: Vec::new(),
        combination: CombinationId(combination),
        groups: vec![GroupId(combination)],
    })
}

pub(crate) fn binding(instance: i64, bridge: &str) -> HostObject {
    HostObject::Binding(Binding {
        network: NetworkId(1),
        bridge: IfName::new(bridge).unwrap(),
        mac: mac(instance),
        address: address(instance),
        hostname: format!("host-{instance}"),
        instance: InstanceId(instance),
    })
}

pub(crate) fn instance(instance: i64, boot: i64) -> HostObject {
    HostObject::Instance(Instance {
        instance: InstanceId(instance),
        hostname: format!("host-{instance}"),
        image: "sha256:00".to_owned(),
        memory_mb: 64,
        vcpus: 1,
        disk_gb: 0,
        ports: 1,
        boot,
        injected: None,
        more_injected: Vec::new(),
    })
}

fn mac(instance: i64) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, u8::try_from(instance).unwrap()])
}

fn address(instance: i64) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0002 + u32::try_from(instance).unwrap())
}

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
    engine.take(list(1, objects));
    in_force(&engine, 1).await;
    (state, engine)
}

/// An engine that has applied this first list.
pub(crate) async fn started(host: &FakeHost, objects: &[HostObject]) -> Engine {
    let engine = start(host);
    engine.take(list(1, objects));
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
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
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
