//! Keys, certificates and sealed secrets; pure: bytes in, bytes out, no file, no socket, no
//! database.
//!
//! * [`Vault`] seals the secrets that lie in the database with the key of the cloud's key file.
//! * [`ssh`] makes key pairs and reads the public keys that users bring.
//! * [`x509`] makes authorities, certificates and revocation lists.
//! * [`archive`] puts files into a zip.
//! * [`credentials`] makes access and secret keys.
//!
//! No error of this crate and no `Debug` output shows a secret.

pub mod archive;
pub mod credentials;
mod error;
pub mod ssh;
pub mod vault;
pub mod x509;

pub use error::{PkiError, Result};
pub use vault::Vault;
