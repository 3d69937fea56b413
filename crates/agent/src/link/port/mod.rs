//! Instances' ports: the host ends of their veth pairs. The instance's driver makes a pair between
//! creating and starting an instance ([`attach`]); this kind keeps its host end in the bridge and
//! removes it with its object. Depends on rtnetlink and on ownership tags.

mod removal;
mod veth;

pub(super) use removal::remove;
pub use veth::{VethAttacher, attach};

use super::alias::{port_alias, without_mtu};
use super::display;
use super::fdb;
use super::kernel_state::{self, Link, Snapshot};
use super::mtu::{self, Mtu};
use super::options::PortKind;
use super::ownership::{describe_port, has_other_mac, is_our_port};
use crate::netlink::ownership::PORTS;
use crate::netlink::rtnetlink::Socket;
use novanet_model::object::Port;
use novanet_model::{IfName, MacAddr};
use novanet_reconcile::SubsystemError;
use std::collections::BTreeMap;
use std::fmt;

/// A device under the name of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortValue {
    /// A port of novanet's.
    Ours(PortSpec),
    /// A network that this host cannot have: the device stays as it is.
    Unmanaged,
    /// A device without novanet's tags, in words for an error. Observed only.
    Foreign(String),
}

/// A port of novanet's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// The bridge it is in. `None`: none; observed only.
    pub bridge: Option<IfName>,
    /// Administratively up.
    pub up: bool,
    /// The instance's MAC: the bridge has an fdb entry for it on this port that no frame moves.
    pub mac: MacAddr,
    /// The alias, without the MTU behind it. Empty: others removed it.
    pub alias: String,
    /// Options that others changed, as `ip` and `bridge` call them. Wanted empty.
    pub changed: Vec<&'static str>,
    /// It is in the device group by which the firewall knows ports.
    pub guarded: bool,
    /// VPN clients are behind it, with MACs of their own.
    pub vpn: bool,
    /// [`Mtu::AsMade`]: the MTU in its alias.
    pub mtu: Mtu,
}

impl fmt::Display for PortValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(spec) => spec.fmt(f),
            Self::Unmanaged => f.write_str("left as it is"),
            Self::Foreign(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bridge = display::or_none(self.bridge.as_ref());
        let (up, mtu) = (display::up_or_down(self.up), self.mtu);
        let guarded = if self.guarded {
            ""
        } else {
            " out of its group"
        };
        let tag = if self.alias.is_empty() {
            " without novanet's mark"
        } else {
            ""
        };
        write!(f, "in bridge {bridge} {up}{guarded}{tag}{mtu}")?;
        display::write_changed(f, &self.changed)
    }
}

impl PortSpec {
    fn kind(&self) -> PortKind {
        PortKind::of(self.vpn)
    }
}

impl PortValue {
    /// The port that an instance wants.
    pub(super) fn wanted(port: &Port) -> Self {
        Self::Ours(PortSpec {
            bridge: Some(port.bridge.clone()),
            up: true,
            mac: port.mac,
            alias: port_alias(port),
            changed: Vec::new(),
            guarded: true,
            vpn: port.vpn_clients.is_some(),
            mtu: Mtu::AsMade,
        })
    }
}

/// Ports of novanet's, and what has the name of a wanted one. A wanted port without a device is
/// observed as wanted: the instance's driver makes it.
pub(super) fn observe(
    snapshot: &Snapshot,
    wanted: &BTreeMap<&IfName, &PortValue>,
) -> BTreeMap<IfName, PortValue> {
    let mut found = BTreeMap::new();
    for (name, link) in snapshot.named() {
        let wanted = wanted.get(name).copied();
        if let Some(value) = value(snapshot, link, wanted) {
            found.insert(name.clone(), value);
        }
    }
    for (name, value) in wanted {
        if !found.contains_key(*name) {
            found.insert((*name).clone(), (*value).clone());
        }
    }
    found
}

