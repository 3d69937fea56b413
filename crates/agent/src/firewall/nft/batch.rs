//! Elements by netlink messages: one transaction of any number, without a listing and without the
//! `nft` program. This is the hot path; one floating IP is three messages.

use super::dump::{BRIDGE, IPV4};
use super::element;
use super::item::{ElementKey, Key, Set, Value};
use super::layout::TABLE;
use crate::netlink::nf_tables::{SUBSYSTEM, TABLE_NAME};
use crate::netlink::nfnetlink::{ACK, CREATE, Messages, REQUEST, Socket};
use std::io;

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_ELEMENT: u16 = SUBSYSTEM + 12;
const DELETE_ELEMENT: u16 = SUBSYSTEM + 14;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
/// Elements of one set share a message when there are many: a nested list holds 64 KiB.
const MAX_IN_MESSAGE: usize = 400;
/// Up to this number every element has its own message, so that an error names its element.
const MAX_SEPARATE: usize = 64;

/// One element to delete or to add.
#[derive(Debug, Clone)]
pub(super) struct Op<'a> {
    /// The item, for its errors.
    pub(super) key: &'a Key,
    set: Set,
    element: &'a ElementKey,
    /// `None`: delete it.
    value: Option<&'a Value>,
}

impl<'a> Op<'a> {
    /// The operations that turn `from` into `to`; none if the key is no element. The kernel cannot
    /// change an element of a map: it is deleted and added.
    pub(super) fn of(
        key: &'a Key,
        from: Option<&Value>,
        to: Option<&'a Value>,
    ) -> impl Iterator<Item = Op<'a>> {
        let op = |value| match key {
            Key::Element(set, element) => Some(Op {
                key,
                set: *set,
                element,
                value,
            }),
            _ => None,
        };
        let delete = from.and_then(|_| op(None));
        let add = to.and_then(|value| op(Some(value)));
        delete.into_iter().chain(add)
    }

    fn is_delete(&self) -> bool {
        self.value.is_none()
    }
}

/// Makes as many changes as the kernel takes, at one moment; returns what it refused.
pub(super) fn run<'a>(
    socket: &mut Socket,
    mut ops: Vec<Op<'a>>,
) -> io::Result<Vec<(&'a Key, io::Error)>> {
    // Deletions first: an address may move from one element to another.
    ops.sort_by_key(|op| (!op.is_delete(), op.set));
    let mut refused = Vec::new();
    let mut shared = if ops.len() > MAX_SEPARATE {
        MAX_IN_MESSAGE
    } else {
        1
    };
    while !ops.is_empty() {
        let errors = send(socket, &ops, shared)?;
        if errors.is_empty() {
            break;
        }
        if shared > 1 {
            shared = 1; // find out which
            continue;
        }
        for (index, errno) in errors.into_iter().rev() {
            let op = ops.remove(index);
            // A deletion of a missing element has succeeded.
            if !(op.is_delete() && errno == libc::ENOENT) {
                refused.push((op.key, io::Error::from_raw_os_error(errno)));
            }
        }
        // Both halves of a change or none.
        ops.retain(|op| !refused.iter().any(|(key, _)| *key == op.key));
    }
    refused.dedup_by_key(|(key, _)| *key);
    Ok(refused)
}

/// One transaction; the indexes of operations that the kernel refused (then none is in force).
fn send(socket: &mut Socket, ops: &[Op<'_>], shared: usize) -> io::Result<Vec<(usize, i32)>> {
    let groups: Vec<&[Op<'_>]> = ops
        .chunk_by(|a, b| a.set == b.set && a.is_delete() == b.is_delete())
        .flat_map(|same| same.chunks(shared))
        .collect();
    let mut messages = Messages::default();
    let begin = socket.next_seq();
    messages.push(BATCH_BEGIN, REQUEST, begin, (0, 10), |_| {});
    let mut last = begin;
    for (index, group) in groups.iter().enumerate() {
        last = socket.next_seq();
        let ack = if index + 1 == groups.len() { ACK } else { 0 };
        push(&mut messages, group, last, ack);
    }
    messages.push(BATCH_END, REQUEST, socket.next_seq(), (0, 10), |_| {});
    let refused = socket.transact(&messages, begin, last)?;
    if let Some((_, errno)) = refused.iter().find(|(seq, _)| *seq == begin) {
        return Err(io::Error::from_raw_os_error(*errno));
    }
    // Sequence numbers count the messages; of a shared message its first operation is named.
    let mut first_of = Vec::with_capacity(groups.len());
    let mut count = 0;
    for group in groups {
        first_of.push(count);
        count += group.len();
    }
    Ok(refused
        .into_iter()
        .filter_map(|(seq, errno)| {
            let index = usize::try_from(seq.wrapping_sub(begin).checked_sub(1)?).ok()?;
            Some((*first_of.get(index)?, errno))
        })
        .collect())
}

fn push(messages: &mut Messages, group: &[Op<'_>], seq: u32, ack: u16) {
    let Some(first) = group.first() else { return };
    let (kind, create) = match first.value {
        None => (DELETE_ELEMENT, 0),
        Some(_) => (NEW_ELEMENT, CREATE),
    };
    let family = if first.set.is_bridge() { BRIDGE } else { IPV4 };
    messages.push(kind, REQUEST | create | ack, seq, (family, 0), |a| {
        a.text(TABLE_NAME, TABLE);
        a.text(LIST_SET, &first.set.name());
        a.nest(LIST_ELEMENTS, |list| {
            for op in group {
                element::put(list, op.element, op.value);
            }
        });
    });
}
