//! Shows that an action is done within a time, on a busy machine: repeats it until one try is quick
//! enough. Other load differs from try to try; an action that is slow itself is slow every time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long it is tried.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);

/// `while quickest.again()? { …; quickest.took(began.elapsed()); }`
#[derive(Debug)]
pub struct Quickest {
    limit: Duration,
    timeout: Duration,
    began: Instant,
    best: Option<Duration>,
    tries: u32,
}

impl Quickest {
    /// Nothing is measured yet; `limit` is what it may take.
    pub fn within(limit: Duration) -> Self {
        Self::with_timeout(limit, DEFAULT_TIMEOUT)
    }

    fn with_timeout(limit: Duration, timeout: Duration) -> Self {
        Self {
            limit,
            timeout,
            began: Instant::now(),
            best: None,
            tries: 0,
        }
    }

    /// Whether to try (again): not once it was quick enough. That it never was, for a minute, is
    /// the error.
    pub fn again(&self) -> Result<bool> {
        match self.best {
            Some(best) if best <= self.limit => Ok(false),
            Some(best) if self.began.elapsed() > self.timeout => bail!(
                "not within {:?}: the quickest of {} tries took {best:?}",
                self.limit,
                self.tries
            ),
            _ => Ok(true),
        }
    }

    /// What one try took.
    pub fn took(&mut self, time: Duration) {
        self.tries += 1;
        self.best = Some(self.best.map_or(time, |best| best.min(time)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_quick_try_is_enough_and_none_is_an_error() {
        let limit = Duration::from_millis(5);
        let mut times = [9, 6, 4, 1].map(Duration::from_millis).into_iter();
        let mut quickest = Quickest::within(limit);
        while quickest.again().expect("timeout") {
            quickest.took(times.next().expect("a try more than is needed"));
        }
        assert_eq!(times.len(), 1);

        let mut slow = Quickest::with_timeout(limit, Duration::ZERO);
        assert!(slow.again().expect("the first try"));
        slow.took(Duration::from_millis(7));
        slow.took(Duration::from_millis(8));
        let error = slow.again().expect_err("it was too slow").to_string();
        assert_eq!(error, "not within 5ms: the quickest of 2 tries took 7ms");
    }
}
