//! Why networks cannot be made: two cases, since an API answers them with different codes.

use crate::ModelError;
use thiserror::Error;

/// A refused request. The text names the argument, the mistake and the allowed values.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CarveError {
    /// The argument could never be right.
    #[error(transparent)]
    Invalid(#[from] ModelError),
    /// The argument would be right if something else did not exist.
    #[error("{0}")]
    Conflict(ModelError),
}

impl CarveError {
    pub(super) fn conflict(
        what: &'static str,
        value: impl ToString,
        reason: impl Into<String>,
    ) -> Self {
        Self::Conflict(ModelError::new(what, value, reason))
    }
}
