//! Echo requests from within a host. The program `ping` would be started anew for each figure, and
//! it waits in whole seconds where this file looks every millisecond.

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recvfrom, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use novanet_lab::Host;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

/// Sends and hears echoes of one host, from whatever thread.
pub(super) struct Pinger {
    socket: OwnedFd,
    id: u16,
    sequence: u16,
}

impl Pinger {
    /// A socket in the network of `host`.
    pub(super) fn new(host: &Host, id: u16) -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let open = || {
            socket(
                AddressFamily::Inet,
                SockType::Raw,
                flags,
                SockProtocol::Icmp,
            )
        };
        Ok(Self {
            socket: host.exec_in(open)?.context("a raw socket")?,
            id,
            sequence: 0,
        })
    }

    /// Waits until all of these have answered; a question to each that has not, every few
    /// milliseconds. How long after `began` each answered, in the order of the answers.
    pub(super) fn until_answered(
        &mut self,
        addresses: &[Ipv4Addr],
        began: Instant,
        limit: Duration,
    ) -> Result<Vec<Duration>> {
        let mut silent: BTreeSet<Ipv4Addr> = addresses.iter().copied().collect();
        let mut answered = Vec::new();
        while !silent.is_empty() {
            if began.elapsed() > limit {
                let count = silent.len();
                bail!("{count} addresses have not answered within {limit:?}: {silent:.3?}");
            }
            for address in &silent {
                self.ask(*address)?;
            }
            let next = Instant::now() + Duration::from_millis(1 + silent.len() as u64 / 5);
            while let Some((address, _)) = self.hear(next)? {
                if silent.remove(&address) {
                    answered.push(began.elapsed());
                    if silent.is_empty() {
                        break;
                    }
                }
            }
        }
        Ok(answered)
    }

    /// Sends one request; answers with its sequence number. One that cannot be sent counts as sent:
    /// the network is not ready, or says so of an earlier one.
    pub(super) fn ask(&mut self, address: Ipv4Addr) -> Result<u16> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = [ECHO_REQUEST, 0, 0, 0, 0, 0, 0, 0, 0x6e, 0x6f, 0x76, 0x61];
        packet[4..6].copy_from_slice(&self.id.to_be_bytes());
        packet[6..8].copy_from_slice(&self.sequence.to_be_bytes());
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        let [a, b, c, d] = address.octets();
        let to = SockaddrIn::new(a, b, c, d, 0);
        match sendto(self.socket.as_raw_fd(), &packet, &to, MsgFlags::empty()) {
            Ok(_)
            | Err(
                Errno::EHOSTUNREACH
                | Errno::ENETUNREACH
                | Errno::EINVAL
                | Errno::EPERM
                | Errno::ENOBUFS,
            ) => Ok(self.sequence),
            Err(error) => Err(error).with_context(|| format!("an echo request to {address}")),
        }
    }

    /// The next answer to one of the requests: its sender and the number of the request; `None`: no
    /// answer until then.
    pub(super) fn hear(&mut self, until: Instant) -> Result<Option<(Ipv4Addr, u16)>> {
        let mut buffer = [0_u8; 1500];
        loop {
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                return Ok(None);
            };
            // Zero would mean for ever.
            let micros = i64::try_from(left.as_micros().max(1))?;
            let wait = TimeVal::new(micros / 1_000_000, micros % 1_000_000);
            setsockopt(&self.socket, sockopt::ReceiveTimeout, &wait)?;
            let (length, from) = match recvfrom::<SockaddrIn>(self.socket.as_raw_fd(), &mut buffer)
            {
                Ok(received) => received,
                Err(Errno::EAGAIN | Errno::EINTR) => continue,
                Err(error) => return Err(error).context("an echo reply"),
            };
            let header = usize::from(buffer[0] & 0xf) * 4;
            let Some(icmp) = buffer[..length].get(header..header + 8) else {
                continue;
            };
            let ours = icmp[0] == ECHO_REPLY && icmp[4..6] == self.id.to_be_bytes();
            if let (true, Some(from)) = (ours, from) {
                return Ok(Some((from.ip(), u16::from_be_bytes([icmp[6], icmp[7]]))));
            }
        }
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn a_packet_with_its_checksum_sums_to_nothing() {
        let mut packet = [8, 0, 0, 0, 0x12, 0x34, 0, 7, 0xff, 0xfe, 0x61, 0x62];
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(checksum(&packet), 0);
    }
}
