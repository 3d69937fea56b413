//! A cloud host with a bridge, instances of two projects on it, and an internet; and an agent that
//! does nothing but its firewall.

use anyhow::{Context, Result, ensure};
use ipnet::Ipv4Net;
use novanet_agent::firewall::{Firewall, Key, Value};
use novanet_agent::room::{Change, Desired, Room, RoomError, diff};
use novanet_agent::settings::{FloatingAddressMode, Settings};
use novanet_lab::{Host, HostOptions, connect};
use novanet_model::object::{
    Float, Gateway, Group, HostObject, Member, Port, ProjectAddress, Rule, port_name,
};
use novanet_model::rule::{Source, Traffic};
use novanet_model::{
    CombinationId, GroupId, IfName, InstanceId, MacAddr, NetworkId, ProjectNumber, RuleId,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub(crate) const PUBLIC: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
pub(crate) const OUTSIDE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 100);
pub(crate) const METADATA_PORT: u16 = 8775;
/// How long a packet that must not arrive is waited for.
const SILENCE: Duration = Duration::from_millis(150);

pub(crate) fn settings(state_path: &Path) -> Settings {
    Settings {
        host: "cloud".to_owned(),
        my_ip: PUBLIC,
        state_path: state_path.to_owned(),
        networks_path: state_path.join("networks"),
        public_interface: name("pub0"),
        flat_interface: None,
        routing_source_ip: PUBLIC,
        dmz_cidr: vec!["198.51.100.0/24".parse().unwrap()],
        floating_address_mode: FloatingAddressMode::Route,
        network_device_mtu: None,
        dns_server: Vec::new(),
        metadata_port: METADATA_PORT,
        dhcpbridge: Vec::new(),
        instance_uid_base: 100_000,
    }
}

pub(crate) fn name(text: &str) -> IfName {
    IfName::new(text).unwrap()
}

/// An instance: its number is in its MAC and its port's name, its address is `10.0.0.<number>`.
pub(crate) fn fixed(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

pub(crate) fn mac(number: u8) -> MacAddr {
    MacAddr([0x02, 0x16, 0x3e, 0, 0, number])
}

pub(crate) fn gateway() -> HostObject {
    HostObject::Gateway(Gateway {
        network: NetworkId(1),
        bridge: name("br100"),
        address: Ipv4Net::new(GATEWAY, 24).unwrap(),
    })
}

pub(crate) fn port(number: u8, combination: i64, groups: &[i64]) -> HostObject {
    let instance = InstanceId(number.into());
    HostObject::Port(Port {
        instance,
        index: 0,
        network: NetworkId(1),
        name: port_name(instance, 0),
        bridge: name("br100"),
        mac: mac(number),
        address: fixed(number),
        combination: CombinationId(combination),
        groups: groups.iter().copied().map(GroupId).collect(),
    })
}

pub(crate) fn group(group: i64, project: i64) -> HostObject {
    HostObject::Group(Group {
        group: GroupId(group),
        project: ProjectNumber(project),
    })
}

pub(crate) fn rule(rule: i64, group: i64, traffic: Traffic, source: Source) -> HostObject {
    HostObject::Rule(Rule {
        rule: RuleId(rule),
        group: GroupId(group),
        traffic,
        source,
    })
}

pub(crate) fn member(group: i64, number: u8) -> HostObject {
    HostObject::Member(Member {
        group: GroupId(group),
        address: fixed(number),
    })
}

pub(crate) fn project(project: i64, number: u8) -> HostObject {
    HostObject::ProjectAddress(ProjectAddress {
        project: ProjectNumber(project),
        address: fixed(number),
    })
}

pub(crate) fn float(last: u8, number: u8) -> HostObject {
    HostObject::Float(Float {
        address: public(last),
        fixed: fixed(number),
        interface: None,
    })
}

pub(crate) fn public(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, last)
}

pub(crate) fn tcp(from: u16, to: u16) -> Traffic {
    Traffic::Tcp(novanet_model::rule::Ports { from, to })
}

pub(crate) fn udp(from: u16, to: u16) -> Traffic {
    Traffic::Udp(novanet_model::rule::Ports { from, to })
}

pub(crate) const PING: Traffic = Traffic::Icmp {
    icmp_type: Some(8),
    code: None,
};

