//! What an instance is doing, as the database and EC2 say it.

use std::fmt;
use std::str::FromStr;

/// The `state` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Placed, not running yet.
    Pending,
    /// Running.
    Running,
    /// Ended by itself.
    Stopped,
    /// Could not be started.
    Error,
    /// Hosts are letting go of it.
    Deleting,
    /// Gone; the row stays for an hour for those who ask.
    Terminated,
}

const STATES: [(State, &str); 6] = [
    (State::Pending, "pending"),
    (State::Running, "running"),
    (State::Stopped, "stopped"),
    (State::Error, "error"),
    (State::Deleting, "deleting"),
    (State::Terminated, "terminated"),
];

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            STATES
                .iter()
                .find(|(s, _)| s == self)
                .map_or("", |(_, word)| word),
        )
    }
}

impl FromStr for State {
    type Err = novanet_model::ModelError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        STATES
            .iter()
            .find(|(_, word)| *word == text)
            .map(|(s, _)| *s)
            .ok_or_else(|| novanet_model::ModelError::new("state", text, "is none of ours"))
    }
}
