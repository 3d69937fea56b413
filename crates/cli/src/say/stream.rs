//! One output stream of a daemon, written by a thread of its own, so that full disks, closed pipes
//! and readers that hang block that thread only.

use super::repeats::Repeats;
use nix::errno::Errno;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// Bytes that may wait for a slow reader. What comes then is lost.
const QUEUE: usize = 1 << 20;

/// What a waiting line costs besides its text, in bytes.
const LINE: usize = 64;

/// Which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fd {
    Stdout,
    Stderr,
}

/// The handle that all threads write to.
#[derive(Debug)]
pub(super) struct Stream {
    sender: Sender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Bytes in the queue.
    queued: AtomicUsize,
    /// Lines that were not written.
    lost: AtomicU64,
    /// Why, as of the last one.
    why: RwLock<Option<Errno>>,
}

#[derive(Debug)]
enum Message {
    /// To be written as it is.
    Say(String),
    /// An event of the log.
    Log(OffsetDateTime, String),
    /// Everything before this is to be written; then an answer.
    Finish(Sender<()>),
}

impl Message {
    fn size(&self) -> usize {
        match self {
            Self::Say(text) | Self::Log(_, text) => text.len() + LINE,
            Self::Finish(_) => 0,
        }
    }
}

impl Stream {
    /// Starts the stream's thread.
    pub(super) fn start(fd: Fd, json: bool) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let writer = Writer {
            fd,
            json,
            shared: Arc::clone(&shared),
            broken: false,
        };
        std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || writer.run(&receiver))?;
        Ok(Self { sender, shared })
    }

    /// Writes text as it is.
    pub(super) fn say(&self, text: String) {
        self.send(Message::Say(text));
    }

    /// Writes an event of the log.
    pub(super) fn log(&self, event: &str) {
        let event = event.to_owned();
        self.send(Message::Log(OffsetDateTime::now_utc(), event));
    }

    /// Waits until everything is written, but not beyond `end`.
    pub(super) fn finish(&self, end: Instant) {
        let (done, finished) = mpsc::channel();
        if self.sender.send(Message::Finish(done)).is_ok() {
            let _ = finished.recv_timeout(end.saturating_duration_since(Instant::now()));
        }
    }

    fn send(&self, message: Message) {
        let size = message.size();
        let before = self.shared.queued.fetch_add(size, Ordering::Relaxed);
        if before + size > QUEUE || self.sender.send(message).is_err() {
            self.shared.queued.fetch_sub(size, Ordering::Relaxed);
            self.shared.lose(None);
        }
    }
}

