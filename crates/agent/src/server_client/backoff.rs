//! Growing pauses while the server is down. The first failure and the recovery are logged, what
//! lies between is not: a server that is down for a day is two lines.

use novanet_reconcile::jitter;
use std::fmt::Display;
use std::time::Duration;

pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// It worked.
    pub(super) fn worked(&mut self, what: &str) {
        if self.failures > 0 {
            tracing::info!(what, failures = self.failures, "the server answers again");
        }
        self.failures = 0;
    }

    /// It did not: waits.
    pub(super) async fn failed(&mut self, what: &str, error: &(dyn Display + Sync)) {
        if self.failures == 0 {
            tracing::warn!(what, %error, "the server does not answer; the host goes on as it is");
        } else {
            tracing::debug!(what, %error, failures = self.failures, "still no answer");
        }
        let pause = self.first.saturating_mul(1 << self.failures.min(10));
        self.failures += 1;
        tokio::time::sleep(jitter(pause.min(self.longest))).await;
    }
}
