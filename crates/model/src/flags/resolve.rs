//! From what was given to what counts: names looked up, `$other` replaced, values checked, every
//! mistake collected.

use super::accepted::{accepted, accepted_names, is_missed, kind as accepted_kind};
use super::registry::{Flag, Kind, MUST_BE_FIREWALL_DRIVER, find, is_firewall_driver, registry};
use super::{Facts, Flags, Given, Origin, Value, nearest};
use crate::{IfName, NetworkKind, parse_cidr};
use ipnet::Ipv6Net;
use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use thiserror::Error;

/// One mistake in the flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagError {
    /// Where it is.
    pub origin: Origin,
    /// The mistake and its remedy.
    pub message: String,
}

impl fmt::Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::CommandLine => f.write_str(&self.message),
            origin => write!(f, "{origin}: {}", self.message),
        }
    }
}

/// All mistakes in the flags, one a line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct FlagErrors(pub Vec<FlagError>);

impl fmt::Display for FlagErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// All flags and all mistakes: a flag with a mistake has its default.
pub(super) fn resolve(given: &[Given], facts: &Facts) -> (Flags, Vec<FlagError>) {
    let mut errors = Vec::new();
    let mut notes = Vec::new();
    let mut warnings = Vec::new();
    let mut set: BTreeMap<&'static str, Value> = BTreeMap::new();
    for one in given {
        match look_up(one) {
            Ok(Found::Flag(flag, text)) => merge(&mut set, flag, text, &one.origin),
            Ok(Found::Accepted(why)) => {
                let note = format!("{}: flag {} has no effect: {why}", one.origin, one.name);
                let missed = is_missed(one);
                if missed { &mut warnings } else { &mut notes }.push(note);
            }
            Ok(Found::Unknown(why)) => warnings.push(format!("{}: not used: {why}", one.origin)),
            Err(message) => errors.push(FlagError {
                origin: one.origin.clone(),
                message,
            }),
        }
    }
    let mut values = BTreeMap::new();
    for flag in registry() {
        let origin = set
            .get(flag.name)
            .map_or(Origin::Default, |v| v.origin.clone());
        let outcome = expand(flag, &set, facts, &mut Vec::new())
            .and_then(|text| check(flag.name, flag.kind, &text));
        let value = match outcome {
            Ok(text) => Value { text, origin },
            Err(message) => {
                // A default is wrong only because of another flag, which is reported itself.
                if origin != Origin::Default {
                    errors.push(FlagError { origin, message });
                }
                let text = expand(flag, &BTreeMap::new(), facts, &mut Vec::new());
                Value {
                    text: text.unwrap_or_default(),
                    origin: Origin::Default,
                }
            }
        };
        values.insert(flag.name, value);
    }
    // As they stand in the file, not as they were found.
    errors.sort_by(|a, b| a.origin.cmp(&b.origin));
    let flags = Flags {
        values,
        notes,
        warnings,
    };
    (flags, errors)
}

