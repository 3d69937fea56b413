//! A cloud host with a bridge, instances of two projects on it, and an internet; and an agent that
//! does nothing but its firewall.

use crate::firewall_objects::*;
use anyhow::{Context, Result, ensure};
use novanet_agent::firewall::{Firewall, Key, Value};
use novanet_agent::link::PORTS;
use novanet_lab::{Host, HostOptions, connect, eventually};
use novanet_model::InstanceId;
use novanet_model::object::{HostObject, port_name};
use novanet_reconcile::{Change, Desired, Subsystem, SubsystemError, diff};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a packet that must not arrive is waited for.
const SILENCE: Duration = Duration::from_millis(400);

/// The agent's engine, as far as a firewall needs one.
pub(crate) struct Agent {
    pub(crate) firewall: Firewall,
    pub(crate) desired: Desired<Key, Value>,
}

pub(crate) type Failed = Vec<(Key, SubsystemError)>;
pub(crate) type Changes = Vec<Change<Key, Value>>;

impl Agent {
    pub(crate) fn start(host: &Host, state_path: &Path, objects: &[HostObject]) -> Result<Self> {
        // Not inside: another thread runs that, without this test's driver.
        let settings = settings(state_path);
        let firewall = host.exec_in(|| Firewall::new(&settings))??;
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
        Self::on(cloud()?, numbers)
    }

    /// The same on this host.
    pub(crate) fn on(cloud: Host, numbers: &[u8]) -> Result<Self> {
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
            "ip link set dev {port} group {PORTS} && ip link set dev {port} master br100 && \
             ip link set dev {port} type bridge_slave hairpin on"
        ))?;
        instance.sh(&format!(
            "ip link set dev eth0 address {} && ip addr add {}/24 dev eth0 && \
             ip route add default via {GATEWAY}",
            mac(number),
            fixed(number)
        ))?;
        self.instances.insert(number, instance);
        Ok(())
    }

    pub(crate) fn instance(&self, number: u8) -> &Host {
        &self.instances[&number]
    }

    /// A machine that is not ours, on our bridge.
    pub(crate) fn foreign(&self, end: &str, address: Ipv4Addr) -> Result<Host> {
        let foreign = Host::new(end)?;
        connect(&self.cloud, end, &foreign, "eth0")?;
        self.cloud
            .sh(&format!("ip link set dev {end} master br100"))?;
        foreign.sh(&format!(
            "ip addr add {address}/24 dev eth0 && ip route add default via {GATEWAY}"
        ))?;
        Ok(foreign)
    }

    pub(crate) fn state_path(&self) -> &Path {
        self.state.path()
    }

    pub(crate) fn agent(&self, objects: &[HostObject]) -> Result<Agent> {
        Agent::start(&self.cloud, self.state_path(), objects)
    }

    /// The link subsystem's part of a floating address.
    pub(crate) fn route(&self, last: u8) -> Result<()> {
        let address = public(last);
        self.cloud
            .sh(&format!("ip route add local {address} dev lo"))?;
        Ok(())
    }
}

/// A host with a bridge and nothing else.
pub(crate) fn cloud() -> Result<Host> {
    cloud_with(HostOptions::default())
}

/// The same with more options.
pub(crate) fn cloud_with(options: HostOptions) -> Result<Host> {
    let options = options
        .sysctl("net.bridge.bridge-nf-call-iptables", "1")
        .sysctl("net.bridge.bridge-nf-call-ip6tables", "1");
    let cloud = Host::with("cloud", &options)?;
    cloud.sh(&format!(
        "ip link add br100 type bridge forward_delay 0 && ip addr add {GATEWAY}/24 dev br100 && \
         ip link set dev br100 up"
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
    connects_through(from, (address, port), to, port)
}

/// The same, where `to` listens on another port than the one that is called.
pub(crate) fn connects_through(
    from: &Host,
    target: (Ipv4Addr, u16),
    to: &Host,
    port: u16,
) -> Result<Option<IpAddr>> {
    // A process that another test starts has our last listener too, until it becomes its program.
    let listener = eventually(SILENCE * 5, || {
        to.exec_in(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
            .map_err(std::io::Error::other)
            .flatten()
    })
    .with_context(|| format!("{} listens on {port}", to.name()))?;
    listener.set_nonblocking(true)?;
    let target = SocketAddr::from(target);
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
        .try_run(&["ping", "-n", "-c1", "-W0.5", &address.to_string()])?
        .success())
}

/// A TCP connection that stays.
pub(crate) struct TcpSession {
    caller: TcpStream,
    called: TcpStream,
}

impl TcpSession {
    pub(crate) fn start(from: &Host, to: &Host, address: Ipv4Addr, port: u16) -> Result<Self> {
        let listener = to.exec_in(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))??;
        let target = SocketAddr::from((address, port));
        let caller = from
            .exec_in(|| TcpStream::connect_timeout(&target, SILENCE))?
            .with_context(|| format!("{} calls {target}", from.name()))?;
        let (called, _) = listener.accept()?;
        for end in [&caller, &called] {
            end.set_nodelay(true)?;
            end.set_read_timeout(Some(SILENCE))?;
        }
        Ok(Self { caller, called })
    }

    /// Whether a word still passes in both directions.
    pub(crate) fn goes_on(&mut self) -> bool {
        let (caller, called) = (&mut self.caller, &mut self.called);
        said(caller, called) && said(called, caller)
    }
}

fn said(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    from.write_all(b".").is_ok() && matches!(to.read(&mut [0; 16]), Ok(1..))
}

/// A constant stream of datagrams that must not arrive, 500 a second for each path.
pub(crate) struct Probes {
    stop: Arc<AtomicBool>,
    senders: Vec<JoinHandle<()>>,
    receivers: Vec<UdpSocket>,
}

/// From, to, and the address and port.
type Path3<'a> = (&'a Host, &'a Host, (Ipv4Addr, u16));

impl Probes {
    pub(crate) fn start(paths: &[Path3<'_>]) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut senders, mut receivers) = (Vec::new(), Vec::new());
        for (from, to, target) in paths {
            let any = (Ipv4Addr::UNSPECIFIED, target.1);
            let receiver = to.exec_in(|| UdpSocket::bind(any))??;
            receiver.set_nonblocking(true)?;
            receivers.push(receiver);
            let sender = from.exec_in(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
            let (stop, target) = (stop.clone(), *target);
            senders.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let _ = sender.send_to(b"probe", target);
                    std::thread::sleep(Duration::from_millis(2));
                }
            }));
        }
        Ok(Self {
            stop,
            senders,
            receivers,
        })
    }

    /// Ends the stream; how many datagrams arrived.
    pub(crate) fn stop(&mut self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        for sender in self.senders.drain(..) {
            sender.join().map_err(|_| anyhow::anyhow!("a sender"))?;
        }
        let received =
            |socket: &UdpSocket| std::iter::from_fn(|| socket.recv(&mut [0; 16]).ok()).count();
        Ok(self.receivers.iter().map(received).sum())
    }
}
