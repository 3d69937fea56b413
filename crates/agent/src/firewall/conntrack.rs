//! Ends flows: a NAT decision is made once for a flow and kept in its conntrack entry, so a
//! floating address that moves must take its old flows along into the grave.
//!
//! Must not know: which rules there are.

use super::netlink::{ACK, Attributes, Messages, REQUEST, Socket, walk};
use std::fmt;
use std::io;
use std::net::Ipv4Addr;

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const IPV4: u8 = 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const IP_SOURCE: u16 = 1;
const IP_DESTINATION: u16 = 2;
const FLAG_SOURCE: u32 = 1;
const FLAG_DESTINATION: u32 = 2;

/// Which flows to end: all conditions that are given must hold. The original direction is the one
/// that the first packet went; the reply direction has the addresses after NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cut {
    original: Pair,
    reply: Pair,
}

/// Source and destination of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Pair {
    source: Option<Ipv4Addr>,
    destination: Option<Ipv4Addr>,
}

impl Cut {
    /// All flows; to be narrowed.
    pub(super) fn any() -> Self {
        Self::default()
    }

    /// Flows that somebody began towards `address`.
    pub(super) fn to(address: Ipv4Addr) -> Self {
        let mut cut = Self::any();
        cut.original.destination = Some(address);
        cut
    }

    /// Flows that `address` began.
    pub(super) fn from(address: Ipv4Addr) -> Self {
        let mut cut = Self::any();
        cut.original.source = Some(address);
        cut
    }

    /// … whose answers come from `address`.
    pub(super) fn answered_by(mut self, address: Ipv4Addr) -> Self {
        self.reply.source = Some(address);
        self
    }

    /// … whose answers go to `address`.
    pub(super) fn answered_to(mut self, address: Ipv4Addr) -> Self {
        self.reply.destination = Some(address);
        self
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("end flows")?;
        for (word, address) in [
            ("from", self.original.source),
            ("to", self.original.destination),
            ("answered by", self.reply.source),
            ("answered to", self.reply.destination),
        ] {
            if let Some(address) = address {
                write!(f, " {word} {address}")?;
            }
        }
        Ok(())
    }
}

impl Pair {
    fn flags(self) -> u32 {
        let flag = |part: Option<_>, flag| if part.is_some() { flag } else { 0 };
        flag(self.source, FLAG_SOURCE) | flag(self.destination, FLAG_DESTINATION)
    }

    fn put(self, kind: u16, message: &mut Attributes<'_>) {
        if self.flags() == 0 {
            return;
        }
        message.nest(kind, |tuple| {
            tuple.nest(TUPLE_IP, |ip| {
                if let Some(source) = self.source {
                    ip.put(IP_SOURCE, &source.octets());
                }
                if let Some(destination) = self.destination {
                    ip.put(IP_DESTINATION, &destination.octets());
                }
            });
        });
    }
}

impl Cut {
    fn put(self, message: &mut Attributes<'_>) {
        self.original.put(TUPLE_ORIGINAL, message);
        self.reply.put(TUPLE_REPLY, message);
        message.nest(FILTER, |filter| {
            filter.put(FILTER_ORIGINAL, &self.original.flags().to_ne_bytes());
            filter.put(FILTER_REPLY, &self.reply.flags().to_ne_bytes());
        });
    }
}

/// Ends them. The kernel filters; since 6.10 it also deletes by that filter in one call, before
/// it lists and each is deleted by its tuple.
pub(super) fn cut(socket: &mut Socket, cut: Cut) -> io::Result<()> {
    match delete(socket, |message| cut.put(message)) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => one_by_one(socket, cut),
        other => other,
    }
}

fn delete(socket: &mut Socket, fill: impl FnOnce(&mut Attributes<'_>)) -> io::Result<()> {
    let seq = socket.next_seq();
    let mut request = Messages::default();
    request.push(DELETE, REQUEST | ACK, seq, (IPV4, 0), fill);
    match socket.transact(&request, seq, seq)?.first() {
        None => Ok(()),
        Some((_, errno)) => Err(io::Error::from_raw_os_error(*errno)),
    }
}

/// The parts of an entry that name it: kind and bytes.
type Name = Vec<(u16, Vec<u8>)>;

fn one_by_one(socket: &mut Socket, cut: Cut) -> io::Result<()> {
    let entries: Vec<Name> = socket.dump(
        GET,
        IPV4,
        |message| cut.put(message),
        |found: &mut Vec<Name>, message| {
            let parts = message
                .attributes()
                .filter(|(kind, _)| matches!(*kind, TUPLE_ORIGINAL | ID | ZONE))
                .map(|(kind, data)| (kind, data.to_vec()));
            found.push(parts.collect());
        },
    )?;
    for entry in entries {
        let result = delete(socket, |message| {
            for (kind, data) in &entry {
                if *kind == TUPLE_ORIGINAL {
                    message.nest(*kind, |tuple| copy(tuple, data));
                } else {
                    message.put(*kind, data);
                }
            }
        });
        match result {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {} // ended by itself
            other => other?,
        }
    }
    Ok(())
}

/// Attributes two deep, as they came: a tuple holds nests of plain attributes.
fn copy(into: &mut Attributes<'_>, data: &[u8]) {
    for (kind, part) in walk(data) {
        into.nest(kind, |nest| {
            for (kind, value) in walk(part) {
                nest.put(kind, value);
            }
        });
    }
}
