//! `novanet euca`, also known as `euca-*`: a small EC2 client with the commands and the output of
//! the euca2ools that the manual uses (they are in no package registry any more).
//!
//! arguments → request (pure) → signed, sent → answer → text (pure).

mod addresses;
mod groups;
mod http;
mod images;
mod instances;
mod keys;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use crate::args::{Bound, Param, Reader, Takes};
use crate::failure::Failure;
use crate::{environment, say};
use novanet_ec2::client::{Credentials, Endpoint, RequestBuilder};
use novanet_ec2::reader::{self, Element};
use novanet_model::flags::nearest;
use std::fmt::Write as _;

/// One command.
pub(crate) struct Command {
    /// Its name without `euca-`.
    pub(crate) name: &'static str,
    /// Other releases' and the manual's names.
    pub(crate) aliases: &'static [&'static str],
    /// One line of help.
    pub(crate) about: &'static str,
    /// Its parameters.
    pub(crate) params: &'static [Param],
    /// A command line without `euca-`, for help; a test parses it.
    pub(crate) example: &'static str,
    request: fn(&Bound) -> Result<Request, Failure>,
    show: fn(&Bound, &Element) -> Result<String, Failure>,
}

impl Command {
    /// All names it goes by, its own first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }
}

/// What to ask.
struct Request {
    action: &'static str,
    params: Vec<(String, String)>,
}

impl Request {
    fn new(action: &'static str) -> Self {
        Self {
            action,
            params: Vec::new(),
        }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.params.push((name.to_owned(), value.into()));
        self
    }

    fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// `Name.1`, `Name.2` …
    fn list(self, name: &str, values: &[&str]) -> Self {
        (1..)
            .zip(values)
            .fold(self, |r, (n, value)| r.with(&format!("{name}.{n}"), *value))
    }
}

/// All commands.
pub(crate) fn commands() -> impl Iterator<Item = &'static Command> {
    [
        addresses::COMMANDS,
        groups::COMMANDS,
        images::COMMANDS,
        instances::COMMANDS,
        keys::COMMANDS,
    ]
    .into_iter()
    .flatten()
}

/// The server's address and the caller's credentials.
struct Connection {
    endpoint: Endpoint,
    credentials: Credentials,
}

/// Understands the arguments (the command's name first), asks, and answers what to print.
pub(crate) fn run(args: &[String]) -> Result<String, Failure> {
    let Some((name, rest)) = args.split_first() else {
        return Err(Failure::help(overview()));
    };
    if matches!(name.as_str(), "--help" | "-h" | "help") {
        return Ok(overview());
    }
    let command = find(name)?;
    let called = short(name);
    let (own, rest) = connection_options(rest);
    let mut line = Reader::new(&rest).rest(command.params);
    if line.help {
        return Ok(usage(command, called));
    }
    if line.version {
        return Ok(crate::version::line());
    }
    let at = |f: Failure| Failure {
        message: format!("euca-{called}: {}", f.message),
        ..f
    };
    let bound = line.bind(command.params, &[]).map_err(at)?;
    let request = (command.request)(&bound).map_err(at)?;
    if let Some(meant) = meant(called, &bound) {
        say::note(&format!("euca-{called}: done as euca-{meant}"));
    }
    let answer = ask(&own.connect()?, &request).map_err(at)?;
    (command.show)(&bound, &answer).map_err(at)
}

/// What the manual's slips mean, which no release of euca2ools understood.
fn meant(called: &str, bound: &Bound) -> Option<String> {
    match called {
        "deallocate-address" => Some("release-address".to_owned()),
        "describe-group" => Some("describe-groups".to_owned()),
        // The protocol without -P.
        "authorize" | "revoke" => match bound.all("group").as_slice() {
            [protocol, group] => Some(format!("{called} -P {protocol} … {group}")),
            _ => None,
        },
        _ => None,
    }
}

/// A command's name without the prefix of the link.
fn short(name: &str) -> &str {
    name.strip_prefix("euca-").unwrap_or(name)
}

fn find(name: &str) -> Result<&'static Command, Failure> {
    let short = short(name);
    let is = |c: &&Command| c.names().any(|n| n == short);
    commands().find(is).ok_or_else(|| {
        let near = nearest(short, commands().flat_map(Command::names));
        Failure::usage(match near {
            Some(near) => format!("euca-{short}: no such command: did you mean euca-{near}?"),
            None => format!("euca-{short}: no such command: novanet euca --help shows all"),
        })
    })
}