enum Found {
    Flag(&'static Flag, String),
    Accepted(&'static str),
    /// Of a file, and like no flag that there is. nova.conf serves other programs, too.
    Unknown(String),
}

fn look_up(given: &Given) -> Result<Found, String> {
    let name = given.name.as_str();
    let negated = name
        .strip_prefix("no")
        .map(|rest| rest.strip_prefix('_').unwrap_or(rest));
    if let Some(flag) = find(name) {
        return match (&given.value, flag.kind) {
            (Some(value), _) => Ok(Found::Flag(flag, value.clone())),
            (None, Kind::Switch) => Ok(Found::Flag(flag, "true".to_owned())),
            (None, _) => Err(format!("flag {name} needs a value: --{name}=…")),
        };
    }
    if let Some(flag) = negated.and_then(find).filter(|f| f.kind == Kind::Switch) {
        return match given.value {
            None => Ok(Found::Flag(flag, "false".to_owned())),
            Some(_) => Err(takes_no_value(name, flag.name)),
        };
    }
    if let Some(why) = without_effect(given, negated)? {
        return Ok(Found::Accepted(why));
    }
    let known = registry().iter().map(|f| f.name).chain(accepted_names());
    if let Some(near) = nearest(name, known) {
        return Err(format!("unknown flag {name}: did you mean {near}?"));
    }
    let message = format!("unknown flag {name}: nova-manage config list shows all of them");
    match given.origin {
        Origin::File { .. } => Ok(Found::Unknown(message)),
        _ => Err(message),
    }
}

fn takes_no_value(name: &str, positive: &str) -> String {
    format!("flag {name} takes no value: write --{name} or --{positive}=false")
}

/// Why a flag of nova does nothing here, if its value is one that it could have.
fn without_effect(given: &Given, negated: Option<&str>) -> Result<Option<&'static str>, String> {
    let name = given.name.as_str();
    if let Some(why) = accepted(name) {
        match (&given.value, accepted_kind(name)) {
            (None, Some(kind)) if kind != Kind::Switch => {
                return Err(format!("flag {name} needs a value: --{name}=…"));
            }
            // What other flags say is not looked up for one that does not count.
            (Some(value), Some(kind)) if !value.contains('$') => {
                check(name, kind, value)?;
            }
            _ => {}
        }
        return Ok(Some(why));
    }
    let Some(positive) = negated.filter(|n| accepted(n).is_some()) else {
        return Ok(None);
    };
    match accepted_kind(positive) {
        Some(Kind::Switch) if given.value.is_some() => Err(takes_no_value(name, positive)),
        Some(Kind::Switch) | None => Ok(accepted(positive)),
        Some(_) => Ok(None),
    }
}

/// The later one counts; lists given several times in one file (or on one command line) add up.
fn merge(
    set: &mut BTreeMap<&'static str, Value>,
    flag: &'static Flag,
    text: String,
    origin: &Origin,
) {
    if let Some(old) = set.get_mut(flag.name)
        && flag.kind.is_list()
        && same_level(&old.origin, origin)
    {
        old.text = format!("{},{text}", old.text);
        return;
    }
    set.insert(
        flag.name,
        Value {
            text,
            origin: origin.clone(),
        },
    );
}

fn same_level(a: &Origin, b: &Origin) -> bool {
    match (a, b) {
        (Origin::File { path: a, .. }, Origin::File { path: b, .. }) => a == b,
        (a, b) => a == b,
    }
}

/// A flag's text with every `$name` and `${name}` replaced by that flag's value; paths absolute.
fn expand(
    flag: &'static Flag,
    set: &BTreeMap<&'static str, Value>,
    facts: &Facts,
    inside: &mut Vec<&'static str>,
) -> Result<String, String> {
    if inside.contains(&flag.name) {
        return Err(format!(
            "flag {} refers to itself: ${}",
            inside[0],
            inside.join(" -> $")
        ));
    }
    inside.push(flag.name);
    let text = set.get(flag.name).map_or(flag.default, |v| v.text.as_str());
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let braced = after.strip_prefix('{');
        let word = braced.unwrap_or(after);
        let end = word
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(word.len());
        let (name, tail) = word.split_at(end);
        rest = if braced.is_some() {
            tail.strip_prefix('}').unwrap_or(tail)
        } else {
            tail
        };
        match (name, find(name)) {
            ("hostname", _) => out.push_str(&facts.hostname),
            ("address", _) => out.push_str(&facts.address.to_string()),
            (_, Some(other)) => out.push_str(&expand(other, set, facts, inside)?),
            // Not a flag: a password may have a dollar sign.
            (_, None) => {
                out.push('$');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    inside.pop();
    if flag.kind == Kind::Path && !out.is_empty() {
        out = facts.current_dir.join(out).to_string_lossy().into_owned();
    }
    Ok(out)
}

/// Checks a value and brings it into one spelling; the error is the whole message.
fn check(name: &str, kind: Kind, text: &str) -> Result<String, String> {
    spell(name, kind, text).map_err(|why| {
        // A connection may have a password in it.
        if name == "sql_connection" {
            format!("flag sql_connection: {why}")
        } else {
            format!("flag {name} {text:?}: {why}")
        }
    })
}

fn spell(name: &str, kind: Kind, text: &str) -> Result<String, String> {
    let text = text.trim();
    let parsed = |ok: bool, why: &str| {
        if ok {
            Ok(text.to_owned())
        } else {
            Err(why.to_owned())
        }
    };
    match kind {
        Kind::Switch => switch(text),
        Kind::OptionalNumber(..)
        | Kind::OptionalAddress
        | Kind::OptionalInterface
        | Kind::Subnet
            if is_none(text) =>
        {
            Ok(String::new())
        }
        Kind::Number(from, to) | Kind::OptionalNumber(from, to) => match text.parse::<i64>() {
            Ok(number) if (from..=to).contains(&number) => Ok(number.to_string()),
            _ => Err(format!("must be a number from {from} to {to}")),
        },
        Kind::Text => typed_text(name, text),
        Kind::Path => parsed(!text.is_empty(), "must be a path"),
        Kind::Address | Kind::OptionalAddress => {
            parsed(text.parse::<Ipv4Addr>().is_ok(), "must be an IPv4 address")
        }
        Kind::Addresses => list(
            text,
            |word| word.parse::<Ipv4Addr>().is_ok(),
            "an IPv4 address",
        ),
        Kind::Subnets => list(text, is_subnet, "a subnet like 10.0.0.0/24"),
        Kind::Subnet => parsed(
            is_subnet(text),
            "must be a subnet like 10.0.0.0/24, without host bits",
        ),
        Kind::Interface | Kind::OptionalInterface => IfName::new(text)
            .map(|n| n.to_string())
            .map_err(|e| e.reason),
        Kind::Words if name == "roles" => list(
            text,
            |w| matches!(w, "network" | "compute"),
            "network or compute",
        ),
        Kind::Words => list(text, |_| true, ""),
        Kind::Manager => text
            .parse::<NetworkKind>()
            .map(|_| text.to_owned())
            .map_err(|e| e.reason),
        Kind::FirewallDriver => parsed(is_firewall_driver(text), MUST_BE_FIREWALL_DRIVER),
        Kind::Choice(words) => parsed(
            words.contains(&text),
            &format!("must be {}", words.join(" or ")),
        ),
    }
}

/// Python's `None` turns up in files written by scripts.
fn is_none(text: &str) -> bool {
    text.is_empty() || text == "None"
}

fn is_subnet(text: &str) -> bool {
    parse_cidr(text).is_some_and(|n| n.trunc() == n)
}

fn switch(text: &str) -> Result<String, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" | "yes" | "on" => Ok("true".to_owned()),
        "false" | "f" | "0" | "no" | "off" => Ok("false".to_owned()),
        _ => Err("must be true or false".to_owned()),
    }
}

fn list(text: &str, good: impl Fn(&str) -> bool, what: &str) -> Result<String, String> {
    if is_none(text) {
        return Ok(String::new());
    }
    let words: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|w| !w.is_empty())
        .collect();
    match words.iter().find(|w| !good(w)) {
        Some(bad) => Err(format!("{bad:?} must be {what}")),
        None => Ok(words.join(",")),
    }
}

