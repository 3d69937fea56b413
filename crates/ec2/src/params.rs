//! From the bytes of a request to its parameters. Strict: what two readers could read in two ways
//! (a parameter twice, a broken escape) is refused here, before anybody looks at a signature.

use crate::encoding::decode;
use crate::error::{Code, Ec2Error};
use novanet_model::ModelError;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// The longest query string and body together. User data of 16 KiB, twice base64, fits.
pub const MAX_BYTES: usize = 64 * 1024;
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

    /// Whether the client only wants to know if it could. Who carries requests out has to ask:
    /// see [`Ec2Error::dry_run`].
    pub fn dry_run(&self) -> Result<bool, Ec2Error> {
        Ok(self.fields().flag("DryRun")?.unwrap_or(false))
    }

    /// All of them, as the top of the tree that the dots in the names make.
    pub fn fields(&self) -> Fields<'_> {
        Fields {
            path: String::new(),
            pairs: self
                .pairs
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect(),
        }
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

/// The parameters below one point of the tree: everything, or one member of a list of structures.
#[derive(Clone)]
pub struct Fields<'a> {
    path: String,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Fields<'a> {
    /// The whole name of a parameter here, as the client wrote it.
    pub fn name_of(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// The value of a parameter; `None` also if it is empty.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.pairs
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| *value)
            .filter(|value| !value.is_empty())
    }

    /// The value of a parameter that has to be there.
    pub fn require(&self, name: &str) -> Result<&'a str, Ec2Error> {
        self.get(name)
            .ok_or_else(|| Ec2Error::missing(&self.name_of(name)))
    }

    /// Whether a parameter is there, or anything below it.
    pub fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(key, _)| {
            key.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    /// `true` or `false`.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, Ec2Error> {
        match self.get(name) {
            None => Ok(None),
            Some(text) if text.eq_ignore_ascii_case("true") || text == "1" => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case("false") || text == "0" => Ok(Some(false)),
            Some(text) => Err(self.invalid(name, text, "must be true or false")),
        }
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Ec2Error> {
        self.get(name)
            .map(|text| {
                text.parse()
                    .map_err(|_| self.invalid(name, text, "must be a number"))
            })
            .transpose()
    }

    /// Something that the standard library reads, e.g. an address; `code` if it cannot.
    pub fn parsed<T: FromStr>(
        &self,
        name: &str,
        code: Code,
        must: &str,
    ) -> Result<Option<T>, Ec2Error> {
        self.get(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    let invalid = self.invalid(name, text, must);
                    Ec2Error::new(code, invalid.message)
                })
            })
            .transpose()
    }

    /// An id; `malformed` if it is none.
    pub fn id<T: FromStr<Err = ModelError>>(
        &self,
        name: &str,
        malformed: Code,
    ) -> Result<Option<T>, Ec2Error> {
        self.get(name)
            .map(|text| parse_id(text, malformed))
            .transpose()
    }

    /// A list of ids; `malformed` if one is none.
    pub fn ids<T: FromStr<Err = ModelError>>(
        &self,
        name: &str,
        malformed: Code,
    ) -> Result<Vec<T>, Ec2Error> {
        self.list(name)?
            .into_iter()
            .map(|text| parse_id(text, malformed))
            .collect()
    }

    /// A list of values, by their numbers (which may have gaps): `Name.1`, `Name.member.1`, or
    /// just `Name`.
    pub fn list(&self, name: &str) -> Result<Vec<&'a str>, Ec2Error> {
        let mut found = BTreeMap::new();
        for (key, value) in &self.pairs {
            let Some(rest) = key.strip_prefix(name) else {
                continue;
            };
            if rest.is_empty() {
                if !value.is_empty() {
                    found.insert(0, *value);
                }
            } else if let Some(rest) = rest.strip_prefix('.') {
                found.insert(self.index(name, rest)?, *value);
            }
        }
        Ok(found.into_values().collect())
    }

    /// A list of structures, by their numbers: `Name.1.Field`, `Name.member.1.Field`.
    pub fn items(&self, name: &str) -> Result<Vec<Self>, Ec2Error> {
        let mut found: BTreeMap<u32, Self> = BTreeMap::new();
        for (key, value) in &self.pairs {
            let Some(rest) = key.strip_prefix(name).and_then(|k| k.strip_prefix('.')) else {
                continue;
            };
            let rest = rest.strip_prefix("member.").unwrap_or(rest);
            let (number, field) = rest.split_once('.').unwrap_or((rest, ""));
            let index = self.index(name, number)?;
            found
                .entry(index)
                .or_insert_with(|| Self {
                    path: format!("{}{name}.{index}.", self.path),
                    pairs: Vec::new(),
                })
                .pairs
                .push((field, *value));
        }
        Ok(found.into_values().collect())
    }

    /// The error for a value here.
    pub fn invalid(&self, name: &str, value: &str, reason: &str) -> Ec2Error {
        Ec2Error::invalid_value(&self.name_of(name), value, reason)
    }

    /// Refuses parameters that ask for something this cloud has not: to ignore them would be to
    /// do something else than what was asked.
    pub fn refuse(&self, names: &[&str]) -> Result<(), Ec2Error> {
        match names.iter().find(|name| self.has(name)) {
            None => Ok(()),
            Some(name) => Err(Ec2Error::new(
                Code::UnsupportedOperation,
                format!(
                    "The parameter {} is not supported by this cloud.",
                    self.name_of(name)
                ),
            )),
        }
    }

    fn index(&self, name: &str, text: &str) -> Result<u32, Ec2Error> {
        let text = text.strip_prefix("member.").unwrap_or(text);
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.bad_index(name, text));
        }
        text.parse().map_err(|_| self.bad_index(name, text))
    }

    fn bad_index(&self, name: &str, text: &str) -> Ec2Error {
        Ec2Error::new(
            Code::MalformedQueryString,
            format!(
                "The parameter {} is a list and needs a number, not {text:.40}.",
                self.name_of(name)
            ),
        )
    }
}

pub(crate) fn parse_id<T: FromStr<Err = ModelError>>(
    text: &str,
    malformed: Code,
) -> Result<T, Ec2Error> {
    text.parse()
        .map_err(|error| Ec2Error::from_model(malformed, &error))
}
