//! Listeners: TCP and unix sockets, and how accepting goes on after an error without spinning.

use crate::seldom::Seldom;
use std::io::{Error, ErrorKind, Result};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A socket that clients connect to.
pub trait Listener: Send + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The client.
    type Peer: Clone + Send + Sync + 'static;

    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = Result<(Self::Stream, Self::Peer)>> + Send;

    /// What its connections are counted by; `None` where clients have no address.
    fn source(peer: &Self::Peer) -> Option<IpAddr>;

    /// Sends what fits without waiting: the last words to a client that is not let in.
    fn try_send(stream: &Self::Stream, bytes: &[u8]);
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    async fn accept(&self) -> Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        // The answer to a small request does not wait until the client has acknowledged the last.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        Ok((stream, peer))
    }

    fn source(peer: &SocketAddr) -> Option<IpAddr> {
        Some(peer.ip())
    }

    fn try_send(stream: &TcpStream, bytes: &[u8]) {
        let _ = stream.try_write(bytes); // a client that has gone does not read it anyway
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    type Peer = ();

    async fn accept(&self) -> Result<(UnixStream, ())> {
        let (stream, _) = UnixListener::accept(self).await?;
        Ok((stream, ()))
    }

    fn source((): &()) -> Option<IpAddr> {
        None
    }

    fn try_send(stream: &UnixStream, bytes: &[u8]) {
        let _ = stream.try_write(bytes); // as above
    }
}

/// Pauses after failed accepts: out of descriptors or memory, accepting again at once would fail
/// again and use a whole processor.
#[derive(Debug)]
pub(crate) struct Backoff {
    pause: Duration,
    log: Seldom,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(10);
    const MAX_PAUSE: Duration = Duration::from_secs(1);

    pub(crate) fn new() -> Self {
        Self {
            pause: Self::FIRST,
            log: Seldom::default(),
        }
    }

    pub(crate) fn worked(&mut self) {
        self.pause = Self::FIRST;
    }

    /// Waits before the next accept, if this error is one of the process or the host.
    pub(crate) async fn failed(&mut self, service: &str, error: &Error) {
        // This client has gone before it was accepted; the next one may be there.
        if matches!(
            error.kind(),
            ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
        ) {
            return;
        }
        if let Some(times) = self.log.event() {
            tracing::warn!(
                service,
                %error,
                times,
                "cannot accept connections; trying again (see LimitNOFILE of the unit, or ulimit -n)"
            );
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Self::MAX_PAUSE);
    }
}
