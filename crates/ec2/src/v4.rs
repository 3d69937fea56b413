//! Signature version 4: an HMAC over a canonical form of the whole request, with a key derived
//! from date, region and service. Region and service are the client's own words (`0/127` from
//! boto, `undefined-820` from euca2ools), taken as they are.

use crate::encoding::{decode, encode_into};
use crate::error::{Code, Ec2Error};
use crate::freshness::{check_not_future, check_not_over, check_signed_at};
use crate::params::{Params, RawRequest};
use crate::timestamp::{basic, parse_basic, parse_http_date};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use subtle::ConstantTimeEq;
use time::{Duration, OffsetDateTime};

/// The only algorithm.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The longest life of a presigned request, a week.
const MAX_EXPIRES_SECONDS: i64 = 7 * 24 * 3600;

/// A version 4 signature and what it should be over.
pub(crate) struct Signed {
    scope: Scope,
    string: String,
    signature: Vec<u8>,
    time: OffsetDateTime,
    /// Presigned requests only.
    good_for: Option<Duration>,
}

/// Date, region and service of a signature.
pub(crate) struct Scope {
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) service: String,
}

impl Scope {
    /// `20261123/nova/ec2/aws4_request`.
    pub(crate) fn text(&self) -> String {
        format!(
            "{}/{}/{}/aws4_request",
            self.date, self.region, self.service
        )
    }
}

impl Signed {
    /// Reads an Authorization header; also the access key.
    pub(crate) fn from_header(
        request: &RawRequest<'_>,
        header: &str,
    ) -> Result<(String, Self), Ec2Error> {
        let fields = header[ALGORITHM.len()..].split(',');
        let (mut credential, mut headers, mut signature) = (None, None, None);
        for field in fields {
            match field.trim().split_once('=') {
                Some(("Credential", value)) => credential = Some(value),
                Some(("SignedHeaders", value)) => headers = Some(value),
                Some(("Signature", value)) => signature = Some(value),
                _ => {}
            }
        }
        let incomplete = |name: &str| {
            Ec2Error::new(
                Code::IncompleteSignature,
                format!("The Authorization header has no {name}."),
            )
        };
        let claim = Claim {
            credential: credential.ok_or_else(|| incomplete("Credential"))?,
            headers: headers.ok_or_else(|| incomplete("SignedHeaders"))?,
            signature: signature.ok_or_else(|| incomplete("Signature"))?,
            time: header_time(request)?,
            good_for: None,
        };
        claim.over(request, request.query)
    }

    /// Reads the `X-Amz-` parameters of a presigned request; also the access key.
    pub(crate) fn from_query(
        request: &RawRequest<'_>,
        params: &Params,
    ) -> Result<(String, Self), Ec2Error> {
        let algorithm = params.require("X-Amz-Algorithm")?;
        if algorithm != ALGORITHM {
            return Err(Ec2Error::invalid_value(
                "X-Amz-Algorithm",
                algorithm,
                "must be AWS4-HMAC-SHA256",
            ));
        }
        let date = params.require("X-Amz-Date")?;
        let seconds = params.require("X-Amz-Expires")?;
        let seconds = seconds
            .parse()
            .ok()
            .filter(|seconds| (1..=MAX_EXPIRES_SECONDS).contains(seconds))
            .ok_or_else(|| {
                Ec2Error::invalid_value("X-Amz-Expires", seconds, "must be 1 to 604800 seconds")
            })?;
        let claim = Claim {
            credential: params.require("X-Amz-Credential")?,
            headers: params.require("X-Amz-SignedHeaders")?,
            signature: params.require("X-Amz-Signature")?,
            time: parse_basic(date).ok_or_else(|| bad_time("X-Amz-Date", date))?,
            good_for: Some(Duration::seconds(seconds)),
        };
        claim.over(request, request.query)
    }

    pub(crate) fn verify(
        &self,
        secret: &str,
        skew: Duration,
        now: OffsetDateTime,
    ) -> Result<(), Ec2Error> {
        let expected = sign(secret, &self.scope, &self.string);
        if !bool::from(expected.as_slice().ct_eq(&self.signature)) {
            return Err(Ec2Error::auth_failure());
        }
        match self.good_for {
            None => check_signed_at(self.time, skew, now),
            Some(life) => {
                check_not_future(self.time, skew, now)?;
                let end = self.time.checked_add(life).unwrap_or(self.time);
                check_not_over(end, now)
            }
        }
    }
}

/// What both forms of version 4 say about themselves.
struct Claim<'a> {
    credential: &'a str,
    headers: &'a str,
    signature: &'a str,
    time: OffsetDateTime,
    good_for: Option<Duration>,
}

impl Claim<'_> {
    fn over(self, request: &RawRequest<'_>, query: &str) -> Result<(String, Signed), Ec2Error> {
        let (key, scope) = split_credential(self.credential)?;
        let stamp = basic(self.time);
        if scope.date != stamp[..8] {
            return Err(Ec2Error::new(
                Code::IncompleteSignature,
                "The date of the credential scope is not the date of the request.",
            ));
        }
        let hash = payload_hash(request)?;
        let canonical = canonical_request(
            request.method,
            request.path,
            &canonical_query(query),
            &canonical_headers(request, self.headers)?,
            self.headers,
            &hash,
        );
        let signed = Signed {
            string: string_to_sign(&stamp, &scope, &canonical),
            scope,
            signature: hex::decode(self.signature).map_err(|_| Ec2Error::auth_failure())?,
            time: self.time,
            good_for: self.good_for,
        };
        Ok((key, signed))
    }
}

