//! Waits for a state instead of sleeping: polls until it holds, or fails with the last state.
//! Depends on nothing.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// The first pauses are short, so that what is nearly instant is also seen nearly at once.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// Calls `state` until it answers `Ok`; after `limit` the error is its last answer, with the time
/// waited and the number of tries.
///
/// `state` is called at least once, and once more after the last pause, so that a slow machine does
/// not fail what had become true.
pub fn eventually<T, E: Display>(
    limit: Duration,
    mut state: impl FnMut() -> Result<T, E>,
) -> Result<T> {
    let mut pace = Pace::new(limit);
    loop {
        match state() {
            Ok(value) => return Ok(value),
            Err(last) => std::thread::sleep(pace.next_pause(&last)?),
        }
    }
}

/// [`eventually`] for a state that is asked asynchronously.
pub async fn eventually_async<T, E, F>(limit: Duration, mut state: impl FnMut() -> F) -> Result<T>
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let mut pace = Pace::new(limit);
    loop {
        match state().await {
            Ok(value) => return Ok(value),
            Err(last) => tokio::time::sleep(pace.next_pause(&last)?).await,
        }
    }
}

/// How long to pause until the next try, and when to give up.
struct Pace {
    began: Instant,
    limit: Duration,
    pause: Duration,
    tries: u32,
}

impl Pace {
    fn new(limit: Duration) -> Self {
        Self {
            began: Instant::now(),
            limit,
            pause: FIRST_PAUSE,
            tries: 0,
        }
    }

    fn next_pause(&mut self, last: &impl Display) -> Result<Duration> {
        self.tries += 1;
        let waited = self.began.elapsed();
        let Some(left) = self
            .limit
            .checked_sub(waited)
            .filter(|left| !left.is_zero())
        else {
            // `{:#}` so that an anyhow error shows its whole chain
            return Err(anyhow!(
                "not within {:?} ({} tries in {waited:.1?}); last state: {last:#}",
                self.limit,
                self.tries
            ));
        };
        let pause = self.pause.min(left);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        Ok(pause)
    }
}
