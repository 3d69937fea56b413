//! Whether OpenVPN servers answer: the first packet of a handshake leads to the server's own. A
//! server keeps nothing of it.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// How long the servers may take to answer; all are asked at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// The first byte of the packets: the operation, and key 0.
const HARD_RESET_CLIENT: u8 = 7 << 3;
const HARD_RESET_SERVER: u8 = 8 << 3;

/// A side's name of a session.
type Session = [u8; 8];

/// Asks all servers; those that answer.
pub(super) fn answering(servers: &BTreeSet<SocketAddrV4>) -> io::Result<BTreeSet<SocketAddrV4>> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let session = RandomState::new().hash_one(0).to_be_bytes();
    for server in servers {
        // One that cannot be reached does not answer.
        let _ = socket.send_to(&hard_reset(session), server);
    }
    let end = Instant::now() + ANSWER_TIMEOUT;
    let mut answered = BTreeSet::new();
    let mut packet = [0; 1500];
    while answered.len() < servers.len() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(&mut packet) {
            Ok((length, SocketAddr::V4(from)))
                if servers.contains(&from) && is_answer(&packet[..length], session) =>
            {
                answered.insert(from);
            }
            Ok(_) => {}
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(answered)
}

/// Operation, session, no acknowledgements, packet number 0.
fn hard_reset(session: Session) -> Vec<u8> {
    [&[HARD_RESET_CLIENT][..], &session, &[0], &[0; 4]].concat()
}

/// Operation, the server's session, acknowledged packets, and the session that they are of.
fn is_answer(packet: &[u8], session: Session) -> bool {
    let acknowledged = packet.get(9).copied().unwrap_or_default();
    let at = 10 + 4 * usize::from(acknowledged);
    packet.first() == Some(&HARD_RESET_SERVER)
        && acknowledged > 0
        && packet.get(at..at + session.len()) == Some(&session)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A server that answers one packet, with this acknowledgement of the client's session.
    fn server(change: fn(&mut [u8])) -> SocketAddrV4 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(address) = socket.local_addr().unwrap() else {
            unreachable!("bound to an IPv4 address");
        };
        std::thread::spawn(move || {
            let mut packet = [0; 100];
            let (length, from) = socket.recv_from(&mut packet).unwrap();
            assert_eq!((length, packet[0]), (14, 0x38));
            let mut answer = [&[0x40][..], &[9; 8], &[1], &[0; 4]].concat();
            answer.extend(&packet[1..9]);
            answer.extend([0; 4]);
            change(&mut answer);
            socket.send_to(&answer, from).unwrap();
        });
        address
    }

    #[test]
    fn only_an_answer_to_this_session_counts() {
        let good = server(|_| {});
        let other_session = server(|answer| answer[14] ^= 1);
        let other_operation = server(|answer| answer[0] = 0x38);
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(silent) = silent.local_addr().unwrap() else {
            unreachable!("bound to an IPv4 address");
        };
        let all = [good, other_session, other_operation, silent].into();
        assert_eq!(answering(&all).unwrap(), [good].into());
    }
}
