//! A connection's bytes under time limits. hyper knows one limit, for the headers; here are also
//! one for silence between requests and one for a client that does not read its answer. And the
//! empty answers that hyper gives to bad requests are held back, so that the listener's own text
//! can take their place.

use crate::refusal::Refused;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// From the first byte of a request to the end of its headers; from the connection's start for
    /// the first request.
    pub headers: Duration,
    /// From an answer to the next request's first byte.
    pub idle: Duration,
    /// From the end of the headers to the end of the body.
    pub body: Duration,
    /// Without reading a byte of an answer that is waiting for it.
    pub write: Duration,
}

/// What a connection is doing, as its service sees it.
#[derive(Debug, Default)]
pub(crate) struct Phase(AtomicU8);

/// No request is complete: hyper waits for headers.
const HEADERS: u8 = 0;
/// A handler works.
const HANDLER: u8 = 1;
/// The handler has answered; the answer is on its way, or was sent.
const ANSWERED: u8 = 2;

impl Phase {
    pub(crate) fn handler_begins(&self) {
        self.0.store(HANDLER, Ordering::Relaxed);
    }

    pub(crate) fn handler_answered(&self) {
        self.0.store(ANSWERED, Ordering::Relaxed);
    }

    fn is(&self, phase: u8) -> bool {
        self.0.load(Ordering::Relaxed) == phase
    }
}

/// See the head of this file.
pub(crate) struct Timed<S> {
    stream: S,
    times: Times,
    phase: Arc<Phase>,
    /// When the client did something last that a limit counts from.
    since: Instant,
    /// Bytes of the next request are here.
    begun: bool,
    /// At least one answer was sent.
    answered: bool,
    reading: Pin<Box<Sleep>>,
    writing: Option<Pin<Box<Sleep>>>,
    /// The client was too slow, and this is what it was told or not told.
    slow: bool,
    /// The answer of hyper's that was held back.
    refused: Option<Refused>,
}

impl<S> Timed<S> {
    pub(crate) fn new(stream: S, times: Times, phase: Arc<Phase>) -> Self {
        let since = Instant::now();
        Self {
            stream,
            times,
            phase,
            since,
            begun: false,
            answered: false,
            reading: Box::pin(sleep_until(since + times.headers)),
            writing: None,
            slow: false,
            refused: None,
        }
    }

    /// The text for the client at the end; `None`: no text.
    pub(crate) fn refused(&self) -> Option<Refused> {
        // Nothing is said to a client that has said nothing itself.
        let slow = self.slow && self.begun && self.writing.is_none();
        self.refused.or(slow.then_some(Refused::TooSlow))
    }

    /// Whether a limit ended it.
    pub(crate) fn was_slow(&self) -> bool {
        self.slow
    }

    pub(crate) fn into_inner(self) -> S {
        self.stream
    }

    /// Fails when the client has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        if self.phase.is(HANDLER) {
            return Poll::Pending; // it waits for us; a body has a limit of its own
        }
        let limit = if self.answered && !self.begun {
            self.times.idle
        } else {
            self.times.headers
        };
        let until = self.since + limit;
        if self.reading.deadline() != until {
            self.reading.as_mut().reset(until);
        }
        if self.reading.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.slow = true;
        Poll::Ready(ErrorKind::TimedOut.into())
    }

    /// Before bytes are written: whether they are an answer of hyper's own, which is held back.
    fn holds_back(&mut self, bytes: &[u8]) -> bool {
        if !self.phase.is(HEADERS) {
            (self.answered, self.begun) = (true, false);
            self.since = Instant::now();
            return false;
        }
        self.refused = self.refused.or_else(|| automatic(bytes));
        self.refused.is_some()
    }

    /// After a write: fails when the client has not read for too long.
    fn progress<T>(&mut self, cx: &mut Context<'_>, done: Poll<Result<T>>) -> Poll<Result<T>> {
        if done.is_ready() {
            self.writing = None;
            return done;
        }
        let until = Instant::now() + self.times.write;
        let writing = self
            .writing
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        if writing.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.slow = true;
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

/// hyper's answers to what it could not parse: a head without a body. A handler's answer with such
/// a status has a body.
fn automatic(bytes: &[u8]) -> Option<Refused> {
    let status = bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    match status {
        b"414" | b"431" => Some(Refused::TooLarge),
        b"400" => Some(Refused::Invalid),
        _ => None,
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let me = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut me.stream).poll_read(cx, buf);
        if read.is_pending() {
            return me.poll_silence(cx).map(Err);
        }
        if buf.filled().len() > before && !me.phase.is(HANDLER) {
            me.phase.0.store(HEADERS, Ordering::Relaxed);
            if !me.begun && me.answered {
                me.since = Instant::now();
            }
            me.begun = true;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let me = self.get_mut();
        if me.holds_back(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let done = Pin::new(&mut me.stream).poll_write(cx, bytes);
        me.progress(cx, done)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let me = self.get_mut();
        let first = parts.iter().find(|part| !part.is_empty());
        if me.holds_back(first.map_or(&[], |part| part)) {
            return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()));
        }
        let done = Pin::new(&mut me.stream).poll_write_vectored(cx, parts);
        me.progress(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let me = self.get_mut();
        if me.phase.is(ANSWERED) {
            // hyper read while the handler worked, found nothing, and does not read again before
            // it is woken: by the next request, or by this limit.
            let _not_over_yet = me.poll_silence(cx);
        }
        Pin::new(&mut me.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let me = self.get_mut();
        if me.refused.is_some() {
            return Poll::Ready(Ok(())); // the answer is still to be sent
        }
        Pin::new(&mut me.stream).poll_shutdown(cx)
    }
}
