//! The one error of this crate, by what the caller can do about it. Its texts never hold key
//! material.

use thiserror::Error;

/// Why a key could not be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PkiError {
    /// The key file does not hold a key.
    #[error("key file: {0}")]
    KeyFile(&'static str),
    /// The key is a good one, but something was sealed with another.
    #[error("the key file is not the one that this was sealed with (put the right one back)")]
    WrongKey,
    /// The sealed value has been changed, or belongs to another row.
    #[error("{0}: the sealed value is damaged or belongs to something else")]
    Damaged(String),
    /// A public key that a user brought.
    #[error("public key: {0}")]
    PublicKey(String),
    /// A key could not be made: a fault in this program.
    #[error("key pair could not be made: {0}")]
    Internal(String),
}

/// Shorthand of this crate.
pub type Result<T, E = PkiError> = std::result::Result<T, E>;
