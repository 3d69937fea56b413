//! Makes the veth pair of an instance and keeps its host end in the bridge. Depends on rtnetlink,
//! on a socket of its own, and on the MTUs that the subsystem last observed.

use super::super::alias::{host_end_mac, port_alias, with_mtu, without_mtu};
use super::super::fdb;
use super::super::kernel_state::{self, Link};
use super::super::message::{self, Device, NewVeth};
use super::super::mtu::{self, Mtu, RightMtus};
use super::super::options::{self, PortKind};
use super::super::ownership::{describe_port, has_other_mac, is_our_port};
use crate::netlink::ownership::PORTS;
use crate::netlink::rtnetlink::{Request, Socket, ignore};
use novanet_model::object::Port;
use novanet_model::{IfName, MacAddr};
use novanet_reconcile::SubsystemError;
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::link::{BridgePortState, InfoBridgePort};
use rtnetlink::packet_route::nsid::NsidAttribute;
use std::io;

/// As [`VethAttacher::attach`], with the MTU that the bridge has now.
pub async fn attach(
    port: &Port,
    netns_pid: i32,
    ifname_inside: &str,
) -> Result<(), SubsystemError> {
    let attacher = VethAttacher::default();
    attacher.attach(port, netns_pid, ifname_inside).await
}

/// Makes veth pairs of instances. Each gets the MTU that its bridge must have, also while the
/// bridge has another one.
#[derive(Debug, Clone, Default)]
pub struct VethAttacher {
    /// MTUs of bridges, by the subsystem's last observation.
    pub(in super::super) mtus: RightMtus,
}

impl VethAttacher {
    /// Makes the veth pair of an instance. The host end has the port's name and alias, and is up in
    /// its bridge; the other end is in the network namespace of process `netns_pid`, as
    /// `ifname_inside`, with the port's MAC. If the pair exists, it only attaches it to the bridge.
    /// The caller's thread must be in the host's network namespace.
    #[allow(clippy::unused_async)] // the kernel takes a millisecond; later it may be a task
    pub async fn attach(
        &self,
        port: &Port,
        netns_pid: i32,
        ifname_inside: &str,
    ) -> Result<(), SubsystemError> {
        attach_now(&self.mtus, port, netns_pid, ifname_inside)
    }
}

fn attach_now(
    mtus: &RightMtus,
    port: &Port,
    netns_pid: i32,
    ifname_inside: &str,
) -> Result<(), SubsystemError> {
    let mut socket = Socket::open().map_err(|e| SubsystemError::kernel("open rtnetlink", e))?;
    let pid = u32::try_from(netns_pid).map_err(|_| {
        SubsystemError::Refused(format!("plug {}: no process {netns_pid}", port.name))
    })?;
    let bridge = bridge_link(&mut socket, &port.name, &port.bridge)?;
    if let Some(old) = kernel_state::link(&mut socket, &port.name)? {
        refuse_foreign(&port.name, &old)?;
        let namespace = namespace_of(&mut socket, pid)?;
        if namespace.is_some() && old.peer_namespace == namespace {
            return attach_to_bridge(&mut socket, &old, &bridge, &InstanceTags::of(port));
        }
        // The pair of an earlier run, whose namespace the kernel has not removed yet.
        socket
            .request(&message::remove_link(old.index))
            .or_else(ignore(libc::ENODEV))
            .map_err(|e| SubsystemError::kernel(format!("remove {}", port.name), e))?;
    }
    let mtu = match mtus.of(&port.bridge) {
        Some((wanted, right)) if right != bridge.mtu => {
            let links = kernel_state::links(&mut socket)?;
            mtu::right(wanted, &bridge, links.iter())
        }
        _ => bridge.mtu,
    };
    let veth = NewVeth {
        name: &port.name,
        alias: &with_mtu(&port_alias(port), mtu),
        inside: ifname_inside,
        mac: port.mac,
        pid,
        bridge: bridge.index,
        mtu,
        kind: PortKind::of(port.vpn_clients.is_some()),
    };
    make(&mut socket, &veth).map_err(|e| {
        let full = if e.raw_os_error() == Some(libc::EXFULL) {
            ", which has as many ports as the kernel allows (1024)"
        } else {
            ""
        };
        let what = format!(
            "plug {} into {}{full} (process {pid})",
            port.name, port.bridge
        );
        SubsystemError::kernel(what, e)
    })
}

/// Makes a pair with its alias, in its bridge, or none: without an alias it would stay foreign.
fn make(socket: &mut Socket, veth: &NewVeth<'_>) -> io::Result<()> {
    let mut results = socket.send_together(&message::make_veth(veth))?.into_iter();
    results.next().unwrap_or(Ok(()))?;
    let Some(Message::NewLink(link)) = socket.get(message::get_link(veth.name))? else {
        return Ok(()); // the namespace of the instance has ended
    };
    let index = link.header.index;
    let done = results.collect::<io::Result<()>>().and_then(|()| {
        // The fdb entry first: a locked port drops frames from a MAC that the bridge does not know.
        let last = [fdb::set(index, veth.mac), message::take_up(index)];
        socket.send_together(&last)?.into_iter().collect()
    });
    match done {
        Ok(()) => no_ipv6(veth.name.as_str()),
        Err(_) => socket.request(&message::remove_link(index))?,
    }
    done
}

