//! The log: one line per event on stderr, where systemd's journal and people read it.

use novanet_model::flags::Flags;
use tracing_subscriber::EnvFilter;

/// Opens the log as `verbose`, `debug` and `log_format` say; `RUST_LOG` wins over them.
pub(super) fn open(flags: &Flags) {
    let level = if flags.switch("debug") {
        "debug,sqlx=info,hyper=info"
    } else if flags.switch("verbose") {
        "info,novanet=debug,novanet_agent=debug"
    } else {
        "info"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    // A second log in one process (tests) keeps the first.
    let _ = if flags.text("log_format") == "json" {
        log.json().try_init()
    } else {
        log.with_ansi(false).try_init()
    };
    for note in flags.notes() {
        tracing::info!("{note}");
    }
}
