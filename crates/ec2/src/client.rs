//! The client side: builds and signs requests, for `novanet euca`, the tests, and programs without
//! an SDK. The caller sends them.

use crate::encoding::{encode, encode_into};
use crate::timestamp::{basic, iso8601};
pub use crate::v2::Method as V2Method;
use crate::{v2, v4};
pub use novanet_model::Credentials;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

/// The API version that our own client speaks.
pub const VERSION: &str = "2016-11-15";

/// Where the API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Host, with the port if it is not the scheme's own, as in the Host header.
    pub host: String,
    /// Path, e.g. `/services/Cloud`.
    pub path: String,
}

impl Endpoint {
    /// Reads an `EC2_URL`: `http://127.0.0.1:8773/services/Cloud`.
    pub fn from_url(url: &str) -> Option<Self> {
        let rest = url
            .strip_prefix("http://")
            .or_else(|| url.strip_prefix("https://"))?;
        let rest = rest.split(['?', '#']).next().unwrap_or(rest);
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let plain = |c: char| c.is_ascii_graphic() && c != '@';
        if host.is_empty() || !host.chars().all(plain) || !path.chars().all(plain) {
            return None;
        }
        Some(Self {
            host: host.to_owned(),
            path: path.to_owned(),
        })
    }
}

/// A request that is being put together.
#[derive(Debug, Clone)]
pub struct RequestBuilder {
    endpoint: Endpoint,
    params: Vec<(String, String)>,
}

/// A request that is ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedRequest {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Path and, behind a `?`, the query.
    pub target: String,
    /// Headers, Host among them.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: String,
}

impl SignedRequest {
    /// The part of the target before the `?`.
    pub fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The part of the target behind the `?`.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }
}

impl std::fmt::Debug for SignedRequest {
    /// Without anything that is signed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedRequest")
            .field("method", &self.method)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

impl RequestBuilder {
    /// A request for an action.
    pub fn new(endpoint: Endpoint, action: &str) -> Self {
        Self {
            endpoint,
            params: Vec::new(),
        }
        .param("Action", action)
        .param("Version", VERSION)
    }

    /// Sets a parameter; the last value stays.
    #[must_use]
    #[allow(clippy::needless_pass_by_value)] // takes ids, numbers and literals alike
    pub fn param(mut self, name: &str, value: impl ToString) -> Self {
        self.params.retain(|(other, _)| other != name);
        self.params.push((name.to_owned(), value.to_string()));
        self
    }

    /// Sets a parameter if there is a value.
    #[must_use]
    pub fn optional(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            None => self,
            Some(value) => self.param(name, value),
        }
    }

    /// Sets a list: `Name.1`, `Name.2` …
    #[must_use]
    pub fn list<T: ToString>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        values
            .into_iter()
            .enumerate()
            .fold(self, |builder, (at, value)| {
                builder.param(&format!("{name}.{}", at + 1), value)
            })
    }

    /// Signs with version 4, as a POST with an Authorization header.
    pub fn sign_v4(
        &self,
        credentials: &Credentials,
        region: &str,
        now: OffsetDateTime,
    ) -> SignedRequest {
        const NAMES: &str = "content-type;host;x-amz-date";
        const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
        let body = self.form();
        let (stamp, scope) = scope(region, now);
        let host = &self.endpoint.host;
        let headers = format!("content-type:{FORM}\nhost:{host}\nx-amz-date:{stamp}\n");
        let hash = hex::encode(Sha256::digest(&body));
        let path = &self.endpoint.path;
        let canonical = v4::canonical_request("POST", path, "", &headers, NAMES, &hash);
        let signature = signature_v4(credentials, &stamp, &scope, &canonical);
        let authorization = format!(
            "{} Credential={}/{}, SignedHeaders={NAMES}, Signature={signature}",
            v4::ALGORITHM,
            credentials.access_key,
            scope.text()
        );
        SignedRequest {
            method: "POST",
            target: path.clone(),
            headers: vec![
                ("Host", host.clone()),
                ("Content-Type", FORM.to_owned()),
                ("X-Amz-Date", stamp),
                ("Authorization", authorization),
            ],
            body,
        }
    }

    /// Signs with version 4, as a GET that is valid for `seconds` (at most a week).
    pub fn presign_v4(
        &self,
        credentials: &Credentials,
        region: &str,
        now: OffsetDateTime,
        seconds: u32,
    ) -> SignedRequest {
        let (stamp, scope) = scope(region, now);
        let host = &self.endpoint.host;
        let query = self
            .clone()
            .param("X-Amz-Algorithm", v4::ALGORITHM)
            .param(
                "X-Amz-Credential",
                format!("{}/{}", credentials.access_key, scope.text()),
            )
            .param("X-Amz-Date", &stamp)
            .param("X-Amz-Expires", seconds)
            .param("X-Amz-SignedHeaders", "host")
            .form();
        let canonical = v4::canonical_request(
            "GET",
            &self.endpoint.path,
            &v4::canonical_query(&query),
            &format!("host:{host}\n"),
            "host",
            &hex::encode(Sha256::digest(b"")),
        );
        let signature = signature_v4(credentials, &stamp, &scope, &canonical);
        SignedRequest {
            method: "GET",
            target: format!("{}?{query}&X-Amz-Signature={signature}", self.endpoint.path),
            headers: vec![("Host", host.clone())],
            body: String::new(),
        }
    }

    /// Signs with version 2, as a POST.
    pub fn sign_v2(
        &self,
        credentials: &Credentials,
        method: V2Method,
        now: OffsetDateTime,
    ) -> SignedRequest {
        let whole = self
            .clone()
            .param("AWSAccessKeyId", &credentials.access_key)
            .param("SignatureMethod", method.as_str())
            .param("SignatureVersion", 2)
            .param("Timestamp", iso8601(now));
        let pairs = whole
            .params
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()));
        let string = v2::string_to_sign(
            "POST",
            &self.endpoint.host.to_ascii_lowercase(),
            &self.endpoint.path,
            &v2::canonical_parameters(pairs),
        );
        let signature = v2::sign(method, &credentials.secret_key, &string);
        SignedRequest {
            method: "POST",
            target: self.endpoint.path.clone(),
            headers: vec![
                ("Host", self.endpoint.host.clone()),
                (
                    "Content-Type",
                    "application/x-www-form-urlencoded; charset=utf-8".to_owned(),
                ),
            ],
            body: format!("{}&Signature={}", whole.form(), encode(&signature)),
        }
    }

    fn form(&self) -> String {
        let mut out = String::new();
        for (name, value) in &self.params {
            if !out.is_empty() {
                out.push('&');
            }
            encode_into(&mut out, name);
            out.push('=');
            encode_into(&mut out, value);
        }
        out
    }
}

fn scope(region: &str, now: OffsetDateTime) -> (String, v4::Scope) {
    let stamp = basic(now);
    let scope = v4::Scope {
        date: stamp[..8].to_owned(),
        region: region.to_owned(),
        service: "ec2".to_owned(),
    };
    (stamp, scope)
}

fn signature_v4(
    credentials: &Credentials,
    stamp: &str,
    scope: &v4::Scope,
    canonical: &str,
) -> String {
    let string = v4::string_to_sign(stamp, scope, canonical);
    hex::encode(v4::sign(&credentials.secret_key, scope, &string))
}
