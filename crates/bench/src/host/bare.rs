//! The floor of a floating IP: the same three elements and the same route, sent as netlink messages
//! that are built here. Depends on the kernel and on `nft` for the empty sets.

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send,
    socket,
};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Command;

const REQUEST_ACK: u16 = 0x5;
const CREATE: u16 = 0x400;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_ELEMENT: u16 = 0x0a0c;
const DEL_ELEMENT: u16 = 0x0a0e;
const NEW_ROUTE: u16 = 24;
const DEL_ROUTE: u16 = 25;
const ERROR: u16 = 2;
const NESTED: u16 = 0x8000;
/// Two maps and a set; and whether their elements have data.
const SETS: [(&str, bool); 3] = [("to", true), ("from", true), ("guard", false)];
const FIRST: u32 = 0xc613_0000; // 198.19.0.0
/// Elements per message when the sets are filled.
const AT_ONCE: u32 = 500;

/// Two sockets, and the sets in a table of our own.
pub(super) struct Bare {
    netfilter: OwnedFd,
    route: OwnedFd,
}

impl Bare {
    /// Makes the sets with so many elements, in the network namespace of the calling thread.
    pub(super) fn new(filled: u32) -> Result<Self> {
        let ruleset = "table ip bench { map to { type ipv4_addr : ipv4_addr; }; \
                       map from { type ipv4_addr : ipv4_addr; }; \
                       set guard { type ipv4_addr; }; }";
        let said = Command::new("nft").arg(ruleset).output().context("nft")?;
        let errors = String::from_utf8_lossy(&said.stderr);
        ensure!(said.status.success(), "nft: {errors}");
        let bare = Self {
            netfilter: open(SockProtocol::NetlinkNetFilter)?,
            route: open(SockProtocol::NetlinkRoute)?,
        };
        for first in (0..filled).step_by(AT_ONCE as usize) {
            let last = (first + AT_ONCE).min(filled);
            bare.elements(NEW_ELEMENT, CREATE, first..last)?;
            for number in first..last {
                bare.route(NEW_ROUTE, CREATE, number)?;
            }
        }
        Ok(bare)
    }

    /// One more: three elements and a route, each acknowledged.
    pub(super) fn more(&self, number: u32) -> Result<()> {
        self.elements(NEW_ELEMENT, CREATE, number..number + 1)?;
        self.route(NEW_ROUTE, CREATE, number)
    }

    /// One less.
    pub(super) fn less(&self, number: u32) -> Result<()> {
        self.elements(DEL_ELEMENT, 0, number..number + 1)?;
        self.route(DEL_ROUTE, 0, number)
    }

    fn elements(&self, kind: u16, flags: u16, numbers: std::ops::Range<u32>) -> Result<()> {
        let mut bytes = message(BATCH_BEGIN, 1, &[0, 0, 0, 10]);
        for (set, has_data) in SETS {
            let mut list = Vec::new();
            for number in numbers.clone() {
                let address = (FIRST + number).to_be_bytes();
                let value = attribute(1, &address);
                let mut element = attribute(1 | NESTED, &value);
                if has_data {
                    element.extend(attribute(2 | NESTED, &value));
                }
                list.extend(attribute(1 | NESTED, &element));
            }
            let mut body = vec![2, 0, 0, 0];
            body.extend(attribute(1, b"bench\0"));
            body.extend(attribute(2, format!("{set}\0").as_bytes()));
            body.extend(attribute(3 | NESTED, &list));
            bytes.extend(message(kind, REQUEST_ACK | flags, &body));
        }
        bytes.extend(message(BATCH_END, 1, &[0, 0, 0, 10]));
        exchange(&self.netfilter, &bytes, SETS.len())
    }

    fn route(&self, kind: u16, flags: u16, number: u32) -> Result<()> {
        // family, prefix length, -, -, table local, protocol, scope host, type local, flags
        let mut body = vec![2, 32, 0, 0, 255, 79, 254, 2, 0, 0, 0, 0];
        body.extend(attribute(1, &Ipv4Addr::from(FIRST + number).octets()));
        body.extend(attribute(4, &1_u32.to_ne_bytes()));
        exchange(&self.route, &message(kind, REQUEST_ACK | flags, &body), 1)
    }
}

fn open(protocol: SockProtocol) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(fd)
}

fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(body);
    bytes
}

fn attribute(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + data.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Sends, and reads as many acknowledgements as must come.
fn exchange(socket: &OwnedFd, bytes: &[u8], acknowledgements: usize) -> Result<()> {
    send(socket.as_raw_fd(), bytes, MsgFlags::empty())?;
    let mut left = acknowledgements;
    let mut buffer = [0_u8; 16 * 1024];
    while left > 0 {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let mut rest = &buffer[..length];
        while let Some((header, _)) = rest.split_first_chunk::<20>() {
            let size = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            let error = i32::from_ne_bytes([header[16], header[17], header[18], header[19]]);
            if kind != ERROR || error != 0 {
                let error = std::io::Error::from_raw_os_error(-error);
                bail!("netlink message {kind}: {error}");
            }
            left = left.saturating_sub(1);
            rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
        }
    }
    Ok(())
}
