//! Forwarding database of bridges: entries of instances, which novanet makes (`static sticky`: no
//! frame moves them), and a bridge's own, which the kernel makes and `bridge fdb flush` removes.
//! Depends on rtnetlink.

use crate::netlink::rtnetlink::{Request, Socket};
use novanet_model::MacAddr;
use novanet_reconcile::SubsystemError;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use std::collections::{BTreeMap, BTreeSet};

/// Where a bridge sends frames for a MAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Index of the port; of the bridge itself, for the bridge's own MAC.
    pub(crate) device: u32,
    /// `static sticky`, as novanet makes it: no frame moves it.
    pub(crate) sticky: bool,
    /// The host itself receives frames for it.
    pub(crate) local: bool,
}

impl Entry {
    /// An entry without a VLAN: a bridge that filters no VLANs uses no others.
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
        // A device's list of the MACs it listens to is no part of the bridge's database.
        let own = message.header.flags.contains(NeighbourFlags::Own);
        Some((mac.filter(|_| !own)?, Self::of(message)))
    }

    /// Reads a message about one entry.
    pub(crate) fn of(message: &NeighbourMessage) -> Self {
        let header = &message.header;
        Self {
            device: header.ifindex,
            sticky: header.state == NeighbourState::Noarp
                && header.flags.contains(NeighbourFlags::Sticky),
            local: header.state == NeighbourState::Permanent,
        }
    }

    /// Whether this is a right entry for the instance on this port.
    pub(crate) fn is_instances_on(self, port: u32) -> bool {
        self.sticky && self.device == port
    }
}

/// Entries by the index of the bridge and the MAC.
pub(crate) type Entries = BTreeMap<(u32, MacAddr), Entry>;

/// The wanted entries, with one dump per bridge: one query per entry would take the kernel's lock
/// each time, for which other changes of links wait.
pub(crate) fn entries(
    socket: &mut Socket,
    wanted: &BTreeSet<(u32, MacAddr)>,
) -> Result<Entries, SubsystemError> {
    let bridges: BTreeSet<u32> = wanted.iter().map(|(bridge, _)| *bridge).collect();
    let mut found = Entries::new();
    for bridge in bridges {
        let listed = match socket.dump(&list(bridge)) {
            // The bridge was removed meanwhile.
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

/// Whether a bridge has the entry of its own MAC: without it no frame reaches the host.
pub(crate) fn knows_itself(
    socket: &mut Socket,
    bridge: u32,
    mac: Option<MacAddr>,
) -> Result<bool, SubsystemError> {
    let Some(mac) = mac else {
        return Ok(true);
    };
    Ok(entry(socket, bridge, mac)?.is_some_and(|entry| entry.local))
}

/// Whether `bridge` has the right entry for an instance's MAC on `port`; no without a bridge.
pub(crate) fn knows(
    socket: &mut Socket,
    bridge: Option<u32>,
    port: u32,
    mac: MacAddr,
) -> Result<bool, SubsystemError> {
    let Some(bridge) = bridge else {
        return Ok(false);
    };
    let found = entry(socket, bridge, mac)?;
    Ok(found.is_some_and(|entry| entry.is_instances_on(port)))
}

/// Adds the entry of an instance's MAC on its port, in place of any other entry of the MAC. The
/// kernel adds one for each VLAN of the port, too.
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