fn ask(connection: &Connection, request: &Request) -> Result<Element, Failure> {
    let builder = RequestBuilder::new(connection.endpoint.clone(), request.action);
    let builder = request
        .params
        .iter()
        .fold(builder, |b, (name, value)| b.param(name, value));
    let now = time::OffsetDateTime::now_utc();
    let signed = builder.sign_v4(&connection.credentials, "nova", now);
    let body = http::send(&signed, &connection.endpoint.host).map_err(Failure::failed)?;
    reader::read(&body).map_err(|e| Failure::failed(e.to_string()))
}

/// `--url`, `--access-key`, `--secret-key`, which every command takes. Their short forms mean other
/// things in some commands, so only the long ones are known.
#[derive(Default)]
struct Own {
    url: Option<String>,
    access_key: Option<String>,
    secret_key: Option<String>,
}

fn connection_options(args: &[String]) -> (Own, Vec<String>) {
    let mut own = Own::default();
    let mut rest = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        let place = match name {
            "--url" | "-U" => &mut own.url,
            "--access-key" => &mut own.access_key,
            "--secret-key" => &mut own.secret_key,
            _ => {
                rest.push(arg.clone());
                continue;
            }
        };
        *place = value.or_else(|| args.next().cloned());
    }
    (own, rest)
}

impl Own {
    fn connect(self) -> Result<Connection, Failure> {
        let given = |own: Option<String>, variable: &str| {
            own.or_else(|| environment::variable(variable))
                .filter(|text| !text.is_empty())
                .ok_or_else(|| {
                    Failure::failed(format!(
                        "{variable} is not set: read your credentials first: . novarc"
                    ))
                })
        };
        let url = given(self.url, "EC2_URL")?;
        if url.starts_with("https:") {
            return Err(Failure::failed(format!(
                "EC2_URL {url}: https is not built yet: use http"
            )));
        }
        let endpoint = Endpoint::from_url(&url).ok_or_else(|| {
            Failure::failed(format!(
                "EC2_URL {url:?}: must look like http://192.0.2.7:8773/services/Cloud"
            ))
        })?;
        Ok(Connection {
            endpoint,
            credentials: Credentials {
                access_key: given(self.access_key, "EC2_ACCESS_KEY")?,
                secret_key: given(self.secret_key, "EC2_SECRET_KEY")?,
            },
        })
    }
}

/// A line of tab-separated cells, as all of euca2ools print.
fn line(out: &mut String, cells: &[&str]) {
    let _ = writeln!(out, "{}", cells.join("\t"));
}

fn overview() -> String {
    let mut out = String::from("usage: novanet euca COMMAND [argument …]\n\n");
    for command in commands() {
        let _ = write!(out, "    euca-{:<28} {}", command.name, command.about);
        for alias in command.aliases {
            let _ = write!(out, " (also euca-{alias})");
        }
        out.push('\n');
    }
    out.push_str(
        "\nEC2_URL, EC2_ACCESS_KEY and EC2_SECRET_KEY say whom to ask and who asks: . novarc\n\n\
         Example:\n    euca-describe-instances\n",
    );
    out
}

fn usage(command: &Command, called: &str) -> String {
    let mut out = format!("usage: euca-{called}");
    for param in command.params {
        let upper = param.name.to_ascii_uppercase();
        let _ = match param.takes {
            Takes::Required => write!(out, " {upper}"),
            Takes::Many => write!(out, " {upper} …"),
            Takes::Optional | Takes::Truth => write!(out, " [{upper}]"),
            Takes::Named | Takes::Switch => Ok(()),
        };
    }
    let _ = writeln!(out, "\n\n{}\n", command.about);
    for param in command.params {
        let short: Vec<String> = param
            .aliases
            .iter()
            .map(|a| {
                if a.len() == 1 {
                    format!("-{a}")
                } else {
                    format!("--{a}")
                }
            })
            .collect();
        let _ = writeln!(
            out,
            "    {:<16} {:<10} {}",
            param.name,
            short.join(" "),
            param.help
        );
    }
    let _ = writeln!(out, "\nExample:\n    euca-{}", command.example);
    out
}
