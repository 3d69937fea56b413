//! Bridges: makes them in one step or not at all, repairs what others changed, and removes a bridge
//! when nothing foreign is on it. Depends on rtnetlink, on ownership tags and on uplinks' records.

mod removal;
mod value;

pub(super) use value::conflict;
pub use value::{BridgeSpec, BridgeValue};

use super::alias::{bridge_alias, host_end_mac};
use super::context::Context;
use super::kernel_state::{self, Link, Snapshot};
use super::make::make_or_remove;
use super::mtu::{self, Mtu};
use super::ownership::{self, TaggedBridges, is_our_bridge};
use super::{fdb, message, procfs, sysctl};
use crate::netlink::rtnetlink::{Request, Socket};
use crate::settings::Settings;
use novanet_model::IfName;
use novanet_reconcile::SubsystemError;
use std::collections::{BTreeMap, BTreeSet};

/// Bridges of novanet's, and what has the name of a wanted one. `uplinks` are by the records.
pub(super) fn observe(
    context: &mut Context,
    snapshot: &Snapshot,
    wanted: &BTreeMap<&IfName, &BridgeValue>,
    uplinks: &BTreeSet<IfName>,
) -> Result<BTreeMap<IfName, BridgeValue>, SubsystemError> {
    let mut found = BTreeMap::new();
    for (name, link) in snapshot.named() {
        let wanted = wanted.get(name).copied();
        if let Some(value) = value(snapshot, link, name, wanted, (uplinks, &context.tagged)) {
            found.insert(name.clone(), value);
        }
    }
    for (name, value) in wanted {
        if **value == BridgeValue::Unmanaged && !found.contains_key(*name) {
            found.insert((*name).clone(), BridgeValue::Unmanaged);
        }
    }
    for (name, value) in &mut found {
        if let BridgeValue::Ours(_) = value
            && !wanted.contains_key(name)
            && let Some(link) = kernel_state::link(&mut context.socket, name)?
            && let Some(why) = removal::blocker(context, &link, name)?
        {
            *value = BridgeValue::RemovalBlocked(why);
        }
    }
    Ok(found)
}

fn value(
    snapshot: &Snapshot,
    link: &Link,
    name: &IfName,
    wanted: Option<&BridgeValue>,
    (uplinks, tagged): (&BTreeSet<IfName>, &TaggedBridges),
) -> Option<BridgeValue> {
    let is_tagged = is_our_bridge(link, name);
    let mac = ownership::own_mac(snapshot, link, name, uplinks);
    let ours = is_tagged || tagged.has_lost_alias(link, name, mac);
    let is = |mac, mtu| {
        Some(BridgeValue::Ours(BridgeSpec {
            mac,
            mtu,
            up: link.up,
            changed: changed(snapshot, link),
            tagged: is_tagged,
        }))
    };
    match wanted {
        Some(BridgeValue::Unmanaged) if !ours => Some(BridgeValue::Unmanaged),
        Some(BridgeValue::Administrators) if link.is_bridge() => Some(BridgeValue::Administrators),
        Some(BridgeValue::Ours(spec)) if ours => {
            let right = mtu::right(spec.mtu, link, snapshot.links());
            is(mac?, mtu::of_bridge(spec.mtu, link, right))
        }
        _ if ours => is(link.mac?, Mtu::AsMade),
        Some(_) => Some(BridgeValue::Foreign(tagged.describe(link, name))),
        None => None,
    }
}

/// Options of a bridge that others changed, in words for the plan.
fn changed(snapshot: &Snapshot, link: &Link) -> Vec<&'static str> {
    let wrong = link.wrong_in_bridge.iter();
    let mut changed: Vec<_> = wrong.map(|wrong| wrong.name).collect();
    let own = link
        .mac
        .and_then(|mac| snapshot.entries.get(&(link.index, mac)));
    if !own.is_some_and(|entry| entry.local) {
        changed.push("fdb entry of its own MAC");
    }
    if !link.arp {
        changed.push("arp");
    }
    changed
}

/// The MTU that each wanted bridge of the host must have: as it is wanted, and as a number.
pub(super) fn right_mtus(
    snapshot: &Snapshot,
    wanted: &BTreeMap<&IfName, &BridgeValue>,
) -> BTreeMap<IfName, (BridgeSpec, u32)> {
    let mut all = BTreeMap::new();
    for (name, value) in wanted {
        if let BridgeValue::Ours(spec) = value
            && let Some(link) = snapshot.link(name)
        {
            let right = mtu::right(spec.mtu, link, snapshot.links());
            all.insert((*name).clone(), (spec.clone(), right));
        }
    }
    all
}

/// Makes a bridge what it must be; `None`: removes it.
pub(super) fn apply(
    context: &mut Context,
    name: &IfName,
    to: Option<&BridgeValue>,
) -> Result<(), SubsystemError> {
    match to {
        Some(BridgeValue::Ours(spec)) => ensure(context, name, spec),
        Some(BridgeValue::Administrators) => wait_for(context, name),
        // A foreign bridge of a network that the host cannot have is observed as unmanaged.
        Some(BridgeValue::Unmanaged) | None => removal::remove(context, name),
        Some(value @ (BridgeValue::Foreign(_) | BridgeValue::RemovalBlocked(_))) => Err(
            SubsystemError::Refused(format!("bridge {name} cannot be made {value:?}")),
        ),
    }
}