pub(crate) fn anywhere() -> Source {
    Source::Cidr("0.0.0.0/0".parse().unwrap())
}

/// Instances 3 and 4 of project 1 (group 1: members may talk, ping and tcp 22 from everywhere;
/// 4 is in group 2 too: udp 5000 and tcp 8000 to 8099), 5 of project 2 (group 3: members, tcp 22
/// from everywhere, tcp 3306 from group 2).
pub(crate) fn two_projects() -> Vec<HostObject> {
    vec![
        gateway(),
        group(1, 1),
        group(2, 1),
        group(3, 2),
        rule(1, 1, Traffic::Any, Source::Group(GroupId(1))),
        rule(2, 1, tcp(22, 22), anywhere()),
        rule(3, 1, PING, anywhere()),
        rule(4, 2, udp(5000, 5000), anywhere()),
        rule(5, 2, tcp(8000, 8099), anywhere()),
        rule(6, 3, Traffic::Any, Source::Group(GroupId(3))),
        rule(7, 3, tcp(3306, 3306), Source::Group(GroupId(2))),
        rule(8, 3, tcp(22, 22), anywhere()),
        port(3, 1, &[1]),
        port(4, 2, &[1, 2]),
        port(5, 3, &[3]),
        member(1, 3),
        member(1, 4),
        member(2, 4),
        member(3, 5),
        project(1, 3),
        project(1, 4),
        project(2, 5),
    ]
}

/// The agent's engine, as far as a firewall needs one.
pub(crate) struct Agent {
    pub(crate) firewall: Firewall,
    pub(crate) desired: Desired<Key, Value>,
}

pub(crate) type Failed = Vec<(Key, RoomError)>;
pub(crate) type Changes = Vec<Change<Key, Value>>;

impl Agent {
    pub(crate) fn start(host: &Host, state_path: &Path, objects: &[HostObject]) -> Result<Self> {
        let firewall = host.exec_in(|| Firewall::new(&settings(state_path)))??;
        let mut desired = Desired::new(firewall.base_items());
        for object in objects {
            desired.set_object(&object.key(), firewall.items(object));
        }
        Ok(Self { firewall, desired })
    }

    pub(crate) fn observe(&mut self, host: &Host) -> Result<BTreeMap<Key, Value>> {
        let Self { firewall, desired } = self;
        Ok(host.exec_in(|| block_on(firewall.observe(desired)))??)
    }

    pub(crate) fn differences(&mut self, host: &Host) -> Result<Changes> {
        let observed = self.observe(host)?;
        Ok(diff(&self.desired, &observed))
    }

    pub(crate) fn apply(&mut self, host: &Host, changes: &Changes) -> Result<Failed> {
        let Self { firewall, desired } = self;
        host.exec_in(|| block_on(firewall.apply(changes, desired)))
    }

    /// Observe, diff, apply, and nothing is left to do. Answers with what there was to do.
    pub(crate) fn converge(&mut self, host: &Host) -> Result<Changes> {
        let changes = self.differences(host)?;
        let failed = self.apply(host, &changes)?;
        ensure!(failed.is_empty(), "refused: {failed:?}");
        let left = self.differences(host)?;
        ensure!(left.is_empty(), "a second round would do: {left:?}");
        Ok(changes)
    }

    /// An object is there; only its own items are looked at, as the engine does.
    pub(crate) fn set(&mut self, host: &Host, object: &HostObject) -> Result<Failed> {
        let items = self.firewall.items(object);
        self.update(host, &object.key(), items)
    }

    pub(crate) fn unset(&mut self, host: &Host, object: &HostObject) -> Result<Failed> {
        self.update(host, &object.key(), Vec::new())
    }

