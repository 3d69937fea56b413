//! What an action reads of a request: the tree that the dots in the parameters' names make. What no
//! action read is refused, so that nothing is silently ignored.

use crate::error::{Code, Ec2Error};
use novanet_model::ModelError;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::str::FromStr;

/// The parameters below one point of the tree: everything, or one member of a list of structures.
///
/// It remembers which parameters an action has read: see [`Fields::refuse_unread`].
#[derive(Clone)]
pub struct Fields<'a> {
    path: String,
    parameters: Vec<Parameter<'a>>,
    read: Rc<[Cell<bool>]>,
}

/// One parameter.
#[derive(Clone, Copy)]
struct Parameter<'a> {
    /// Its number in the request, an index into `Fields::read`.
    number: usize,
    /// Its whole name, as the client wrote it.
    whole: &'a str,
    /// Its name from the point in the tree on.
    name: &'a str,
    value: &'a str,
}

impl<'a> Fields<'a> {
    /// All parameters of a request, none of them read.
    pub(crate) fn top(pairs: &'a [(String, String)]) -> Self {
        let numbered = pairs.iter().enumerate();
        let parameters = numbered.map(|(number, (name, value))| Parameter {
            number,
            whole: name,
            name,
            value,
        });
        Self {
            path: String::new(),
            parameters: parameters.collect(),
            read: pairs.iter().map(|_| Cell::new(false)).collect(),
        }
    }

    fn mark(&self, parameter: &Parameter<'_>) {
        if let Some(read) = self.read.get(parameter.number) {
            read.set(true);
        }
    }

    /// Refuses parameters that no code has read, by name: to ignore one would be to do something
    /// else than what was asked. Empty ones ask for nothing; those that belong to the protocol are
    /// read elsewhere.
    pub(crate) fn refuse_unread(&self) -> Result<(), Ec2Error> {
        let is_unread = |parameter: &&Parameter<'_>| {
            let is_read = self.read.get(parameter.number).is_none_or(Cell::get);
            !is_read && !parameter.value.is_empty() && !is_of_the_protocol(parameter.whole)
        };
        match self.parameters.iter().find(is_unread) {
            None => Ok(()),
            Some(parameter) => Err(Ec2Error::new(
                Code::UnknownParameter,
                format!(
                    "The parameter {:.100} is not understood here for this action.",
                    parameter.whole
                ),
            )),
        }
    }

    /// Accepts a parameter with one of these values only, because they ask for nothing that this
    /// cloud does not do anyway; refuses others by name and value.
    pub(crate) fn only(&self, name: &str, harmless: &[&str]) -> Result<(), Ec2Error> {
        match self.get(name) {
            Some(value) if !harmless.iter().any(|ok| ok.eq_ignore_ascii_case(value)) => {
                Err(Ec2Error::new(
                    Code::UnsupportedOperation,
                    format!(
                        "The value {value:.100} of {} is not supported by this cloud, only {}.",
                        self.name_of(name),
                        harmless.join(" or ")
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    /// The whole name of a parameter here, as the client wrote it.
    pub fn name_of(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// The value of a parameter; `None` also if it is empty.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let parameter = self
            .parameters
            .iter()
            .find(|parameter| parameter.name == name)?;
        self.mark(parameter);
        Some(parameter.value).filter(|value| !value.is_empty())
    }

    /// The value of a parameter that has to be there.
    pub fn require(&self, name: &str) -> Result<&'a str, Ec2Error> {
        self.get(name)
            .ok_or_else(|| Ec2Error::missing(&self.name_of(name)))
    }

    /// Whether a parameter is there, or anything below it.
    pub fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|parameter| {
            parameter
                .name
                .strip_prefix(name)
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
        for parameter in &self.parameters {
            let Some(rest) = parameter.name.strip_prefix(name) else {
                continue;
            };
            if rest.is_empty() {
                self.mark(parameter);
                if !parameter.value.is_empty() {
                    found.insert(0, parameter.value);
                }
            } else if let Some(rest) = rest.strip_prefix('.') {
                self.mark(parameter);
                found.insert(self.index(name, rest)?, parameter.value);
            }
        }
        Ok(found.into_values().collect())
    }

    /// A list of structures, by their numbers: `Name.1.Field`, `Name.member.1.Field`.
    pub fn items(&self, name: &str) -> Result<Vec<Self>, Ec2Error> {
        let mut found: BTreeMap<u32, Self> = BTreeMap::new();
        for parameter in &self.parameters {
            let below = parameter.name.strip_prefix(name);
            let Some(rest) = below.and_then(|rest| rest.strip_prefix('.')) else {
                continue;
            };
            let rest = rest.strip_prefix("member.").unwrap_or(rest);
            let (number, inner) = rest.split_once('.').unwrap_or((rest, ""));
            let index = self.index(name, number)?;
            found
                .entry(index)
                .or_insert_with(|| Self {
                    path: format!("{}{name}.{index}.", self.path),
                    parameters: Vec::new(),
                    read: Rc::clone(&self.read),
                })
                .parameters
                .push(Parameter {
                    name: inner,
                    ..*parameter
                });
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

/// Parameters of the protocol: action, caller and signature.
fn is_of_the_protocol(name: &str) -> bool {
    const NAMES: [&str; 10] = [
        "AWSAccessKeyId",
        "Action",
        "DryRun",
        "Expires",
        "SecurityToken",
        "Signature",
        "SignatureMethod",
        "SignatureVersion",
        "Timestamp",
        "Version",
    ];
    NAMES.contains(&name) || name.starts_with("X-Amz-")
}

pub(crate) fn parse_id<T: FromStr<Err = ModelError>>(
    text: &str,
    malformed: Code,
) -> Result<T, Ec2Error> {
    text.parse()
        .map_err(|error| Ec2Error::from_model(malformed, &error))
}
