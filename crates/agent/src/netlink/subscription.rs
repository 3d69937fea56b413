//! Multicast notifications of rtnetlink, for the watches of the link and DHCP subsystems. Depends
//! on a tokio socket; subscribes again by itself after an error.

use super::rtnetlink::Packets;
use rtnetlink::sys::{
    AsyncSocket, AsyncSocketExt, Socket as RawSocket, SocketAddr, TokioSocket,
    protocols::NETLINK_ROUTE,
};
use std::io;
use std::time::Duration;

/// Pause between two tries to subscribe.
const RESUBSCRIBE_INTERVAL: Duration = Duration::from_secs(1);
/// No packet of notifications is larger.
const BUFFER: usize = 64 * 1024;

/// What [`Subscription::next`] received.
pub(crate) enum Received<'a> {
    /// One packet of notifications.
    Packet(Packets<'a>),
    /// Notifications may be missing: the receive buffer overran, or this subscription is a new one.
    Lost,
}

/// Prepares a new socket before it joins a group.
type Prepare = fn(&RawSocket) -> io::Result<()>;

/// A socket that receives the notifications of some multicast groups.
pub(crate) struct Subscription {
    socket: TokioSocket,
    groups: &'static [u32],
    prepare: Prepare,
    buffer: Vec<u8>,
    /// The socket failed; the next call of `next` subscribes again.
    failed: bool,
}

impl Subscription {
    /// Subscribes to `groups` (`RTNLGRP_*`), in the network namespace of this thread. `prepare` may
    /// attach a filter.
    pub(crate) fn open(groups: &'static [u32], prepare: Prepare) -> io::Result<Self> {
        Ok(Self {
            socket: subscribe(groups, prepare)?,
            groups,
            prepare,
            buffer: Vec::with_capacity(BUFFER),
            failed: false,
        })
    }

    /// Waits for the next packet. A caller may drop the future and call again.
    pub(crate) async fn next(&mut self) -> Received<'_> {
        loop {
            if self.failed {
                tokio::time::sleep(RESUBSCRIBE_INTERVAL).await;
                let Ok(socket) = subscribe(self.groups, self.prepare) else {
                    continue;
                };
                self.socket = socket;
                self.failed = false;
                return Received::Lost; // what happened meanwhile reached no socket
            }
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer).await {
                Ok(()) => return Received::Packet(Packets(&self.buffer)),
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => return Received::Lost,
                Err(error) => {
                    tracing::error!(%error, "rtnetlink: subscribing again");
                    self.failed = true;
                }
            }
        }
    }

    /// A packet that has arrived already; `None`: there is none.
    pub(crate) fn arrived(&mut self) -> Option<Received<'_>> {
        self.buffer.clear();
        match self.socket.socket_ref().recv(&mut self.buffer, 0) {
            Ok(_) => Some(Received::Packet(Packets(&self.buffer))),
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => Some(Received::Lost),
            Err(_) => None,
        }
    }
}

fn subscribe(groups: &[u32], prepare: Prepare) -> io::Result<TokioSocket> {
    let mut events = TokioSocket::new(NETLINK_ROUTE)?;
    let socket = events.socket_mut();
    socket.bind(&SocketAddr::new(0, 0))?;
    prepare(socket)?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::time::timeout;

    /// `RTNLGRP_LINK`.
    const LINKS: u32 = 1;

    #[tokio::test(start_paused = true)]
    async fn a_failed_socket_is_replaced_and_reported_although_the_caller_dropped_a_wait() {
        let mut events = Subscription::open(&[LINKS], |_| Ok(())).unwrap();
        events.failed = true;
        let dropped = timeout(RESUBSCRIBE_INTERVAL / 2, events.next()).await;
        assert!(dropped.is_err(), "it waits before it subscribes again");
        let received = timeout(RESUBSCRIBE_INTERVAL * 2, events.next()).await;
        assert!(matches!(received, Ok(Received::Lost)));
        assert!(!events.failed);
    }
}
