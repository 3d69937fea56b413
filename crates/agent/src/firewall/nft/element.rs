//! Elements of sets as nf_tables has them: every part of a key padded to 4 bytes, addresses in
//! network order, marks in the host's, interface names 16 bytes with NULs behind.

use super::item::{ElementKey, Set, Value};
use crate::netlink::nf_tables::{DATA_VERDICT, GOTO, VERDICT_CHAIN, VERDICT_CODE};
use crate::netlink::nfnetlink::{Attributes, big, text, walk};
use novanet_model::{IfName, MacAddr};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

const IFNAMSIZ: usize = 16;
const LIST_ELEM: u16 = 1;
const KEY: u16 = 1;
const DATA: u16 = 2;
const FLAGS: u16 = 3;
const INTERVAL_END: u32 = 1;
const DATA_VALUE: u16 = 1;

/// Writes one element, with its data if `value` has any: `None` to delete it.
pub(super) fn put(list: &mut Attributes<'_>, element: &ElementKey, value: Option<&Value>) {
    if let ElementKey::Range(first, last) = element {
        put_one(list, &first.octets(), 0, None);
        if let Some(end) = u32::from(*last).checked_add(1) {
            put_one(list, &end.to_be_bytes(), INTERVAL_END, None);
        }
    } else {
        put_one(list, &key_bytes(element), 0, value);
    }
}

fn put_one(list: &mut Attributes<'_>, key: &[u8], flags: u32, value: Option<&Value>) {
    list.nest(LIST_ELEM, |element| {
        element.nest(KEY, |a| a.put(DATA_VALUE, key));
        if flags != 0 {
            element.put(FLAGS, &flags.to_be_bytes());
        }
        match value {
            Some(Value::Address(address)) => {
                element.nest(DATA, |a| a.put(DATA_VALUE, &address.octets()));
            }
            Some(Value::AddressPort(address, port)) => {
                element.nest(DATA, |a| a.put(DATA_VALUE, &address_port(*address, *port)));
            }
            Some(Value::Number(number)) => {
                element.nest(DATA, |a| a.put(DATA_VALUE, &number.to_ne_bytes()));
            }
            Some(Value::Goto(chain)) => element.nest(DATA, |a| {
                a.nest(DATA_VERDICT, |verdict| {
                    verdict.put(VERDICT_CODE, &GOTO.to_be_bytes());
                    verdict.text(VERDICT_CHAIN, chain);
                });
            }),
            _ => {}
        }
    });
}

fn key_bytes(element: &ElementKey) -> Vec<u8> {
    let name = |name: &IfName| {
        let mut bytes = name.as_str().as_bytes().to_vec();
        bytes.resize(IFNAMSIZ, 0);
        bytes
    };
    let mac = |mac: &MacAddr| [&mac.0[..], &[0, 0]].concat();
    match element {
        ElementKey::Address(address) | ElementKey::Range(address, _) => address.octets().to_vec(),
        ElementKey::Number(number) => number.to_ne_bytes().to_vec(),
        ElementKey::Interface(interface) => name(interface),
        ElementKey::Mac(mac) => mac.0.to_vec(), // alone it is as long as it is
        ElementKey::InterfaceAddress(interface, address) => {
            [&name(interface)[..], &address.octets()].concat()
        }
        ElementKey::AddressPort(address, port) => address_port(*address, *port),
        ElementKey::InterfaceMac(interface, m) => [name(interface), mac(m)].concat(),
        ElementKey::InterfaceMacAddress(interface, m, address) => {
            [&name(interface)[..], &mac(m), &address.octets()].concat()
        }
        ElementKey::Foreign(bytes) => bytes.clone(),
    }
}

/// Address and port, both in network order, the port padded.
fn address_port(address: Ipv4Addr, port: u16) -> Vec<u8> {
    [&address.octets()[..], &port.to_be_bytes(), &[0, 0]].concat()
}

