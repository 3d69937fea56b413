//! Ids: numbers of database rows, and the texts that EC2 clients see for them (`i-0000000a`).

use crate::ModelError;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// An id type: shown as a number, or with a prefix as EC2 shows it (`i-0000000a`).
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal $(, $prefix:literal)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl $name {
            const PREFIX: Option<&str> = [$(Some(concat!($prefix, "-")),)? None][0];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match Self::PREFIX {
                    None => self.0.fmt(f),
                    Some(prefix) => write!(f, "{prefix}{:08x}", self.0),
                }
            }
        }

        impl FromStr for $name {
            type Err = ModelError;
            /// Takes the padded form and the short one that old clients send (`i-1`).
            fn from_str(text: &str) -> Result<Self, ModelError> {
                parse($what, Self::PREFIX, text).map(Self)
            }
        }
    };
}

fn parse(what: &'static str, prefix: Option<&str>, text: &str) -> Result<i64, ModelError> {
    let Some(prefix) = prefix else {
        let number = text.parse();
        return number.map_err(|_| ModelError::new(what, text, "must be a number"));
    };
    text.strip_prefix(prefix)
        .filter(|hex| (1..=15).contains(&hex.len()))
        .filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|hex| i64::from_str_radix(hex, 16).ok())
        .ok_or_else(|| ModelError::new(what, text, format!("must look like {prefix}0000000a")))
}

id!(/** Row id of a network. */ NetworkId, "network id");
id!(/** Row id of a fixed IP. */ FixedIpId, "fixed IP id");
id!(/** Row id of a floating IP (its EC2 name is [`AllocationId`]). */ FloatingIpId, "floating IP id");
id!(/** Row id of a security group rule. */ RuleId, "rule id");
id!(/** Number of a project, for names in the kernel where its textual id would not fit. */ ProjectNumber, "project number");
id!(/** Number of an interned combination of security groups. */ CombinationId, "group combination");
id!(/** Row id of a project's VPN. */ VpnId, "vpn id");
id!(/** Row id of an image (its EC2 name is [`AmiId`]). */ ImageId, "image id");
id!(/** An instance; shown as `i-0000000a`. */ InstanceId, "instance id", "i");
id!(/** A reservation, the group of instances of one RunInstances call; shown as `r-0000000a`. */ ReservationId, "reservation id", "r");
id!(/** A security group; shown as `sg-0000000a`. */ GroupId, "security group id", "sg");
id!(/** An image, as EC2 names it: `ami-0000000a`. */ AmiId, "image id", "ami");
id!(/** A network, as EC2 names it: `subnet-0000000a`. */ SubnetId, "subnet id", "subnet");
id!(/** A project's floating IP, as EC2 names it: `eipalloc-0000000a`. */ AllocationId, "allocation id", "eipalloc");
id!(/** The association of a floating IP, as EC2 names it: `eipassoc-0000000a`; the number is the floating IP's, which has at most one. */ AssociationId, "association id", "eipassoc");

id!(/** A security group rule, as EC2 names it: `sgr-0000000a`; the number is [`RuleId`]'s. */ SecurityGroupRuleId, "security group rule id", "sgr");

id!(/** A provider rule: what no instance of the cloud hears. */ BlockId, "provider rule id");

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
