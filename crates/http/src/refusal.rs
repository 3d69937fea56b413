//! Answers to requests that never reach a handler: too large, too slow, not HTTP, one connection
//! too many. hyper answers some of these itself, with an empty body; a listener here says which
//! text its clients understand.

use bytes::Bytes;
use std::fmt::Write as _;

/// Why a request is answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Request line and headers are longer than the listener accepts.
    TooLarge,
    /// The headers did not arrive in time.
    TooSlow,
    /// The bytes are not an HTTP/1.1 request.
    Invalid,
    /// The source, or all sources together, have as many connections as the limits allow.
    Busy,
}

impl Refused {
    /// Status and reason phrase (RFC 9110).
    fn status(self) -> (u16, &'static str) {
        match self {
            Self::TooLarge => (413, "Content Too Large"),
            Self::TooSlow => (408, "Request Timeout"),
            Self::Invalid => (400, "Bad Request"),
            Self::Busy => (503, "Service Unavailable"),
        }
    }
}

/// The body of such an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Media type of `body`.
    pub content_type: &'static str,
    /// The text.
    pub body: String,
}

impl Refusal {
    /// A line of plain text.
    pub fn plain(why: Refused) -> Self {
        let body = match why {
            Refused::TooLarge => "the request is too large\n",
            Refused::TooSlow => "the request did not arrive in time\n",
            Refused::Invalid => "this is not an HTTP/1.1 request\n",
            Refused::Busy => "too many connections: close some, or try again later\n",
        };
        Self {
            content_type: "text/plain",
            body: body.to_owned(),
        }
    }

    /// The whole response. The connection ends with it.
    pub(crate) fn response(&self, why: Refused) -> Bytes {
        let (status, reason) = why.status();
        let mut text = format!("HTTP/1.1 {status} {reason}\r\nconnection: close\r\n");
        if why == Refused::Busy {
            text.push_str("retry-after: 1\r\n");
        }
        let (kind, length) = (self.content_type, self.body.len());
        let _ = write!(
            text,
            "content-type: {kind}\r\ncontent-length: {length}\r\n\r\n{}",
            self.body
        );
        text.into()
    }
}