fn read_address_port(bytes: &[u8]) -> Option<(Ipv4Addr, u16)> {
    let port = u16::from_be_bytes(bytes.get(4..6)?.try_into().ok()?);
    let address = address(bytes.get(..4)?)?;
    (address_port(address, port) == bytes).then_some((address, port))
}

/// An element as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raw {
    key: Vec<u8>,
    end: bool,
    data: Option<Value>,
}

impl Raw {
    /// Reads one attribute of an element list.
    pub(super) fn read(element: &[u8]) -> Option<Self> {
        let (mut key, mut end, mut data) = (None, false, None);
        for (kind, value) in walk(element) {
            match kind {
                KEY => key = walk(value).next().map(|(_, bytes)| bytes.to_vec()),
                FLAGS => end = big(value).is_some_and(|flags| flags & INTERVAL_END != 0),
                DATA => {
                    data = walk(value)
                        .next()
                        .map(|(kind, bytes)| read_data(kind, bytes));
                }
                _ => {}
            }
        }
        Some(Self {
            key: key?,
            end,
            data,
        })
    }
}

fn read_data(kind: u16, bytes: &[u8]) -> Value {
    if kind == DATA_VERDICT {
        let part = |wanted| walk(bytes).find(|(kind, _)| *kind == wanted).map(|a| a.1);
        let code = part(VERDICT_CODE).and_then(big).map(u32::cast_signed);
        if let (Some(GOTO), Some(chain)) = (code, part(VERDICT_CHAIN)) {
            return Value::Goto(text(chain));
        }
    }
    Value::Foreign(bytes.to_vec())
}

/// The listed elements of `set` as keys and values.
pub(super) fn decode(set: Set, mut raw: Vec<Raw>) -> BTreeMap<ElementKey, Value> {
    if matches!(set, Set::Networks | Set::DirectNetworks) {
        return decode_ranges(&mut raw);
    }
    raw.into_iter()
        .map(|element| {
            let key = decode_key(set, &element.key).unwrap_or(ElementKey::Foreign(element.key));
            (key, decode_data(set, element.data))
        })
        .collect()
}

