//! Signature version 2: an HMAC over method, host, path and the sorted parameters. What the
//! manual's tools speak. Versions 0 and 1 are refused: their strings to sign are ambiguous.

use crate::encoding::encode_into;
use crate::error::{Code, Ec2Error};
use crate::freshness::{check_not_over, check_signed_at};
use crate::params::{Params, RawRequest};
use crate::timestamp::parse_iso8601;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sha2::Sha256;
use time::{Duration, OffsetDateTime};

/// The hash under the HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// HmacSHA1, from before 2008.
    Sha1,
    /// HmacSHA256.
    Sha256,
}

impl Method {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "HmacSHA1",
            Self::Sha256 => "HmacSHA256",
        }
    }
}

/// How long a request is good.
#[derive(Clone, Copy)]
enum Validity {
    /// Signed at this time.
    At(OffsetDateTime),
    /// Good until this time.
    Until(OffsetDateTime),
}

/// A version 2 signature and what it should be over.
pub(crate) struct Signed {
    method: Method,
    /// The signature fits if it fits one of these.
    strings: Vec<String>,
    signature: Vec<u8>,
    validity: Validity,
}

impl Signed {
    /// Reads the parameters of signature version 2; also the access key.
    pub(crate) fn from_params(
        request: &RawRequest<'_>,
        params: &Params,
    ) -> Result<(String, Self), Ec2Error> {
        let key = params.require("AWSAccessKeyId")?;
        let signature = params.require("Signature")?;
        match params.require("SignatureVersion")? {
            "2" => {}
            old @ ("0" | "1") => {
                return Err(Ec2Error::new(
                    Code::AuthFailure,
                    format!(
                        "Signature version {old} is not accepted: it does not protect the whole \
                         request. Sign with version 2 or 4."
                    ),
                ));
            }
            other => {
                return Err(Ec2Error::invalid_value(
                    "SignatureVersion",
                    other,
                    "must be 2 (or sign with version 4)",
                ));
            }
        }
        let method = match params.require("SignatureMethod")? {
            "HmacSHA256" => Method::Sha256,
            "HmacSHA1" => Method::Sha1,
            other => {
                return Err(Ec2Error::invalid_value(
                    "SignatureMethod",
                    other,
                    "must be HmacSHA256 or HmacSHA1",
                ));
            }
        };
        let signature = STANDARD
            .decode(signature)
            .map_err(|_| Ec2Error::auth_failure())?;
        let signed = Self {
            method,
            strings: strings_to_sign(request, params),
            signature,
            validity: validity(params)?,
        };
        Ok((key.to_owned(), signed))
    }

    pub(crate) fn verify(
        &self,
        secret: &str,
        skew: Duration,
        now: OffsetDateTime,
    ) -> Result<(), Ec2Error> {
        // Every string is tried: the time does not tell which one was right.
        let fits = self.strings.iter().fold(false, |fits, string| {
            fits | verify_hmac(self.method, secret, string, &self.signature)
        });
        if !fits {
            return Err(Ec2Error::auth_failure());
        }
        match self.validity {
            Validity::At(signed) => check_signed_at(signed, skew, now),
            Validity::Until(end) => check_not_over(end, now),
        }
    }
}

fn validity(params: &Params) -> Result<Validity, Ec2Error> {
    let time = |name: &str, text: &str| {
        parse_iso8601(text).ok_or_else(|| {
            Ec2Error::invalid_value(name, text, "must look like 2026-11-23T05:15:08Z")
        })
    };
    match (params.get("Timestamp"), params.get("Expires")) {
        (Some(_), Some(_)) => Err(Ec2Error::new(
            Code::InvalidParameterCombination,
            "The parameters Timestamp and Expires cannot be used together.",
        )),
        (Some(text), None) => time("Timestamp", text).map(Validity::At),
        (None, Some(text)) => time("Expires", text).map(Validity::Until),
        (None, None) => Err(Ec2Error::missing("Timestamp")),
    }
}

/// Clients do not agree on the host: boto signs it with the port, some sign it without.
fn strings_to_sign(request: &RawRequest<'_>, params: &Params) -> Vec<String> {
    let host = request.header("host").unwrap_or_default();
    let host = host.to_ascii_lowercase();
    let parameters = canonical_parameters(params.iter().filter(|(key, _)| *key != "Signature"));
    let mut hosts = vec![host.as_str()];
    if let Some((bare, port)) = host.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        hosts.push(bare);
    }
    hosts
        .iter()
        .map(|host| string_to_sign(request.method, host, request.path, &parameters))
        .collect()
}

/// The four lines that are signed. An empty path is `/`.
pub(crate) fn string_to_sign(method: &str, host: &str, path: &str, parameters: &str) -> String {
    let path = if path.is_empty() { "/" } else { path };
    format!("{method}\n{host}\n{path}\n{parameters}")
}

/// The parameters, sorted by the bytes of their names and encoded.
pub(crate) fn canonical_parameters<'a>(params: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<_> = params.collect();
    pairs.sort_unstable();
    let mut out = String::with_capacity(256);
    for (key, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        encode_into(&mut out, key);
        out.push('=');
        encode_into(&mut out, value);
    }
    out
}

/// The signature of a string, in base64.
pub(crate) fn sign(method: Method, secret: &str, string: &str) -> String {
    match method {
        Method::Sha1 => {
            STANDARD.encode(keyed::<Hmac<Sha1>>(secret, string).finalize().into_bytes())
        }
        Method::Sha256 => STANDARD.encode(
            keyed::<Hmac<Sha256>>(secret, string)
                .finalize()
                .into_bytes(),
        ),
    }
}

/// Compares in constant time (`verify_slice` does).
fn verify_hmac(method: Method, secret: &str, string: &str, signature: &[u8]) -> bool {
    match method {
        Method::Sha1 => keyed::<Hmac<Sha1>>(secret, string).verify_slice(signature),
        Method::Sha256 => keyed::<Hmac<Sha256>>(secret, string).verify_slice(signature),
    }
    .is_ok()
}

fn keyed<M: Mac + hmac::digest::KeyInit>(secret: &str, string: &str) -> M {
    #[allow(clippy::expect_used)] // HMAC hashes keys that are too long: there is no bad length
    let mut mac = <M as Mac>::new_from_slice(secret.as_bytes()).expect("any length");
    mac.update(string.as_bytes());
    mac
}
