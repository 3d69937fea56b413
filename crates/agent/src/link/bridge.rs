//! Bridges: made whole or not at all, given back what somebody changed, and removed when nothing is on
//! them that is not ours.

use super::item::{LinkValue, bridge_alias};
use super::mtu::{self, Mtu};
use super::netlink::{self, Socket};
use super::seen::{self, Link};
use super::{Links, message, observe};
use crate::room::RoomError;
use crate::settings::Settings;
use novanet_model::IfName;
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use std::io;

impl Links {
    pub(super) fn ensure_bridge(
        &mut self,
        name: &IfName,
        value: &LinkValue,
    ) -> Result<(), RoomError> {
        let LinkValue::Bridge(spec) = value else {
            return self.wait_for_bridge(name);
        };
        let alias = bridge_alias(name);
        let results = match seen::link(&mut self.socket, name)? {
            None => {
                let mtu = match spec.mtu {
                    Mtu::Fixed(mtu) => Some(mtu),
                    _ => None,
                };
                let requests = message::make_bridge(name, spec.mac, mtu, &alias);
                make_whole(&mut self.socket, name, &requests)
            }
            Some(link) if observe::is_our_bridge(&link, name) => {
                let mac = if self.borrows_mac(&link)? {
                    None
                } else {
                    Some(spec.mac)
                };
                let mtu = self.other_mtu(&link, spec.mtu)?;
                let requests = message::mend_bridge(link.index, mac, mtu);
                self.socket.send_together(&requests)
            }
            Some(link) => {
                return Err(RoomError::Refused(format!(
                    "bridge {name}: the name is taken by {}; rename or remove it, \
                     or give the network another bridge name",
                    self.marked.describe(&link, name)
                )));
            }
        };
        results
            .and_then(|results| results.into_iter().collect())
            .map_err(|e| RoomError::kernel(format!("make bridge {name}"), e))
    }

    /// Gives a bridge of ours its mark back, before anything else is done with it.
    pub(super) fn mark_again(&mut self, name: &IfName) -> Result<(), RoomError> {
        let Some(link) = seen::link(&mut self.socket, name)? else {
            return Ok(());
        };
        let mac = if self.borrows_mac(&link)? {
            Some(Settings::bridge_mac(name))
        } else {
            link.mac
        };
        if !self.marked.lost(&link, name, mac) {
            return Ok(());
        }
        self.socket
            .request(&message::set_alias(link.index, &bridge_alias(name)))
            .map_err(|e| RoomError::kernel(format!("mark bridge {name}"), e))
    }

    /// The MTU to give a bridge; `None`: it has it. One that nobody set is best left to the kernel.
    fn other_mtu(&mut self, bridge: &Link, wanted: Mtu) -> Result<Option<u32>, RoomError> {
        let links = seen::links(&mut self.socket)?;
        let right = mtu::right(wanted, bridge, links.iter());
        Ok(Some(right).filter(|right| *right != bridge.mtu))
    }

    /// The bridge carries the addresses of an uplink, and so its MAC.
    fn borrows_mac(&mut self, bridge: &Link) -> Result<bool, RoomError> {
        for uplink in self.uplinks() {
            let link = seen::link(&mut self.socket, &uplink)?;
            if link.is_some_and(|l| l.master == Some(bridge.index) && l.mac == bridge.mac) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn wait_for_bridge(&mut self, name: &IfName) -> Result<(), RoomError> {
        match seen::link(&mut self.socket, name)? {
            Some(link) if link.is_bridge() => Ok(()),
            Some(link) => Err(RoomError::Refused(format!(
                "bridge {name}: it is {}, not a bridge",
                link.describe()
            ))),
            None => Err(RoomError::Refused(format!(
                "bridge {name} is not there: in a flat network the administrator makes it \
                 (/etc/network/interfaces, or ip link add dev {name} type bridge)"
            ))),
        }
    }

    pub(super) fn remove_bridge(&mut self, name: &IfName) -> Result<(), RoomError> {
        match seen::link(&mut self.socket, name)? {
            Some(link) if observe::is_our_bridge(&link, name) => {
                self.must_be_released(name)?;
                if let Some(why) = self.foreign_on(&link, name)? {
                    return Err(RoomError::Refused(format!("bridge {name} is kept, {why}")));
                }
                self.socket
                    .request(&message::remove_link(link.index))
                    .map_err(|e| RoomError::kernel(format!("remove bridge {name}"), e))?;
                self.marked.forget(name);
                Ok(())
            }
            _ => Ok(()), // gone, or never ours
        }
    }

    /// With its bridge an uplink that could not be released would lose the host's addresses.
    fn must_be_released(&mut self, bridge: &IfName) -> Result<(), RoomError> {
        for uplink in self.uplinks_of(bridge) {
            if seen::link(&mut self.socket, &uplink)?.is_some() {
                return Err(RoomError::Refused(format!(
                    "bridge {bridge} still carries what belongs to {uplink}: \
                     it goes when {uplink} is released"
                )));
            }
        }
        Ok(())
    }
}

/// A device and its mark, or nothing: one without a mark would be somebody else's for ever.
fn make_whole(
    socket: &mut Socket,
    name: &IfName,
    requests: &[netlink::Request],
) -> io::Result<Vec<io::Result<()>>> {
    let results = socket.send_together(requests)?;
    let made = results.first().is_some_and(Result::is_ok);
    if made
        && results.iter().any(Result::is_err)
        && let Some(Message::NewLink(link)) = socket.get(message::get_link(name))?
    {
        socket.request(&message::remove_link(link.header.index))?;
    }
    Ok(results)
}
