//! X.509: a cloud's authorities, the certificates that they sign, and their revocation lists.
//! Keys are ECDSA P-256; rcgen writes the DER, p256 signs.
//!
//! Each project's authority is a root of its own: a certificate of another project's user proves
//! nothing to this project's VPN server, though both servers belong to one cloud. Dates in
//! certificates and lists are whole seconds: parts of a second are dropped.

mod key;

use crate::{PkiError, Result};
use key::Key;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose, RevokedCertParams,
    SerialNumber,
};
use std::fmt;
use time::{Duration, OffsetDateTime};

/// How long an authority lives.
const AUTHORITY_LIFE: Duration = Duration::days(7300);
/// How long a certificate lives, as nova's `default_days`.
const CERTIFICATE_LIFE: Duration = Duration::days(365);
/// Certificates are valid before they are made: the clock of a client may be slow. An authority is
/// by more, so that its life covers those of the certificates that it signs at once.
const AUTHORITY_BACKDATE: Duration = Duration::days(2);
const CERTIFICATE_BACKDATE: Duration = Duration::days(1);

/// The use of a certificate: its extended key usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A user (clientAuth).
    Client,
    /// A VPN server (serverAuth).
    Server,
}

/// An authority with its key.
pub struct Authority {
    /// Project of this authority; empty: the cloud's root.
    project: String,
    key: Key,
    certificate: String,
    not_after: OffsetDateTime,
}

/// Without its key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

/// A new certificate and its key, which is kept nowhere.
pub struct Issued {
    /// Sixteen hexadecimal digits.
    pub serial: String,
    /// In PEM.
    pub certificate: String,
    /// PKCS #8 in PEM.
    pub private_key: String,
    /// The first second of its life.
    pub not_before: OffsetDateTime,
    /// The last second of its life.
    pub not_after: OffsetDateTime,
}

/// Without its key.
impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("serial", &self.serial)
            .finish_non_exhaustive()
    }
}

/// An entry of a revocation list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Serial number as in [`Issued`].
    pub serial: String,
    /// Since when it is revoked.
    pub at: OffsetDateTime,
}

impl Authority {
    /// A new authority of a project (empty: the cloud's root), valid from `now` (a
    /// little earlier).
    pub fn generate(project: &str, now: OffsetDateTime) -> Result<Self> {
        Self::with_key(project, Key::generate(), now)
    }

    /// The same authority with a longer life: same name, same key. What it has signed stays good.
    pub fn renewed(self, now: OffsetDateTime) -> Result<Self> {
        Self::with_key(&self.project, self.key, now)
    }

    fn with_key(project: &str, key: Key, now: OffsetDateTime) -> Result<Self> {
        let now = now.truncate_to_second();
        let not_after = now + AUTHORITY_LIFE;
        let mut params = authority_params(project, &key);
        params.not_before = now - AUTHORITY_BACKDATE;
        params.not_after = not_after;
        params.serial_number = Some(serial_number(new_serial()));
        let certificate = params.self_signed(&key).map_err(internal)?.pem();
        Ok(Self {
            project: project.to_owned(),
            key,
            certificate,
            not_after,
        })
    }

    /// An authority from its certificate, its key (both PEM) and the end of its life.
    /// Refuses a key that does not fit.
    pub fn open(
        project: &str,
        certificate: &str,
        private_key: &str,
        not_after: OffsetDateTime,
    ) -> Result<Self> {
        let key = Key::from_pem(private_key)?;
        if !key.is_in(certificate) {
            return Err(PkiError::Damaged(format!(
                "authority {project:?}: the private key does not fit the certificate"
            )));
        }
        Ok(Self {
            project: project.to_owned(),
            key,
            certificate: certificate.to_owned(),
            not_after: not_after.truncate_to_second(),
        })
    }

    /// Its certificate in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its key: PKCS #8 in PEM.
    pub fn private_key(&self) -> Result<String> {
        self.key.to_pem()
    }

