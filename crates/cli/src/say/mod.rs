//! Writes to stdout and stderr. A line that cannot be written is lost and nothing else: no call
//! here panics, and in a daemon none of them waits for the reader of a pipe.
//!
//! Commands write at once. After [`in_background`] a thread of each stream writes
//! ([`stream::Stream`]), counts the lines that it loses, and says so when writing works again.

mod repeats;
mod stream;

use std::io::Write as _;
use std::sync::OnceLock;
use std::time::Duration;
use stream::{Fd, Stream};

/// How long the end of a daemon may wait for a reader to take what was said last.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// stdout and stderr of a daemon; empty in a command.
static STREAMS: OnceLock<(Stream, Stream)> = OnceLock::new();

/// From now on nothing that is said can hold up the process: for daemons. `json`: log lines are
/// JSON objects.
pub(crate) fn in_background(json: bool) {
    // Without a thread the streams stay as they are for commands.
    if let (Ok(out), Ok(err)) = (
        Stream::start(Fd::Stdout, json),
        Stream::start(Fd::Stderr, json),
    ) {
        let _ = STREAMS.set((out, err));
    }
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string().replace('\n', " ");
        tracing::error!("{text}");
    }));
}

/// A line on stdout.
pub(crate) fn line(text: &str) {
    let text = format!("{text}\n");
    match STREAMS.get() {
        Some((out, _)) => out.say(text),
        None => drop(std::io::stdout().write_all(text.as_bytes())),
    }
}

/// A line on stderr.
pub(crate) fn error(text: &str) {
    let text = format!("{text}\n");
    match STREAMS.get() {
        Some((_, err)) => err.say(text),
        None => drop(std::io::stderr().write_all(text.as_bytes())),
    }
}

/// A remark on stderr that is neither the answer nor an error.
pub(crate) fn note(text: &str) {
    error(&format!("note: {text}"));
}

/// Something on stderr that is wrong though the command did what it should.
pub(crate) fn warning(text: &str) {
    error(&format!("warning: {text}"));
}

/// Writes out what was said, as far as the readers take it within a second.
pub(crate) fn finish() {
    if let Some((out, err)) = STREAMS.get() {
        let end = std::time::Instant::now() + FLUSH_TIMEOUT;
        out.finish(end);
        err.finish(end);
    }
}

/// Where the log's lines go: stderr, each stamped with its time, repetitions counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log;

impl std::io::Write for Log {
    /// One event, whole. Never fails: `tracing_subscriber` would print the error to stderr.
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        match STREAMS.get() {
            Some((_, err)) => err.log(text.trim_end()),
            None => drop(std::io::stderr().write_all(event)),
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
