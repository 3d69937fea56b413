//! A P-256 key as rcgen wants it: public point, signatures. Depends on p256; rcgen's own
//! cryptography is not built.

use crate::{PkiError, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use p256::SecretKey;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use sha2::{Digest as _, Sha256};
use ssh_key::rand_core::OsRng;

/// Length of a key identifier (RFC 7093, method 1).
const IDENTIFIER: usize = 20;

/// A private key with its public point.
pub(super) struct Key {
    secret: SecretKey,
    /// Uncompressed (SEC 1).
    point: Vec<u8>,
}

impl Key {
    pub(super) fn generate() -> Self {
        Self::of(SecretKey::random(&mut OsRng))
    }

    fn of(secret: SecretKey) -> Self {
        let point = secret.public_key().to_sec1_bytes().into_vec();
        Self { secret, point }
    }

    pub(super) fn from_pem(text: &str) -> Result<Self> {
        // Not its own words: they may quote the key.
        SecretKey::from_pkcs8_pem(text)
            .map(Self::of)
            .map_err(|_| PkiError::Damaged("a private key".to_owned()))
    }

    pub(super) fn to_pem(&self) -> Result<String> {
        let pem = self.secret.to_pkcs8_pem(LineEnding::LF);
        let pem = pem.map_err(|e| PkiError::Internal(e.to_string()))?;
        Ok(pem.to_string())
    }

    /// The truncated digest of the public point.
    pub(super) fn identifier(&self) -> Vec<u8> {
        Sha256::digest(&self.point)[..IDENTIFIER].to_vec()
    }

    /// Whether a certificate (PEM) is of this key.
    pub(super) fn is_in(&self, certificate: &str) -> bool {
        let lines = certificate
            .lines()
            .filter(|line| !line.starts_with("-----"));
        let coded: String = lines.map(str::trim).collect();
        STANDARD
            .decode(coded)
            .is_ok_and(|der| der.windows(self.point.len()).any(|part| part == self.point))
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = SigningKey::from(&self.secret).sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}
