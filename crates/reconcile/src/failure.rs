//! An item that is not as it must be: when it is tried again, and how that is said. Pure.

use novanet_model::ObjectKey;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;
use tokio::time::Instant;

/// First wait before a failed item is tried again; doubles up to [`LONGEST_WAIT`].
pub(crate) const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait between two tries of what is made on this host: an obstacle that went without a
/// word (a port that somebody had taken) costs no more than this.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// Names given per object when many of its items fail.
const ITEMS_NAMED: usize = 3;

/// See the head of this file.
pub(crate) struct Failure<V> {
    pub(crate) target: Option<V>,
    pub(crate) message: String,
    pub(crate) attempts: u32,
    pub(crate) not_before: Instant,
    /// When it was tried last.
    pub(crate) tried: Instant,
    /// It was not even tried, because it waits for another subsystem.
    pub(crate) barred: bool,
}

pub(crate) fn wait_after(attempts: u32, longest: Duration) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << (attempts - 1).min(10));
    jitter(doubled.min(longest))
}

pub(crate) fn summary(messages: &[String]) -> String {
    let more = messages.len().saturating_sub(ITEMS_NAMED);
    let text = messages[..messages.len() - more].join("; ");
    if more > 0 {
        format!("{text}; and {more} more")
    } else {
        text
    }
}

/// Where trouble is reported that no object is to blame for.
pub fn host_key(what: &str) -> ObjectKey {
    ObjectKey(format!("host/{what}"))
}

/// The word for a change in logs and plans.
pub(crate) fn action<V>(from: Option<&V>, to: Option<&V>) -> &'static str {
    match (from, to) {
        (None, _) => "create",
        (Some(_), Some(_)) => "change",
        (Some(_), None) => "remove",
    }
}

/// The duration ±20 %, so that hosts (and subsystems) do not act in step.
pub fn jitter(duration: Duration) -> Duration {
    // The hasher's keys differ for each call: random enough, and no dependency.
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    let percent = 80 + u32::try_from(random % 41).unwrap_or(20);
    duration * percent / 100
}
