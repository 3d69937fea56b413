//! Flows that a change ends, and whether a change is restrictive. Pure; depends on the items only.

use super::item::{ElementKey, Key, Set, Value};
use super::types::Changes;
use crate::netlink::conntrack::Cut;
use novanet_reconcile::Change;

/// Flows that a change ends. A floating IP: flows to and from its old fixed IP, and flows to its
/// address from before the translation (older UDP flows would stay untranslated). A port: another
/// instance may get its address next.
pub(in crate::firewall) fn flows_to_cut(change: &Change<Key, Value>) -> Vec<Cut> {
    if let Key::Element(Set::VpnForwards, ElementKey::AddressPort(address, port)) = change.key {
        // Also tries from before it was there: the kernel has decided to leave them as they are.
        return vec![Cut::to(address).at_udp_port(port)];
    }
    let Key::Element(set, ElementKey::Address(address)) = change.key else {
        return Vec::new();
    };
    match (set, &change.from, &change.to) {
        (Set::FloatingToFixed, Some(Value::Address(old)), _) => vec![
            Cut::to(address).answered_by(*old),
            Cut::from(*old).answered_to(address),
        ],
        (Set::FloatingToFixed, None, Some(_)) => vec![Cut::to(address).answered_by(address)],
        (Set::FixedIps, Some(_), None) => vec![Cut::from(address), Cut::to_real(address)],
        _ => Vec::new(),
    }
}

/// Whether a change permits less than before, so that flows that it alone permitted must end. A
/// removed member counts unless its instance goes from this host with it: then its flows end
/// anyway.
pub(in crate::firewall) fn is_restrictive(changes: Changes<'_>) -> bool {
    changes.iter().any(|change| match change.key {
        Key::Rule(..) | Key::Group(_) | Key::GroupVpn(_) => change.from.is_some(),
        Key::Combination(_) | Key::Element(Set::PortGroups, _) => {
            change.from.is_some() && change.to.is_some()
        }
        Key::Element(Set::Members(_), ElementKey::Address(address)) => {
            let port = Key::Element(Set::FixedIps, ElementKey::Address(address));
            change.to.is_none() && !changes.iter().any(|c| c.key == port && c.to.is_none())
        }
        _ => false,
    })
}
