//! Uplinks: enslaves an interface to a bridge, also one with addresses of the host, and releases
//! it. Depends on rtnetlink, on ownership tags and on the migration's records.
//!
//! All messages go to the kernel in one send, which it works off inside the system call: an
//! established connection over the interface survives (longest gap 4 ms), and a kill cannot come
//! between "enslaved" and "address moved". A send is no transaction: every answer is read, and when
//! the interface cannot be enslaved its addresses are put back at once.

use super::confirm;
use super::display;
use super::kernel_state::{self, Link, Snapshot};
use super::message::{self, Device};
use super::options::PortKind;
use super::ownership::is_our_bridge;
use super::uplink_migration::{InterfaceConfig, MigrationRecord};
use crate::netlink::rtnetlink::{Request, Socket};
use crate::settings::Settings;
use novanet_model::IfName;
use novanet_reconcile::SubsystemError;
use rtnetlink::packet_route::link::{BridgePortState, InfoBridgePort};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::Path;

/// An enslaved interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UplinkSpec {
    /// The bridge it is a port of. `None`: none; observed only.
    pub bridge: Option<IfName>,
    /// Administratively up.
    pub up: bool,
    /// It has addresses of its own, which belong on the bridge. Wanted false.
    pub addressed: bool,
    /// Options that others changed, as `ip` and `bridge` call them. Wanted empty.
    pub changed: Vec<&'static str>,
}

impl fmt::Display for UplinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addressed = if self.addressed {
            " with addresses"
        } else {
            ""
        };
        let bridge = display::or_none(self.bridge.as_ref());
        let up = display::up_or_down(self.up);
        write!(f, "in bridge {bridge} {up}{addressed}")?;
        display::write_changed(f, &self.changed)
    }
}

impl UplinkSpec {
    /// The uplink that a network wants for its bridge.
    pub(super) fn wanted(bridge: &IfName) -> Self {
        Self {
            bridge: Some(bridge.clone()),
            up: true,
            addressed: false,
            changed: Vec::new(),
        }
    }

    fn read(snapshot: &Snapshot, link: &Link) -> Self {
        let bridge = link.master.and_then(|master| snapshot.numbered(master));
        let wrong = link.wrong_as(PortKind::Uplink).into_iter();
        let mut changed: Vec<_> = wrong.map(|wrong| wrong.name).collect();
        if bridge.is_some_and(|bridge| link.is_blocked_in(bridge)) {
            changed.push("state");
        }
        let mut addresses = snapshot.addresses.iter();
        Self {
            bridge: snapshot.bridge_of(link),
            up: link.up,
            addressed: addresses.any(|address| address.device == link.index),
            changed,
        }
    }

    /// An uplink by its record only: the interface does not exist.
    fn missing() -> Self {
        Self {
            bridge: None,
            up: false,
            addressed: false,
            changed: Vec::new(),
        }
    }
}

/// Why a network (`late`) does not get this uplink.
pub(super) fn conflict(
    uplink: &IfName,
    (first, had): (&str, &UplinkSpec),
    (late, wish): (&str, &UplinkSpec),
) -> String {
    let name = |spec: &UplinkSpec| spec.bridge.as_ref().map(ToString::to_string);
    let [bridge, late_bridge] = [had, wish].map(|spec| name(spec).unwrap_or_default());
    format!(
        "interface {uplink} is the uplink of bridge {bridge} (network {first}) and cannot be that \
         of bridge {late_bridge} (network {late}) too: create one of the two networks with another \
         bridge_interface, or both with the same bridge"
    )
}

/// Wanted uplinks, and those of `recorded`: enslaved by novanet, by the records.
pub(super) fn observe(
    snapshot: &Snapshot,
    wanted: &BTreeMap<&IfName, &UplinkSpec>,
    recorded: &BTreeSet<IfName>,
    state_dir: &Path,
) -> BTreeMap<IfName, UplinkSpec> {
    let mut found = BTreeMap::new();
    for name in wanted.keys().copied().chain(recorded) {
        if let Some(link) = snapshot.link(name) {
            let mut spec = UplinkSpec::read(snapshot, link);
            if wanted.contains_key(name) && confirm::is_overdue(state_dir, name) {
                spec.changed.push(confirm::OVERDUE);
            }
            found.insert(name.clone(), spec);
        } else if recorded.contains(name) {
            found.insert(name.clone(), UplinkSpec::missing());
        }
    }
    found
}

