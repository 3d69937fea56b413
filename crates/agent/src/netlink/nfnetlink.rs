//! An nfnetlink socket, and netlink attributes to and from bytes. By hand: the hot path (two map
//! elements) and the dumps need a dozen attributes of two subsystems, half of which would be raw
//! bytes in any crate's types too. Depends on the socket only.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname,
    recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// `NLM_F_REQUEST`.
pub(crate) const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub(crate) const ACK: u16 = 0x4;
/// `NLM_F_DUMP`.
pub(crate) const DUMP: u16 = 0x300;
/// `NLM_F_CREATE`.
pub(crate) const CREATE: u16 = 0x400;
const DUMP_INTR: u16 = 0x10;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const OVERRUN: u16 = 4;
const NESTED: u16 = 0x8000;
const HEADER: usize = 16;
/// Answers of one dump come in pieces of at most 32 KiB; notifications of one transaction too.
const RECEIVE: usize = 128 * 1024;
/// One send of a hundred thousand elements must fit (`SO_SNDBUFFORCE` goes above `wmem_max`).
const SEND_BUFFER: usize = 64 * 1024 * 1024;
const RETRIES: usize = 20;

/// Messages to send, back to back.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    bytes: Vec<u8>,
}

impl Messages {
    /// One message with a netfilter header; `fill` writes its attributes.
    pub(crate) fn push(
        &mut self,
        kind: u16,
        flags: u16,
        seq: u32,
        head: (u8, u16),
        fill: impl FnOnce(&mut Attributes<'_>),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&seq.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        let (family, resource) = head;
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
        fill(&mut Attributes {
            bytes: &mut self.bytes,
        });
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Attributes of a message under construction.
pub(crate) struct Attributes<'a> {
    bytes: &'a mut Vec<u8>,
}

impl Attributes<'_> {
    /// A plain attribute.
    pub(crate) fn put(&mut self, kind: u16, data: &[u8]) {
        self.open(kind, |a| a.bytes.extend_from_slice(data));
    }

    /// A text, with the NUL that the kernel expects.
    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        self.open(kind, |a| {
            a.bytes.extend_from_slice(text.as_bytes());
            a.bytes.push(0);
        });
    }

    /// An attribute that holds attributes.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.open(kind | NESTED, fill);
    }

    fn open(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(&mut Attributes { bytes: self.bytes });
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

/// A received message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    /// Subsystem and message number.
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    /// Sequence number of the request it answers.
    pub(crate) seq: u32,
    /// Netlink port of the sender of the request.
    pub(crate) port: u32,
    body: &'a [u8],
}

impl<'a> Received<'a> {
    /// The attributes behind the netfilter header.
    pub(crate) fn attributes(&self) -> Walk<'a> {
        walk(self.body.get(4..).unwrap_or_default())
    }

    /// Address family in the netfilter header.
    pub(crate) fn family(&self) -> u8 {
        self.body.first().copied().unwrap_or(0)
    }

    fn errno(&self) -> i32 {
        number(self.body.get(..4)).map_or(0, |n| -n.cast_signed())
    }
}

fn number(bytes: Option<&[u8]>) -> Option<u32> {
    bytes?.try_into().ok().map(u32::from_ne_bytes)
}

/// A number in network order, as nf_tables sends them.
pub(crate) fn big(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// A NUL-terminated text.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Iterates over attributes: kind without flags, and data.
pub(crate) struct Walk<'a>(&'a [u8]);

/// The attributes in `bytes`.
pub(crate) fn walk(bytes: &[u8]) -> Walk<'_> {
    Walk(bytes)
}

impl<'a> Iterator for Walk<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.0.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & 0x3fff;
        let data = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, data))
    }
}

/// The messages in one datagram.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let length = number(bytes.get(..4))? as usize;
        let message = bytes.get(..length).filter(|m| m.len() >= HEADER)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Received {
            kind: u16::from_ne_bytes([message[4], message[5]]),
            flags: u16::from_ne_bytes([message[6], message[7]]),
            seq: number(message.get(8..12))?,
            port: number(message.get(12..16))?,
            body: &message[HEADER..],
        })
    })
}