fn namespace_of(socket: &mut Socket, pid: u32) -> Result<Option<i32>, SubsystemError> {
    let answer = socket.get(message::get_namespace_of(pid)).map_err(|e| {
        SubsystemError::kernel(format!("look up the namespace of process {pid}"), e)
    })?;
    let Some(Message::NewNsId(message)) = answer else {
        return Ok(None);
    };
    let id = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NsidAttribute::Id(id) => Some(*id),
            _ => None,
        });
    Ok(id.filter(|id| *id >= 0))
}

/// Attaches a port to its bridge again and undoes what others changed of it, if its device exists.
pub(super) fn repair(
    socket: &mut Socket,
    name: &IfName,
    bridge: &IfName,
    instance: &InstanceTags,
) -> Result<(), SubsystemError> {
    let Some(link) = kernel_state::link(socket, name)? else {
        return Ok(());
    };
    refuse_foreign(name, &link)?;
    let bridge = bridge_link(socket, name, bridge)?;
    attach_to_bridge(socket, &link, &bridge, instance)
}

/// What a port has from its instance.
pub(super) struct InstanceTags {
    pub(super) mac: MacAddr,
    pub(super) alias: String,
    pub(super) kind: PortKind,
}

impl InstanceTags {
    fn of(port: &Port) -> Self {
        Self {
            mac: port.mac,
            alias: port_alias(port),
            kind: PortKind::of(port.vpn_clients.is_some()),
        }
    }
}

fn attach_to_bridge(
    socket: &mut Socket,
    link: &Link,
    bridge: &Link,
    instance: &InstanceTags,
) -> Result<(), SubsystemError> {
    let mut requests = Vec::new();
    if link.group != PORTS {
        requests.push(message::set_group(link.index, PORTS));
    }
    if without_mtu(&link.alias) != instance.alias {
        let mark = with_mtu(&instance.alias, mtu::recorded(link));
        requests.push(message::set_alias(link.index, &mark));
    }
    if has_other_mac(link)
        && let Ok(name) = IfName::new(link.name.as_str())
    {
        requests.push(message::set_mac(link.index, host_end_mac(&name)));
    }
    if link.master == Some(bridge.index) {
        requests.extend(repairs(link, bridge, instance));
    } else {
        let device = Device::Index(link.index);
        // Down first, or the bridge would learn from the port before learning is off.
        requests.push(message::take_down(link.index));
        requests.push(message::set_controller(link.index, bridge.index));
        requests.push(message::set_port_options(
            &device,
            options::of_new_port(instance.kind),
        ));
        requests.push(fdb::set(link.index, instance.mac));
    }
    requests.push(message::take_up(link.index));
    if let Mtu::Changed { right, .. } = mtu::of_port(link) {
        requests.push(message::set_mtu(link.index, right));
    }
    socket
        .send_together(&requests)
        .and_then(|results| results.into_iter().collect())
        .map(|()| no_ipv6(&link.name))
        .map_err(|e| SubsystemError::kernel(format!("plug {} into {}", link.name, bridge.name), e))
}

/// Requests that undo what others changed of a port in its bridge. The fdb entry first: without
/// flooding nothing else leads frames to the instance.
fn repairs(link: &Link, bridge: &Link, instance: &InstanceTags) -> Vec<Request> {
    let device = Device::Index(link.index);
    let set = |option| message::set_port_options(&device, vec![option]);
    let mut requests = vec![fdb::set(link.index, instance.mac)];
    for wrong in link.wrong_as(instance.kind) {
        let stops_learning = wrong.right == InfoBridgePort::Learning(false);
        requests.push(set(wrong.right));
        if stops_learning {
            requests.push(set(InfoBridgePort::Flush)); // drops the learned entries
        }
    }
    if link.is_blocked_in(bridge) {
        requests.push(set(InfoBridgePort::State(BridgePortState::Forwarding)));
    }
    requests
}

/// Turns IPv6 off on the host end, which would receive frames that the bridge does not look at.
/// (The firewall drops them too.) A kernel without IPv6 has no such setting.
fn no_ipv6(port: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{port}/disable_ipv6");
    if let Err(error) = std::fs::write(&path, "1")
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path, %error, "a port keeps its IPv6");
    }
}

fn bridge_link(
    socket: &mut Socket,
    port: &IfName,
    bridge: &IfName,
) -> Result<Link, SubsystemError> {
    match kernel_state::link(socket, bridge)? {
        Some(link) if link.is_bridge() => Ok(link),
        Some(link) => Err(SubsystemError::Refused(format!(
            "port {port}: {bridge} is {}, not a bridge",
            link.describe()
        ))),
        None => Err(SubsystemError::Refused(format!(
            "port {port}: bridge {bridge} is not there"
        ))),
    }
}

fn refuse_foreign(name: &IfName, link: &Link) -> Result<(), SubsystemError> {
    if is_our_port(link) {
        return Ok(());
    }
    Err(SubsystemError::Refused(format!(
        "port {name}: the name is taken by {}; remove or rename it (ip link set {name} name …)",
        describe_port(link)
    )))
}
