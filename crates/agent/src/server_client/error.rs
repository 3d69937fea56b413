//! Where the server is, and why it did not answer.

use hyper::StatusCode;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// On this host.
    Unix(PathBuf),
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why the server did not answer.
#[derive(Debug, Error)]
pub enum RequestError {
    /// It cannot be reached.
    #[error("server {address}: {source}")]
    Unreachable {
        /// Where.
        address: ServerAddress,
        /// errno.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("{path}: {source}")]
    Broken {
        /// What was asked for.
        path: String,
        /// How.
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("{path}: no answer within {limit:?}")]
    Slow {
        /// What was asked for.
        path: String,
        /// How long we waited.
        limit: Duration,
    },
    /// The server said no.
    #[error("{path}: {status}: {message}")]
    Refused {
        /// What was asked for.
        path: String,
        /// HTTP status.
        status: StatusCode,
        /// What it said.
        message: String,
    },
    /// The answer is not what it should be.
    #[error("{path}: unreadable answer: {message}")]
    Unreadable {
        /// What was asked for.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}
