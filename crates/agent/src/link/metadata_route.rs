//! Routes for 169.254.169.254: one local route in a table of its own, and a rule for each bridge
//! with a gateway that leads its packets there. Depends on rtnetlink.
//!
//! So the host answers instances, on their link or by their gateway, whatever the firewall does.
//! The host itself still reaches the metadata service of an outer cloud, which it would not with
//! the address on one of its devices.

use super::message;
use crate::netlink::ownership::PROTOCOL;
use crate::netlink::rtnetlink::{Request, Socket};
use novanet_model::IfName;
use novanet_reconcile::SubsystemError;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

/// The address of the metadata service, in every network.
pub const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Number of the table with the route.
const TABLE: u32 = 8775;
/// Preference of the rules: after the kernel's table of local addresses (0), before the usual rules
/// of others.
const PRIORITY: u32 = 100;

/// The route or a rule of novanet's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Route,
    /// The rule for packets from this bridge.
    Rule(IfName),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route => write!(f, "route to {METADATA_ADDRESS}"),
            Self::Rule(bridge) => write!(f, "rule for {METADATA_ADDRESS} from {bridge}"),
        }
    }
}

/// Novanet's route and rules, and foreign rules like the wanted ones, which serve as well.
pub(super) fn observe(
    socket: &mut Socket,
    is_wanted: impl Fn(&Part) -> bool,
) -> Result<BTreeSet<Part>, SubsystemError> {
    let mut found = BTreeSet::new();
    for message in dump(socket, &list_rules(), "list routing rules")? {
        if let Message::NewRule(rule) = message
            && let Some(bridge) = bridge_of(&rule)
        {
            let part = Part::Rule(bridge);
            if is_ours(&rule) || is_wanted(&part) {
                found.insert(part);
            }
        }
    }
    for message in dump(socket, &Message::GetRoute(in_table()), "list routes")? {
        if let Message::NewRoute(route) = message
            && message::destination(&route) == Some(METADATA_ADDRESS)
            && u8::from(route.header.protocol) == PROTOCOL
        {
            found.insert(Part::Route);
        }
    }
    Ok(found)
}

/// Adds the route or a rule, or removes it. Removing finds novanet's only, by the protocol number.
pub(super) fn apply(socket: &mut Socket, part: &Part, add: bool) -> Result<(), SubsystemError> {
    let message = match (part, add) {
        (Part::Rule(bridge), true) => Message::NewRule(rule(bridge)),
        (Part::Rule(bridge), false) => Message::DelRule(rule(bridge)),
        (Part::Route, true) => Message::NewRoute(route()),
        (Part::Route, false) => Message::DelRoute(route()),
    };
    let flags = if add { NLM_F_CREATE | NLM_F_EXCL } else { 0 };
    match socket.request(&Request::new(message, flags)) {
        Err(e) if add && e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        Err(e) if !add && matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(()),
        other => other.map_err(|e| SubsystemError::kernel(part.to_string(), e)),
    }
}

/// The rule or route that a removal event is about, if it is like one of novanet's.
pub(super) fn removed_by(message: &Message) -> Option<Part> {
    match message {
        Message::DelRule(rule) => bridge_of(rule).map(Part::Rule),
        Message::DelRoute(route) => {
            (message::destination(route) == Some(METADATA_ADDRESS)).then_some(Part::Route)
        }
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

/// The bridge of a rule that is like novanet's, whatever its protocol number.
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
    route.header.table = 0; // the header has one byte, the number is in an attribute
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
        // The kernel makes a table with its first route.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(Vec::new()),
        other => other.map_err(|e: io::Error| SubsystemError::kernel(what, e)),
    }
}
