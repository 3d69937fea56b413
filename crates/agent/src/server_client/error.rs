//! The address of the server, and the errors of a request to it. Depends on hyper's types.

use hyper::StatusCode;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// The address of the server.
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

/// Why a request to the server failed.
#[derive(Debug, Error)]
pub enum RequestError {
    /// It cannot be reached.
    #[error("server {address}: {source}")]
    Unreachable {
        /// The server's address.
        address: ServerAddress,
        /// errno.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("{path}: {source}")]
    Broken {
        /// The path of the request.
        path: String,
        /// The error of the connection.
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("{path}: no answer within {limit:?}")]
    Slow {
        /// The path of the request.
        path: String,
        /// The time limit of the request.
        limit: Duration,
    },
    /// The server answered with an error.
    #[error("{path}: {status}: {message}")]
    Refused {
        /// The path of the request.
        path: String,
        /// HTTP status.
        status: StatusCode,
        /// The first 500 characters of the answer.
        message: String,
    },
    /// The answer does not parse, is too long, or cannot be stored.
    #[error("{path}: unreadable answer: {message}")]
    Unreadable {
        /// The path of the request.
        path: String,
        /// The reason, for people.
        message: String,
    },
}