impl Shared {
    fn lose(&self, why: Option<Errno>) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        *self.why.write().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

/// What the thread has.
struct Writer {
    fd: Fd,
    json: bool,
    shared: Arc<Shared>,
    /// The last line may have been written in part.
    broken: bool,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        let mut repeats = Repeats::default();
        loop {
            let message = match repeats.next() {
                None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(next) => {
                    let wait = next.saturating_duration_since(Instant::now());
                    receiver.recv_timeout(wait.max(Duration::from_millis(1)))
                }
            };
            let size = message.as_ref().map_or(0, Message::size);
            self.shared.queued.fetch_sub(size, Ordering::Relaxed);
            match message {
                Ok(Message::Say(text)) => self.write(&text),
                Ok(Message::Log(at, text)) => {
                    if repeats.pass(&text, Instant::now()) {
                        self.event(at, &text, None);
                    }
                }
                Ok(Message::Finish(done)) => {
                    self.repeated(repeats.rest());
                    self.write("");
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.repeated(repeats.due(Instant::now()));
        }
    }

    fn repeated(&mut self, lines: Vec<(String, u64)>) {
        for (text, times) in lines {
            self.event(OffsetDateTime::now_utc(), &text, Some(times));
        }
    }

    fn event(&mut self, at: OffsetDateTime, text: &str, repeated: Option<u64>) {
        self.write(&event(self.json, at, text, repeated));
    }

    /// Writes a line, before it how many were lost; or loses it, too.
    fn write(&mut self, text: &str) {
        let lost = self.shared.lost.load(Ordering::Relaxed);
        if lost > 0 {
            let loss = loss(self.json, lost, self.why());
            match self.put(&loss) {
                Ok(()) => drop(self.shared.lost.fetch_sub(lost, Ordering::Relaxed)),
                Err(_) if text.is_empty() => return,
                Err(errno) => return self.shared.lose(Some(errno)),
            }
        }
        if let Err(errno) = self.put(text) {
            self.shared.lose(Some(errno));
        }
    }

    fn why(&self) -> Option<Errno> {
        *self
            .shared
            .why
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&mut self, text: &str) -> Result<(), Errno> {
        let mut rest = text.as_bytes();
        if self.broken && !rest.is_empty() {
            // The end of the line that a full disk cut.
            self.put_all(b"\n")?;
        }
        self.broken = !rest.is_empty();
        while !rest.is_empty() {
            let written = self.put_some(rest)?;
            rest = &rest[written..];
        }
        self.broken = false;
        Ok(())
    }

    fn put_all(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let written = self.put_some(bytes)?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Not by `std::io`: what its stdout could not write it would keep and try again.
    fn put_some(&self, bytes: &[u8]) -> Result<usize, Errno> {
        loop {
            let done = match self.fd {
                Fd::Stdout => nix::unistd::write(std::io::stdout(), bytes),
                Fd::Stderr => nix::unistd::write(std::io::stderr(), bytes),
            };
            match done {
                Err(Errno::EINTR) => {}
                Ok(0) => return Err(Errno::EIO),
                other => return other,
            }
        }
    }
}

/// An event as a line: with its time, and how often it was held back.
fn event(json: bool, at: OffsetDateTime, text: &str, repeated: Option<u64>) -> String {
    let format = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z"
    );
    let at = at.format(&format).unwrap_or_default();
    match (json, repeated) {
        (false, None) => format!("{at} {text}\n"),
        (false, Some(times)) => format!("{at} {text} (repeated {times} times)\n"),
        (true, repeated) => {
            let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
            let inner = inner.unwrap_or("");
            let repeated = repeated.map(|times| format!(",\"repeated\":{times}"));
            let repeated = repeated.unwrap_or_default();
            format!("{{\"timestamp\":\"{at}\",{inner}{repeated}}}\n")
        }
    }
}

/// How many lines were lost, as an event.
fn loss(json: bool, lost: u64, why: Option<Errno>) -> String {
    let why = why.map_or("the reader is too slow", Errno::desc);
    let text = format!("{lost} lines were lost here: {why}");
    let text = if json {
        format!("{{\"level\":\"WARN\",\"fields\":{{\"message\":\"{text}\"}}}}")
    } else {
        format!(" WARN {text}")
    };
    event(json, OffsetDateTime::now_utc(), &text, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_its_time_and_its_count_in_both_shapes() {
        let at = OffsetDateTime::UNIX_EPOCH;
        assert_eq!(
            event(false, at, " WARN no room", Some(37)),
            "1970-01-01T00:00:00.000000Z  WARN no room (repeated 37 times)\n"
        );
        assert_eq!(
            event(true, at, "{\"level\":\"WARN\"}", Some(37)),
            "{\"timestamp\":\"1970-01-01T00:00:00.000000Z\",\"level\":\"WARN\",\"repeated\":37}\n"
        );
        assert_eq!(
            event(true, at, "{\"level\":\"INFO\"}", None),
            "{\"timestamp\":\"1970-01-01T00:00:00.000000Z\",\"level\":\"INFO\"}\n"
        );
        let text = loss(true, 7, Some(Errno::ENOSPC));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let said = "7 lines were lost here: No space left on device";
        assert_eq!(value["fields"]["message"], said);
    }
}
