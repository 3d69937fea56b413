//! Elements of sets as commands of an nft script: when text changes in the same round, the elements
//! go with it in one transaction. Depends on the items and their names in the kernel.

use super::item::{ElementKey, Key, Set, Value};
use super::types::{Changes, Wanted};
use std::fmt::Write as _;

/// Whether nft's language has words for it. An element without words is foreign; netlink removes
/// it.
fn has_words(element: &ElementKey) -> bool {
    !matches!(element, ElementKey::Foreign(_))
}

pub(super) fn delete_elements(script: &mut String, changes: Changes<'_>, desired: &Wanted) {
    for change in changes {
        let Key::Element(set, element) = &change.key else {
            continue;
        };
        // A set that goes takes its elements along.
        let goes = matches!(set, Set::Members(_) | Set::Project(_))
            && desired.get(&Key::Set(*set)).is_none();
        if change.from.is_some() && has_words(element) && !goes {
            let _ = writeln!(
                script,
                "delete element {} nova {} {{ {} }}",
                family(*set),
                set.name(),
                element_text(*set, element)
            );
        }
    }
}

/// One command for each set: a thousand elements in one are much cheaper than a thousand commands.
pub(super) fn add_elements<'a>(
    script: &mut String,
    items: impl Iterator<Item = (&'a Key, &'a Value)>,
) {
    let mut current = None;
    for (key, value) in items {
        let Key::Element(set, element) = key else {
            continue;
        };
        if !has_words(element) {
            continue;
        }
        if current == Some(*set) {
            script.push_str(",\n\t");
        } else {
            if current.is_some() {
                script.push_str(" }\n");
            }
            let _ = write!(
                script,
                "add element {} nova {} {{ ",
                family(*set),
                set.name()
            );
            current = Some(*set);
        }
        script.push_str(&element_text(*set, element));
        let _ = match value {
            Value::Address(address) => write!(script, " : {address}"),
            Value::Number(number) => write!(script, " : {number}"),
            Value::AddressPort(address, port) => write!(script, " : {address} . {port}"),
            Value::Goto(chain) => write!(script, " : goto {chain}"),
            _ => Ok(()),
        };
    }
    if current.is_some() {
        script.push_str(" }\n");
    }
}

/// The key of an element. nft has no type for the bytes of a packet that no field of it names: a
/// MAC there is a number.
fn element_text(set: Set, element: &ElementKey) -> String {
    match (set, element) {
        (Set::PortDhcpMac, ElementKey::InterfaceMac(name, mac)) => {
            format!("\"{name}\" . 0x{}", hex::encode(mac.0))
        }
        _ => element.to_string(),
    }
}

fn family(set: Set) -> &'static str {
    if set.is_bridge() { "bridge" } else { "ip" }
}
