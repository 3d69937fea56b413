//! Log lines that an attacker could repeat at will: at most one a minute, with the number of events
//! since the last one.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Between two log lines about the same thing.
const PAUSE: Duration = Duration::from_mins(1);

/// Decides which of many equal events are logged.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    logged: Option<Instant>,
    events: u64,
}

impl Seldom {
    /// Counts an event. `Some`: log it now, with this number of events since the last log line
    /// (this one included).
    pub(crate) fn event(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.events += 1;
        let now = Instant::now();
        if state.logged.is_some_and(|at| now < at + PAUSE) {
            return None;
        }
        state.logged = Some(now);
        Some(std::mem::take(&mut state.events))
    }
}
