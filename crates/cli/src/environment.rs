//! The only place that reads the environment, the flag files and this machine's name and address.

use crate::failure::Failure;
use novanet_model::flags::{Facts, FlagErrors, Flags, Given, Origin, Parsed, parse_file, registry};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};

/// Where nova's packages put it. nova also took `./nova.conf`; a program that root runs anywhere
/// must not.
const USUAL_FILE: &str = "/etc/nova/nova.conf";
/// A file that includes itself is found out here.
const DEEPEST: usize = 8;

/// Flags from the command line, the files it names (or the usual one) and the environment.
pub(crate) fn flags(command_line: &[Given]) -> Result<Flags, Failure> {
    let mut given = from_environment();
    let mut read = Parsed::default();
    for (path, required) in files(command_line) {
        read_file(&path, required, 0, &mut read)?;
    }
    given.append(&mut read.given);
    given.extend(command_line.iter().filter(|g| !is_include(g)).cloned());
    let resolved = Flags::resolve(&given, &facts());
    match resolved {
        Ok(flags) if read.errors.is_empty() => Ok(flags),
        other => {
            read.errors
                .extend(other.err().into_iter().flat_map(|e| e.0));
            let code = if read.errors.iter().all(|e| e.origin == Origin::CommandLine) {
                2
            } else {
                1
            };
            Err(Failure {
                code,
                ..Failure::failed(FlagErrors(read.errors).to_string())
            })
        }
    }
}

/// `NOVANET_STATE_PATH` and so on: handy in units and containers.
fn from_environment() -> Vec<Given> {
    registry()
        .iter()
        .filter_map(|flag| {
            let variable = format!("NOVANET_{}", flag.name.to_ascii_uppercase());
            let value = std::env::var(&variable).ok()?;
            Some(Given {
                name: flag.name.to_owned(),
                value: Some(value),
                origin: Origin::Environment(variable),
            })
        })
        .collect()
}

fn is_include(given: &Given) -> bool {
    matches!(given.name.as_str(), "flagfile" | "config_file")
}

/// Files to read, and whether it is an error when one is missing. `--flagfile=` reads none.
fn files(command_line: &[Given]) -> Vec<(PathBuf, bool)> {
    let named: Vec<&Given> = command_line.iter().filter(|g| is_include(g)).collect();
    if named.is_empty() {
        return match std::env::var_os("NOVANET_FLAGFILE") {
            Some(path) if path.is_empty() => Vec::new(),
            Some(path) => vec![(path.into(), true)],
            None => vec![(USUAL_FILE.into(), false)],
        };
    }
    named
        .iter()
        .filter_map(|g| g.value.as_deref())
        .filter(|path| !path.is_empty())
        .map(|path| (PathBuf::from(path), true))
        .collect()
}

fn read_file(path: &Path, required: bool, depth: usize, all: &mut Parsed) -> Result<(), Failure> {
    let shown = path.display();
    if depth > DEEPEST {
        return Err(Failure::failed(format!(
            "flag file {shown}: includes itself"
        )));
    }
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !required => return Ok(()),
        Err(e) => {
            return Err(Failure::failed(format!(
                "flag file {shown}: {e}: give another with --flagfile=FILE, or none with --flagfile="
            )));
        }
    };
    let parsed = parse_file(&shown.to_string(), &text);
    all.errors.extend(parsed.errors);
    for one in parsed.given {
        match (&one.value, is_include(&one)) {
            (Some(included), true) => {
                let beside = path.parent().unwrap_or(Path::new("")).join(included);
                read_file(&beside, true, depth + 1, all)?;
            }
            _ => all.given.push(one),
        }
    }
    Ok(())
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
