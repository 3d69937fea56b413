//! Waits while the server does not answer. Logs the first failure and the recovery, and nothing
//! between: a server that is down for a day is two lines. Depends on [`Backoff`] for the pauses.

use novanet_reconcile::Backoff;
use std::fmt::Display;

/// The failures in a row of one kind of request.
pub(super) struct Outage {
    backoff: Backoff,
    failures: u32,
}

impl Outage {
    pub(super) fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            failures: 0,
        }
    }

    /// The server answered.
    pub(super) fn ended(&mut self, what: &str) {
        if self.failures > 0 {
            tracing::info!(what, failures = self.failures, "the server answers again");
        }
        self.failures = 0;
    }

    /// The server did not answer: waits before the next attempt.
    pub(super) async fn failed(&mut self, what: &str, error: &(dyn Display + Sync)) {
        if self.failures == 0 {
            tracing::warn!(what, %error, "the server does not answer; the host goes on as it is");
        } else {
            tracing::debug!(what, %error, failures = self.failures, "still no answer");
        }
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(self.backoff.pause(self.failures)).await;
    }
}
