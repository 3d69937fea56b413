//! The two keys that sign EC2 requests. A pure type; its debug output leaves the secret key out.

use std::fmt;

/// A user's EC2 keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Access key; clients append `:project` to choose one of the user's projects.
    pub access_key: String,
    /// Secret key.
    pub secret_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}
