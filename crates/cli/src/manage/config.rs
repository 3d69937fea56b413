//! `nova-manage config list`: every flag with its effective value and the origin of that, and the
//! values of the daemons that run here. It also works with a broken nova.conf.

use super::{Category, action};
use crate::args::Format;
use crate::failure::Failure;
use crate::running::{self, Running};
use crate::say;
use crate::table::json;
use novanet_model::flags::Flags;
use serde::Serialize;
use std::fmt::Write as _;

pub(crate) const CATEGORY: Category = Category {
    name: "config",
    aliases: &["flags"],
    about: "the flags and where their values come from",
    actions: &[action(
        "list",
        "every flag, its value and its origin, and what the running service has instead",
        &[],
        |_| Ok(super::Command::Config),
    )],
};

/// A line of `config list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FlagRow {
    name: &'static str,
    value: String,
    origin: String,
    default: &'static str,
    help: &'static str,
    /// Daemons on this host that have another value.
    running: Vec<Other>,
}

/// What a daemon has.
#[derive(Debug, Clone, Serialize)]
struct Other {
    #[serde(rename = "command")]
    applet: String,
    pid: u32,
    value: String,
    origin: String,
}

/// All flags. Mistakes in the files, and lines without effect, go to stderr; a mistake on the
/// command line itself is an error. Leaves out a password in the database's address.
pub(crate) fn list(
    flags: &Flags,
    failure: Option<Failure>,
    format: Format,
) -> Result<String, Failure> {
    match failure {
        Some(failure) if failure.code == 2 => return Err(failure),
        Some(failure) => say::error(&failure.to_string()),
        None => {}
    }
    flags.warnings().iter().for_each(|w| say::warning(w));
    let rows = rows(flags, &running::all(&flags.state_path()));
    let mut text = String::new();
    match format {
        Format::Json => return Ok(json(&rows)),
        Format::Plain => {
            for row in rows {
                let _ = writeln!(text, "{} = {}", row.name, row.value);
            }
            return Ok(text);
        }
        Format::Table => {}
    }
    for row in rows {
        let _ = writeln!(text, "{} = {}  ({})", row.name, row.value, row.origin);
        for other in row.running {
            let _ = writeln!(
                text,
                "    novanet {} (pid {}) runs with {:?}  ({})",
                other.applet, other.pid, other.value, other.origin
            );
        }
    }
    for note in flags.notes() {
        let _ = writeln!(text, "note: {note}");
    }
    Ok(text)
}

fn rows(flags: &Flags, running: &[Running]) -> Vec<FlagRow> {
    flags
        .all()
        .map(|(flag, value)| FlagRow {
            name: flag.name,
            value: value.shown(),
            origin: value.origin.to_string(),
            default: flag.default,
            help: flag.help,
            running: others(flag.name, &value.shown(), running),
        })
        .collect()
}

fn others(name: &str, value: &str, running: &[Running]) -> Vec<Other> {
    let all = running.iter().flat_map(|daemon| {
        let settings = daemon.flags.iter();
        settings.map(move |setting| (daemon, setting))
    });
    all.filter(|(_, setting)| setting.name == name && setting.value != value)
        .map(|(daemon, setting)| Other {
            applet: daemon.applet.clone(),
            pid: daemon.pid,
            value: setting.value.clone(),
            origin: setting.origin.clone(),
        })
        .collect()
}
