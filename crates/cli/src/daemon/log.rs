//! The log: one line per event on stderr. systemd's journal and files get what is done; a terminal
//! gets warnings and errors, unless a flag asks for more.

use crate::say;
use novanet_model::flags::Flags;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// What `--help` says about the log.
pub(super) const HELP: &str = "
The log goes to stderr. In a journal or a file it says what is done; at a terminal only what is wrong,
unless --verbose (also details of this program), --debug (everything) or RUST_LOG asks for more.
RUST_LOG wins over the flags: RUST_LOG=info is what a journal gets. A line that repeats within a
minute is written three times, then counted: (repeated 37 times). --log_format=json: JSON objects.
";

/// Opens the log as `verbose`, `debug` and `log_format` say; `RUST_LOG` wins over them. From here
/// on nothing that is said can end or hold up the process.
pub(super) fn open(flags: &Flags) {
    let json = flags.text("log_format") == "json";
    say::in_background(json);
    let asked = EnvFilter::try_from_default_env().ok();
    let level = level(flags, std::io::stderr().is_terminal());
    let quiet = asked.is_none() && level == QUIET;
    let log = tracing_subscriber::fmt()
        .with_env_filter(asked.unwrap_or_else(|| EnvFilter::new(level)))
        .with_writer(|| say::Log)
        .log_internal_errors(false)
        .without_time() // the writer stamps the lines
        .with_ansi(false)
        .with_target(false);
    // A second log in one process (tests) keeps the first.
    let _ = if json {
        log.json().try_init()
    } else {
        log.try_init()
    };
    for warning in flags.warnings() {
        tracing::warn!("{warning}");
    }
    match flags.notes() {
        [] => {}
        notes if quiet => tracing::info!(
            "{} lines of the flag files have no effect: nova-manage config list names them",
            notes.len()
        ),
        notes => notes.iter().for_each(|note| tracing::info!("{note}")),
    }
}

/// Warnings, and what this crate itself says.
const QUIET: &str = "warn,novanet_cli=info";

fn level(flags: &Flags, terminal: bool) -> &'static str {
    if flags.switch("debug") {
        "debug,sqlx=info,hyper=info"
    } else if flags.switch("verbose") {
        "info,novanet=debug,novanet_agent=debug"
    } else if terminal {
        QUIET
    } else {
        "info"
    }
}
