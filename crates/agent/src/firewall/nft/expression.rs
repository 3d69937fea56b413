//! Expressions of a rule in the kernel's bytes: their counters, and the rest without them for the
//! digest of our text. Depends on the attributes of netlink.

use super::in_force::Count;
use crate::netlink::nfnetlink::{text, walk};

const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;
const COUNTER: &str = "counter";

/// Adds a rule's expressions without the values of its counters: they change with each packet.
pub(super) fn absorb(found: &mut Vec<u8>, expressions: &[u8]) {
    for (_, expression) in walk(expressions) {
        if count_of(expression).is_some() {
            found.extend_from_slice(COUNTER.as_bytes());
        } else {
            found.extend_from_slice(expression);
        }
    }
}

/// The count of an expression that is a counter.
pub(super) fn count_of(expression: &[u8]) -> Option<Count> {
    let part = |bytes, wanted| walk(bytes).find(|(kind, _)| *kind == wanted).map(|a| a.1);
    if text(part(expression, EXPRESSION_NAME)?) != COUNTER {
        return None;
    }
    let data = part(expression, EXPRESSION_DATA)?;
    let number = |wanted| Some(u64::from_be_bytes(part(data, wanted)?.try_into().ok()?));
    Some(Count {
        packets: number(COUNTER_PACKETS)?,
        bytes: number(COUNTER_BYTES)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, data: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + data.len()).expect("short");
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn counter(packets: u64) -> Vec<u8> {
        let data = [
            attribute(COUNTER_BYTES, &(packets * 60).to_be_bytes()),
            attribute(COUNTER_PACKETS, &packets.to_be_bytes()),
        ];
        let parts = [
            attribute(EXPRESSION_NAME, b"counter\0"),
            attribute(EXPRESSION_DATA, &data.concat()),
        ];
        attribute(1, &parts.concat())
    }

    #[test]
    fn a_counter_is_read_and_is_no_part_of_the_digest() {
        let other = attribute(1, &attribute(EXPRESSION_NAME, b"meta\0"));
        let digest = |packets| {
            let mut found = Vec::new();
            absorb(&mut found, &[other.clone(), counter(packets)].concat());
            found
        };
        assert_eq!(digest(1), digest(2));
        assert_ne!(digest(1), {
            let mut found = Vec::new();
            absorb(&mut found, &other);
            found
        });
        let bytes = counter(7);
        let (_, expression) = walk(&bytes).next().expect("one");
        let (packets, bytes) = (7, 420);
        assert_eq!(count_of(expression), Some(Count { packets, bytes }));
    }
}
