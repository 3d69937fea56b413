//! Frames on an interface: sends them unchanged (with whatever addresses a test forges), and
//! receives them.

use std::io::ErrorKind;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, recvfrom,
    send, setsockopt, socket,
};
use nix::sys::time::TimeVal;

use crate::{Host, Mac};

/// `PACKET_OUTGOING` of linux/if_packet.h: our own side sent it.
const OUTGOING: u8 = 4;

/// The wire at an interface: receives all frames that arrive there, whatever their destination, and
/// sends frames past the kernel's rules.
#[derive(Debug)]
pub struct Wire {
    fd: OwnedFd,
    device: String,
    mac: Mac,
}

impl Wire {
    /// Taps an interface of a host.
    pub fn tap(host: &Host, device: &str) -> Result<Self> {
        host.exec_in(|| Self::tap_here(device))?
            .with_context(|| format!("on the host {}", host.name()))
    }

    /// Taps an interface of the network namespace that this thread is in.
    pub fn tap_here(device: &str) -> Result<Self> {
        let address = getifaddrs()?
            .filter(|entry| entry.interface_name == device)
            .find_map(|entry| entry.address?.as_link_addr().copied())
            .with_context(|| format!("there is no interface {device}"))?;
        let fd = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )
        .context("a packet socket")?;
        bind(fd.as_raw_fd(), &address).with_context(|| format!("binding to {device}"))?;
        let wire = Self {
            fd,
            device: device.into(),
            mac: address.addr().context("no hardware address")?,
        };
        // Until it was bound, the socket heard all interfaces.
        let mut buffer = [0; 1];
        while recv(wire.fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).is_ok() {}
        Ok(wire)
    }

    /// The hardware address of the interface.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Sends a frame as it is.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        send(self.fd.as_raw_fd(), frame, MsgFlags::empty())
            .with_context(|| format!("sending on {}", self.device))?;
        Ok(())
    }

    /// The next frame that arrives (not one that this side sends), or nothing when `limit` has
    /// passed.
    pub fn receive(&self, limit: Duration) -> Result<Option<Vec<u8>>> {
        let until = Instant::now() + limit;
        let mut buffer = vec![0; 65536];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            // A timeout of zero would mean for ever.
            let micros = i64::try_from(left.as_micros()).unwrap_or(i64::MAX).max(1);
            let timeout = TimeVal::new(micros / 1_000_000, micros % 1_000_000);
            setsockopt(&self.fd, ReceiveTimeout, &timeout).context("setting a time limit")?;
            match recvfrom::<LinkAddr>(self.fd.as_raw_fd(), &mut buffer) {
                Ok((_, Some(from))) if from.pkttype() == OUTGOING => {}
                Ok((length, _)) => {
                    buffer.truncate(length);
                    return Ok(Some(buffer));
                }
                Err(error) => match std::io::Error::from(error) {
                    error
                        if matches!(
                            error.kind(),
                            ErrorKind::WouldBlock | ErrorKind::Interrupted
                        ) => {}
                    error => {
                        return Err(error).with_context(|| format!("listening on {}", self.device));
                    }
                },
            }
        }
    }

    /// The first frame within `limit` that `wanted` makes something of.
    pub fn find<T>(
        &self,
        limit: Duration,
        mut wanted: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let until = Instant::now() + limit;
        while let Some(frame) = self.receive(until.saturating_duration_since(Instant::now()))? {
            if let Some(found) = wanted(&frame) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Everything that arrives within `time`.
    pub fn sniff(&self, time: Duration) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        self.find(time, |frame| {
            frames.push(frame.to_vec());
            None::<()>
        })?;
        Ok(frames)
    }
}
