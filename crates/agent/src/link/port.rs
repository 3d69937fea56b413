//! The host ends of instances' cables. The instance's driver makes a cable between creating and
//! starting an instance ([`attach`]); the subsystem keeps it plugged, and removes it with its object.

use super::item::{LinkKey, PortSpec, host_end_mac, port_alias};
use super::kernel_state::{self, Link};
use super::message::{self, Device, NewVeth};
use super::mtu::{self, Mtu, RightMtus};
use super::options::{self, PortKind};
use super::{fdb, observe};
use crate::netlink::ownership::{PORTS, PORTS_MASK};
use crate::netlink::rtnetlink::{Request, Socket};
use crate::subsystem::SubsystemError;
use novanet_model::object::Port;
use novanet_model::{IfName, MacAddr};
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::link::{BridgePortState, InfoBridgePort};
use rtnetlink::packet_route::nsid::NsidAttribute;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// See [`VethAttacher::attach`], where no subsystem knows what MTU a bridge must have.
pub async fn attach(
    port: &Port,
    netns_pid: i32,
    ifname_inside: &str,
) -> Result<(), SubsystemError> {
    let attacher = VethAttacher::default();
    attacher.attach(port, netns_pid, ifname_inside).await
}

/// Makes cables of instances. Each gets the MTU that its bridge must have, whatever it has at that
/// moment.
#[derive(Debug, Clone, Default)]
pub struct VethAttacher {
    /// What bridges must have, by the subsystem's last observation.
    pub(super) mtus: RightMtus,
}