fn typed_text(name: &str, text: &str) -> Result<String, String> {
    match name {
        "host" if text.is_empty() || text.len() > 255 || !text.chars().all(is_host_char) => {
            Err("must be a host name: letters, digits, '.', '_' and '-'".to_owned())
        }
        "dhcp_domain" if !text.chars().all(is_host_char) => {
            Err("must be a DNS domain: letters, digits, '.', '_' and '-'".to_owned())
        }
        "sql_connection" => database(text),
        "fixed_range_v6" if !is_none(text) && text.parse::<Ipv6Net>().is_err() => {
            Err("must be an IPv6 subnet like fd00::/48".to_owned())
        }
        "gateway_v6" if !is_none(text) && text.parse::<Ipv6Addr>().is_err() => {
            Err("must be an IPv6 address".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

fn is_host_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

/// nova's (SQLAlchemy's) spelling to ours: `sqlite:////abs/file` has one slash more than ours, and
/// drivers may be named (`postgresql+psycopg2`).
fn database(text: &str) -> Result<String, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
    match scheme.split('+').next().unwrap_or(scheme) {
        "sqlite" if rest.trim_start_matches('/').is_empty() => {
            Err("needs a file: sqlite:///var/lib/nova/nova.sqlite".to_owned())
        }
        "sqlite" => Ok(format!("sqlite:///{}", rest.trim_start_matches('/'))),
        "postgresql" | "postgres" if rest.is_empty() => {
            Err("needs a host: postgresql://USER:PASSWORD@HOST/NAME".to_owned())
        }
        "postgresql" | "postgres" => Ok(format!("postgresql://{rest}")),
        _ => Err("must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME (MySQL is not supported)".to_owned()),
    }
}
