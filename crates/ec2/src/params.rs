//! From the bytes of a request to its parameters. Strict: what two readers could read in two ways
//! (a parameter twice, a broken escape) is refused here, before any check of a signature.

use crate::encoding::decode;
pub use crate::error::MAX_BYTES;
use crate::error::{Code, Ec2Error};
use crate::fields::Fields;
use std::collections::BTreeSet;

/// The largest number of parameters: a DescribeInstances with a thousand ids fits.
pub const MAX_PAIRS: usize = 2048;

/// A request as it came over the wire: nothing decoded, nothing normalised, because signatures
/// are over the raw form.
#[derive(Clone, Copy)]
pub struct RawRequest<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// Path, still encoded, e.g. `/services/Cloud/`.
    pub path: &'a str,
    /// What follows the `?`, still encoded; empty if there is none.
    pub query: &'a str,
    /// Headers in their order; names in any case.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The body.
    pub body: &'a [u8],
}

impl<'a> RawRequest<'a> {
    /// The first header of this name, if it is text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers_named(name)
            .next()
            .and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Refuses a head whose parts contradict each other: a proxy in front might understand it in
    /// another way than this server does (RFC 9112, sections 3.2 and 6.3).
    pub fn check_head(&self) -> Result<(), Ec2Error> {
        let refuse = |message: &str| Err(Ec2Error::new(Code::InvalidRequest, message));
        if self.headers_named("host").count() > 1 {
            return refuse("The request has more than one Host header.");
        }
        let mut codings = self
            .headers_named("transfer-encoding")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii);
        let only_chunked = codings
            .next()
            .is_none_or(|coding| coding.eq_ignore_ascii_case(b"chunked"));
        if !only_chunked || codings.next().is_some() {
            return refuse("The header Transfer-Encoding has to be chunked, once.");
        }
        Ok(())
    }

    /// All headers of this name.
    pub(crate) fn headers_named(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }
}

/// The parameters of a request, decoded, in the order in which they came, each name once.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Reads query string and, for POST, the form in the body.
    pub fn decode(request: &RawRequest<'_>) -> Result<Self, Ec2Error> {
        if request.query.len() + request.body.len() > MAX_BYTES {
            return Err(Ec2Error::too_large());
        }
        let mut params = Self::default();
        params.read(request.query.as_bytes())?;
        match request.method {
            "GET" => {}
            "POST" => {
                check_form(request)?;
                params.read(request.body)?;
            }
            other => {
                return Err(Ec2Error::new(
                    Code::InvalidRequest,
                    format!("The method {other} is not one of this service: use GET or POST."),
                ));
            }
        }
        params.check_unique()?;
        Ok(params)
    }

    /// The value of a parameter; `None` also if it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The value of a parameter that has to be there.
    pub fn require(&self, name: &str) -> Result<&str, Ec2Error> {
        self.get(name).ok_or_else(|| Ec2Error::missing(name))
    }

    /// The API version that the client speaks, `2016-11-15`: its answers carry it back.
    pub fn version(&self) -> Result<&str, Ec2Error> {
        let version = self.require("Version")?;
        let dated = version.len() == 10
            && version.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        if dated {
            Ok(version)
        } else {
            Err(Ec2Error::invalid_value(
                "Version",
                version,
                "must be a date, e.g. 2016-11-15",
            ))
        }
    }

    /// Whether the client only wants to know if it could. The caller of the use case has to ask:
    /// see [`Ec2Error::dry_run`].
    pub fn dry_run(&self) -> Result<bool, Ec2Error> {
        Ok(self.fields().flag("DryRun")?.unwrap_or(false))
    }

    /// All of them, as the top of the tree that the dots in the names make.
    pub fn fields(&self) -> Fields<'_> {
        Fields::top(&self.pairs)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    fn read(&mut self, encoded: &[u8]) -> Result<(), Ec2Error> {
        for pair in encoded.split(|byte| *byte == b'&') {
            if pair.is_empty() {
                continue;
            }
            if self.pairs.len() == MAX_PAIRS {
                return Err(Ec2Error::new(
                    Code::RequestEntityTooLarge,
                    format!("The request has more than {MAX_PAIRS} parameters."),
                ));
            }
            let split = pair.iter().position(|byte| *byte == b'=');
            let (key, value) = split.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
            let (Some(key), Some(value)) = (decode(key), decode(value)) else {
                return Err(Ec2Error::new(
                    Code::MalformedQueryString,
                    format!(
                        "Parameter number {} is not percent-encoded UTF-8.",
                        self.pairs.len() + 1
                    ),
                ));
            };
            self.pairs.push((key, value));
        }
        Ok(())
    }

    fn check_unique(&self) -> Result<(), Ec2Error> {
        let mut seen = BTreeSet::new();
        match self.pairs.iter().find(|(key, _)| !seen.insert(key)) {
            None => Ok(()),
            Some((key, _)) => Err(Ec2Error::new(
                Code::MalformedQueryString,
                format!("The parameter {key:.100} is there twice."),
            )),
        }
    }
}

impl std::fmt::Debug for Params {
    /// Names only: values hold signatures and user data, and a debug print ends up in a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries(self.pairs.iter().map(|(key, _)| key))
            .finish()
    }
}

fn check_form(request: &RawRequest<'_>) -> Result<(), Ec2Error> {
    let media = request.header("content-type").map(|value| {
        let end = value.find(';').unwrap_or(value.len());
        value[..end].trim()
    });
    match media {
        Some(other)
            if !request.body.is_empty()
                && !other.eq_ignore_ascii_case("application/x-www-form-urlencoded") =>
        {
            Err(Ec2Error::new(
                Code::InvalidRequest,
                "The body has to be a form (application/x-www-form-urlencoded).",
            ))
        }
        _ => Ok(()),
    }
}
