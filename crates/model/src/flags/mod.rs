//! nova-network's flags: one registry, both spellings of nova.conf, one way to resolve them.
//!
//! Precedence: command line, then `--flagfile`/`--config-file`, then environment, then default.
//! Every value is checked when the flags are resolved, and every mistake of every file is reported
//! at once, with file and line: later code asks [`Flags`] and cannot get a value of the wrong type.
//! Must not know: files, the environment, host name or addresses of this machine; `cli` reads those
//! and hands them in as [`Given`] and [`Facts`].

mod accepted;
mod file;
mod registry;
mod resolve;
mod sample;
mod secret;
mod suggest;
mod typed;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use accepted::{accepted, accepted_names, is_accepted_switch};
pub use file::{Parsed, parse_file};
pub use registry::{Flag, Kind, Scope, find, registry};
pub use resolve::{FlagError, FlagErrors};
pub use sample::sample;
pub use suggest::nearest;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// A flag as a file or a command line gave it, before any check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Name without dashes, `-` turned into `_`; `noflag` stays as it is.
    pub name: String,
    /// Its value; `None`: a bare `--flag` or `--noflag`.
    pub value: Option<String>,
    /// The place that gave it.
    pub origin: Origin,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Its default.
    Default,
    /// An environment variable.
    Environment(String),
    /// A line of a flag file.
    File {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// The command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// What a machine says about itself, for the defaults of `host` and `my_ip` and for relative paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Host name.
    pub hostname: String,
    /// Address that the machine uses towards others; 127.0.0.1 when it has none.
    pub address: Ipv4Addr,
    /// What relative paths are relative to.
    pub current_dir: PathBuf,
}

/// All flags of the registry, resolved and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    values: BTreeMap<&'static str, Value>,
    notes: Vec<String>,
    warnings: Vec<String>,
}

/// A resolved flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The text after interpolation; lists joined with commas. May hold a password: people are
    /// shown [`Value::shown`].
    pub text: String,
    /// The place that gave it.
    pub origin: Origin,
}

impl Value {
    /// The text for people: without the passwords of an address.
    pub fn shown(&self) -> String {
        secret::without_passwords(&self.text)
    }
}

impl Flags {
    /// Resolves flags given in rising order of precedence (environment, files, command line).
    pub fn resolve(given: &[Given], facts: &Facts) -> Result<Self, FlagErrors> {
        match resolve::resolve(given, facts) {
            (flags, errors) if errors.is_empty() => Ok(flags),
            (_, errors) => Err(FlagErrors(errors)),
        }
    }

    /// The same, to show mistakes rather than to refuse them: a wrong flag has its default.
    pub fn resolve_in_part(given: &[Given], facts: &Facts) -> (Self, FlagErrors) {
        let (flags, errors) = resolve::resolve(given, facts);
        (flags, FlagErrors(errors))
    }

    /// The same flags on a machine with another address: defaults follow the address.
    #[must_use]
    pub fn at_address(&self, address: Ipv4Addr) -> Self {
        let given = self
            .values
            .iter()
            .filter(|(_, value)| value.origin != Origin::Default);
        let given = given.map(|(name, value)| Given {
            name: (*name).to_owned(),
            value: Some(value.text.clone()),
            origin: value.origin.clone(),
        });
        let facts = Facts {
            hostname: self.host().to_owned(),
            address,
            current_dir: PathBuf::from("/"), // all paths are absolute by now
        };
        let mut flags =
            Self::resolve(&given.collect::<Vec<_>>(), &facts).unwrap_or_else(|_| self.clone());
        flags.notes.clone_from(&self.notes);
        flags
    }

    /// Remarks for the user: flags of nova that have no effect here, with the line that sets them.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Lines of flag files that set an unknown name that resembles no flag.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// A flag's value and origin; `None` for a name that is not in the registry.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// All flags in the registry's order.
    pub fn all(&self) -> impl Iterator<Item = (&'static Flag, &Value)> {
        registry()
            .iter()
            .filter_map(|flag| Some((flag, self.values.get(flag.name)?)))
    }
}
