//! Key pairs.

use super::names;
use crate::error::{Code, Ec2Error};
use crate::fields::Fields;
use crate::filter::Filter;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What kind of key to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyKind {
    /// RSA, for clients that ask for it: making one takes a second.
    Rsa,
    /// Ed25519, when a client says nothing (EC2 makes RSA keys then); every ssh since 2014 reads
    /// it.
    #[default]
    Ed25519,
}

impl KeyKind {
    /// Its name in EC2.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// CreateKeyPair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateKeyPair {
    /// Its name, fit for a file's name.
    pub name: String,
    /// Its kind.
    pub kind: KeyKind,
}

impl CreateKeyPair {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        fields.refuse(&["TagSpecification"])?;
        if let Some(format) = fields.get("KeyFormat").filter(|format| *format != "pem") {
            return Err(fields.invalid("KeyFormat", format, "must be pem"));
        }
        let kind = match fields.get("KeyType") {
            None => KeyKind::default(),
            Some("rsa") => KeyKind::Rsa,
            Some("ed25519") => KeyKind::Ed25519,
            Some(other) => return Err(fields.invalid("KeyType", other, "must be rsa or ed25519")),
        };
        let name = new_name(fields)?;
        Ok(Self { name, kind })
    }
}

/// ImportKeyPair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportKeyPair {
    /// Its name.
    pub name: String,
    /// The key as in `authorized_keys`, decoded but not looked at.
    pub public_key: String,
}

impl ImportKeyPair {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        fields.refuse(&["TagSpecification"])?;
        let name = new_name(fields)?;
        let material = match fields.get("PublicKeyMaterial") {
            Some(material) => material,
            None => fields.require("PublicKey").map_err(|_| {
                // The name that EC2 gave it, not the old one.
                Ec2Error::missing("PublicKeyMaterial")
            })?,
        };
        Ok(Self {
            name,
            public_key: public_key(material).ok_or_else(|| {
                Ec2Error::new(
                    Code::InvalidKeyFormat,
                    "The key has to be base64 of an OpenSSH public key.",
                )
            })?,
        })
    }
}

/// A public key in base64; tools that encode nothing are understood, too: no base64 has a space
/// behind its first word.
fn public_key(material: &str) -> Option<String> {
    let material = material.trim();
    if material.starts_with("ssh-") || material.starts_with("ecdsa-") {
        return Some(material.to_owned());
    }
    let dense: String = material.split_ascii_whitespace().collect();
    let text = String::from_utf8(STANDARD.decode(dense).ok()?).ok()?;
    Some(text.trim().to_owned()).filter(|key| !key.is_empty())
}

/// DescribeKeyPairs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribeKeyPairs {
    /// Only these; one that does not exist is an error.
    pub names: Vec<String>,
    /// Filters.
    pub filters: Vec<Filter>,
    /// With the public keys.
    pub include_public_key: bool,
}

impl DescribeKeyPairs {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        fields.refuse(&["KeyPairId"])?;
        Ok(Self {
            names: names(fields, "KeyName")?,
            filters: Filter::parse(fields)?,
            include_public_key: fields.flag("IncludePublicKey")?.unwrap_or(false),
        })
    }
}

/// DeleteKeyPair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteKeyPair {
    /// Its name. That none of that name exists is no error.
    pub name: String,
}

impl DeleteKeyPair {
    pub(super) fn parse(fields: &Fields<'_>) -> Result<Self, Ec2Error> {
        fields.refuse(&["KeyPairId"])?;
        let name = fields.require("KeyName")?.to_owned();
        Ok(Self { name })
    }
}

/// The name of a key to be: it becomes a file's name in old tools and a line of metadata.
fn new_name(fields: &Fields<'_>) -> Result<String, Ec2Error> {
    let name = fields.require("KeyName")?;
    let fits = |c: char| c.is_ascii_graphic() && c != '/' && c != '\\' || c == ' ';
    if name.len() > 255 || name.trim() != name || name.starts_with('.') || !name.chars().all(fits) {
        return Err(fields.invalid(
            "KeyName",
            name,
            "must be 1 to 255 ASCII characters without slashes, with no space around it and no dot before it",
        ));
    }
    Ok(name.to_owned())
}
