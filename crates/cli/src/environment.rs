//! Reads the environment, the flag files and this machine's name and address; no other file does
//! (clippy.toml). Depends on the registry of flags in `model`.

#![allow(clippy::disallowed_methods)] // no other file of this crate may

use crate::failure::Failure;
use crate::say;
use novanet_model::flags::{
    Facts, FlagError, FlagErrors, Flags, Given, Origin, parse_file, registry,
};
use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

/// Where nova's packages put it. nova also took `./nova.conf`; a program that root runs anywhere
/// must not.
const USUAL_FILE: &str = "/etc/nova/nova.conf";
/// A file that includes itself is found out here.
const MAX_INCLUDE_DEPTH: usize = 8;

/// Flags from the command line, the files it names (or the usual one) and the environment.
pub(crate) fn flags(command_line: &[Given]) -> Result<Flags, Failure> {
    let (flags, failure) = flags_in_part(command_line);
    match failure {
        None => Ok(flags),
        Some(failure) => {
            flags.warnings().iter().for_each(|w| say::warning(w));
            Err(failure)
        }
    }
}

/// As [`flags`], with the mistakes beside them: a flag with a mistake has its default.
pub(crate) fn flags_in_part(command_line: &[Given]) -> (Flags, Option<Failure>) {
    let mut given = from_environment();
    let mut read = Files::default();
    for (path, named_by) in files(command_line) {
        read.read(&path, named_by.as_ref());
    }
    given.append(&mut read.given);
    given.extend(command_line.iter().filter(|g| !is_include(g)).cloned());
    let (flags, errors) = Flags::resolve_in_part(&given, &facts());
    let good = errors.0.is_empty() && read.errors.is_empty();
    (flags, (!good).then(|| read.refuse(errors)))
}

/// The origin of a flag; `None`: it has its default.
pub(crate) fn origin<'a>(flags: &'a Flags, name: &str) -> Option<&'a Origin> {
    let value = flags.get(name)?;
    (value.origin != Origin::Default).then_some(&value.origin)
}

/// Whether a flag is given, not defaulted.
pub(crate) fn given(flags: &Flags, name: &str) -> bool {
    origin(flags, name).is_some()
}

/// `NOVANET_STATE_PATH` and so on: handy in units and containers.
fn from_environment() -> Vec<Given> {
    registry()
        .iter()
        .filter_map(|flag| {
            let variable = format!("NOVANET_{}", flag.name.to_ascii_uppercase());
            let value = self::variable(&variable)?;
            Some(Given {
                name: flag.name.to_owned(),
                value: Some(value),
                origin: Origin::Environment(variable),
            })
        })
        .collect()
}

/// An environment variable; `None`: not set, or not UTF-8.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// An environment variable that is a path; `None`: not set.
pub(crate) fn variable_os(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// How many characters a line of the terminal has that the answer goes to; `None`: it goes
/// elsewhere.
pub(crate) fn terminal_width() -> Option<u16> {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return None;
    }
    let asked = variable("COLUMNS").and_then(|c| c.parse().ok());
    let size = || rustix::termios::tcgetwinsize(&out).ok().map(|s| s.ws_col);
    let width = asked.or_else(size).filter(|width| *width > 0);
    Some(width.unwrap_or(80))
}

fn is_include(given: &Given) -> bool {
    matches!(given.name.as_str(), "flagfile" | "config_file")
}

/// Files to read, and the origin of each name; the usual file has none, so it may be missing.
/// `--flagfile=` reads none.
fn files(command_line: &[Given]) -> Vec<(PathBuf, Option<Origin>)> {
    let named: Vec<&Given> = command_line.iter().filter(|g| is_include(g)).collect();
    if named.is_empty() {
        const VARIABLE: &str = "NOVANET_FLAGFILE";
        return match variable_os(VARIABLE) {
            Some(path) if path.is_empty() => Vec::new(),
            Some(path) => vec![(path.into(), Some(Origin::Environment(VARIABLE.to_owned())))],
            None => vec![(USUAL_FILE.into(), None)],
        };
    }
    named
        .iter()
        .filter_map(|g| g.value.as_deref())
        .filter(|path| !path.is_empty())
        .map(|path| (PathBuf::from(path), Some(Origin::CommandLine)))
        .collect()
}

/// What all files say. A mistake ends nothing: the others are to be heard of too.
#[derive(Default)]
struct Files {
    given: Vec<Given>,
    errors: Vec<FlagError>,
    /// Their names in the order in which they were opened.
    opened: Vec<String>,
    /// Those inside which the next one is read.
    inside: Vec<PathBuf>,
}

impl Files {
    fn read(&mut self, path: &Path, named_by: Option<&Origin>) {
        let shown = path.display().to_string();
        let text = match std::fs::read_to_string(path) {
            _ if self.inside.iter().any(|p| p == path) || self.inside.len() > MAX_INCLUDE_DEPTH => {
                Err("includes itself".to_owned())
            }
            Ok(text) => Ok(text),
            Err(e) if e.kind() == ErrorKind::NotFound && named_by.is_none() => return,
            Err(e) if self.inside.is_empty() => Err(format!(
                "{e}: give another with --flagfile=FILE, or none with --flagfile="
            )),
            Err(e) => Err(format!("{e}: correct the path or take the line out")),
        };
        let text = match text {
            Ok(text) => text,
            Err(why) => {
                self.errors.push(FlagError {
                    origin: named_by.cloned().unwrap_or(Origin::Default),
                    message: format!("flag file {shown}: {why}"),
                });
                return;
            }
        };
        let parsed = parse_file(&shown, &text);
        self.opened.push(shown);
        self.errors.extend(parsed.errors);
        self.inside.push(path.to_owned());
        for one in parsed.given {
            match (&one.value, is_include(&one)) {
                (Some(included), true) => {
                    let beside = path.parent().unwrap_or(Path::new("")).join(included);
                    self.read(&beside, Some(&one.origin));
                }
                _ => self.given.push(one),
            }
        }
        self.inside.pop();
    }

    /// Everything that is wrong: file by file as they were opened, and line by line.
    fn refuse(self, resolved: FlagErrors) -> Failure {
        // A file that is not there is no slip of the command line that names it.
        let unreadable = !self.errors.is_empty();
        let mut errors = self.errors;
        errors.extend(resolved.0);
        errors.sort_by_key(|e| match &e.origin {
            Origin::Default | Origin::Environment(_) => (0, 0, 0),
            Origin::File { path, line } => {
                let file = self.opened.iter().position(|p| p == path);
                (1, file.unwrap_or(usize::MAX), *line)
            }
            Origin::CommandLine => (2, 0, 0),
        });
        let slip = !unreadable && errors.iter().all(|e| e.origin == Origin::CommandLine);
        Failure {
            code: if slip { 2 } else { 1 },
            ..Failure::failed(FlagErrors(errors).to_string())
        }
    }
}

fn facts() -> Facts {
    let hostname = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    Facts {
        hostname: hostname.unwrap_or_else(|| "localhost".to_owned()),
        address: own_address().unwrap_or(Ipv4Addr::LOCALHOST),
        current_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
    }
}

/// The address that this machine uses towards the internet, as nova found it: connecting a UDP
/// socket asks the routing table and sends nothing.
fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(8, 8, 8, 8), 80)).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V4(address) if !address.is_unspecified() => Some(address),
        _ => None,
    }
}
