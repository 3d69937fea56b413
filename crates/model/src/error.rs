//! The one error of this crate: a text from outside did not parse into a type that cannot be wrong.

use thiserror::Error;

/// A refused value from a user. The text names the value and the allowed ones.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} {value:?}: {reason}")]
pub struct ModelError {
    /// The kind of thing, e.g. `interface name`, `cidr`.
    pub what: &'static str,
    /// The refused value.
    pub value: String,
    /// The reason, and the allowed values.
    pub reason: String,
}

impl ModelError {
    /// An error about `value`, which was meant to be a `what`.
    #[allow(clippy::needless_pass_by_value)] // takes literals and numbers alike
    pub fn new(what: &'static str, value: impl ToString, reason: impl Into<String>) -> Self {
        Self {
            what,
            value: value.to_string(),
            reason: reason.into(),
        }
    }
}
