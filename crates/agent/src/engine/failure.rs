//! An item that is not as it must be: when it is tried again, and how that is said. Pure.

use super::jitter;
use std::time::Duration;
use tokio::time::Instant;

/// First wait before a failed item is tried again; doubles up to [`LONGEST_WAIT`].
pub const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Longest wait between two tries.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Names given per object when many of its items fail.
const ITEMS_NAMED: usize = 3;

/// See the head of this file.
pub(super) struct Failure<V> {
    pub(super) target: Option<V>,
    pub(super) message: String,
    pub(super) attempts: u32,
    pub(super) not_before: Instant,
    /// It was not even tried, because it waits for another room.
    pub(super) barred: bool,
}

pub(super) fn wait_after(attempts: u32) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << (attempts - 1).min(10));
    jitter(doubled.min(LONGEST_WAIT))
}

pub(super) fn summary(messages: &[String]) -> String {
    let more = messages.len().saturating_sub(ITEMS_NAMED);
    let text = messages[..messages.len() - more].join("; ");
    if more > 0 {
        format!("{text}; and {more} more")
    } else {
        text
    }
}
