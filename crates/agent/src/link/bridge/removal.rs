//! Removes bridges, unless something foreign is on one: the kernel would remove that with the
//! bridge. Depends on rtnetlink and on the records of uplinks.

use super::super::context::Context;
use super::super::kernel_state::{self, Link};
use super::super::message;
use super::super::ownership::{is_our_bridge, is_our_port};
use super::super::uplink_migration::{InterfaceConfig, local};
use novanet_model::IfName;
use novanet_reconcile::SubsystemError;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use std::net::IpAddr;

/// A foreign device, address or route on a bridge.
struct Blocker {
    what: String,
    /// The command that takes it off.
    remedy: String,
}

pub(super) fn remove(context: &mut Context, name: &IfName) -> Result<(), SubsystemError> {
    let link = kernel_state::link(&mut context.socket, name)?;
    let Some(link) = link.filter(|link| is_our_bridge(link, name)) else {
        return Ok(()); // removed already, or foreign
    };
    refuse_with_uplink(context, name)?;
    if let Some(why) = blocker(context, &link, name)? {
        return Err(SubsystemError::Refused(format!(
            "bridge {name} is kept, {why}"
        )));
    }
    context
        .socket
        .request(&message::remove_link(link.index))
        .map_err(|e| SubsystemError::kernel(format!("remove bridge {name}"), e))?;
    context.tagged.forget(name);
    Ok(())
}

/// The kernel would remove the host's addresses with the bridge of an uplink that was not released.
fn refuse_with_uplink(context: &mut Context, bridge: &IfName) -> Result<(), SubsystemError> {
    for uplink in context.uplinks_of(bridge) {
        if kernel_state::link(&mut context.socket, &uplink)?.is_some() {
            return Err(SubsystemError::Refused(format!(
                "bridge {bridge} still carries what belongs to {uplink}: \
                 it goes when {uplink} is released"
            )));
        }
    }
    Ok(())
}

/// Foreign ports, devices and addresses on a bridge of novanet's, with the commands that remove
/// them.
pub(super) fn blocker(
    context: &mut Context,
    bridge: &Link,
    name: &IfName,
) -> Result<Option<String>, SubsystemError> {
    let uplinks = context.uplinks_of(name);
    let mut blockers = Vec::new();
    for link in kernel_state::links(&mut context.socket)? {
        let ours = is_our_port(&link) || uplinks.iter().any(|uplink| uplink.as_str() == link.name);
        if link.master == Some(bridge.index) && !ours {
            blockers.push(Blocker {
                what: format!("port {}", link.name),
                remedy: format!("ip link set dev {} nomaster", link.name),
            });
        } else if link.lower == Some(bridge.index) {
            blockers.push(Blocker {
                what: format!("{} {}", link.kind, link.name),
                remedy: format!("ip link delete dev {}", link.name),
            });
        }
    }
    // An uplink takes back the addresses and routes of its bridge.
    if uplinks.is_empty() {
        let found = InterfaceConfig::of(&mut context.socket, bridge.index)?;
        blockers.extend(found.addresses.iter().filter_map(|message| {
            let address = address(message)?;
            Some(Blocker {
                what: format!("address {address}"),
                remedy: format!("ip address delete {address} dev {name}"),
            })
        }));
        blockers.extend(found.routes.iter().map(|message| {
            let route = destination(message);
            Blocker {
                what: format!("route {route}"),
                remedy: format!("ip route delete {route} dev {name}"),
            }
        }));
    }
    Ok(sentence(&blockers))
}

fn address(message: &AddressMessage) -> Option<String> {
    let address = local(message)?;
    Some(format!("{address}/{}", message.header.prefix_len))
}

fn destination(message: &RouteMessage) -> String {
    let to = message.attributes.iter().find_map(|a| match a {
        RouteAttribute::Destination(RouteAddress::Inet(to)) => Some(IpAddr::V4(*to)),
        RouteAttribute::Destination(RouteAddress::Inet6(to)) => Some(IpAddr::V6(*to)),
        _ => None,
    });
    let length = message.header.destination_prefix_length;
    to.map_or("default".to_owned(), |to| format!("{to}/{length}"))
}

fn sentence(blockers: &[Blocker]) -> Option<String> {
    let [first, rest @ ..] = blockers else {
        return None;
    };
    let (mut what, mut remedy) = (first.what.clone(), first.remedy.clone());
    for (place, thing) in rest.iter().enumerate() {
        let last = place + 1 == rest.len();
        what.push_str(if last { " and " } else { ", " });
        what.push_str(&thing.what);
        remedy.push_str("; ");
        remedy.push_str(&thing.remedy);
    }
    let (is, them) = if rest.is_empty() {
        ("is", "it")
    } else {
        ("are", "them")
    };
    Some(format!(
        "{what} {is} on it and not novanet's: take {them} off ({remedy}), \
         the next try removes the bridge"
    ))
}
