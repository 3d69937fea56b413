//! Lists our tables, sets and elements in the kernel. Depends on the names in `layout`.

use super::element::{self, Raw};
use super::expression;
use super::item::{Key, Value};
use super::layout::{KernelSet, TABLE};
use crate::netlink::nf_tables::{GET_CHAIN, GET_RULE, SUBSYSTEM, TABLE_NAME};
use crate::netlink::nfnetlink::{Received, Socket, text, walk};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;

const GET_TABLE: u16 = SUBSYSTEM + 1;
const GET_SET: u16 = SUBSYSTEM + 10;
const GET_ELEMENT: u16 = SUBSYSTEM + 13;
const NEW_RULE: u16 = SUBSYSTEM + 6;
const RULE_EXPRESSIONS: u16 = 4;
const SET_NAME: u16 = 2;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;

/// The families of our tables: IPv4, IPv6, bridge.
pub(super) const FAMILIES: [u8; 3] = [2, 10, 7];
/// Number of the IPv4 family.
pub(super) const IPV4: u8 = 2;
/// Number of the bridge family.
pub(super) const BRIDGE: u8 = 7;

/// Attributes with the meaning of an object; the others are handles, counts of users and the like.
const OF_TABLE: &[u16] = &[2];
const OF_CHAIN: &[u16] = &[3, 4, 5, 7, 10];
const OF_SET: &[u16] = &[2, 3, 4, 5, 6, 7];
const OF_RULE: &[u16] = &[2, RULE_EXPRESSIONS, 7];

/// Our tables and sets as the kernel lists them, and a digest of all text.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    /// Numbers of the families that have our table.
    pub(super) tables: Vec<u8>,
    /// Our sets, those whose name we know.
    pub(super) sets: Vec<KernelSet>,
    /// A digest of tables, chains, sets and rules.
    pub(super) fingerprint: String,
}

/// Whether a message is about a table of ours.
pub(super) fn is_ours(message: Received<'_>) -> bool {
    FAMILIES.contains(&message.family())
        && message
            .attributes()
            .any(|(kind, data)| kind == TABLE_NAME && text(data) == TABLE)
}

/// Lists tables, chains, sets and rules of ours.
pub(super) fn layout(socket: &mut Socket) -> io::Result<Layout> {
    let mut layout = Layout::default();
    let mut digest = Sha256::new();
    for family in FAMILIES {
        let list = |socket: &mut Socket, kind, wanted: &'static [u16]| {
            socket.dump(
                kind,
                family,
                |a| a.text(TABLE_NAME, TABLE),
                move |found: &mut Vec<u8>, m| {
                    if is_ours(m) {
                        absorb(found, m, wanted);
                    }
                },
            )
        };
        let table: Vec<u8> = socket.dump(
            GET_TABLE,
            family,
            |_| {},
            |found: &mut Vec<u8>, m| {
                if is_ours(m) {
                    absorb(found, m, OF_TABLE);
                }
            },
        )?;
        if table.is_empty() {
            continue;
        }
        layout.tables.push(family);
        digest.update([family]);
        digest.update(&table);
        digest.update(list(socket, GET_CHAIN, OF_CHAIN)?);
        digest.update(list(socket, GET_SET, OF_SET)?);
        digest.update(list(socket, GET_RULE, OF_RULE)?);
        layout.sets.extend(sets(socket, family)?);
    }
    layout.fingerprint = hex::encode(digest.finalize());
    Ok(layout)
}

/// Adds what `wanted` names of a message.
fn absorb(found: &mut Vec<u8>, message: Received<'_>, wanted: &[u16]) {
    found.push(u8::MAX);
    for (kind, data) in message.attributes() {
        if message.kind == NEW_RULE && kind == RULE_EXPRESSIONS {
            expression::absorb(found, data);
        } else if wanted.contains(&kind) {
            found.extend_from_slice(&kind.to_be_bytes());
            found.extend_from_slice(&data.len().to_be_bytes());
            found.extend_from_slice(data);
        }
    }
}

fn sets(socket: &mut Socket, family: u8) -> io::Result<Vec<KernelSet>> {
    let found: Vec<KernelSet> = socket.dump(
        GET_SET,
        family,
        |a| a.text(TABLE_NAME, TABLE),
        |found: &mut Vec<KernelSet>, m| {
            if !is_ours(m) {
                return;
            }
            let name = m.attributes().find(|(kind, _)| *kind == SET_NAME);
            found.extend(name.and_then(|(_, data)| KernelSet::named(&text(data))));
        },
    )?;
    Ok(found
        .into_iter()
        .filter(|found| found.set.is_bridge() == (family == BRIDGE))
        .collect())
}

/// Elements of all our sets, as items.
pub(super) fn elements(
    socket: &mut Socket,
    sets: &[KernelSet],
) -> io::Result<BTreeMap<Key, Value>> {
    let mut items = BTreeMap::new();
    for KernelSet { set, name } in sets {
        let family = if set.is_bridge() { BRIDGE } else { IPV4 };
        let raw: Vec<Raw> = socket.dump(
            GET_ELEMENT,
            family,
            |a| {
                a.text(TABLE_NAME, TABLE);
                a.text(LIST_SET, name);
            },
            |found: &mut Vec<Raw>, m| {
                for (kind, list) in m.attributes() {
                    if kind == LIST_ELEMENTS {
                        found.extend(walk(list).filter_map(|(_, e)| Raw::read(e)));
                    }
                }
            },
        )?;
        let decoded = element::decode(*set, raw);
        items.extend(
            decoded
                .into_iter()
                .map(|(element, value)| (Key::Element(*set, element), value)),
        );
    }
    Ok(items)
}