    fn update(
        &mut self,
        host: &Host,
        key: &novanet_model::ObjectKey,
        items: Vec<(Key, Value)>,
    ) -> Result<Failed> {
        let before = self.desired.clone();
        let changes: Changes = self
            .desired
            .set_object(key, items)
            .into_iter()
            .map(|key| Change {
                from: before.get(&key).cloned(),
                to: self.desired.get(&key).cloned(),
                key,
            })
            .filter(|change| change.from != change.to)
            .collect();
        self.apply(host, &changes)
    }
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// The cables of it all.
pub(crate) struct World {
    pub(crate) cloud: Host,
    pub(crate) internet: Host,
    instances: BTreeMap<u8, Host>,
    state: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(numbers: &[u8]) -> Result<Self> {
        let cloud = cloud()?;
        let internet = Host::new("internet")?;
        connect(&cloud, "pub0", &internet, "eth0")?;
        cloud.sh(&format!("ip addr add {PUBLIC}/24 dev pub0"))?;
        internet.sh(&format!("ip addr add {OUTSIDE}/24 dev eth0"))?;
        let mut world = Self {
            cloud,
            internet,
            instances: BTreeMap::new(),
            state: tempfile::tempdir()?,
        };
        for number in numbers {
            world.plug(*number)?;
        }
        Ok(world)
    }

    fn plug(&mut self, number: u8) -> Result<()> {
        let instance = Host::new(&format!("i{number}"))?;
        let port = port_name(InstanceId(number.into()), 0);
        connect(&self.cloud, port.as_str(), &instance, "eth0")?;
        self.cloud.sh(&format!(
            "ip link set dev {port} master br100 && ip link set dev {port} type bridge_slave hairpin on"
        ))?;
        instance.sh(&format!(
            "ip link set dev eth0 address {} && ip addr add {}/24 dev eth0 && ip route add default via {GATEWAY}",
            mac(number),
            fixed(number)
        ))?;
        self.instances.insert(number, instance);
        Ok(())
    }

    pub(crate) fn instance(&self, number: u8) -> &Host {
        &self.instances[&number]
    }

    pub(crate) fn state_path(&self) -> &Path {
        self.state.path()
    }

    pub(crate) fn agent(&self, objects: &[HostObject]) -> Result<Agent> {
        Agent::start(&self.cloud, self.state_path(), objects)
    }

    /// The link room's part of a floating address.
    pub(crate) fn route(&self, last: u8) -> Result<()> {
        let address = public(last);
        self.cloud
            .sh(&format!("ip route add local {address} dev lo"))?;
        Ok(())
    }
}

/// A host with a bridge and nothing else.
pub(crate) fn cloud() -> Result<Host> {
    let options = HostOptions::default()
        .sysctl("net.bridge.bridge-nf-call-iptables", "1")
        .sysctl("net.bridge.bridge-nf-call-ip6tables", "1");
    let cloud = Host::with("cloud", &options)?;
    cloud.sh(&format!(
        "ip link add br100 type bridge forward_delay 0 && ip addr add {GATEWAY}/24 dev br100 && ip link set dev br100 up"
    ))?;
    Ok(cloud)
}

/// Whether a TCP connection from `from` to `address` comes about with `to` listening; and where it
/// comes from, as `to` sees it.
pub(crate) fn connects(
    from: &Host,
    to: &Host,
    address: Ipv4Addr,
    port: u16,
) -> Result<Option<IpAddr>> {
    let listener = to
        .exec_in(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))?
        .with_context(|| format!("{} listens on {port}", to.name()))?;
    listener.set_nonblocking(true)?;
    let target = SocketAddr::from((address, port));
    let stream = from.exec_in(|| TcpStream::connect_timeout(&target, SILENCE))?;
    if stream.is_err() {
        return Ok(None);
    }
    Ok(Some(listener.accept()?.1.ip()))
}

/// Whether a datagram arrives, and where from.
pub(crate) fn arrives(
    from: &Host,
    to: &Host,
    address: Ipv4Addr,
    port: u16,
) -> Result<Option<IpAddr>> {
    let receiver = to.exec_in(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)))??;
    receiver.set_read_timeout(Some(SILENCE))?;
    let sender = from.exec_in(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
    sender.send_to(b"hello", (address, port))?;
    let mut buffer = [0; 16];
    Ok(receiver
        .recv_from(&mut buffer)
        .ok()
        .map(|(_, peer)| peer.ip()))
}

/// Whether an echo request is answered.
pub(crate) fn pings(from: &Host, address: Ipv4Addr) -> Result<bool> {
    Ok(from
        .try_run(&["ping", "-n", "-c1", "-W0.3", &address.to_string()])?
        .success())
}