fn header_time(request: &RawRequest<'_>) -> Result<OffsetDateTime, Ec2Error> {
    if let Some(text) = request.header("x-amz-date") {
        return parse_basic(text).ok_or_else(|| bad_time("X-Amz-Date", text));
    }
    let text = request
        .header("date")
        .ok_or_else(|| Ec2Error::missing("X-Amz-Date"))?;
    parse_http_date(text)
        .or_else(|| parse_basic(text))
        .ok_or_else(|| bad_time("Date", text))
}

fn bad_time(name: &str, text: &str) -> Ec2Error {
    Ec2Error::invalid_value(name, text, "must look like 20261123T051510Z")
}

/// `AK:project/20261123/nova/ec2/aws4_request`; read from the right, where nothing is free.
fn split_credential(credential: &str) -> Result<(String, Scope), Ec2Error> {
    let mut parts = credential.rsplitn(5, '/');
    let mut next = || parts.next().filter(|part| !part.is_empty());
    match (next(), next(), next(), next(), next()) {
        (Some("aws4_request"), Some(service), Some(region), Some(date), Some(key)) => Ok((
            key.to_owned(),
            Scope {
                date: date.to_owned(),
                region: region.to_owned(),
                service: service.to_owned(),
            },
        )),
        _ => Err(Ec2Error::new(
            Code::IncompleteSignature,
            "The credential must look like KEY/20261123/REGION/SERVICE/aws4_request.",
        )),
    }
}

/// The hash of the body: always of the body that came, whatever the header says about it.
fn payload_hash(request: &RawRequest<'_>) -> Result<String, Ec2Error> {
    let hash = hex::encode(Sha256::digest(request.body));
    match request.header("x-amz-content-sha256") {
        Some(claimed) if !claimed.eq_ignore_ascii_case(&hash) => Err(Ec2Error::new(
            Code::AuthFailure,
            "The body is not the one that X-Amz-Content-SHA256 names.",
        )),
        _ => Ok(hash),
    }
}

/// The signed headers, each with its values trimmed and its spaces single. `host` has to be among
/// them: else a request for one server could be played to another.
fn canonical_headers(request: &RawRequest<'_>, names: &str) -> Result<String, Ec2Error> {
    if !names.split(';').any(|name| name == "host") {
        return Err(Ec2Error::new(
            Code::IncompleteSignature,
            "The header host has to be signed.",
        ));
    }
    check_names(names)?;
    let mut out = String::with_capacity(256);
    for name in names.split(';') {
        out.push_str(name);
        out.push(':');
        for (at, value) in request.headers_named(name).enumerate() {
            if at > 0 {
                out.push(',');
            }
            push_single_spaced(&mut out, &String::from_utf8_lossy(value));
        }
        out.push('\n');
    }
    Ok(out)
}

/// A name with a colon or a newline in it could move the borders between the lines; a name that is
/// there a thousand times would copy its header a thousand times before the caller is known.
fn check_names(names: &str) -> Result<(), Ec2Error> {
    let token = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    let mut seen = BTreeSet::new();
    let fine = names
        .split(';')
        .all(|name| !name.is_empty() && name.bytes().all(token) && seen.insert(name));
    if fine {
        Ok(())
    } else {
        Err(Ec2Error::new(
            Code::IncompleteSignature,
            "SignedHeaders has to be lower-case header names, each once, with semicolons between them.",
        ))
    }
}

fn push_single_spaced(out: &mut String, value: &str) {
    for (at, word) in value.split_ascii_whitespace().enumerate() {
        if at > 0 {
            out.push(' ');
        }
        out.push_str(word);
    }
}

/// The query string with every pair decoded, encoded and sorted, without the signature. Pairs
/// that do not decode have been refused before ([`Params::decode`]).
pub(crate) fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (recoded(key), recoded(value))
        })
        .filter(|(key, _)| key != "X-Amz-Signature")
        .collect();
    pairs.sort_unstable();
    let mut out = String::with_capacity(query.len());
    for (key, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(&key);
        out.push('=');
        out.push_str(&value);
    }
    out
}

fn recoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    encode_into(&mut out, &decode(text.as_bytes()).unwrap_or_default());
    out
}

/// The path without dot segments and double slashes, encoded once more (as AWS wants for every
/// service but S3). The slash at the end stays.
fn canonical_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    let mut out = String::with_capacity(path.len() + 1);
    for part in &parts {
        out.push('/');
        encode_into(&mut out, part);
    }
    if parts.is_empty() || path.ends_with('/') {
        out.push('/');
    }
    out
}

/// The canonical form of a request.
pub(crate) fn canonical_request(
    method: &str,
    path: &str,
    query: &str,
    headers: &str,
    names: &str,
    hash: &str,
) -> String {
    let path = canonical_path(path);
    format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{hash}")
}

/// The string to sign.
pub(crate) fn string_to_sign(stamp: &str, scope: &Scope, canonical: &str) -> String {
    let hash = hex::encode(Sha256::digest(canonical));
    format!("{ALGORITHM}\n{stamp}\n{}\n{hash}", scope.text())
}

/// The signature of a string.
pub(crate) fn sign(secret: &str, scope: &Scope, string: &str) -> Vec<u8> {
    let date = hmac(format!("AWS4{secret}").as_bytes(), &scope.date);
    let region = hmac(&date, &scope.region);
    let service = hmac(&region, &scope.service);
    let key = hmac(&service, "aws4_request");
    hmac(&key, string)
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    #[allow(clippy::expect_used)] // HMAC hashes keys that are too long: there is no bad length
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
