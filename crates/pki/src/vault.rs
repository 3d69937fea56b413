//! Sealing the secrets that lie in the database, with a key that does not.
//!
//! A sealed value is bound to its context (`user/alice/secret_key`), so that a user that can write
//! rows cannot give one user another one's secret. XChaCha20-Poly1305: its nonce is long enough to
//! be drawn at random for ever. A sealed value begins with the key's check value, so that a wrong
//! key file is told from a damaged value.

use crate::{PkiError, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use std::fmt;

/// The first word of a key file.
const HEADER: &str = "novanet-key-1";
/// The first byte of a sealed value: how the rest is laid out.
const LAYOUT: u8 = 1;
const KEY: usize = 32;
const CHECK: usize = 8;
const NONCE: usize = 24;

/// The cloud's key. Keep its text in a file that only the owner reads (0600).
#[derive(Clone, PartialEq, Eq)]
pub struct Vault {
    key: [u8; KEY],
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("check", &self.check_value())
            .finish_non_exhaustive()
    }
}

impl Vault {
    /// A new key.
    pub fn generate() -> Self {
        Self {
            key: rand::random(),
        }
    }

    /// The key of a key file's text. Empty lines and lines with `#` are for people.
    pub fn parse(text: &str) -> Result<Self> {
        let mut lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let line = lines.next().ok_or(PkiError::KeyFile("is empty"))?;
        if lines.next().is_some() {
            return Err(PkiError::KeyFile("holds more than one key"));
        }
        let coded = line
            .strip_prefix(HEADER)
            .filter(|rest| rest.starts_with(char::is_whitespace))
            .ok_or(PkiError::KeyFile("does not start with novanet-key-1"))?;
        let bytes = STANDARD
            .decode(coded.trim())
            .map_err(|_| PkiError::KeyFile("is not base64"))?;
        let (key, check) = bytes
            .split_first_chunk::<KEY>()
            .ok_or(PkiError::KeyFile("is cut short"))?;
        let vault = Self { key: *key };
        // A key that was mistyped would seal new secrets so that they could never be opened again.
        if check != vault.check() {
            return Err(PkiError::KeyFile("is damaged (its check value differs)"));
        }
        Ok(vault)
    }

    /// The text of the key file: one line.
    pub fn to_text(&self) -> String {
        let bytes = [self.key.as_slice(), &self.check()].concat();
        format!("{HEADER} {}\n", STANDARD.encode(bytes))
    }

    /// Tells this key from others without giving anything away; store it with the sealed values.
    pub fn check_value(&self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.check()))
    }

    /// Refuses when `check_value` is another key's.
    pub fn verify(&self, check_value: &str) -> Result<()> {
        if check_value == self.check_value() {
            Ok(())
        } else {
            Err(PkiError::WrongKey)
        }
    }

    /// Seals `plain`; only [`Vault::open`] with the same key and context gives it back.
    pub fn seal(&self, context: &str, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE] = rand::random();
        let payload = Payload {
            msg: plain,
            aad: context.as_bytes(),
        };
        let sealed = self
            .cipher()
            .encrypt(XNonce::from_slice(&nonce), payload)
            .unwrap_or_else(|_| unreachable!("the cipher's only limit is 256 GiB"));
        [&[LAYOUT], self.check().as_slice(), &nonce, &sealed].concat()
    }

    /// Opens what [`Vault::seal`] sealed for the same context.
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let damaged = || PkiError::Damaged(context.to_owned());
        let rest = sealed.strip_prefix(&[LAYOUT]).ok_or_else(damaged)?;
        let (check, rest) = rest.split_first_chunk::<CHECK>().ok_or_else(damaged)?;
        let (nonce, msg) = rest.split_first_chunk::<NONCE>().ok_or_else(damaged)?;
        if *check != self.check() {
            return Err(PkiError::WrongKey);
        }
        let payload = Payload {
            msg,
            aad: context.as_bytes(),
        };
        self.cipher()
            .decrypt(XNonce::from_slice(nonce), payload)
            .map_err(|_| damaged())
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.key.into())
    }

    fn check(&self) -> [u8; CHECK] {
        let digest = Sha256::new()
            .chain_update("novanet key check")
            .chain_update(self.key)
            .finalize();
        std::array::from_fn(|i| digest[i])
    }
}
