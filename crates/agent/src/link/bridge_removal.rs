//! What somebody else has on a bridge of ours. The kernel would take it along with the bridge
//! without a word, so such a bridge is kept, and whoever removes it is told why.

use super::item::{LinkKey, LinkValue};
use super::kernel_state::{self, Link};
use super::uplink_migration::{InterfaceConfig, local};
use super::{Links, observe, sysctl};
use crate::subsystem::{Desired, SubsystemError};
use novanet_model::IfName;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A thing that is not ours, and the command that takes it off.
struct Blocker {
    what: String,
    remedy: String,
}

impl Links {
    /// Bridges that would not be removed are shown as such.
    pub(super) fn mark_blocked_removals(
        &mut self,
        desired: &Desired<LinkKey, LinkValue>,
        items: &mut BTreeMap<LinkKey, LinkValue>,
    ) -> Result<(), SubsystemError> {
        for (key, value) in items {
            if let (LinkKey::Bridge(name), LinkValue::Bridge(_)) = (key, &*value)
                && desired.get(key).is_none()
                && let Some(link) = kernel_state::link(&mut self.socket, name)?
                && let Some(why) = self.removal_blocker(&link, name)?
            {
                *value = LinkValue::RemovalBlocked(why);
            }
        }
        Ok(())
    }

    /// What keeps a bridge of ours, and what to do about it.
    pub(super) fn removal_blocker(
        &mut self,
        bridge: &Link,
        name: &IfName,
    ) -> Result<Option<String>, SubsystemError> {
        let uplinks = self.uplinks_of(name);
        let mut blockers = Vec::new();
        for link in kernel_state::links(&mut self.socket)? {
            let ours = observe::is_our_port(&link)
                || uplinks.iter().any(|uplink| uplink.as_str() == link.name);
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
        // An uplink takes back what is on its bridge.
        if uplinks.is_empty() {
            let found = InterfaceConfig::of(&mut self.socket, bridge.index)?;
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
}

/// Without this the kernel takes the addresses of others in the same network along with ours.
pub(super) fn promote_secondaries(link: &Link, name: &IfName) -> Result<(), SubsystemError> {
    if observe::is_our_bridge(link, name) {
        let path = format!("net/ipv4/conf/{name}/promote_secondaries");
        sysctl::write(&path, sysctl::ON)?;
    }
    Ok(())
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
