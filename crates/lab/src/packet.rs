//! Frames: builds them from parts with any addresses, true or forged, and parses them. Pure.

use std::net::Ipv4Addr;

/// A hardware address.
pub type Mac = [u8; 6];

/// All stations on the wire.
pub const BROADCAST: Mac = [0xff; 6];

const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const ICMP: u8 = 1;
const UDP: u8 = 17;

/// An Ethernet frame, filled up to the least size.
pub fn ethernet(from: Mac, to: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from, &ethertype.to_be_bytes(), payload].concat();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The kind and the addresses of an ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Whether it is an answer (or an unasked claim) and not a question.
    pub answer: bool,
    /// The hardware address that the packet says it is from.
    pub sender_mac: Mac,
    /// The address that the packet says it is from.
    pub sender: Ipv4Addr,
    /// The hardware address that the answer is for; zero in a question.
    pub target_mac: Mac,
    /// The address that is asked for.
    pub target: Ipv4Addr,
}

impl Arp {
    /// "Who has `target`? Tell `sender`."
    pub fn question(sender_mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Self {
        Self {
            answer: false,
            sender_mac,
            sender,
            target_mac: [0; 6],
            target,
        }
    }

    /// "`sender` is at `sender_mac`", sent to `target`.
    pub fn answer(sender_mac: Mac, sender: Ipv4Addr, target_mac: Mac, target: Ipv4Addr) -> Self {
        Self {
            answer: true,
            sender_mac,
            sender,
            target_mac,
            target,
        }
    }

    /// The frame, between hardware addresses that need not be those in the packet.
    pub fn frame(&self, from: Mac, to: Mac) -> Vec<u8> {
        let head = [0, 1, 8, 0, 6, 4, 0, if self.answer { 2 } else { 1 }];
        let body = [
            &head[..],
            &self.sender_mac,
            &self.sender.octets(),
            &self.target_mac,
            &self.target.octets(),
        ]
        .concat();
        ethernet(from, to, ARP, &body)
    }
}

/// An IPv4 packet's two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The hardware address it comes from.
    pub from_mac: Mac,
    /// The hardware address it goes to.
    pub to_mac: Mac,
    /// The address it comes from.
    pub from: Ipv4Addr,
    /// The address it goes to.
    pub to: Ipv4Addr,
}

impl Ends {
    /// A UDP datagram between these ends.
    pub fn udp(&self, from_port: u16, to_port: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
        let mut datagram = [
            &from_port.to_be_bytes()[..],
            &to_port.to_be_bytes(),
            &length.to_be_bytes(),
            &[0, 0],
            payload,
        ]
        .concat();
        let pseudo = [
            &self.from.octets()[..],
            &self.to.octets(),
            &[0, UDP],
            &length.to_be_bytes(),
            &datagram,
        ]
        .concat();
        // Zero would say "no checksum" (RFC 768).
        let sum = match checksum(&pseudo) {
            0 => 0xffff,
            sum => sum,
        };
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
        self.ipv4(UDP, &datagram)
    }

    /// An echo request ("ping") between these ends.
    pub fn ping(&self, id: u16, sequence: u16) -> Vec<u8> {
        let mut message = [
            &[8, 0, 0, 0][..],
            &id.to_be_bytes(),
            &sequence.to_be_bytes(),
            b"novanet lab",
        ]
        .concat();
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.ipv4(ICMP, &message)
    }

    fn ipv4(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
        let mut head = [
            &[0x45, 0][..],
            &length.to_be_bytes(),
            &[0, 1, 0, 0, 64, protocol, 0, 0],
            &self.from.octets(),
            &self.to.octets(),
        ]
        .concat();
        let sum = checksum(&head);
        head[10..12].copy_from_slice(&sum.to_be_bytes());
        ethernet(
            self.from_mac,
            self.to_mac,
            IPV4,
            &[head, payload.to_vec()].concat(),
        )
    }
}

/// What a frame turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// An ARP packet, and the hardware addresses of its frame.
    Arp {
        /// The frame's sender.
        from_mac: Mac,
        /// The frame's receiver.
        to_mac: Mac,
        /// What it says.
        arp: Arp,
    },
    /// A UDP datagram.
    Udp {
        /// Between whom.
        ends: Ends,
        /// Source port.
        from_port: u16,
        /// Destination port.
        to_port: u16,
        /// What it carries.
        payload: Vec<u8>,
    },
    /// Another IPv4 packet.
    Ipv4 {
        /// Between whom.
        ends: Ends,
        /// The protocol's number (1: ICMP, 6: TCP).
        protocol: u8,
        /// What it carries.
        payload: Vec<u8>,
    },
    /// Something else.
    Other {
        /// The frame's sender.
        from_mac: Mac,
        /// The frame's receiver.
        to_mac: Mac,
        /// What it is.
        ethertype: u16,
    },
}

impl Seen {
    /// Takes a frame apart; one that is cut short is nothing.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (to_mac, from_mac, body) = (
            *frame.first_chunk()?,
            *frame.get(6..)?.first_chunk()?,
            frame.get(14..)?,
        );
        let ethertype = u16::from_be_bytes(*frame.get(12..)?.first_chunk()?);
        match ethertype {
            ARP => Some(Self::Arp {
                from_mac,
                to_mac,
                arp: parse_arp(body)?,
            }),
            IPV4 => parse_ipv4(from_mac, to_mac, body),
            ethertype => Some(Self::Other {
                from_mac,
                to_mac,
                ethertype,
            }),
        }
    }
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?))
}

fn parse_arp(body: &[u8]) -> Option<Arp> {
    let mac = |at: usize| body.get(at..)?.first_chunk().copied();
    Some(Arp {
        answer: *body.get(7)? == 2,
        sender_mac: mac(8)?,
        sender: address(body, 14)?,
        target_mac: mac(18)?,
        target: address(body, 24)?,
    })
}

fn parse_ipv4(from_mac: Mac, to_mac: Mac, body: &[u8]) -> Option<Seen> {
    let head = usize::from(body.first()? & 0xf) * 4;
    let length = usize::from(u16::from_be_bytes(*body.get(2..)?.first_chunk()?));
    let (protocol, ends) = (
        *body.get(9)?,
        Ends {
            from_mac,
            to_mac,
            from: address(body, 12)?,
            to: address(body, 16)?,
        },
    );
    let payload = body.get(head..length)?;
    if protocol != UDP {
        return Some(Seen::Ipv4 {
            ends,
            protocol,
            payload: payload.to_vec(),
        });
    }
    let port = |at: usize| Some(u16::from_be_bytes(*payload.get(at..)?.first_chunk()?));
    Some(Seen::Udp {
        ends,
        from_port: port(0)?,
        to_port: port(2)?,
        payload: payload.get(8..)?.to_vec(),
    })
}

/// The internet checksum (RFC 1071): what goes into the field, where the field was zero.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| {
            u32::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]))
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}
