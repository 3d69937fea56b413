//! A command's parameters with their values, as types whose errors explain themselves. Pure.

use super::truth;
use crate::failure::Failure;
use std::str::FromStr;

/// The values of a command's parameters.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    values: Vec<(&'static str, String)>,
}

impl Bound {
    pub(super) fn new(values: Vec<(&'static str, String)>) -> Self {
        Self { values }
    }

    /// A parameter's text; an empty one counts as not given, as in scripts that write `"" ""`.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values
            .iter()
            .rev()
            .find(|(n, v)| *n == name && !v.is_empty() && v != "None")
            .map(|(_, v)| v.as_str())
    }

    /// The text of a required parameter.
    pub(crate) fn required(&self, name: &'static str) -> Result<&str, Failure> {
        self.text(name)
            .ok_or_else(|| Failure::usage(format!("{name} is missing")))
    }

    /// All values of a parameter.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.values
            .iter()
            .filter(|(n, v)| *n == name && !v.is_empty())
            .map(|(_, v)| v.as_str())
            .collect()
    }

    /// A switch or a truth value; `None` if it was not given.
    pub(crate) fn truth(&self, name: &str) -> Result<Option<bool>, Failure> {
        self.text(name)
            .map(|text| {
                truth(text)
                    .ok_or_else(|| Failure::usage(format!("{name} {text:?}: must be T or F")))
            })
            .transpose()
    }

    /// A parameter as a type that explains itself when it does not parse.
    pub(crate) fn parse<T>(&self, name: &str) -> Result<Option<T>, Failure>
    where
        T: FromStr<Err = novanet_model::ModelError>,
    {
        self.text(name)
            .map(|text| text.parse().map_err(|e: T::Err| named(name, &e)))
            .transpose()
    }

    /// A required parameter as such a type.
    pub(crate) fn parse_required<T>(&self, name: &'static str) -> Result<T, Failure>
    where
        T: FromStr<Err = novanet_model::ModelError>,
    {
        let text = self.required(name)?;
        text.parse().map_err(|e| named(name, &e))
    }

    /// A number in a range.
    pub(crate) fn number(&self, name: &str, from: u64, to: u64) -> Result<Option<u64>, Failure> {
        self.text(name)
            .map(|text| match text.parse::<u64>() {
                Ok(number) if (from..=to).contains(&number) => Ok(number),
                _ => Err(Failure::usage(format!(
                    "{name} {text:?}: must be a number from {from} to {to}"
                ))),
            })
            .transpose()
    }

    /// An IPv4 address.
    pub(crate) fn address(&self, name: &str) -> Result<Option<std::net::Ipv4Addr>, Failure> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    Failure::usage(format!("{name} {text:?}: must be an IPv4 address"))
                })
            })
            .transpose()
    }
}

/// The model's message under the name that the user typed.
fn named(name: &str, error: &novanet_model::ModelError) -> Failure {
    Failure::usage(format!("{name} {:?}: {}", error.value, error.reason))
}