    /// The last second of its life.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// A new key and a certificate for it. `name`: the user, or the server's name.
    pub fn issue(
        &self,
        project: &str,
        name: &str,
        purpose: Purpose,
        now: OffsetDateTime,
    ) -> Result<Issued> {
        let key = Key::generate();
        let now = now.truncate_to_second();
        let (not_before, not_after) = (
            now - CERTIFICATE_BACKDATE,
            (now + CERTIFICATE_LIFE).min(self.not_after),
        );
        let serial = new_serial();
        let mut subject = DistinguishedName::new();
        subject.push(DnType::OrganizationName, ORGANIZATION);
        subject.push(DnType::OrganizationalUnitName, project);
        subject.push(DnType::CommonName, name);
        let mut params = CertificateParams::default();
        params.not_before = not_before;
        params.not_after = not_after;
        params.serial_number = Some(serial_number(serial));
        params.distinguished_name = subject;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyAgreement,
        ];
        params.extended_key_usages = vec![match purpose {
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        params.key_identifier_method = KeyIdMethod::PreSpecified(key.identifier());
        let own = authority_params(&self.project, &self.key);
        let issuer = Issuer::from_params(&own, &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(internal)?.pem();
        Ok(Issued {
            serial: format!("{:016X}", u64::from_be_bytes(serial)),
            certificate,
            private_key: key.to_pem()?,
            not_before,
            not_after,
        })
    }

    /// The list of revoked certificates in PEM, valid for `days` from `now`. Its number is
    /// `now` in microseconds: a later list has a larger one.
    pub fn revocation_list(
        &self,
        revoked: &[Revoked],
        now: OffsetDateTime,
        days: u16,
    ) -> Result<String> {
        let own = authority_params(&self.project, &self.key);
        let entry = |one: &Revoked| -> Result<RevokedCertParams> {
            Ok(RevokedCertParams {
                serial_number: serial_number(read_serial(&one.serial)?),
                revocation_time: one.at.truncate_to_second(),
                reason_code: None,
                invalidity_date: None,
            })
        };
        let this_update = now.truncate_to_second();
        let number = now.unix_timestamp_nanos() / 1000;
        let list = CertificateRevocationListParams {
            this_update: this_update - CERTIFICATE_BACKDATE,
            next_update: this_update + Duration::days(i64::from(days.max(1))),
            crl_number: SerialNumber::from(u64::try_from(number).unwrap_or(0)),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(entry).collect::<Result<_>>()?,
            key_identifier_method: KeyIdMethod::PreSpecified(self.key.identifier()),
        };
        let issuer = Issuer::from_params(&own, &self.key);
        let list = list.signed_by(&issuer).map_err(internal)?;
        list.pem().map_err(internal)
    }
}

const ORGANIZATION: &str = "novanet";

/// Name, key and rights of an authority. The name never changes: certificates that were issued
/// carry it.
fn authority_params(project: &str, key: &Key) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, ORGANIZATION);
    if project.is_empty() {
        name.push(DnType::CommonName, "root CA");
    } else {
        name.push(DnType::OrganizationalUnitName, project);
        name.push(DnType::CommonName, "project CA");
    }
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.key_identifier_method = KeyIdMethod::PreSpecified(key.identifier());
    params
}

/// Eight random bytes, positive as a number and never shorter.
fn new_serial() -> [u8; 8] {
    let mut serial: [u8; 8] = rand::random();
    serial[0] = (serial[0] & 0x7f) | 0x40;
    serial
}

fn serial_number(serial: [u8; 8]) -> SerialNumber {
    SerialNumber::from_slice(&serial)
}

fn read_serial(text: &str) -> Result<[u8; 8]> {
    u64::from_str_radix(text, 16)
        .map(u64::to_be_bytes)
        .map_err(|_| PkiError::Damaged(format!("serial number {text:?}")))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn internal(error: rcgen::Error) -> PkiError {
    PkiError::Internal(error.to_string())
}
