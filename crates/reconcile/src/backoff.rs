//! Growing pauses between attempts. Depends on the standard library only.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// After this many failures the pause doubles no more, whatever the longest pause is.
const MAX_DOUBLINGS: u32 = 10;

/// A pause that doubles with each failure, with jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause, before jitter.
    pub longest: Duration,
}

impl Backoff {
    /// The pause after this many failures in a row (at least one), ±20 %.
    pub fn pause(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
        jitter(self.first.saturating_mul(1 << doublings).min(self.longest))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let backoff = Backoff {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(1),
        };
        for (failures, pause) in [
            (0, 100),
            (1, 100),
            (2, 200),
            (4, 800),
            (5, 1000),
            (99, 1000),
        ] {
            let pause = Duration::from_millis(pause);
            let got = backoff.pause(failures);
            assert!(
                got >= pause * 8 / 10 && got <= pause * 12 / 10,
                "{failures} failures: {got:?}"
            );
        }
    }
}