/// A netfilter socket in the network namespace of the thread that opens it.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    port: u32,
    seq: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket; `groups` are the bits of multicast groups to join.
    pub(crate) fn open(groups: u32) -> io::Result<Self> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        let port = getsockname::<NetlinkAddr>(fd.as_raw_fd())?.pid();
        // Without CAP_NET_ADMIN the limits hold; smaller transactions still work.
        let _ = setsockopt(&fd, sockopt::SndBufForce, &SEND_BUFFER);
        let _ = setsockopt(&fd, sockopt::RcvBufForce, &(8 * 1024 * 1024));
        let limit = if groups == 0 { 10 } else { 1 };
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(limit, 0))?;
        Ok(Self {
            fd,
            port,
            seq: 0,
            buffer: vec![0; RECEIVE],
        })
    }

    /// The netlink port, which notifications of this socket's changes carry.
    pub(crate) fn port(&self) -> u32 {
        self.port
    }

    /// The next sequence number; never 0.
    pub(crate) fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1).max(1);
        self.seq
    }

    /// Sends everything in one datagram: one transaction, where the subsystem has transactions.
    pub(crate) fn send(&self, messages: &Messages) -> io::Result<()> {
        loop {
            match send(self.fd.as_raw_fd(), messages.bytes(), MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// Receives one datagram and hands its messages to `each`.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(Received<'_>)) -> io::Result<()> {
        let length = loop {
            match recv(self.fd.as_raw_fd(), &mut self.buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                Err(e) => return Err(e.into()),
                Ok(length) => break length,
            }
        };
        messages(&self.buffer[..length]).for_each(&mut each);
        Ok(())
    }

    /// Sends `request` messages numbered `first..=last`, of which the last asks for an ACK, and
    /// collects the errors: sequence number and errno.
    pub(crate) fn transact(
        &mut self,
        request: &Messages,
        first: u32,
        last: u32,
    ) -> io::Result<Vec<(u32, i32)>> {
        self.send(request)?;
        let mut refused = Vec::new();
        let mut done = false;
        while !done {
            self.receive(|m| {
                if m.kind != ERROR || m.seq < first || m.seq > last {
                    return; // a late answer to something else
                }
                if m.errno() != 0 {
                    refused.push((m.seq, m.errno()));
                }
                // An error on the first message (the batch's begin) is an error of the whole batch.
                done |= m.seq == last || (m.seq == first && m.errno() != 0);
            })?;
        }
        Ok(refused)
    }

    /// A dump. Starts again, with an empty collection, when the list changed meanwhile (EINTR) or
    /// the buffer overran.
    pub(crate) fn dump<T: Default>(
        &mut self,
        kind: u16,
        family: u8,
        fill: impl Fn(&mut Attributes<'_>),
        each: impl Fn(&mut T, Received<'_>),
    ) -> io::Result<T> {
        for _ in 0..RETRIES {
            let seq = self.next_seq();
            let mut request = Messages::default();
            request.push(kind, REQUEST | DUMP, seq, (family, 0), &fill);
            self.send(&request)?;
            match self.collect(seq, &each) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EINTR))
    }

    /// A question with one answer.
    pub(crate) fn ask<T>(
        &mut self,
        kind: u16,
        read: impl Fn(Received<'_>) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let seq = self.next_seq();
        let mut request = Messages::default();
        request.push(kind, REQUEST, seq, (0, 0), |_| {});
        self.send(&request)?;
        let (mut done, mut failed, mut found) = (false, 0, None);
        while !done {
            self.receive(|m| {
                if m.seq != seq {
                    return;
                }
                done = true;
                if m.kind == ERROR {
                    failed = m.errno();
                } else {
                    found = read(m);
                }
            })?;
        }
        match failed {
            0 => Ok(found),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }

    fn collect<T: Default>(
        &mut self,
        seq: u32,
        each: impl Fn(&mut T, Received<'_>),
    ) -> io::Result<Option<T>> {
        let mut found = T::default();
        let (mut done, mut interrupted, mut failed) = (false, false, 0);
        while !done {
            self.receive(|m| {
                if m.seq != seq {
                    return;
                }
                interrupted |= m.flags & DUMP_INTR != 0 || m.kind == OVERRUN;
                match m.kind {
                    DONE | ERROR => {
                        done = true;
                        failed = m.errno();
                    }
                    _ => each(&mut found, m),
                }
            })?;
        }
        match failed {
            0 if interrupted => Ok(None),
            0 => Ok(Some(found)),
            libc::EINTR => Ok(None),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_read_back() {
        let mut m = Messages::default();
        m.push(0x0a0c, REQUEST, 7, (2, 0), |a| {
            a.text(1, "nova");
            a.nest(3, |a| a.put(1, &[1, 2, 3]));
        });
        let all: Vec<_> = messages(m.bytes()).collect();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].kind, all[0].seq, all[0].family()), (0x0a0c, 7, 2));
        let attributes: Vec<_> = all[0].attributes().collect();
        assert_eq!(text(attributes[0].1), "nova");
        assert_eq!(attributes[1].0, 3);
        assert_eq!(walk(attributes[1].1).next(), Some((1, &[1, 2, 3][..])));
        assert_eq!(m.bytes().len() % 4, 0);
    }

    #[test]
    fn bytes_cut_short_end_the_walk() {
        assert_eq!(walk(&[9, 0, 1, 0, 1]).next().map(|a| a.0), None);
        assert_eq!(messages(&[0; 12]).count(), 0);
    }
}
