//! Ids: numbers of database rows, and the texts that EC2 clients see for them (`i-0000000a`).

use crate::ModelError;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ModelError;
            fn from_str(text: &str) -> Result<Self, ModelError> {
                text.parse().map(Self).map_err(|_| ModelError::new($what, text, "must be a number"))
            }
        }
    };
}

macro_rules! ec2_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "-{:08x}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = ModelError;
            /// Takes the padded form and the short one that old clients send (`i-1`).
            fn from_str(text: &str) -> Result<Self, ModelError> {
                let malformed = || {
                    ModelError::new($what, text, concat!("must look like ", $prefix, "-0000000a"))
                };
                let hex = text.strip_prefix(concat!($prefix, "-")).ok_or_else(malformed)?;
                if hex.is_empty() || hex.len() > 15 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(malformed());
                }
                i64::from_str_radix(hex, 16).map(Self).map_err(|_| malformed())
            }
        }
    };
}

row_id!(/** Row id of a network. */ NetworkId, "network id");
row_id!(/** Row id of a security group rule. */ RuleId, "rule id");
row_id!(/** Number of a project, for names in the kernel where its textual id would not fit. */ ProjectNumber, "project number");
row_id!(/** Number of an interned combination of security groups. */ CombinationId, "group combination");
row_id!(/** Row id of an image (its EC2 name is [`AmiId`]). */ ImageId, "image id");
ec2_id!(/** An instance; shown as `i-0000000a`. */ InstanceId, "instance id", "i");
ec2_id!(/** A reservation, the group of instances of one RunInstances call; shown as `r-0000000a`. */ ReservationId, "reservation id", "r");
ec2_id!(/** A security group; shown as `sg-0000000a`. */ GroupId, "security group id", "sg");
ec2_id!(/** An image, as EC2 names it: `ami-0000000a`. */ AmiId, "image id", "ami");

/// A project's id: the text users type. Letters, digits, `_`, `-` and `.`, 1 to 64 of them
/// (64 is the limit of a certificate's common name, which carries it).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProjectId(String);

impl ProjectId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ProjectId {
    type Err = ModelError;
    fn from_str(text: &str) -> Result<Self, ModelError> {
        let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if text.is_empty()
            || text.len() > 64
            || !text.chars().all(ok)
            || text.starts_with(['-', '.'])
        {
            return Err(ModelError::new(
                "project",
                text,
                "must be 1 to 64 letters, digits, '_', '-' or '.', and not start with '-' or '.'",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ProjectId {
    type Error = ModelError;
    fn try_from(text: String) -> Result<Self, ModelError> {
        text.parse()
    }
}

impl From<ProjectId> for String {
    fn from(id: ProjectId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ec2_ids_are_padded_and_short_forms_are_read() {
        assert_eq!(InstanceId(10).to_string(), "i-0000000a");
        assert_eq!("i-1".parse(), Ok(InstanceId(1)));
        assert_eq!("i-0000000a".parse(), Ok(InstanceId(10)));
        for bad in ["", "i-", "i-xyz", "ami-1", "1", "i--1", "i-+1"] {
            assert!(bad.parse::<InstanceId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_project_id_is_safe_in_file_names_and_certificates() {
        assert!("web-1".parse::<ProjectId>().is_ok());
        for bad in ["", "..", "-x", "a/b", "a b", &"x".repeat(65)] {
            assert!(bad.parse::<ProjectId>().is_err(), "{bad}");
        }
    }
}
