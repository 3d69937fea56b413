//! What a change would do, without doing it: the rows and host objects that would go, in the order
//! of removal, and the reasons that the change is refused. Depends on stored host objects.

use crate::{ControlError, Kind};
use novanet_model::object::{Binding, Bridge, Dhcp, FloatingIp, Gateway, Port};
use novanet_model::{HostObject, IfName, ObjectKey};
use std::collections::BTreeMap;

/// Living host objects by host and key.
pub(crate) type Living = BTreeMap<(String, ObjectKey), HostObject>;

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It is removed.
    Remove,
    /// It stays and is not valid any more: a certificate.
    Revoke,
    /// It becomes another.
    Change,
    /// It is made.
    Create,
}

/// One object that a change touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What happens to it.
    pub effect: Effect,
    /// The host that has it; `None`: it is in the database only.
    pub host: Option<String>,
    /// Its key on the host; in the database kind and name: `role netadmin`.
    pub object: String,
    /// What is on the host, in words: the device, the address, the process; of a row what tells it
    /// from others.
    pub what: String,
}

impl Step {
    /// A step in the database.
    pub(crate) fn of_row(effect: Effect, object: String, what: String) -> Self {
        Self {
            effect,
            host: None,
            object,
            what,
        }
    }
}

/// Something that a change would harm, and why: the change is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// The object, in words: `instance i-00000001`.
    pub object: String,
    /// The reason and the remedy.
    pub reason: String,
}

/// The effect of a change that was not made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preview {
    /// The objects in the order in which a host works on them.
    pub steps: Vec<Step>,
    /// Why the change is refused; empty: it would be made.
    pub blockers: Vec<Blocker>,
}

impl Preview {
    /// The difference between two states of the same owners.
    pub(crate) fn between(before: &Living, after: &Living, blockers: Vec<Blocker>) -> Self {
        let mut steps = Vec::new();
        let mut all: Vec<_> = before.keys().chain(after.keys()).collect();
        all.sort();
        all.dedup();
        for place in all {
            let (host, key) = place;
            let (effect, what) = match (before.get(place), after.get(place)) {
                (Some(old), None) => (Effect::Remove, describe(old)),
                (None, Some(new)) => (Effect::Create, describe(new)),
                (Some(old), Some(new)) if old != new => (Effect::Change, change(old, new)),
                _ => continue,
            };
            let object = before.get(place).or(after.get(place));
            let rank = object.map_or(0, rank);
            let step = Step {
                effect,
                host: Some(host.clone()),
                object: key.to_string(),
                what,
            };
            // Removal in the order of rank, creation in reverse, as the workers of a host do it.
            let order = match effect {
                Effect::Remove | Effect::Revoke => (0, rank),
                Effect::Change => (1, rank),
                Effect::Create => (2, u8::MAX - rank),
            };
            steps.push((order, step));
        }
        steps.sort_by_key(|(order, _)| *order);
        Self {
            steps: steps.into_iter().map(|(_, step)| step).collect(),
            blockers,
        }
    }
}

/// The error for the reasons that block a change; `None`: there are none.
pub(crate) fn refusal(kind: Kind, id: impl ToString, blockers: &[Blocker]) -> Option<ControlError> {
    let first = blockers.first()?;
    let mut reason = format!("{} {}", first.object, first.reason);
    let more: Vec<&str> = blockers[1..].iter().map(|b| b.object.as_str()).collect();
    if !more.is_empty() {
        let named = more[..more.len().min(NAMED)].join(", ");
        let rest = more.len().saturating_sub(NAMED);
        let rest = if rest > 0 {
            format!(" and {rest} more")
        } else {
            String::new()
        };
        reason = format!("{reason}; also {named}{rest}");
    }
    Some(ControlError::in_use(kind, id, reason))
}

/// How many are named in a refusal.
const NAMED: usize = 5;

/// The place of an object in the order of removal: instances, DHCP, firewall, links.
fn rank(object: &HostObject) -> u8 {
    match object {
        HostObject::Instance(_) => 0,
        HostObject::Binding(_) => 1,
        HostObject::Dhcp(_) => 2,
        HostObject::FloatingIp(_) | HostObject::VpnForward(_) => 3,
        HostObject::Rule(_) | HostObject::Block(_) => 4,
        HostObject::Member(_) | HostObject::ProjectAddress(_) => 5,
        HostObject::Group(_) => 6,
        HostObject::Port(_) => 7,
        HostObject::Gateway(_) => 8,
        HostObject::Bridge(_) => 9,
    }
}

fn describe(object: &HostObject) -> String {
    match object {
        HostObject::Instance(o) => format!("instance {}", o.instance),
        HostObject::Binding(Binding { address, mac, .. }) => format!("DHCP: {address} for {mac}"),
        HostObject::Dhcp(Dhcp { cidr, bridge, .. }) => format!("DHCP server of {cidr} on {bridge}"),
        HostObject::FloatingIp(FloatingIp { address, fixed, .. }) => {
            format!("floating IP {address} to {fixed}")
        }
        HostObject::Rule(o) => format!("rule {} of security group {}", o.rule, o.group.0),
        HostObject::Block(o) => format!("provider rule {}", o.block),
        HostObject::Member(o) => format!("{} in security group {}", o.address, o.group.0),
        HostObject::ProjectAddress(o) => format!("{} of its project", o.address),
        HostObject::Group(o) => {
            let id = o.group.0.to_string();
            format!("security group {}", o.name.as_ref().unwrap_or(&id))
        }
        HostObject::Port(Port { name, bridge, .. }) => format!("port {name} in {bridge}"),
        HostObject::Gateway(Gateway {
            address, bridge, ..
        }) => format!("gateway {address} on {bridge}, its NAT and firewall rules"),
        HostObject::Bridge(o) => bridge(o),
        HostObject::VpnForward(o) => {
            let to = (o.to_address, o.to_port);
            format!("VPN at {}:{} to {}:{}", o.address, o.port, to.0, to.1)
        }
    }
}

fn bridge(o: &Bridge) -> String {
    let name = &o.bridge;
    if o.foreign {
        return format!("use of the administrator's bridge {name}");
    }
    let under = match (o.vlan, &o.interface) {
        (Some(vlan), Some(parent)) => {
            format!(", VLAN device {} on {parent}", IfName::vlan_device(vlan))
        }
        (Some(vlan), None) => format!(", VLAN device {}", IfName::vlan_device(vlan)),
        (None, Some(interface)) => format!(" over {interface}"),
        (None, None) => String::new(),
    };
    format!("bridge {name}{under}")
}

fn change(old: &HostObject, new: &HostObject) -> String {
    let (was, is) = (describe(old), describe(new));
    if was == is {
        let (was, is) = (fields(old), fields(new));
        let differs = is
            .iter()
            .filter(|(name, value)| was.get(*name) != Some(*value));
        let differs: Vec<String> = differs
            .map(|(name, value)| {
                let old = was.get(name).map_or("none".to_owned(), ToString::to_string);
                format!("{name} {old} to {value}")
            })
            .collect();
        return format!("{}: {}", describe(new), differs.join(", "));
    }
    format!("{was}, then {is}")
}

/// The fields of an object as on the wire.
fn fields(object: &HostObject) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(object) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    }
}
