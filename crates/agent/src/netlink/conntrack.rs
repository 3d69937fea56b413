//! Ends flows by deleting their conntrack entries. The kernel decides NAT once per flow and stores
//! it in the entry, so the old flows of a floating IP that moves must end. Depends on nfnetlink.

use super::nfnetlink::{ACK, Attributes, Messages, REQUEST, Received, Socket, walk};
use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM + 1;
const DELETE: u16 = SUBSYSTEM + 2;
const IPV4: u8 = 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION: u16 = 3;
const UDP: u8 = 17;
const IP_SOURCE: u16 = 1;
const IP_DESTINATION: u16 = 2;
const FLAG_SOURCE: u32 = 1;
const FLAG_DESTINATION: u32 = 2;

/// Which flows to end: all conditions that are given must hold. The original direction is the one
/// that the first packet went; the reply direction has the addresses after NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Cut {
    original: Pair,
    reply: Pair,
    /// UDP port that the first packet went to.
    udp_port: Option<u16>,
}

/// Source and destination of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Pair {
    source: Option<Ipv4Addr>,
    destination: Option<Ipv4Addr>,
}

impl Cut {
    /// Flows whose first packet went to `address`.
    pub(crate) fn to(address: Ipv4Addr) -> Self {
        let mut cut = Self::default();
        cut.original.destination = Some(address);
        cut
    }

    /// Flows whose first packet came from `address`.
    pub(crate) fn from(address: Ipv4Addr) -> Self {
        let mut cut = Self::default();
        cut.original.source = Some(address);
        cut
    }

    /// Flows in which `address` answers, whatever the destination of the first packet.
    pub(crate) fn to_real(address: Ipv4Addr) -> Self {
        Self::default().answered_by(address)
    }

    /// … at this UDP port.
    pub(crate) fn at_udp_port(mut self, port: u16) -> Self {
        self.udp_port = Some(port);
        self
    }

    /// … whose answers come from `address`.
    pub(crate) fn answered_by(mut self, address: Ipv4Addr) -> Self {
        self.reply.source = Some(address);
        self
    }

    /// … whose answers go to `address`.
    pub(crate) fn answered_to(mut self, address: Ipv4Addr) -> Self {
        self.reply.destination = Some(address);
        self
    }
}

impl Pair {
    fn flags(self) -> u32 {
        let flag = |part: Option<_>, flag| if part.is_some() { flag } else { 0 };
        flag(self.source, FLAG_SOURCE) | flag(self.destination, FLAG_DESTINATION)
    }

    fn read(tuple: &[u8]) -> Self {
        let mut pair = Self::default();
        let parts = walk(tuple).filter(|(kind, _)| *kind == TUPLE_IP);
        for (kind, data) in parts.flat_map(|(_, ip)| walk(ip)) {
            let address = <[u8; 4]>::try_from(data).ok().map(Ipv4Addr::from);
            match kind {
                IP_SOURCE => pair.source = address,
                IP_DESTINATION => pair.destination = address,
                _ => {}
            }
        }
        pair
    }

    /// Whether `other` has the same addresses, as far as they are given here.
    fn fits(self, other: Self) -> bool {
        let same = |mine: Option<_>, theirs| mine.is_none() || mine == theirs;
        same(self.source, other.source) && same(self.destination, other.destination)
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
    fn ends(self, flow: &Flow) -> bool {
        self.original.fits(flow.original)
            && self.reply.fits(flow.reply)
            && (self.udp_port.is_none() || self.udp_port == flow.udp_port)
    }

    fn put(self, message: &mut Attributes<'_>) {
        self.original.put(TUPLE_ORIGINAL, message);
        self.reply.put(TUPLE_REPLY, message);
        message.nest(FILTER, |filter| {
            filter.put(FILTER_ORIGINAL, &self.original.flags().to_ne_bytes());
            filter.put(FILTER_REPLY, &self.reply.flags().to_ne_bytes());
        });
    }
}

/// The destination port of a tuple of UDP.
fn udp_port(tuple: &[u8]) -> Option<u16> {
    let (_, protocol) = walk(tuple).find(|(kind, _)| *kind == TUPLE_PROTOCOL)?;
    let part = |wanted| walk(protocol).find(|(kind, _)| *kind == wanted);
    let is_udp = part(PROTOCOL_NUMBER).is_some_and(|(_, number)| number == [UDP]);
    let (_, port) = part(PROTOCOL_DESTINATION).filter(|_| is_udp)?;
    Some(u16::from_be_bytes(port.try_into().ok()?))
}

/// Above this number one dump of all flows is cheaper than one filtered deletion each, for which
/// the kernel walks its whole table.
const FEW: usize = 8;

/// Ends the flows that any of `cuts` selects. Since 6.10 the kernel finds and deletes them in one
/// call each. On older kernels, and for many cuts, one dump finds the flows, and each is deleted by
/// its tuple.
pub(crate) fn cut(socket: &mut Socket, cuts: &[Cut]) -> io::Result<()> {
    // The kernel's filter could take ports only together with all else of the tuple.
    if cuts.len() > FEW || cuts.iter().any(|cut| cut.udp_port.is_some()) {
        return by_list(socket, cuts);
    }
    for cut in cuts {
        match delete(socket, |message| cut.put(message)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                return by_list(socket, cuts);
            }
            other => other?,
        }
    }
    Ok(())
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

/// A flow as the kernel lists it.
#[derive(Debug, Default)]
struct Flow {
    original: Pair,
    reply: Pair,
    /// The destination port, of UDP.
    udp_port: Option<u16>,
    /// Its original tuple, id and zone, as received: the kernel finds the flow by them.
    name: Vec<(u16, Vec<u8>)>,
}

impl Flow {
    fn read(message: Received<'_>) -> Self {
        let mut flow = Self::default();
        for (kind, data) in message.attributes() {
            match kind {
                TUPLE_ORIGINAL => {
                    flow.original = Pair::read(data);
                    flow.udp_port = udp_port(data);
                }
                TUPLE_REPLY => flow.reply = Pair::read(data),
                _ => {}
            }
            if matches!(kind, TUPLE_ORIGINAL | ID | ZONE) {
                flow.name.push((kind, data.to_vec()));
            }
        }
        flow
    }