fn decode_data(set: Set, data: Option<Value>) -> Value {
    match (set, data) {
        (_, None) => Value::Present,
        (Set::FloatingToFixed | Set::FixedToFloating, Some(Value::Foreign(bytes))) => {
            address(&bytes).map_or(Value::Foreign(bytes), Value::Address)
        }
        (Set::PortGroups, Some(Value::Foreign(bytes))) => <[u8; 4]>::try_from(&bytes[..])
            .map_or(Value::Foreign(bytes), |b| {
                Value::Number(u32::from_ne_bytes(b))
            }),
        (Set::VpnForwards, Some(Value::Foreign(bytes))) => {
            let to = read_address_port(&bytes);
            to.map_or(Value::Foreign(bytes), |(a, p)| Value::AddressPort(a, p))
        }
        (_, Some(data)) => data,
    }
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

fn decode_key(set: Set, key: &[u8]) -> Option<ElementKey> {
    let name = || IfName::new(text(key.get(..IFNAMSIZ)?)).ok();
    let mac = || {
        let bytes = key.get(IFNAMSIZ..IFNAMSIZ + 6)?;
        Some(MacAddr(bytes.try_into().ok()?))
    };
    let element = match set {
        Set::Bridges | Set::UnroutedBridges | Set::VpnPorts => ElementKey::Interface(name()?),
        Set::VpnForwards => {
            let (address, port) = read_address_port(key)?;
            ElementKey::AddressPort(address, port)
        }
        Set::Gateways | Set::VpnPortIps => {
            ElementKey::InterfaceAddress(name()?, address(key.get(IFNAMSIZ..)?)?)
        }
        Set::GroupChains => ElementKey::Number(u32::from_ne_bytes(key.try_into().ok()?)),
        Set::PortMacs => ElementKey::Mac(MacAddr(key.try_into().ok()?)),
        Set::PortMac | Set::PortDhcpMac => ElementKey::InterfaceMac(name()?, mac()?),
        Set::PortMacIp => {
            ElementKey::InterfaceMacAddress(name()?, mac()?, address(key.get(IFNAMSIZ + 8..)?)?)
        }
        _ => ElementKey::Address(address(key)?),
    };
    // We did not write a key that encodes to other bytes: bytes behind a name, or an odd name.
    (key_bytes(&element) == key).then_some(element)
}

/// Ranges come as a start and an end element each, the end one behind the last address; a range
/// up to the last address has no end.
fn decode_ranges(raw: &mut [Raw]) -> BTreeMap<ElementKey, Value> {
    raw.sort_by(|a, b| (&a.key, !a.end).cmp(&(&b.key, !b.end)));
    let mut found = BTreeMap::new();
    let mut open: Option<Ipv4Addr> = None;
    for element in raw {
        let Some(at) = address(&element.key) else {
            found.insert(ElementKey::Foreign(element.key.clone()), Value::Present);
            continue;
        };
        if let (Some(first), Some(last)) = (open.take(), u32::from(at).checked_sub(1)) {
            found.insert(
                ElementKey::Range(first, Ipv4Addr::from(last)),
                Value::Present,
            );
        }
        if !element.end {
            open = Some(at);
        }
    }
    if let Some(first) = open {
        found.insert(
            ElementKey::Range(first, Ipv4Addr::BROADCAST),
            Value::Present,
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(key: &[u8], end: bool) -> Raw {
        Raw {
            key: key.to_vec(),
            end,
            data: None,
        }
    }

    #[test]
    fn keys_are_padded_and_come_back() {
        let name = IfName::new("nva").expect("a name");
        let mac = MacAddr([2, 0x16, 0x3e, 0, 0, 1]);
        let ip = Ipv4Addr::new(10, 0, 0, 3);
        for (set, element, length) in [
            (
                Set::PortMac,
                ElementKey::InterfaceMac(name.clone(), mac),
                24,
            ),
            (
                Set::PortDhcpMac,
                ElementKey::InterfaceMac(name.clone(), mac),
                24,
            ),
            (Set::PortMacs, ElementKey::Mac(mac), 6),
            (Set::PortIps, ElementKey::Address(ip), 4),
            (
                Set::PortMacIp,
                ElementKey::InterfaceMacAddress(name.clone(), mac, ip),
                28,
            ),
            (
                Set::Gateways,
                ElementKey::InterfaceAddress(name.clone(), ip),
                20,
            ),
            (Set::Bridges, ElementKey::Interface(name), 16),
            (Set::FloatingToFixed, ElementKey::Address(ip), 4),
            (Set::GroupChains, ElementKey::Number(7), 4),
            (Set::VpnForwards, ElementKey::AddressPort(ip, 1000), 8),
        ] {
            let bytes = key_bytes(&element);
            assert_eq!(bytes.len(), length, "{element}");
            assert_eq!(decode_key(set, &bytes), Some(element));
        }
    }

    #[test]
    fn a_name_that_we_would_not_write_is_foreign() {
        let mut bytes = b"a b".to_vec();
        bytes.resize(16, 0);
        assert_eq!(decode_key(Set::Bridges, &bytes), None);
        bytes[..3].copy_from_slice(b"br0");
        bytes[10] = b'x';
        assert_eq!(decode_key(Set::Bridges, &bytes), None);
    }

    #[test]
    fn ranges_are_paired_also_when_they_touch_or_reach_the_end() {
        let list = vec![
            raw(&[10, 0, 1, 0], false),
            raw(&[10, 0, 2, 0], true),
            raw(&[0, 0, 0, 0], true),
            raw(&[10, 0, 0, 0], false),
            raw(&[10, 0, 1, 0], true),
            raw(&[255, 0, 0, 0], false),
        ];
        let found: Vec<_> = decode(Set::Networks, list)
            .into_keys()
            .map(|element| element.to_string())
            .collect();
        assert_eq!(found, ["10.0.0.0/24", "10.0.1.0/24", "255.0.0.0/8"]);
    }
}
