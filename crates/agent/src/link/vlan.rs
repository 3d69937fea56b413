//! VLAN devices: makes `vlan<id>` on its parent interface, in one step or not at all, and repairs or
//! removes it. Depends on rtnetlink and on the alias of the device. The bridge takes the device as its
//! uplink.

use super::alias::vlan_alias;
use super::kernel_state::{self, Link, Snapshot};
use super::make::make_or_remove;
use super::mtu::{self, Mtu};
use super::{display, message};
use crate::netlink::rtnetlink::Socket;
use novanet_model::IfName;
use novanet_reconcile::SubsystemError;
use std::collections::BTreeMap;
use std::fmt;
use std::io;

/// What stands under the name of a VLAN device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VlanValue {
    /// A device of novanet's.
    Ours(VlanSpec),
    /// A device that novanet did not make, in words for an error. Observed only.
    Foreign(String),
}

/// A VLAN device of novanet's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VlanSpec {
    /// The interface that carries the tagged frames. `None`: unknown; observed only.
    pub parent: Option<IfName>,
    /// The 802.1Q tag, 1 to 4094. `None`: unknown; observed only.
    pub id: Option<u16>,
    /// Administratively up.
    pub up: bool,
    /// [`Mtu::AsMade`]: that of its parent.
    pub mtu: Mtu,
    /// The MTU that the network sets for its bridge: the parent has at least this. `None`: not set;
    /// observed: the parent has less.
    pub at_least: Option<u32>,
}

impl fmt::Display for VlanValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours(spec) => {
                let parent = display::or_none(spec.parent.as_ref());
                let id = spec.id.unwrap_or_default();
                let up = display::up_or_down(spec.up);
                write!(f, "id {id} on {parent} {up}{}", spec.mtu)
            }
            Self::Foreign(what) => f.write_str(what),
        }
    }
}

impl VlanValue {
    /// The device that a network wants.
    pub(super) fn wanted(parent: &IfName, id: u16, at_least: Option<u32>) -> Self {
        Self::Ours(VlanSpec {
            parent: Some(parent.clone()),
            id: Some(id),
            up: true,
            mtu: Mtu::AsMade,
            at_least,
        })
    }
}

/// Whether the kernel makes 802.1Q devices; loads the module where it is one. Makes nothing: the
/// request names no interface, which the kernel looks at after it has found the kind.
pub fn kernel_has_vlans() -> bool {
    let asked = Socket::open().and_then(|mut socket| socket.request(&message::probe_vlan()));
    // Complete but for the tag: a kernel that has the kind asks for it.
    asked.is_err_and(|e| e.raw_os_error() == Some(libc::EINVAL))
}

/// Whether a link is a VLAN device with novanet's alias for this name.
pub(super) fn is_ours(link: &Link, name: &IfName) -> bool {
    link.kind == "vlan" && link.alias == vlan_alias(name)
}

/// VLAN devices of novanet's, and what has the name of a wanted one.
pub(super) fn observe(
    snapshot: &Snapshot,
    wanted: &BTreeMap<&IfName, &VlanValue>,
) -> BTreeMap<IfName, VlanValue> {
    let found = snapshot.named().filter_map(|(name, link)| {
        let value = if is_ours(link, name) {
            VlanValue::Ours(read(snapshot, link, wanted.get(name).copied()))
        } else if wanted.contains_key(name) {
            VlanValue::Foreign(link.describe())
        } else {
            return None;
        };
        Some((name.clone(), value))
    });
    found.collect()
}

fn read(snapshot: &Snapshot, link: &Link, wanted: Option<&VlanValue>) -> VlanSpec {
    let parent = link.lower.and_then(|index| snapshot.numbered(index));
    let at_least = match wanted {
        Some(VlanValue::Ours(spec)) => spec.at_least,
        _ => None,
    };
    VlanSpec {
        parent: link.lower.and_then(|index| snapshot.interface(index)),
        id: link.vlan_id,
        up: link.up,
        mtu: parent.map_or(Mtu::AsMade, |parent| mtu::compared(link.mtu, parent.mtu)),
        at_least: at_least.filter(|mtu| parent.is_some_and(|parent| parent.mtu >= *mtu)),
    }
}

