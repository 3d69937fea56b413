//! The entries of bridges that tell where a MAC is: the instances', which we make (`static sticky`:
//! no frame moves them), and a bridge's own, which the kernel makes and `bridge fdb flush` removes.
//!
//! Asked for one by one, in few sends: what an uplink has learned is never listed.

use super::netlink::{Request, Socket};
use super::seen::Link;
use crate::room::RoomError;
use novanet_model::MacAddr;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use std::collections::BTreeMap;

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
    fn read(message: &Message) -> Option<Self> {
        let Message::NewNeighbour(message) = message else {
            return None;
        };
        Some(Self::of(message))
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

/// Asks for these.
pub(crate) fn entries(
    socket: &mut Socket,
    wanted: &[(u32, MacAddr)],
) -> Result<Entries, RoomError> {
    let questions: Vec<_> = wanted
        .iter()
        .map(|(bridge, mac)| get(*bridge, *mac))
        .collect();
    let answers = socket
        .get_all(&questions)
        .map_err(|e| RoomError::kernel("look up entries of bridges", e))?;
    let found = wanted.iter().zip(answers);
    let found = found.filter_map(|(key, answer)| Some((*key, Entry::read(&answer?)?)));
    Ok(found.collect())
}

/// Whether a bridge knows its own MAC: without that entry nothing reaches the host over it.
pub(crate) fn knows_itself(socket: &mut Socket, bridge: &Link) -> Result<bool, RoomError> {
    let Some(mac) = bridge.mac else {
        return Ok(true);
    };
    let key = (bridge.index, mac);
    Ok(entries(socket, &[key])?.get(&key).is_some_and(|e| e.local))
}

/// Whether the bridge that a port is in sends what is for this MAC to that port, whatever comes.
pub(crate) fn knows(socket: &mut Socket, port: &Link, mac: MacAddr) -> Result<bool, RoomError> {
    let Some(bridge) = port.master else {
        return Ok(false);
    };
    let key = (bridge, mac);
    let found = entries(socket, &[key])?;
    Ok(found
        .get(&key)
        .is_some_and(|e| e.is_instances_on(port.index)))
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

fn get(bridge: u32, mac: MacAddr) -> Message {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.attributes = vec![
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
        NeighbourAttribute::Controller(bridge),
    ];
    Message::GetNeighbour(message)
}
