//! Enslaving an interface, also one that carries the host's own addresses, and giving it back.
//!
//! All messages go to the kernel in one send, which it works off without coming back to us: an
//! established connection over the interface lives on (longest gap 4 ms), and a kill cannot come
//! between "enslaved" and "address moved". It is no transaction, though: every answer is read, and
//! when the interface cannot be enslaved its addresses are put back at once.

use super::kernel_state::{self, Link};
use super::message::{self, Device};
use super::observe::{is_our_bridge, must_pass};
use super::options::PortKind;
use super::uplink_migration::{InterfaceConfig, MigrationRecord};
use crate::netlink::rtnetlink::{Request, Socket};
use crate::settings::Settings;
use crate::subsystem::SubsystemError;
use novanet_model::IfName;
use rtnetlink::packet_route::link::{BridgePortState, InfoBridgePort};
use std::io;
use std::path::Path;

/// Makes `uplink` a port of `bridge`, which takes over its addresses, routes and (then) MAC.
pub(crate) fn enslave(
    socket: &mut Socket,
    state_dir: &Path,
    uplink: &IfName,
    bridge: &IfName,
) -> Result<(), SubsystemError> {
    // It was another network's so far: back to the interface first, with what it carried.
    if MigrationRecord::load(state_dir, uplink).is_some_and(|record| record.bridge != *bridge) {
        release(socket, state_dir, uplink)?;
    }
    let (nic, bridge) = check(socket, uplink, bridge)?;
    let found = InterfaceConfig::of(socket, nic.index)?;
    if let Some(address) = found.leased() {
        return Err(SubsystemError::Refused(format!(
            "interface {uplink} has {address} from DHCP, which nobody would renew on {}: \
             give {uplink} a static address, or make {} yourself with {uplink} as its port and \
             DHCP on it (a flat network's bridge), or choose another flat_interface",
            bridge.name, bridge.name
        )));
    }
    let before = MigrationRecord::load(state_dir, uplink);
    let moving = match (&before, found.is_empty()) {
        // It was enslaved, and somebody removed the bridge with what it carried.
        (Some(record), true) if nic.master.is_none() => record.config_on(nic.index),
        _ => found,
    };
    if before.is_none() || !moving.is_empty() {
        let mut config = moving.clone();
        if let (Some(record), Some(_)) = (&before, nic.master) {
            // A DHCP client found its interface again: what went before is still on the bridge.
            config.add(record.config_on(nic.index));
        }
        let record = MigrationRecord {
            bridge: name_of(&bridge)?,
            device: nic.index,
            config,
        };
        record.save(state_dir, uplink)?;
    }
    let mut requests = Vec::new();
    if let (false, Some(mac)) = (moving.addresses.is_empty(), nic.mac) {
        requests.push(message::set_mac(bridge.index, mac));
    }
    requests.extend(moving.addresses_to(bridge.index, &bridge.name));
    let decisive = requests.len();
    requests.push(message::enslave(nic.index, bridge.index));
    requests.extend(moving.addresses_off(nic.index));
    requests.extend(moving.routes_to(nic.index, bridge.index));
    requests.extend(mends(&nic, &bridge));
    let what = format!("enslave {uplink} to {}", bridge.name);
    let results = socket
        .send_together(&requests)
        .map_err(|e| SubsystemError::kernel(what.clone(), e))?;
    if let Some(Err(error)) = results.get(decisive) {
        let error = io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO));
        put_back(socket, &moving, &nic, &bridge);
        MigrationRecord::remove(state_dir, uplink)?;
        return Err(SubsystemError::kernel(what, error));
    }
    all_went(&what, results)
}

/// Gives an interface that is a port already what somebody changed of its options.
fn mends(nic: &Link, bridge: &Link) -> Vec<Request> {
    let device = Device::Index(nic.index);
    let wrong = nic.wrong_as(PortKind::Uplink).into_iter();
    let mut options: Vec<_> = wrong.map(|wrong| wrong.right).collect();
    if nic.master == Some(bridge.index) && must_pass(nic, bridge) {
        options.push(InfoBridgePort::State(BridgePortState::Forwarding));
    }
    let set = |option| message::set_port_options(&device, vec![option]);
    options.into_iter().map(set).collect()
}