impl VethAttacher {
    /// Makes the cable of an instance: the host end, named by the port, marked, in its bridge and up;
    /// the other end in the network namespace of process `netns_pid`, as `ifname_inside`, with the
    /// port's MAC. Does nothing but plug it where the cable is there already. The caller's thread must
    /// be in the host's network namespace.
    #[allow(clippy::unused_async)] // what it asks of the kernel takes a millisecond; callers need not know
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
        must_be_ours(&port.name, &old)?;
        let namespace = namespace_of(&mut socket, pid)?;
        if namespace.is_some() && old.peer_namespace == namespace {
            return attach_to_bridge(&mut socket, &old, &bridge, &Instance::of(port));
        }
        // The cable of an earlier run, whose namespace the kernel has not taken down yet.
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
        alias: &mtu::alias_with(&port_alias(port), mtu),
        inside: ifname_inside,
        mac: port.mac,
        pid,
        bridge: bridge.index,
        mtu,
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

/// All of it or nothing: a cable that could not be plugged has no mark, and would be taken for
/// somebody else's.
fn make(socket: &mut Socket, veth: &NewVeth<'_>) -> io::Result<()> {
    let mut results = socket.send_together(&message::make_veth(veth))?.into_iter();
    results.next().unwrap_or(Ok(()))?;
    let Some(Message::NewLink(link)) = socket.get(message::get_link(veth.name))? else {
        return Ok(()); // Its namespace has ended.
    };
    let index = link.header.index;
    let done = results.collect::<io::Result<()>>().and_then(|()| {
        // The entry before it is up: what comes from a MAC that the bridge does not know is dropped.
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

/// Plugs a port again, if its cable is there.
pub(crate) fn mend(
    socket: &mut Socket,
    name: &IfName,
    spec: &PortSpec,
) -> Result<(), SubsystemError> {
    let Some(link) = kernel_state::link(socket, name)? else {
        return Ok(());
    };
    must_be_ours(name, &link)?;
    let Some(bridge) = &spec.bridge else {
        return Ok(());
    };
    let bridge = bridge_link(socket, name, bridge)?;
    let instance = Instance {
        mac: spec.mac,
        alias: spec.alias.clone(),
    };
    attach_to_bridge(socket, &link, &bridge, &instance)
}

/// What a port has of its instance.
struct Instance {
    mac: MacAddr,
    alias: String,
}

impl Instance {
    fn of(port: &Port) -> Self {
        Self {
            mac: port.mac,
            alias: port_alias(port),
        }
    }
}

fn attach_to_bridge(
    socket: &mut Socket,
    link: &Link,
    bridge: &Link,
    instance: &Instance,
) -> Result<(), SubsystemError> {
    let mut requests = Vec::new();
    if link.group != PORTS {
        requests.push(message::set_group(link.index, PORTS));
    }
    if mtu::alias_without(&link.alias) != instance.alias {
        let mark = mtu::alias_with(&instance.alias, mtu::recorded(link));
        requests.push(message::set_alias(link.index, &mark));
    }
    if observe::has_other_mac(link)
        && let Ok(name) = IfName::new(link.name.as_str())
    {
        requests.push(message::set_mac(link.index, host_end_mac(&name)));
    }
    if link.master == Some(bridge.index) {
        requests.extend(mends(link, bridge, instance.mac));
    } else {
        let device = Device::Index(link.index);
        // Down, or the bridge would learn from it before it is told not to.
        requests.push(message::take_down(link.index));
        requests.push(message::set_controller(link.index, bridge.index));
        requests.push(message::set_port_options(&device, options::of_new_port()));
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

/// Gives a port in its bridge what it lacks. The entry first: without flooding nothing else leads
/// frames to the instance.
fn mends(link: &Link, bridge: &Link, mac: MacAddr) -> Vec<Request> {
    let device = Device::Index(link.index);
    let set = |option| message::set_port_options(&device, vec![option]);
    let mut requests = vec![fdb::set(link.index, mac)];
    for wrong in link.wrong_as(PortKind::Instance) {
        let learned = wrong.right == InfoBridgePort::Learning(false);
        requests.push(set(wrong.right));
        if learned {
            requests.push(set(InfoBridgePort::Flush)); // what it has learned by now
        }
    }
    if observe::must_pass(link, bridge) {
        requests.push(set(InfoBridgePort::State(BridgePortState::Forwarding)));
    }
    requests
}

/// The port's own end speaks no IPv6: it would listen to frames that the bridge does not look at.
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

fn must_be_ours(name: &IfName, link: &Link) -> Result<(), SubsystemError> {
    if observe::is_our_port(link) {
        return Ok(());
    }
    Err(SubsystemError::Refused(format!(
        "port {name}: the name is taken by {}; remove or rename it (ip link set {name} name …)",
        observe::describe_port(link)
    )))
}

fn ignore(errno: i32) -> impl Fn(io::Error) -> io::Result<()> {
    move |error| match error.raw_os_error() {
        Some(code) if code == errno => Ok(()),
        _ => Err(error),
    }
}

/// Removes cables, all in one go: the kernel waits for its readers once (about 40 ms) instead of
/// once for each (20 ms). Runs aside, so that others are not kept waiting.
pub(crate) async fn remove(names: Vec<IfName>) -> Vec<(LinkKey, SubsystemError)> {
    let keys = names.clone();
    let done = tokio::task::spawn_blocking(move || remove_now(&names)).await;
    let error = match done {
        Ok(Ok(failed)) => return failed,
        Ok(Err(error)) => error,
        Err(error) => io::Error::other(error),
    };
    let same = |name| {
        let error = io::Error::new(error.kind(), error.to_string());
        (
            LinkKey::Port(name),
            SubsystemError::kernel("remove cables", error),
        )
    };
    keys.into_iter().map(same).collect()
}

fn remove_now(names: &[IfName]) -> io::Result<Vec<(LinkKey, SubsystemError)>> {
    let mut socket = Socket::open()?;
    let mut failed = Vec::new();
    let mut doomed = Vec::new();
    for name in names {
        let key = LinkKey::Port(name.clone());
        match kernel_state::link(&mut socket, name) {
            Ok(Some(link)) if observe::is_our_port(&link) => doomed.push(link.index),
            Ok(_) => {}
            Err(error) => failed.push((key, error)),
        }
    }
    match doomed[..] {
        [] => {}
        [index] => socket
            .request(&message::remove_link(index))
            .or_else(ignore(libc::ENODEV))?,
        _ => {
            let group = fresh_group();
            let marks: Vec<_> = doomed
                .iter()
                .map(|index| message::set_group(*index, group))
                .collect();
            for result in socket.send_all(&marks)? {
                result.or_else(ignore(libc::ENODEV))?;
            }
            // Nothing in the group any more: their namespaces ended meanwhile.
            socket
                .request(&message::remove_group(group))
                .or_else(ignore(libc::ENODEV))?;
        }
    }
    Ok(failed)
}

/// A group number that nothing is in: what a killed run marked must not be removed by a later one,
/// when its object is back.
fn fresh_group() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.subsec_nanos());
    let number = now.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed)) & !PORTS_MASK;
    PORTS | number.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_removed_together_are_guarded_and_in_no_group_of_others() {
        for _ in 0..100 {
            let group = fresh_group();
            assert_eq!(group & PORTS_MASK, PORTS);
            assert_ne!(group, PORTS);
        }
    }
}
