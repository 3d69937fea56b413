//! Bridges: made whole or not at all, given back what somebody changed, and removed when nothing is on
//! them that is not ours.

use super::item::{BridgeSpec, LinkValue, bridge_alias, host_end_mac};
use super::kernel_state::{self, Link};
use super::mtu::{self, Mtu};
use super::{Links, fdb, message, observe, sysctl};
use crate::netlink::rtnetlink::{Request, Socket};
use crate::settings::Settings;
use crate::subsystem::SubsystemError;
use novanet_model::IfName;
use rtnetlink::packet_route::RouteNetlinkMessage as Message;
use std::io;

impl Links {
    pub(super) fn ensure_bridge(
        &mut self,
        name: &IfName,
        value: &LinkValue,
    ) -> Result<(), SubsystemError> {
        let LinkValue::Bridge(spec) = value else {
            return self.wait_for_bridge(name);
        };
        let alias = bridge_alias(name);
        let results = match kernel_state::link(&mut self.socket, name)? {
            None => {
                let mtu = match spec.mtu {
                    Mtu::Fixed(mtu) => Some(mtu),
                    _ => None,
                };
                let requests = message::make_bridge(name, spec.mac, mtu, &alias);
                make_whole(&mut self.socket, name, &requests).inspect(|_| settings_of_new(name))
            }
            Some(link) if observe::is_our_bridge(&link, name) => {
                let requests = self.mends(&link, spec)?;
                self.socket.send_together(&requests)
            }
            Some(link) => {
                return Err(SubsystemError::Refused(format!(
                    "bridge {name}: the name is taken by {}; rename or remove it, \
                     or give the network another bridge name",
                    self.tagged.describe(&link, name)
                )));
            }
        };
        results
            .and_then(|results| results.into_iter().collect())
            .map_err(|e| SubsystemError::kernel(format!("make bridge {name}"), e))
    }

    /// What gives a bridge of ours back what somebody changed.
    fn mends(&mut self, link: &Link, spec: &BridgeSpec) -> Result<Vec<Request>, SubsystemError> {
        let wrong = link.wrong_in_bridge.iter();
        let set = |right| message::set_bridge_option(link.index, right);
        let mut requests: Vec<_> = wrong.map(|wrong| set(wrong.right.clone())).collect();
        let mac = if self.borrows_mac(link)? {
            link.mac.unwrap_or(spec.mac)
        } else {
            spec.mac
        };
        if link.mac == Some(mac) && !fdb::knows_itself(&mut self.socket, link)? {
            // The kernel makes the entry when it sets a MAC that was another.
            let name = IfName::new(link.name.as_str());
            let other = name.map_err(|e| SubsystemError::Refused(e.to_string()))?;
            requests.push(message::set_mac(link.index, host_end_mac(&other)));
            requests.push(message::set_mac(link.index, mac));
        } else if link.mac != Some(mac) {
            requests.push(message::set_mac(link.index, mac));
        }
        let mtu = self.other_mtu(link, spec.mtu)?;
        requests.extend(mtu.map(|mtu| message::set_mtu(link.index, mtu)));
        requests.push(message::take_up(link.index));
        Ok(requests)
    }

    /// Gives a bridge of ours its mark back, before anything else is done with it.
    pub(super) fn restore_alias(&mut self, name: &IfName) -> Result<(), SubsystemError> {
        let Some(link) = kernel_state::link(&mut self.socket, name)? else {
            return Ok(());
        };
        let mac = if self.borrows_mac(&link)? {
            Some(Settings::bridge_mac(name))
        } else {
            link.mac
        };
        if !self.tagged.has_lost_alias(&link, name, mac) {
            return Ok(());
        }
        self.socket
            .request(&message::set_alias(link.index, &bridge_alias(name)))
            .map_err(|e| SubsystemError::kernel(format!("mark bridge {name}"), e))
    }

    /// The MTU to give a bridge; `None`: it has it. One that nobody set is best left to the kernel.
    fn other_mtu(&mut self, bridge: &Link, wanted: Mtu) -> Result<Option<u32>, SubsystemError> {
        let links = kernel_state::links(&mut self.socket)?;
        let right = mtu::right(wanted, bridge, links.iter());
        Ok(Some(right).filter(|right| *right != bridge.mtu))
    }

    /// The bridge carries the addresses of an uplink, and so its MAC.
    fn borrows_mac(&mut self, bridge: &Link) -> Result<bool, SubsystemError> {
        for uplink in self.uplinks() {
            let link = kernel_state::link(&mut self.socket, &uplink)?;
            if link.is_some_and(|l| l.master == Some(bridge.index) && l.mac == bridge.mac) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn wait_for_bridge(&mut self, name: &IfName) -> Result<(), SubsystemError> {
        match kernel_state::link(&mut self.socket, name)? {
            Some(link) if link.is_bridge() => Ok(()),
            Some(link) => Err(SubsystemError::Refused(format!(
                "bridge {name}: it is {}, not a bridge",
                link.describe()
            ))),
            None => Err(SubsystemError::Refused(format!(
                "bridge {name} is not there: in a flat network the administrator makes it \
                 (/etc/network/interfaces, or ip link add dev {name} type bridge)"
            ))),
        }
    }

    pub(super) fn remove_bridge(&mut self, name: &IfName) -> Result<(), SubsystemError> {
        match kernel_state::link(&mut self.socket, name)? {
            Some(link) if observe::is_our_bridge(&link, name) => {
                self.must_be_released(name)?;
                if let Some(why) = self.removal_blocker(&link, name)? {
                    return Err(SubsystemError::Refused(format!(
                        "bridge {name} is kept, {why}"
                    )));
                }
                self.socket
                    .request(&message::remove_link(link.index))
                    .map_err(|e| SubsystemError::kernel(format!("remove bridge {name}"), e))?;
                self.tagged.forget(name);
                Ok(())
            }
            _ => Ok(()), // gone, or never ours
        }
    }

    /// With its bridge an uplink that could not be released would lose the host's addresses.
    fn must_be_released(&mut self, bridge: &IfName) -> Result<(), SubsystemError> {
        for uplink in self.uplinks_of(bridge) {
            if kernel_state::link(&mut self.socket, &uplink)?.is_some() {
                return Err(SubsystemError::Refused(format!(
                    "bridge {bridge} still carries what belongs to {uplink}: \
                     it goes when {uplink} is released"
                )));
            }
        }
        Ok(())
    }
}

/// What is not set now the next observation finds.
fn settings_of_new(bridge: &IfName) {
    for (setting, value) in sysctl::OF_OUR_BRIDGES {
        if let Err(error) = sysctl::write(&sysctl::conf(bridge, setting), value) {
            tracing::warn!(%bridge, %error, "a new bridge");
        }
    }
}

/// A device and its mark, or nothing: one without a mark would be somebody else's for ever.
fn make_whole(
    socket: &mut Socket,
    name: &IfName,
    requests: &[Request],
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