/// Makes a VLAN device what it must be; `None`: removes it.
pub(super) fn apply(
    socket: &mut Socket,
    name: &IfName,
    to: Option<&VlanValue>,
) -> Result<(), SubsystemError> {
    match to {
        Some(VlanValue::Ours(VlanSpec {
            parent: Some(parent),
            id: Some(id),
            at_least,
            ..
        })) => ensure(socket, name, (parent, *at_least), *id),
        Some(value) => Err(SubsystemError::Refused(format!(
            "VLAN device {name} cannot be made {value:?}"
        ))),
        None => remove(socket, name),
    }
}

fn ensure(
    socket: &mut Socket,
    name: &IfName,
    (parent_name, at_least): (&IfName, Option<u32>),
    id: u16,
) -> Result<(), SubsystemError> {
    let parent = kernel_state::link(socket, parent_name)?.ok_or_else(|| {
        SubsystemError::Refused(format!(
            "interface {parent_name} is not there, so VLAN {id} has no wire: check the flag \
             vlan_interface (or the network's bridge_interface)"
        ))
    })?;
    if parent.is_bridge() {
        return Err(SubsystemError::Refused(format!(
            "interface {parent_name} is a bridge: VLAN {id} needs the interface of the trunk \
             (flag vlan_interface, or the network's bridge_interface)"
        )));
    }
    if parent.master.is_some() {
        return Err(SubsystemError::Refused(format!(
            "interface {parent_name} is a port of a bridge or bond, which takes its tagged frames: \
             free it (ip link set dev {parent_name} nomaster), or name the bond as vlan_interface"
        )));
    }
    if let Some(mtu) = at_least.filter(|mtu| *mtu > parent.mtu) {
        return Err(SubsystemError::Refused(format!(
            "interface {parent_name} has MTU {}, and the network of VLAN {id} has {mtu}: raise it \
             (ip link set dev {parent_name} mtu {mtu}; on the switch too), or lower the network's",
            parent.mtu
        )));
    }
    let existing = kernel_state::link(socket, name)?;
    if let Some(link) = &existing
        && !is_ours(link, name)
    {
        return Err(SubsystemError::Refused(format!(
            "VLAN device {name}: the name is taken by {}; remove it (vconfig rem {name}), give it to \
             novanet (nova-manage host adopt {name}), or give the network another VLAN id",
            link.describe()
        )));
    }
    // The kernel refuses to take the device up while its parent is down.
    let mut before = vec![message::take_up(parent.index)];
    let results = match existing {
        Some(link) if link.lower == Some(parent.index) && link.vlan_id == Some(id) => {
            before.push(message::set_mtu(link.index, parent.mtu));
            before.push(message::take_up(link.index));
            socket.send_together(&before)
        }
        other => {
            // The kernel changes neither parent nor tag of a device.
            before.extend(other.map(|link| message::remove_link(link.index)));
            let make = message::make_vlan(name, parent.index, id, &vlan_alias(name));
            make_or_remove(socket, name, &before, &make)
        }
    };
    let done = results.and_then(|results| results.into_iter().collect::<io::Result<()>>());
    done.map_err(|error| match error.raw_os_error() {
        Some(libc::EOPNOTSUPP) => SubsystemError::Refused(format!(
            "VLAN device {name}: this kernel has no 802.1Q (modprobe 8021q)"
        )),
        _ => SubsystemError::kernel(format!("make VLAN device {name} on {parent_name}"), error),
    })
}

fn remove(socket: &mut Socket, name: &IfName) -> Result<(), SubsystemError> {
    match kernel_state::link(socket, name)? {
        Some(link) if is_ours(&link, name) => socket
            .request(&message::remove_link(link.index))
            .map_err(|e| SubsystemError::kernel(format!("remove VLAN device {name}"), e)),
        _ => Ok(()),
    }
}

/// Whether a link event leaves a VLAN device different from what it must be.
pub(super) fn differs(wanted: &VlanValue, link: &Link, name: &IfName) -> bool {
    match wanted {
        VlanValue::Ours(spec) => {
            !is_ours(link, name) || link.up != spec.up || link.vlan_id != spec.id
        }
        VlanValue::Foreign(_) => false,
    }
}