fn ensure(context: &mut Context, name: &IfName, spec: &BridgeSpec) -> Result<(), SubsystemError> {
    let alias = bridge_alias(name);
    let results = match kernel_state::link(&mut context.socket, name)? {
        None => {
            let mtu = match spec.mtu {
                Mtu::Fixed(mtu) => Some(mtu),
                Mtu::AsMade | Mtu::Changed { .. } => None,
            };
            let requests = message::make_bridge(name, spec.mac, mtu, &alias);
            make_or_remove(&mut context.socket, name, &[], &requests)
                .inspect(|_| write_sysctls_of_new(name))
        }
        Some(link) if is_our_bridge(&link, name) => {
            let requests = repairs(context, &link, spec)?;
            context.socket.send_together(&requests)
        }
        Some(link) => {
            return Err(SubsystemError::Refused(format!(
                "bridge {name}: the name is taken by {}; rename or remove it, \
                 or give the network another bridge name",
                context.tagged.describe(&link, name)
            )));
        }
    };
    results
        .and_then(|results| results.into_iter().collect())
        .map_err(|e| SubsystemError::kernel(format!("make bridge {name}"), e))
}

/// Requests that undo what others changed of a bridge.
fn repairs(
    context: &mut Context,
    link: &Link,
    spec: &BridgeSpec,
) -> Result<Vec<Request>, SubsystemError> {
    let wrong = link.wrong_in_bridge.iter();
    let set = |right| message::set_bridge_option(link.index, right);
    let mut requests: Vec<_> = wrong.map(|wrong| set(wrong.right.clone())).collect();
    let mac = if borrows_mac(context, link)? {
        link.mac.unwrap_or(spec.mac)
    } else {
        spec.mac
    };
    if link.mac == Some(mac) && !fdb::knows_itself(&mut context.socket, link.index, link.mac)? {
        // The kernel makes the entry when it sets a MAC that differs from the one before.
        let name = IfName::new(link.name.as_str());
        let other = name.map_err(|e| SubsystemError::Refused(e.to_string()))?;
        requests.push(message::set_mac(link.index, host_end_mac(&other)));
        requests.push(message::set_mac(link.index, mac));
    } else if link.mac != Some(mac) {
        requests.push(message::set_mac(link.index, mac));
    }
    let links = kernel_state::links(&mut context.socket)?;
    let right = mtu::right(spec.mtu, link, links.iter());
    // The kernel maintains an MTU that was never set, so a right one is not set again.
    if right != link.mtu {
        requests.push(message::set_mtu(link.index, right));
    }
    requests.push(message::take_up(link.index));
    Ok(requests)
}

/// Sets the alias again of a bridge that surely is novanet's. Every other change of a bridge needs
/// its alias.
pub(super) fn restore_alias(context: &mut Context, name: &IfName) -> Result<(), SubsystemError> {
    let Some(link) = kernel_state::link(&mut context.socket, name)? else {
        return Ok(());
    };
    let mac = if borrows_mac(context, &link)? {
        Some(Settings::bridge_mac(name))
    } else {
        link.mac
    };
    if !context.tagged.has_lost_alias(&link, name, mac) {
        return Ok(());
    }
    context
        .socket
        .request(&message::set_alias(link.index, &bridge_alias(name)))
        .map_err(|e| SubsystemError::kernel(format!("mark bridge {name}"), e))
}

/// Whether the bridge has the addresses of an uplink, and so its MAC.
fn borrows_mac(context: &mut Context, bridge: &Link) -> Result<bool, SubsystemError> {
    for uplink in context.uplinks() {
        let link = kernel_state::link(&mut context.socket, &uplink)?;
        if link.is_some_and(|l| l.master == Some(bridge.index) && l.mac == bridge.mac) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn wait_for(context: &mut Context, name: &IfName) -> Result<(), SubsystemError> {
    match kernel_state::link(&mut context.socket, name)? {
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

/// A setting that cannot be written now differs at the next observation.
fn write_sysctls_of_new(bridge: &IfName) {
    for (setting, value) in sysctl::OF_OUR_BRIDGES {
        if let Err(error) = procfs::write(&procfs::conf(bridge, setting), value) {
            tracing::warn!(%bridge, %error, "cannot set a sysctl of a new bridge");
        }
    }
}

/// Whether a link event leaves a bridge different from what it must be.
pub(super) fn differs(wanted: &BridgeValue, link: &Link, name: &IfName) -> bool {
    match wanted {
        BridgeValue::Ours(spec) => {
            !is_our_bridge(link, name)
                || link.up != spec.up
                || !link.arp
                || !link.wrong_in_bridge.is_empty()
                || matches!(spec.mtu, Mtu::Fixed(mtu) if mtu != link.mtu)
        }
        BridgeValue::Administrators => true,
        BridgeValue::Unmanaged => is_our_bridge(link, name), // it has its alias again
        BridgeValue::Foreign(_) | BridgeValue::RemovalBlocked(_) => false,
    }
}

/// Whether a bridge differs now, after an event: as [`differs`], or it does not know its own MAC,
/// or it has another MAC without an uplink whose MAC that may be.
pub(super) fn is_changed(
    socket: &mut Socket,
    wanted: &BridgeValue,
    link: &Link,
    name: &IfName,
    has_uplink: impl FnOnce() -> bool,
) -> bool {
    differs(wanted, link, name)
        || matches!(wanted, BridgeValue::Ours(spec)
            if link.mac != Some(spec.mac) && !has_uplink()
                || !fdb::knows_itself(socket, link.index, link.mac).unwrap_or(false))
}