    /// Its addresses. A cut that selects it has at least one of them.
    fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        let Self {
            original, reply, ..
        } = self;
        [
            original.source,
            original.destination,
            reply.source,
            reply.destination,
        ]
        .into_iter()
        .flatten()
    }

    fn put(&self, message: &mut Attributes<'_>) {
        for (kind, data) in &self.name {
            if *kind == TUPLE_ORIGINAL {
                message.nest(*kind, |tuple| copy(tuple, data));
            } else {
                message.put(*kind, data);
            }
        }
    }
}

fn by_list(socket: &mut Socket, cuts: &[Cut]) -> io::Result<()> {
    let mut by_address: HashMap<Ipv4Addr, Vec<Cut>> = HashMap::new();
    for cut in cuts {
        let named = Flow {
            original: cut.original,
            reply: cut.reply,
            ..Flow::default()
        };
        if let Some(address) = named.addresses().next() {
            by_address.entry(address).or_default().push(*cut);
        }
    }
    let found = find(socket, |flow| {
        flow.addresses()
            .filter_map(|address| by_address.get(&address))
            .flatten()
            .any(|cut| cut.ends(flow))
    })?;
    end(socket, &found)
}

/// Lists the IPv4 flows for which `wanted` is true.
fn find(socket: &mut Socket, wanted: impl Fn(&Flow) -> bool) -> io::Result<Vec<Flow>> {
    socket.dump(
        GET,
        IPV4,
        |_| {},
        |found: &mut Vec<Flow>, message| {
            let flow = Flow::read(message);
            if wanted(&flow) {
                found.push(flow);
            }
        },
    )
}

/// The addresses of a flow: of its first packet, and of its answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) from: Ipv4Addr,
    pub(crate) to: Ipv4Addr,
    pub(crate) answered_by: Ipv4Addr,
    pub(crate) answered_to: Ipv4Addr,
}

impl Ends {
    fn of(flow: &Flow) -> Option<Self> {
        Some(Self {
            from: flow.original.source?,
            to: flow.original.destination?,
            answered_by: flow.reply.source?,
            answered_to: flow.reply.destination?,
        })
    }
}

/// Ends the flows for which `ends` is true; returns how many.
pub(crate) fn cut_if(socket: &mut Socket, ends: impl Fn(&Ends) -> bool) -> io::Result<usize> {
    let found = find(socket, |flow| {
        Ends::of(flow).is_some_and(|flow| ends(&flow))
    })?;
    end(socket, &found).map(|()| found.len())
}

fn end(socket: &mut Socket, flows: &[Flow]) -> io::Result<()> {
    for flow in flows {
        match delete(socket, |message| flow.put(message)) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {} // ended meanwhile
            other => other?,
        }
    }
    Ok(())
}

/// Copies a tuple: nests of plain attributes.
fn copy(into: &mut Attributes<'_>, data: &[u8]) {
    for (kind, part) in walk(data) {
        into.nest(kind, |nest| {
            for (kind, value) in walk(part) {
                nest.put(kind, value);
            }
        });
    }
}
