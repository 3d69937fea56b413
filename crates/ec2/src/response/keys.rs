//! Key pairs.

use super::Answer;
use crate::filter::Filterable;
use crate::xml::Xml;
use time::OffsetDateTime;

/// A key pair, as far as the cloud keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Name.
    pub name: String,
    /// Fingerprint.
    pub fingerprint: String,
    /// `rsa`, `ed25519` …
    pub kind: String,
    /// The public key, if it was asked for.
    pub public_key: Option<String>,
    /// When it was made.
    pub created: Option<OffsetDateTime>,
}

impl Filterable for KeyPair {
    const NAMES: &'static [&'static str] = &["fingerprint", "key-name"];

    fn values(&self, name: &str) -> Vec<String> {
        match name {
            "fingerprint" => vec![self.fingerprint.clone()],
            "key-name" => vec![self.name.clone()],
            _ => Vec::new(),
        }
    }
}

/// The answer to DescribeKeyPairs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DescribedKeyPairs(
    /// The key pairs that the request names, or all.
    pub Vec<KeyPair>,
);

impl Answer for DescribedKeyPairs {
    fn action(&self) -> &'static str {
        "DescribeKeyPairs"
    }

    fn write(&self, xml: &mut Xml) {
        xml.list("keySet", &self.0, |xml, key| {
            xml.text("keyName", &key.name);
            xml.text("keyFingerprint", &key.fingerprint);
            xml.text("keyType", &key.kind);
            xml.optional("publicKey", key.public_key.as_ref());
            if let Some(created) = key.created {
                xml.time("createTime", created);
            }
            xml.empty("tagSet");
        });
    }
}

/// The answer to CreateKeyPair: the only time that the private key leaves the cloud.
#[derive(Clone, PartialEq, Eq)]
pub struct CreatedKeyPair {
    /// Name.
    pub name: String,
    /// Fingerprint.
    pub fingerprint: String,
    /// The private key, PEM.
    pub material: String,
}

impl std::fmt::Debug for CreatedKeyPair {
    /// Without the private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedKeyPair")
            .field("name", &self.name)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl Answer for CreatedKeyPair {
    fn action(&self) -> &'static str {
        "CreateKeyPair"
    }

    fn write(&self, xml: &mut Xml) {
        xml.text("keyName", &self.name);
        xml.text("keyFingerprint", &self.fingerprint);
        xml.text("keyMaterial", &self.material);
    }
}

/// The answer to ImportKeyPair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedKeyPair {
    /// Name.
    pub name: String,
    /// Fingerprint.
    pub fingerprint: String,
}

impl Answer for ImportedKeyPair {
    fn action(&self) -> &'static str {
        "ImportKeyPair"
    }

    fn write(&self, xml: &mut Xml) {
        xml.text("keyName", &self.name);
        xml.text("keyFingerprint", &self.fingerprint);
    }
}
