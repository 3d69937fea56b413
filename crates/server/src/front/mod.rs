//! The EC2 port's front. The HTTP library answers a request line beyond 64 KiB itself, with an empty
//! 414 or 431, and hangs up on a client that is still sending. Here such a line is taken in, and a
//! short one put in its place that leads to EC2's own refusal.

mod lines;

use axum::serve::Listener;
use lines::Lines;
pub(crate) use lines::TOO_LONG;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// How much is read at a time.
const PIECE: usize = 16 * 1024;

/// A port whose connections are [`Front`]s.
#[derive(Debug)]
pub(crate) struct FrontListener(pub(crate) TcpListener);

impl Listener for FrontListener {
    type Io = Front;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        (Front::new(stream), peer)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// A connection whose overlong request lines are replaced.
#[derive(Debug)]
pub(crate) struct Front {
    stream: TcpStream,
    lines: Lines,
    /// What may be read, from `at` on.
    ready: Vec<u8>,
    at: usize,
}

impl Front {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            lines: Lines::default(),
            ready: Vec::new(),
            at: 0,
        }
    }

    /// The answer to a small request goes out without waiting for the client to have got the last.
    pub(crate) fn without_delay(&mut self) {
        if let Err(error) = self.stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
    }
}

impl AsyncRead for Front {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let me = self.get_mut();
        while me.at == me.ready.len() {
            if me.lines.gave_up() {
                // An end here would look like a client that has gone, whom nobody answers.
                return Poll::Pending;
            }
            let mut piece = [0; PIECE];
            let mut read = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut me.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            me.at = 0;
            me.ready.clear();
            me.lines.pass(read.filled(), &mut me.ready);
        }
        let length = buf.remaining().min(me.ready.len() - me.at);
        buf.put_slice(&me.ready[me.at..me.at + length]);
        me.at += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Front {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
