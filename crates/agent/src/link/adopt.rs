//! `host adopt`: gives a foreign bridge or VLAN device novanet's ownership tag, because the
//! operator says so, with the gateway addresses on it. Depends on rtnetlink and on the aliases.

use super::alias::{bridge_alias, vlan_alias};
use super::kernel_state::{self, Link};
use super::message;
use crate::netlink::rtnetlink::{Request, Socket};
use ipnet::Ipv4Net;
use novanet_model::IfName;

/// What `host adopt` found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adopted {
    /// The device has novanet's tag now.
    Tagged,
    /// It had the tag before.
    Already,
}

/// Makes a device novanet's, in the network namespace of the calling thread, and of its addresses
/// those of `gateways`. All other addresses stay the host's. In one send: a kill leaves the device
/// foreign or adopted.
///
/// # Errors
///
/// The reason, with the remedy: no such device, no bridge and no VLAN device `vlan<id>`, or one
/// with an alias of others.
pub fn adopt(device: &IfName, gateways: &[Ipv4Net]) -> Result<Adopted, String> {
    let failed = |e: &dyn std::fmt::Display| format!("device {device}: {e}");
    let mut socket = Socket::open().map_err(|e| failed(&e))?;
    let link = kernel_state::link(&mut socket, device).map_err(|e| failed(&e))?;
    let link = link.ok_or_else(|| format!("device {device}: is not there (ip link lists all)"))?;
    let alias = alias_of(&link, device)?;
    if link.alias == alias {
        return Ok(Adopted::Already);
    }
    if !link.alias.is_empty() {
        return Err(format!(
            "device {device}: has the alias {:?} of another program: take it away first \
             (ip link set dev {device} alias '')",
            link.alias
        ));
    }
    let mut requests: Vec<Request> = Vec::new();
    let addresses = kernel_state::addresses_of(&mut socket, link.index).map_err(|e| failed(&e))?;
    for address in addresses.iter().filter(|address| !address.ours) {
        // The kernel does not change the protocol of an address that is there.
        if let Ok(net) = Ipv4Net::new(address.ip, address.prefix)
            && gateways.contains(&net)
        {
            requests.push(message::remove_address(link.index, net));
            requests.push(message::add_address(link.index, net));
        }
    }
    requests.push(message::set_alias(link.index, &alias));
    let results = socket.send_together(&requests).map_err(|e| failed(&e))?;
    match results.into_iter().find_map(Result::err) {
        None => Ok(Adopted::Tagged),
        Some(error) => Err(failed(&error)),
    }
}

/// The tag that a device of this kind and name has.
fn alias_of(link: &Link, name: &IfName) -> Result<String, String> {
    if link.is_bridge() {
        return Ok(bridge_alias(name));
    }
    let Some(id) = link.vlan_id else {
        let what = link.describe();
        return Err(format!(
            "device {name}: is {what}; only a bridge or a VLAN device vlan<id> can be adopted"
        ));
    };
    if *name == IfName::vlan_device(id) {
        return Ok(vlan_alias(name));
    }
    Err(format!(
        "device {name}: is VLAN {id} under another name than {}: rename it (ip link set dev {name} \
         name {}), or remove it (vconfig rem {name})",
        IfName::vlan_device(id),
        IfName::vlan_device(id)
    ))
}
