//! The entries of bridges that tell where a MAC is: the instances', which we make (`static sticky`:
//! no frame moves them), and a bridge's own, which the kernel makes and `bridge fdb flush` removes.

use super::kernel_state::Link;
use crate::netlink::rtnetlink::{Request, Socket};
use crate::subsystem::SubsystemError;
use novanet_model::MacAddr;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use std::collections::{BTreeMap, BTreeSet};

/// Where a bridge sends frames for a MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The number of the port; of the bridge itself, for the bridge's own MAC.
    pub(crate) device: u32,
    /// As we make it: no frame moves it.
    pub(crate) sticky: bool,
    /// Frames for it are the host's.
    pub(crate) local: bool,
}

impl Entry {
    /// One that counts where no VLANs are filtered: those of a VLAN are not looked up.
    fn read(message: &Message) -> Option<(MacAddr, Self)> {
        let Message::NewNeighbour(message) = message else {
            return None;
        };
        let mut mac = None;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = bytes.clone().try_into().ok().map(MacAddr);
                }
                NeighbourAttribute::Vlan(_) => return None,
                _ => {}
            }
        }
        // A device's own list of what it listens to is none of the bridge.
        let own = message.header.flags.contains(NeighbourFlags::Own);
        Some((mac.filter(|_| !own)?, Self::of(message)))
    }

    /// What a message says.
    pub(crate) fn of(message: &NeighbourMessage) -> Self {
        let header = &message.header;
        Self {
            device: header.ifindex,
            sticky: header.state == NeighbourState::Noarp
                && header.flags.contains(NeighbourFlags::Sticky),
            local: header.state == NeighbourState::Permanent,
        }
    }

    /// As the entry of an instance on this port must be.
    pub(crate) fn is_instances_on(self, port: u32) -> bool {
        self.sticky && self.device == port
    }
}

/// Entries by the number of the bridge and MAC.
pub(crate) type Entries = BTreeMap<(u32, MacAddr), Entry>;

/// Asks for these: a list of each bridge, because one question each would wait for the kernel's lock
/// as often, and the other changes of links with it.
pub(crate) fn entries(
    socket: &mut Socket,
    wanted: &BTreeSet<(u32, MacAddr)>,
) -> Result<Entries, SubsystemError> {
    let bridges: BTreeSet<u32> = wanted.iter().map(|(bridge, _)| *bridge).collect();
    let mut found = Entries::new();
    for bridge in bridges {
        let listed = match socket.dump(&list(bridge)) {
            // It went while we looked.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENODEV | libc::EINVAL)) => Vec::new(),
            other => other.map_err(|e| SubsystemError::kernel("list entries of bridges", e))?,
        };
        let listed = listed.iter().filter_map(Entry::read);
        let listed = listed.map(|(mac, entry)| ((bridge, mac), entry));
        found.extend(listed.filter(|(key, _)| wanted.contains(key)));
    }
    Ok(found)
}

fn entry(socket: &mut Socket, bridge: u32, mac: MacAddr) -> Result<Option<Entry>, SubsystemError> {
    let answer = socket
        .get(get(bridge, mac))
        .map_err(|e| SubsystemError::kernel(format!("look up {mac} in a bridge"), e))?;
    Ok(answer
        .as_ref()
        .and_then(Entry::read)
        .map(|(_, entry)| entry))
}

/// Whether a bridge knows its own MAC: without that entry nothing reaches the host over it.
pub(crate) fn knows_itself(socket: &mut Socket, bridge: &Link) -> Result<bool, SubsystemError> {
    let Some(mac) = bridge.mac else {
        return Ok(true);
    };
    Ok(entry(socket, bridge.index, mac)?.is_some_and(|entry| entry.local))
}

/// Whether the bridge that a port is in sends what is for this MAC to that port, whatever comes.
pub(crate) fn knows(
    socket: &mut Socket,
    port: &Link,
    mac: MacAddr,
) -> Result<bool, SubsystemError> {
    let Some(bridge) = port.master else {
        return Ok(false);
    };
    let found = entry(socket, bridge, mac)?;
    Ok(found.is_some_and(|entry| entry.is_instances_on(port.index)))
}

/// Tells the bridge of a port that this MAC is there, and nowhere else. The kernel adds it for each
/// VLAN of the port, too.
pub(crate) fn set(port: u32, mac: MacAddr) -> Request {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = port;
    message.header.state = NeighbourState::Noarp;
    message.header.flags = NeighbourFlags::Controller | NeighbourFlags::Sticky;
    message.attributes = vec![NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())];
    Request::new(Message::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
}

fn list(bridge: u32) -> Message {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.attributes = vec![NeighbourAttribute::Controller(bridge)];
    Message::GetNeighbour(message)
}

fn get(bridge: u32, mac: MacAddr) -> Message {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.attributes = vec![
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
        NeighbourAttribute::Controller(bridge),
    ];
    Message::GetNeighbour(message)
}
