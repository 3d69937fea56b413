//! A request's body that has to arrive in time: a client that sends a byte a minute holds its
//! connection no longer than any other.

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use thiserror::Error;
use tokio::time::{Instant, Sleep, sleep_until};

/// Why a body ended early.
#[derive(Debug, Error)]
pub enum BodyError {
    /// The client was too slow.
    #[error("the request's body did not arrive within {0:?}")]
    Slow(Duration),
    /// The connection ended, or the body was not what its headers said.
    #[error("the request's body broke off")]
    Broken(#[from] hyper::Error),
}

/// The body of a request. Reading it fails with [`BodyError::Slow`] when all of it is not there
/// within the listener's [`crate::Times::body`], counted from the end of the headers.
#[derive(Debug)]
pub struct RequestBody {
    inner: Incoming,
    limit: Duration,
    until: Instant,
    /// Made when the body has to be waited for at all.
    timer: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(crate) fn new(inner: Incoming, limit: Duration) -> Self {
        Self {
            inner,
            limit,
            until: Instant::now() + limit,
            timer: None,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let me = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut me.inner).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)));
        }
        let until = me.until;
        let timer = me.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(BodyError::Slow(me.limit)))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
