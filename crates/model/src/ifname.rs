//! Interface names the kernel takes.

use crate::ModelError;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A network interface name: 1 to 15 bytes (`IFNAMSIZ` - 1), no `/`, no white space, not `.` or
/// `..` (the kernel's `dev_valid_name`); and of our own: nothing that nft or a shell would read as
/// syntax.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(String);

impl IfName {
    /// Checks a name.
    pub fn new(name: impl Into<String>) -> Result<Self, ModelError> {
        let name = name.into();
        let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
        let reason = if name.is_empty() {
            "must not be empty"
        } else if name.len() > 15 {
            "is too long: the kernel takes at most 15 bytes"
        } else if name == "." || name == ".." || name.starts_with('-') || !name.chars().all(ok) {
            "may have letters, digits, '.', '_', '-' and ':' only, and not start with '-'"
        } else {
            return Ok(Self(name));
        };
        Err(ModelError::new("interface name", name, reason))
    }

    /// The bridge of a VLAN network: `br<vlan>`, as nova names it.
    pub fn vlan_bridge(vlan: u16) -> Self {
        Self(format!("br{vlan}"))
    }

    /// The VLAN device: `vlan<N>`, as nova names it.
    pub fn vlan_device(vlan: u16) -> Self {
        Self(format!("vlan{vlan}"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for IfName {
    type Err = ModelError;
    fn from_str(text: &str) -> Result<Self, ModelError> {
        Self::new(text)
    }
}

impl TryFrom<String> for IfName {
    type Error = ModelError;
    fn try_from(text: String) -> Result<Self, ModelError> {
        Self::new(text)
    }
}

impl From<IfName> for String {
    fn from(name: IfName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifteen_bytes_are_the_limit() {
        assert!(IfName::new("a".repeat(15)).is_ok());
        let error = IfName::new("a".repeat(16)).expect_err("too long");
        assert_eq!(
            error.to_string(),
            "interface name \"aaaaaaaaaaaaaaaa\": is too long: the kernel takes at most 15 bytes"
        );
    }

    #[test]
    fn names_that_mean_something_elsewhere_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", "a\"b", "br*", "-x"] {
            assert!(IfName::new(bad).is_err(), "{bad}");
        }
    }
}