/// Enslaves an interface; `None`: releases it.
pub(super) fn apply(
    socket: &mut Socket,
    state_dir: &Path,
    uplink: &IfName,
    to: Option<&UplinkSpec>,
) -> Result<(), SubsystemError> {
    match to {
        Some(UplinkSpec {
            bridge: Some(bridge),
            ..
        }) if confirm::is_overdue(state_dir, uplink) => {
            release(socket, state_dir, uplink)?;
            Err(confirm::note_undone(state_dir, uplink, bridge))
        }
        Some(UplinkSpec {
            bridge: Some(bridge),
            ..
        }) => enslave(socket, state_dir, uplink, bridge),
        Some(UplinkSpec { bridge: None, .. }) => Ok(()), // observed only
        None => {
            confirm::forget(state_dir, uplink)?;
            release(socket, state_dir, uplink)
        }
    }
}

/// Whether a link event leaves an uplink different from what it must be.
pub(super) fn differs(wanted: &UplinkSpec, link: &Link) -> bool {
    link.master.is_none() || link.up != wanted.up
}

/// Whether an uplink differs now, after an event: as [`differs`], or it is a port of another
/// bridge, or it has addresses again.
pub(super) fn is_changed(socket: &mut Socket, wanted: &UplinkSpec, link: &Link) -> bool {
    if differs(wanted, link) {
        return true;
    }
    let Some(bridge) = &wanted.bridge else {
        return false;
    };
    let master = kernel_state::link(socket, bridge).ok().flatten();
    master.is_none_or(|master| link.master != Some(master.index))
        || kernel_state::addresses_of(socket, link.index)
            .is_ok_and(|addresses| !addresses.is_empty())
}

