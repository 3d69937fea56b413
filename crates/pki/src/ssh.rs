//! SSH key pairs: made for CreateKeyPair, read for ImportKeyPair.

use crate::{PkiError, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use ssh_key::private::{Ed25519Keypair, RsaKeypair};
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey};
use std::fmt;

/// A new key pair. The private half is shown once and kept nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// As `ssh -i` reads it: an Ed25519 key in OpenSSH's format, an RSA key in PKCS#1's, as EC2
    /// gives it. OpenSSH finds the latter behind other lines, such as the one that euca-add-keypair
    /// prints first, too.
    pub private_pem: String,
    /// One line, as `authorized_keys` has it.
    pub public_openssh: String,
    /// `aa:bb:…`, as EC2 shows it.
    pub fingerprint_md5: String,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair")
            .field("public_openssh", &self.public_openssh)
            .finish_non_exhaustive()
    }
}

/// Kinds of key pairs that are made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519.
    Ed25519,
    /// RSA with 2,048 bits, as EC2 makes them. Takes up to seconds.
    Rsa,
}

/// Length of new RSA keys in bits.
const RSA_BITS: usize = 2048;

/// Makes a key pair.
pub fn generate_key_pair(kind: KeyKind) -> Result<KeyPair> {
    let internal = |e: ssh_key::Error| PkiError::Internal(e.to_string());
    let (private, private_pem) = match kind {
        KeyKind::Ed25519 => {
            let private = PrivateKey::from(Ed25519Keypair::from_seed(&rand::random()));
            let pem = private.to_openssh(LineEnding::LF).map_err(internal)?;
            (private, pem.to_string())
        }
        KeyKind::Rsa => {
            let key = RsaPrivateKey::new(&mut OsRng, RSA_BITS)
                .map_err(|e| PkiError::Internal(e.to_string()))?;
            let pem = key
                .to_pkcs1_pem(LineEnding::LF)
                .map_err(|e| PkiError::Internal(e.to_string()))?;
            let pair = RsaKeypair::try_from(key).map_err(internal)?;
            (PrivateKey::from(pair), pem.to_string())
        }
    };
    Ok(KeyPair {
        private_pem,
        public_openssh: private.public_key().to_openssh().map_err(internal)?,
        fingerprint_md5: fingerprint(private.public_key())?,
    })
}

/// Reads a public key that a user brought (`ssh-rsa AAAA… comment`, or RFC 4716's block): the line
/// for `authorized_keys`, and the fingerprint. Ed25519, RSA and ECDSA.
pub fn parse_public(text: &str) -> Result<(String, String)> {
    let text = text.trim();
    if text.contains("PRIVATE KEY") {
        return Err(refused("this is a private key: give the .pub file"));
    }
    if text.starts_with("---- BEGIN SSH2 PUBLIC KEY ----") {
        return normalise(&from_rfc4716(text)?);
    }
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let line = lines.next().ok_or_else(|| refused("is empty"))?;
    if lines.next().is_some() {
        return Err(refused("must be one key on one line"));
    }
    normalise(&PublicKey::from_openssh(line).map_err(unreadable)?)
}

fn normalise(key: &PublicKey) -> Result<(String, String)> {
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Rsa { .. } | Algorithm::Ecdsa { .. } => {}
        other => {
            return Err(refused(&format!(
                "{other} keys cannot be used (use ed25519, rsa or ecdsa)"
            )));
        }
    }
    let mut plain = PublicKey::from(key.key_data().clone());
    // A comment may hold anything; what reaches an instance's authorized_keys is one clean line.
    plain.set_comment(
        key.comment()
            .chars()
            .filter(|c| !c.is_control())
            .collect::<String>()
            .trim(),
    );
    let line = plain.to_openssh().map_err(unreadable)?;
    Ok((line.trim_end().to_owned(), fingerprint(&plain)?))
}

fn from_rfc4716(text: &str) -> Result<PublicKey> {
    let mut blob = String::new();
    let mut continued = false;
    for line in text.lines().skip(1).map(str::trim) {
        if line.starts_with("----") {
            break;
        }
        // A header has a colon, which base64 has not, and goes on behind a backslash.
        let header = continued || line.contains(':');
        continued = header && line.ends_with('\\');
        if !header {
            blob.push_str(line);
        }
    }
    let bytes = STANDARD.decode(blob).map_err(|e| refused(&e.to_string()))?;
    PublicKey::from_bytes(&bytes).map_err(unreadable)
}

fn fingerprint(key: &PublicKey) -> Result<String> {
    let digest = Md5::digest(key.to_bytes().map_err(unreadable)?);
    let pairs: Vec<String> = digest.iter().map(|b| format!("{b:02x}")).collect();
    Ok(pairs.join(":"))
}

fn refused(why: &str) -> PkiError {
    PkiError::PublicKey(why.to_owned())
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: ssh_key::Error) -> PkiError {
    PkiError::PublicKey(format!("cannot be read ({error})"))
}
