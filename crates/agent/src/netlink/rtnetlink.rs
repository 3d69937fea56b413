//! A blocking rtnetlink socket: one request, one dump, or many messages in one `send`. Depends on
//! the message types of `netlink-packet-route`.
//!
//! Why not `rtnetlink::Handle`: moving an uplink's addresses needs several messages in *one* send
//! (the kernel works them off inside the system call, so a kill cannot come between them), and a
//! floating IP's route is 35 µs, less than a hop to another task and back.

use rtnetlink::packet_core::{
    ErrorMessage, NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer,
    NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::{Socket as RawSocket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;

/// A dump answers in packets of at most 32 KiB.
const BUFFER: usize = 64 * 1024;
/// Messages per send: their ACKs together must fit the receive buffer.
const BATCH: usize = 64;
/// Tries of a dump that changes interrupt.
const DUMP_TRIES: u32 = 8;

/// A message and its flags besides REQUEST and ACK.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) message: RouteNetlinkMessage,
    /// `NLM_F_CREATE`, `NLM_F_EXCL` …; 0: none.
    pub(crate) flags: u16,
}

impl Request {
    pub(crate) fn new(message: RouteNetlinkMessage, flags: u16) -> Self {
        Self { message, flags }
    }
}

/// A connection to the kernel, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Socket {
    raw: RawSocket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = RawSocket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.set_cap_ack(true)?;
        // Without it the kernel ignores a dump's filter (protocol, table) and sends every route.
        socket.set_netlink_get_strict_chk(true)?;
        Ok(Self {
            raw: socket,
            sequence: 0,
            buffer: Vec::with_capacity(BUFFER),
        })
    }

    /// Sends one request and waits for its ACK.
    pub(crate) fn request(&mut self, request: &Request) -> io::Result<()> {
        self.send_all(std::slice::from_ref(request))?
            .pop()
            .unwrap_or(Ok(()))
    }

    /// Sends requests in order and returns the result of each: the kernel goes on after a failed
    /// one. Up to [`BATCH`] messages are one system call.
    pub(crate) fn send_all(&mut self, requests: &[Request]) -> io::Result<Vec<io::Result<()>>> {
        let mut results = Vec::with_capacity(requests.len());
        for batch in requests.chunks(BATCH) {
            results.extend(self.send_batch(batch)?);
        }
        Ok(results)
    }

    /// Sends all requests in one system call. Their ACKs must fit the receive buffer.
    pub(crate) fn send_together(
        &mut self,
        requests: &[Request],
    ) -> io::Result<Vec<io::Result<()>>> {
        self.send_batch(requests)
    }

    fn send_batch(&mut self, batch: &[Request]) -> io::Result<Vec<io::Result<()>>> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for request in batch {
            self.sequence = self.sequence.wrapping_add(1);
            append(
                &mut bytes,
                request.message.clone(),
                NLM_F_REQUEST | NLM_F_ACK | request.flags,
                self.sequence,
            );
        }
        self.raw.send(&bytes, 0)?;
        let mut results: Vec<Option<io::Result<()>>> = batch.iter().map(|_| None).collect();
        let mut missing = batch.len();
        while missing > 0 {
            self.receive()?;
            for message in Packets(&self.buffer) {
                let at = message.header.sequence_number.wrapping_sub(first) as usize;
                if let NetlinkPayload::Error(error) = message.payload
                    && let Some(slot @ None) = results.get_mut(at)
                {
                    *slot = Some(error.code.map_or(Ok(()), |_| Err(error.to_io())));
                    missing -= 1;
                }
            }
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// Sends a request for one object; `None`: it does not exist.
    pub(crate) fn get(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> io::Result<Option<RouteNetlinkMessage>> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut bytes = Vec::new();
        append(&mut bytes, message, NLM_F_REQUEST | NLM_F_ACK, sequence);
        self.raw.send(&bytes, 0)?;
        let mut answer = None;
        loop {
            self.receive()?;
            for message in Packets(&self.buffer) {
                if message.header.sequence_number != sequence {
                    continue;
                }
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => answer = Some(inner),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answer),
                    NetlinkPayload::Error(error) if is_absence(&error) => return Ok(None),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }

    /// Sends a request for a list. Starts again when the list changed meanwhile.
    pub(crate) fn dump(
        &mut self,
        message: &RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        for _ in 1..DUMP_TRIES {
            if let (all, false) = self.dump_once(message)? {
                return Ok(all);
            }
        }
        // A list that changes all the time: the last try, consistent or not.
        Ok(self.dump_once(message)?.0)
    }

    fn dump_once(
        &mut self,
        message: &RouteNetlinkMessage,
    ) -> io::Result<(Vec<RouteNetlinkMessage>, bool)> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let mut bytes = Vec::new();
        append(
            &mut bytes,
            message.clone(),
            NLM_F_REQUEST | NLM_F_DUMP,
            sequence,
        );
        self.raw.send(&bytes, 0)?;
        let mut all = Vec::new();
        let mut interrupted = false;
        loop {
            self.receive()?;
            for message in Packets(&self.buffer) {
                if message.header.sequence_number != sequence {
                    continue;
                }
                interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => all.push(inner),
                    NetlinkPayload::Done(done) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    NetlinkPayload::Done(_) => return Ok((all, interrupted)),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    _ => {}
                }
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        loop {
            self.buffer.clear();
            match self.raw.recv(&mut self.buffer, 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(drop),
            }
        }
    }
}

/// Whether the kernel says that the object does not exist.
fn is_absence(error: &ErrorMessage) -> bool {
    let code = error.code.map(|code| -code.get());
    matches!(code, Some(libc::ENODEV | libc::ENOENT | libc::ESRCH))
}

/// Turns one errno of a request into success, as in `.or_else(ignore(libc::ENODEV))`.
pub(crate) fn ignore(errno: i32) -> impl Fn(io::Error) -> io::Result<()> {
    move |error| match error.raw_os_error() {
        Some(code) if code == errno => Ok(()),
        _ => Err(error),
    }
}

fn append(bytes: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16, sequence: u32) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let at = bytes.len();
    bytes.resize(at + message.buffer_len(), 0);
    message.serialize(&mut bytes[at..]);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A message as bytes, for a file.
pub(crate) fn encode(message: RouteNetlinkMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    append(&mut bytes, message, 0, 0);
    bytes
}

/// A message from the bytes of [`encode`]; `None`: they are none.
pub(crate) fn decode(bytes: &[u8]) -> Option<RouteNetlinkMessage> {
    match Packets(bytes).next()?.payload {
        NetlinkPayload::InnerMessage(message) => Some(message),
        _ => None,
    }
}

/// The messages of one packet. A message that does not parse (it has an attribute of a newer
/// kernel) is left out, so that it does not hide the others.
pub(crate) struct Packets<'a>(pub(crate) &'a [u8]);

impl Iterator for Packets<'_> {
    type Item = NetlinkMessage<RouteNetlinkMessage>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let length = NetlinkBuffer::new_checked(self.0).ok()?.length() as usize;
            let (one, rest) = self.0.split_at_checked(length)?;
            let padding = length.next_multiple_of(4) - length;
            self.0 = rest.get(padding..).unwrap_or_default();
            match NetlinkMessage::deserialize(one) {
                Ok(message) => return Some(message),
                Err(error) => {
                    tracing::debug!(%error, "a netlink message that this version cannot read");
                }
            }
        }
    }
}
