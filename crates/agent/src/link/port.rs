//! The host ends of instances' cables. The instance's driver makes a cable between creating and
//! starting an instance ([`plug`]); the room keeps it plugged, and removes it with its object.

use super::item::{LinkKey, PORT_ALIAS_PREFIX, PortSpec};
use super::message::{self, Cable, Device};
use super::mtu::{self, Mtu};
use super::netlink::Socket;
use super::seen::{self, Link};
use crate::room::RoomError;
use novanet_model::IfName;
use novanet_model::object::Port;
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use rtnetlink::packet_route::nsid::NsidAttribute;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Makes the cable of an instance: the host end, named by the port, marked, in its bridge and up;
/// the other end in the network namespace of process `netns_pid`, as `ifname_inside`, with the
/// port's MAC. Does nothing but plug it where the cable is there already. The caller's thread must
/// be in the host's network namespace.
#[allow(clippy::unused_async)] // what it asks of the kernel takes a millisecond; callers need not know
pub async fn plug(port: &Port, netns_pid: i32, ifname_inside: &str) -> Result<(), RoomError> {
    let mut socket = Socket::open().map_err(|e| RoomError::kernel("open rtnetlink", e))?;
    let pid = u32::try_from(netns_pid)
        .map_err(|_| RoomError::Refused(format!("plug {}: no process {netns_pid}", port.name)))?;
    let bridge = bridge_link(&mut socket, &port.name, &port.bridge)?;
    if let Some(old) = seen::link(&mut socket, &port.name)? {
        must_be_ours(&port.name, &old)?;
        let namespace = namespace_of(&mut socket, pid)?;
        if namespace.is_some() && old.peer_namespace == namespace {
            return plug_in(&mut socket, &old, &bridge);
        }
        // The cable of an earlier run, whose namespace the kernel has not taken down yet.
        socket
            .request(&message::remove_link(old.index))
            .or_else(ignore(libc::ENODEV))
            .map_err(|e| RoomError::kernel(format!("remove {}", port.name), e))?;
    }
    let cable = Cable {
        name: &port.name,
        alias: &mtu::mark(port, bridge.mtu),
        inside: ifname_inside,
        mac: port.mac,
        pid,
        bridge: bridge.index,
        mtu: bridge.mtu,
    };
    make(&mut socket, &cable).map_err(|e| {
        let full = if e.raw_os_error() == Some(libc::EXFULL) {
            ", which has as many ports as the kernel allows (1024)"
        } else {
            ""
        };
        let what = format!(
            "plug {} into {}{full} (process {pid})",
            port.name, port.bridge
        );
        RoomError::kernel(what, e)
    })
}

/// All of it or nothing: a cable that could not be plugged has no mark, and would be taken for
/// somebody else's.
fn make(socket: &mut Socket, cable: &Cable<'_>) -> io::Result<()> {
    let mut results = socket
        .send_together(&message::make_cable(cable))?
        .into_iter();
    results.next().unwrap_or(Ok(()))?;
    let Err(error) = results.collect::<io::Result<()>>() else {
        no_ipv6(cable.name.as_str());
        return Ok(());
    };
    if let Some(Message::NewLink(link)) = socket.get(message::get_link(cable.name))? {
        socket.request(&message::remove_link(link.header.index))?;
    }
    Err(error)
}

fn namespace_of(socket: &mut Socket, pid: u32) -> Result<Option<i32>, RoomError> {
    let answer = socket
        .get(message::get_namespace_of(pid))
        .map_err(|e| RoomError::kernel(format!("look up the namespace of process {pid}"), e))?;
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
pub(crate) fn mend(socket: &mut Socket, name: &IfName, spec: &PortSpec) -> Result<(), RoomError> {
    let Some(link) = seen::link(socket, name)? else {
        return Ok(());
    };
    must_be_ours(name, &link)?;
    let Some(bridge) = &spec.bridge else {
        return Ok(());
    };
    let bridge = bridge_link(socket, name, bridge)?;
    plug_in(socket, &link, &bridge)
}

fn plug_in(socket: &mut Socket, link: &Link, bridge: &Link) -> Result<(), RoomError> {
    let mut requests = vec![
        message::enslave(link.index, bridge.index),
        message::port_options(&Device::Index(link.index)),
    ];
    if link.group != message::PORTS {
        requests.insert(0, message::set_group(link.index, message::PORTS));
    }
    if let Mtu::Changed { right, .. } = mtu::of_port(link) {
        requests.push(message::set_mtu(link.index, right));
    }
    socket
        .send_together(&requests)
        .and_then(|results| results.into_iter().collect())
        .map(|()| no_ipv6(&link.name))
        .map_err(|e| RoomError::kernel(format!("plug {} into {}", link.name, bridge.name), e))
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

fn bridge_link(socket: &mut Socket, port: &IfName, bridge: &IfName) -> Result<Link, RoomError> {
    match seen::link(socket, bridge)? {
        Some(link) if link.is_bridge() => Ok(link),
        Some(link) => Err(RoomError::Refused(format!(
            "port {port}: {bridge} is {}, not a bridge",
            link.describe()
        ))),
        None => Err(RoomError::Refused(format!(
            "port {port}: bridge {bridge} is not there"
        ))),
    }
}

fn must_be_ours(name: &IfName, link: &Link) -> Result<(), RoomError> {
    if link.alias.starts_with(PORT_ALIAS_PREFIX) {
        return Ok(());
    }
    Err(RoomError::Refused(format!(
        "port {name}: the name is taken by {}; remove or rename it (ip link set {name} name …)",
        link.describe()
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
pub(crate) async fn remove(names: Vec<IfName>) -> Vec<(LinkKey, RoomError)> {
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
            RoomError::kernel("remove cables", error),
        )
    };
    keys.into_iter().map(same).collect()
}

fn remove_now(names: &[IfName]) -> io::Result<Vec<(LinkKey, RoomError)>> {
    let mut socket = Socket::open()?;
    let mut failed = Vec::new();
    let mut doomed = Vec::new();
    for name in names {
        let key = LinkKey::Port(name.clone());
        match seen::link(&mut socket, name) {
            Ok(Some(link)) if link.alias.starts_with(PORT_ALIAS_PREFIX) => doomed.push(link.index),
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
    let number = now.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed)) & !message::PORTS_MASK;
    message::PORTS | number.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_removed_together_are_guarded_and_in_no_group_of_others() {
        for _ in 0..100 {
            let group = fresh_group();
            assert_eq!(group & message::PORTS_MASK, message::PORTS);
            assert_ne!(group, message::PORTS);
        }
    }
}
