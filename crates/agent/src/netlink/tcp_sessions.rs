//! Established TCP connections of this network namespace, with what their peers acknowledged. Asks
//! the kernel's `sock_diag`, by hand: one request, and a few fields of each answer.

use rtnetlink::sys::{Socket, SocketAddr as NetlinkAddr, protocols::NETLINK_SOCK_DIAG};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const LIST: u16 = 0x301;
/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Of the netlink header, and of `struct inet_diag_msg` behind it.
const HEADER: usize = 16;
const ANSWER: usize = 72;
/// `INET_DIAG_INFO`: attribute with a `struct tcp_info`.
const INFO: u16 = 2;
/// Of `tcpi_bytes_acked` in it.
const BYTES_ACKED: usize = 120;
/// `TCP_ESTABLISHED`.
const ESTABLISHED: u32 = 1;

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TcpSession {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Of the socket, as in `/proc/<pid>/fd`.
    pub(crate) inode: u32,
    /// Bytes that the peer has acknowledged.
    pub(crate) acked: u64,
}

/// All established connections; IPv4 ones of IPv6 sockets have IPv4 addresses.
pub(crate) fn established() -> io::Result<Vec<TcpSession>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&NetlinkAddr::new(0, 0))?;
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        socket.send(&request(u8::try_from(family).unwrap_or_default()), 0)?;
        while list_part(&socket.recv_from_full()?.0, &mut found)? {}
    }
    Ok(found)
}

/// The netlink header and a `struct inet_diag_req_v2`.
fn request(family: u8) -> Vec<u8> {
    let protocol = u8::try_from(libc::IPPROTO_TCP).unwrap_or_default();
    let mut bytes = vec![0; HEADER];
    bytes.extend_from_slice(&[family, protocol, 1_u8 << (INFO - 1), 0]);
    bytes.extend_from_slice(&(1_u32 << ESTABLISHED).to_ne_bytes());
    bytes.extend_from_slice(&[0; 48]);
    let length = u32::try_from(bytes.len()).unwrap_or_default();
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&LIST.to_ne_bytes());
    bytes
}

/// Reads one packet of answers; `false`: it was the last one.
fn list_part(mut packet: &[u8], found: &mut Vec<TcpSession>) -> io::Result<bool> {
    while let Some(length) = number(packet, 0).map(|n| n as usize)
        && let Some(message) = packet.get(HEADER..length)
    {
        match half(packet, 4) {
            Some(DONE) => return Ok(false),
            Some(ERROR) => {
                let code = number(message, 0).map_or(libc::EIO, |n| -n.cast_signed());
                return Err(io::Error::from_raw_os_error(code));
            }
            _ => found.extend(session(message)),
        }
        packet = packet.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

fn session(message: &[u8]) -> Option<TcpSession> {
    let address = |at: usize| -> Option<IpAddr> {
        let bytes = message.get(at..at + 16)?;
        Some(if i32::from(message[0]) == libc::AF_INET {
            Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[..4]).ok()?).into()
        } else {
            let address = Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?);
            IpAddr::from(address).to_canonical()
        })
    };
    let port = |at: usize| half(message, at).map(u16::from_be);
    Some(TcpSession {
        local: SocketAddr::new(address(8)?, port(4)?),
        remote: SocketAddr::new(address(24)?, port(6)?),
        inode: number(message, 68)?,
        acked: acked(message.get(ANSWER..)?)?,
    })
}

/// From the attribute [`INFO`] among the attributes of an answer.
fn acked(mut attributes: &[u8]) -> Option<u64> {
    loop {
        let length = usize::from(half(attributes, 0)?);
        if half(attributes, 2)? == INFO {
            let info = attributes.get(4..length)?;
            let bytes = info.get(BYTES_ACKED..BYTES_ACKED + 8)?;
            return Some(u64::from_ne_bytes(bytes.try_into().ok()?));
        }
        attributes = attributes.get(length.max(4).next_multiple_of(4)..)?;
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_is_listed_with_what_its_peer_acknowledged() {
        let listener = TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut server, remote) = listener.accept().unwrap();
        let find = || {
            let all = established().unwrap();
            let ours = |s: &TcpSession| s.local.port() == port && s.remote.port() == remote.port();
            all.into_iter().find(ours).unwrap()
        };
        let before = find();
        assert_eq!(before.local.ip(), IpAddr::from([127, 0, 0, 1]));
        assert_ne!(before.inode, 0);
        server.write_all(&[7; 1000]).unwrap();
        client.read_exact(&mut [0; 1000]).unwrap();
        // The answer carries the acknowledgement of all that it answers.
        client.write_all(b"x").unwrap();
        server.read_exact(&mut [0]).unwrap();
        assert_eq!(find().acked, before.acked + 1000);
    }
}
