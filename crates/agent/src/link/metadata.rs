//! 169.254.169.254 for instances, and for nobody else: a routing rule for each bridge with a gateway
//! leads packets for it to a table with one local route. So the host answers instances that look for
//! it on their link or by their gateway, whatever the firewall does, and reaches the metadata service
//! of an outer cloud itself, which it would not with the address on one of its devices.

use super::item::{LinkKey, LinkValue, METADATA_ADDRESS};
use super::message;
use crate::netlink::ownership::PROTOCOL;
use crate::netlink::rtnetlink::{Request, Socket};
use crate::subsystem::{Desired, SubsystemError};
use novanet_model::IfName;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

/// The table of the route, and the order of the rules: behind the kernel's table of local addresses,
/// before all that others usually have.
const TABLE: u32 = 8775;
const PRIORITY: u32 = 100;

type Items = BTreeMap<LinkKey, LinkValue>;

/// Adds the rules and the route as they are.
pub(super) fn observe(
    socket: &mut Socket,
    desired: &Desired<LinkKey, LinkValue>,
    items: &mut Items,
) -> Result<(), SubsystemError> {
    for message in dump(socket, &list_rules(), "list routing rules")? {
        if let Message::NewRule(rule) = message
            && let Some(bridge) = bridge_of(&rule)
        {
            let key = LinkKey::MetadataRule(bridge);
            // One like ours does as well; only ours is ever removed.
            if is_ours(&rule) || desired.get(&key).is_some() {
                items.insert(key, LinkValue::Metadata);
            }
        }
    }
    for message in dump(socket, &Message::GetRoute(in_table()), "list routes")? {
        if let Message::NewRoute(route) = message
            && message::destination(&route) == Some(METADATA_ADDRESS)
            && u8::from(route.header.protocol) == PROTOCOL
        {
            items.insert(LinkKey::MetadataRoute, LinkValue::Metadata);
        }
    }
    Ok(())
}

/// Makes one of them, or removes it.
pub(super) fn apply(socket: &mut Socket, key: &LinkKey, there: bool) -> Result<(), SubsystemError> {
    let message = match key {
        LinkKey::MetadataRule(bridge) if there => Message::NewRule(rule(bridge)),
        LinkKey::MetadataRule(bridge) => Message::DelRule(rule(bridge)),
        _ if there => Message::NewRoute(route()),
        _ => Message::DelRoute(route()),
    };
    let flags = if there { NLM_F_CREATE | NLM_F_EXCL } else { 0 };
    match socket.request(&Request::new(message, flags)) {
        Err(e) if there && e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        Err(e) if !there && matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(()),
        other => other.map_err(|e| SubsystemError::kernel(key.to_string(), e)),
    }
}

/// The rule or route of ours that an event is about.
pub(super) fn of_event(message: &Message) -> Option<LinkKey> {
    match message {
        Message::DelRule(rule) => bridge_of(rule).map(LinkKey::MetadataRule),
        Message::DelRoute(route) => (message::destination(route) == Some(METADATA_ADDRESS))
            .then_some(LinkKey::MetadataRoute),
        _ => None,
    }
}

fn rule(bridge: &IfName) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header = RuleHeader {
        family: AddressFamily::Inet,
        dst_len: 32,
        action: RuleAction::ToTable,
        ..RuleHeader::default()
    };
    rule.attributes = vec![
        RuleAttribute::Destination(IpAddr::V4(METADATA_ADDRESS)),
        RuleAttribute::Iifname(bridge.to_string()),
        RuleAttribute::Priority(PRIORITY),
        RuleAttribute::Table(TABLE),
        RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL)),
    ];
    rule
}

fn list_rules() -> Message {
    let mut rule = RuleMessage::default();
    rule.header.family = AddressFamily::Inet;
    Message::GetRule(rule)
}

/// The bridge of a rule that is as ours are.
fn bridge_of(found: &RuleMessage) -> Option<IfName> {
    let bridge = found.attributes.iter().find_map(|a| match a {
        RuleAttribute::Iifname(name) => IfName::new(name.as_str()).ok(),
        _ => None,
    })?;
    let wanted = rule(&bridge);
    let same =
        |a: &RuleAttribute| matches!(a, RuleAttribute::Protocol(_)) || found.attributes.contains(a);
    let header = &found.header;
    (header.dst_len == 32
        && header.action == RuleAction::ToTable
        && wanted.attributes.iter().all(same))
    .then_some(bridge)
}

fn is_ours(found: &RuleMessage) -> bool {
    let ours = RuleAttribute::Protocol(RouteProtocol::from(PROTOCOL));
    found.attributes.contains(&ours)
}

fn route() -> RouteMessage {
    let mut route = message::floating_ip_route(METADATA_ADDRESS);
    route.header.table = 0; // too large for the header
    route.attributes.push(RouteAttribute::Table(TABLE));
    route
}

fn in_table() -> RouteMessage {
    let mut route = RouteMessage::default();
    route.header = RouteHeader {
        address_family: AddressFamily::Inet,
        ..RouteHeader::default()
    };
    route.attributes = vec![RouteAttribute::Table(TABLE)];
    route
}

fn dump(
    socket: &mut Socket,
    message: &Message,
    what: &str,
) -> Result<Vec<Message>, SubsystemError> {
    match socket.dump(message) {
        // There is no such table yet.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        other => other.map_err(|e: io::Error| SubsystemError::kernel(what, e)),
    }
}