fn value(snapshot: &Snapshot, link: &Link, wanted: Option<&PortValue>) -> Option<PortValue> {
    let spec = match wanted {
        Some(PortValue::Unmanaged) => return Some(PortValue::Unmanaged),
        Some(PortValue::Ours(spec)) => Some(spec),
        Some(PortValue::Foreign(_)) | None => None,
    };
    if !is_our_port(link) {
        return wanted.map(|_| PortValue::Foreign(describe_port(link)));
    }
    Some(PortValue::Ours(PortSpec {
        bridge: snapshot.bridge_of(link),
        up: link.up,
        mac: spec.map_or(MacAddr([0; 6]), |spec| spec.mac),
        alias: without_mtu(&link.alias).to_owned(),
        changed: spec.map_or(Vec::new(), |spec| changed(snapshot, link, spec)),
        guarded: link.group == PORTS,
        vpn: spec.is_some_and(|spec| spec.vpn),
        mtu: mtu::of_port(link),
    }))
}

/// Options of a port that others changed, in words for the plan.
fn changed(snapshot: &Snapshot, link: &Link, wanted: &PortSpec) -> Vec<&'static str> {
    let wrong = link.wrong_as(wanted.kind()).into_iter();
    let mut changed: Vec<_> = wrong.map(|wrong| wrong.name).collect();
    let Some(bridge) = link.master else {
        return changed; // a link that is no port has no options of one
    };
    let entry = snapshot.entries.get(&(bridge, wanted.mac));
    if !entry.is_some_and(|entry| entry.is_instances_on(link.index)) {
        changed.push("fdb entry of the instance's MAC");
    }
    if has_other_mac(link) {
        changed.push("address");
    }
    if snapshot
        .numbered(bridge)
        .is_some_and(|bridge| link.is_blocked_in(bridge))
    {
        changed.push("state");
    }
    changed
}

/// Repairs a port. Ports are removed together: see [`remove`].
pub(super) fn apply(
    socket: &mut Socket,
    name: &IfName,
    to: &PortValue,
) -> Result<(), SubsystemError> {
    match to {
        PortValue::Ours(PortSpec { bridge: None, .. }) | PortValue::Unmanaged => Ok(()),
        PortValue::Ours(PortSpec {
            bridge: Some(bridge),
            mac,
            alias,
            vpn,
            ..
        }) => {
            let (mac, alias, kind) = (*mac, alias.clone(), PortKind::of(*vpn));
            veth::repair(
                socket,
                name,
                bridge,
                &veth::InstanceTags { mac, alias, kind },
            )
        }
        PortValue::Foreign(_) => Err(SubsystemError::Refused(format!(
            "port {name} cannot be made {to:?}"
        ))),
    }
}

/// Whether a link event leaves a port different from what it must be.
pub(super) fn differs(wanted: &PortValue, link: &Link) -> bool {
    match wanted {
        PortValue::Ours(spec) => {
            link.master.is_none()
                || link.up != spec.up
                || !link.wrong_as(spec.kind()).is_empty()
                || has_other_mac(link)
                || without_mtu(&link.alias) != spec.alias
                || (link.group == PORTS) != spec.guarded
                || mtu::of_port(link) != spec.mtu
        }
        PortValue::Unmanaged | PortValue::Foreign(_) => false,
    }
}

/// Whether a port differs now, after an event: as [`differs`], or it is in another bridge or
/// blocked there, or the bridge does not know the instance's MAC.
pub(super) fn is_changed(socket: &mut Socket, wanted: &PortValue, link: &Link) -> bool {
    let PortValue::Ours(spec) = wanted else {
        return false;
    };
    differs(wanted, link)
        || spec.bridge.as_ref().is_some_and(|bridge| {
            let master = kernel_state::link(socket, bridge).ok().flatten();
            master.is_none_or(|master| {
                link.master != Some(master.index) || link.is_blocked_in(&master)
            })
        })
        || !fdb::knows(socket, link.master, link.index, spec.mac).unwrap_or(false)
}