/// Gives the interface back: what is on the bridge and not ours becomes the interface's.
pub(crate) fn release(
    socket: &mut Socket,
    state_dir: &Path,
    uplink: &IfName,
) -> Result<(), SubsystemError> {
    let Some(record) = MigrationRecord::load(state_dir, uplink) else {
        return Ok(()); // Not enslaved by us.
    };
    let nic = kernel_state::link(socket, uplink)?;
    // One that somebody else has put in its place carries nothing of the interface's.
    let bridge =
        kernel_state::link(socket, &record.bridge)?.filter(|b| is_our_bridge(b, &record.bridge));
    match (nic, bridge) {
        (Some(nic), Some(bridge)) if nic.master == Some(bridge.index) => {
            move_back(socket, &nic, &bridge, &record)?;
        }
        // Somebody removed the bridge: what it carried is the interface's again.
        (Some(nic), None) if nic.master.is_none() => {
            let moving = record.config_on(nic.index);
            let mut requests = moving.addresses_to(nic.index, &nic.name);
            requests.extend(moving.routes_to(nic.index, nic.index));
            let what = format!("give {uplink} its addresses back");
            let results = socket
                .send_together(&requests)
                .map_err(|e| SubsystemError::kernel(what.clone(), e))?;
            all_went(&what, results)?;
        }
        _ => {}
    }
    MigrationRecord::remove(state_dir, uplink)
}

fn move_back(
    socket: &mut Socket,
    nic: &Link,
    bridge: &Link,
    record: &MigrationRecord,
) -> Result<(), SubsystemError> {
    let moving = InterfaceConfig::of(socket, bridge.index)?;
    let mut requests = moving.addresses_to(nic.index, &nic.name);
    requests.push(message::free(nic.index));
    requests.extend(moving.addresses_off(bridge.index));
    requests.extend(moving.routes_to(bridge.index, nic.index));
    if bridge.mac == nic.mac {
        let own = Settings::bridge_mac(&record.bridge);
        requests.push(message::set_mac(bridge.index, own));
    }
    let what = format!("release {} from {}", nic.name, bridge.name);
    let results = socket
        .send_together(&requests)
        .map_err(|e| SubsystemError::kernel(what.clone(), e))?;
    all_went(&what, results)
}

fn check(
    socket: &mut Socket,
    uplink: &IfName,
    bridge: &IfName,
) -> Result<(Link, Link), SubsystemError> {
    let nic = kernel_state::link(socket, uplink)?.ok_or_else(|| {
        SubsystemError::Refused(format!(
            "interface {uplink} is not there, so bridge {bridge} has no uplink: \
             check the flag flat_interface (or the network's bridge_interface)"
        ))
    })?;
    let link = kernel_state::link(socket, bridge)?
        .filter(|link| is_our_bridge(link, bridge))
        .ok_or_else(|| {
            SubsystemError::Refused(format!(
                "bridge {bridge} is not there, nothing to plug {uplink} into"
            ))
        })?;
    if nic.master.is_some_and(|master| master != link.index) {
        return Err(SubsystemError::Refused(format!(
            "interface {uplink} is a port of another bridge or bond: \
             free it (ip link set {uplink} nomaster) or choose another flat_interface"
        )));
    }
    Ok((nic, link))
}

fn name_of(bridge: &Link) -> Result<IfName, SubsystemError> {
    IfName::new(bridge.name.as_str()).map_err(|e| SubsystemError::Refused(e.to_string()))
}

/// The interface could not be enslaved: its addresses are its own again.
fn put_back(socket: &mut Socket, moving: &InterfaceConfig, nic: &Link, bridge: &Link) {
    let mut requests = moving.addresses_to(nic.index, &nic.name);
    requests.extend(moving.routes_to(nic.index, nic.index));
    requests.extend(moving.addresses_off(bridge.index));
    if let Err(error) = socket.send_together(&requests) {
        tracing::error!(uplink = nic.name, %error, "could not give the addresses back");
    }
}

/// The first failure that means something: an address that is gone already is where it should be.
fn all_went(what: &str, results: Vec<io::Result<()>>) -> Result<(), SubsystemError> {
    let harmless = [Some(libc::EEXIST), Some(libc::EADDRNOTAVAIL)];
    results
        .into_iter()
        .filter_map(Result::err)
        .find(|error| !harmless.contains(&error.raw_os_error()))
        .map_or(Ok(()), |error| Err(SubsystemError::kernel(what, error)))
}