/// Makes `uplink` a port of `bridge`, which takes over its addresses, routes and (then) MAC.
fn enslave(
    socket: &mut Socket,
    state_dir: &Path,
    uplink: &IfName,
    bridge: &IfName,
) -> Result<(), SubsystemError> {
    // Another network had the uplink: first the interface gets its addresses back.
    if MigrationRecord::load(state_dir, uplink).is_some_and(|record| record.bridge != *bridge) {
        confirm::forget(state_dir, uplink)?;
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
    if nic.master.is_some() && !found.is_empty() {
        tracing::warn!(%uplink, "another program gives it addresses: see docs/uplinks.md");
    }
    let before = MigrationRecord::load(state_dir, uplink);
    let moving = match (&before, found.is_empty()) {
        // It was enslaved, and others removed its bridge with the addresses of the uplink.
        (Some(record), true) if nic.master.is_none() => record.config_on(nic.index),
        _ => found,
    };
    if before.is_none() {
        confirm::before_move(state_dir, uplink, &name_of(&bridge)?, &moving)?;
    }
    if before.is_none() || !moving.is_empty() {
        let mut config = moving.clone();
        if let (Some(record), Some(_)) = (&before, nic.master) {
            // A DHCP client configured the interface again; the addresses that moved before are
            // still on the bridge.
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
    requests.extend(repairs(&nic, &bridge));
    let what = format!("enslave {uplink} to {}", bridge.name);
    let results = socket
        .send_together(&requests)
        .map_err(|e| SubsystemError::kernel(what.clone(), e))?;
    if let Some(Err(error)) = results.get(decisive) {
        let error = io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EIO));
        put_back(socket, &moving, &nic, &bridge);
        confirm::forget(state_dir, uplink)?;
        MigrationRecord::remove(state_dir, uplink)?;
        return Err(SubsystemError::kernel(what, error));
    }
    if before.is_none() {
        confirm::after_move(state_dir, uplink)?;
    }
    first_failure(&what, results)
}

/// Requests that undo what others changed of a port's options.
fn repairs(nic: &Link, bridge: &Link) -> Vec<Request> {
    let device = Device::Index(nic.index);
    let wrong = nic.wrong_as(PortKind::Uplink).into_iter();
    let mut options: Vec<_> = wrong.map(|wrong| wrong.right).collect();
    if nic.master == Some(bridge.index) && nic.is_blocked_in(bridge) {
        options.push(InfoBridgePort::State(BridgePortState::Forwarding));
    }
    let set = |option| message::set_port_options(&device, vec![option]);
    options.into_iter().map(set).collect()
}

/// Releases an interface: foreign addresses and routes of its bridge become the interface's.
fn release(socket: &mut Socket, state_dir: &Path, uplink: &IfName) -> Result<(), SubsystemError> {
    let Some(record) = MigrationRecord::load(state_dir, uplink) else {
        return Ok(()); // not enslaved by novanet
    };
    let nic = kernel_state::link(socket, uplink)?;
    // A foreign device under the bridge's name has nothing of the interface's.
    let bridge =
        kernel_state::link(socket, &record.bridge)?.filter(|b| is_our_bridge(b, &record.bridge));
    match (nic, bridge) {
        (Some(nic), Some(bridge)) if nic.master == Some(bridge.index) => {
            move_back(socket, &nic, &bridge, &record)?;
        }
        // Others removed the bridge: the interface gets its addresses and routes back.
        (Some(nic), None) if nic.master.is_none() => {
            let moving = record.config_on(nic.index);
            let mut requests = moving.addresses_to(nic.index, &nic.name);
            requests.extend(moving.routes_to(nic.index, nic.index));
            let what = format!("give {uplink} its addresses back");
            let results = socket
                .send_together(&requests)
                .map_err(|e| SubsystemError::kernel(what.clone(), e))?;
            first_failure(&what, results)?;
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
    requests.push(message::unset_controller(nic.index));
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
    first_failure(&what, results)
}

fn check(
    socket: &mut Socket,
    uplink: &IfName,
    bridge: &IfName,
) -> Result<(Link, Link), SubsystemError> {
    let nic = kernel_state::link(socket, uplink)?.ok_or_else(|| {
        SubsystemError::Refused(format!(
            "interface {uplink} is not there, so bridge {bridge} has no uplink: \
             check the flags flat_interface and vlan_interface (or the network's bridge_interface)"
        ))
    })?;
    let link = kernel_state::link(socket, bridge)?
        .filter(|link| is_our_bridge(link, bridge))
        .ok_or_else(|| {
            SubsystemError::Refused(format!(
                "bridge {bridge} is not there, nothing to plug {uplink} into"
            ))
        })?;
    if nic.is_bridge() {
        return Err(SubsystemError::Refused(format!(
            "interface {uplink} is a bridge, and no bridge can be a port of another: make it the \
             bridge of a flat network (nova-manage network create --kind=flat --bridge={uplink}), or \
             choose another flat_interface"
        )));
    }
    if is_wireless(Path::new("/sys/class/net"), uplink) {
        return Err(SubsystemError::Refused(format!(
            "interface {uplink} is wireless, and its access point takes no frames of other MACs: \
             choose a wired flat_interface"
        )));
    }
    if nic.master.is_some_and(|master| master != link.index) {
        return Err(SubsystemError::Refused(format!(
            "interface {uplink} is a port of another bridge or bond: \
             free it (ip link set {uplink} nomaster) or choose another flat_interface"
        )));
    }
    Ok((nic, link))
}

/// As the kernel says in sysfs, for drivers of both interfaces (cfg80211, wireless extensions).
fn is_wireless(interfaces: &Path, name: &IfName) -> bool {
    let folder = interfaces.join(name.as_str());
    ["phy80211", "wireless"]
        .iter()
        .any(|part| folder.join(part).exists())
}

fn name_of(bridge: &Link) -> Result<IfName, SubsystemError> {
    IfName::new(bridge.name.as_str()).map_err(|e| SubsystemError::Refused(e.to_string()))
}

/// Gives the interface its addresses and routes back after it could not be enslaved.
fn put_back(socket: &mut Socket, moving: &InterfaceConfig, nic: &Link, bridge: &Link) {
    let mut requests = moving.addresses_to(nic.index, &nic.name);
    requests.extend(moving.routes_to(nic.index, nic.index));
    requests.extend(moving.addresses_off(bridge.index));
    if let Err(error) = socket.send_together(&requests) {
        tracing::error!(uplink = nic.name, %error, "could not give the addresses back");
    }
}

/// The first failure that matters. An address that exists, or is removed, already does not.
fn first_failure(what: &str, results: Vec<io::Result<()>>) -> Result<(), SubsystemError> {
    let harmless = [Some(libc::EEXIST), Some(libc::EADDRNOTAVAIL)];
    results
        .into_iter()
        .filter_map(Result::err)
        .find(|error| !harmless.contains(&error.raw_os_error()))
        .map_or(Ok(()), |error| Err(SubsystemError::kernel(what, error)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_wireless_interface_is_known_by_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        for part in ["wlan0/phy80211", "wlp2s0/wireless", "eth0/queues"] {
            std::fs::create_dir_all(folder.path().join(part)).unwrap();
        }
        let is = |name: &str| is_wireless(folder.path(), &IfName::new(name).unwrap());
        assert!(is("wlan0") && is("wlp2s0"));
        assert!(!is("eth0") && !is("eth1"));
    }
}
