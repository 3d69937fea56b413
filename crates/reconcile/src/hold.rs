//! Why the reconciler does not make an item now, and when the next attempt is due. Pure: the
//! reconciler decides, [`crate::holds`] keeps the books.

use std::time::Duration;
use tokio::time::Instant;

/// Between two attempts of one item lies at least this part of the longest pause, however many
/// events ask for a retry: a failed attempt may itself be an event (a process that ends at once).
const MIN_RETRY_FRACTION: u32 = 3;

/// Why nothing may be made for an object now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// The firewall still works on its change. Not reported.
    Busy,
    /// The firewall cannot protect the object; the text says why.
    Refused(String),
}

/// Why an item is not made now, or not as one object claims it. The crate's page says how each
/// begins and ends.
#[derive(Debug)]
pub(crate) enum Hold<V> {
    /// A subsystem below still works on the batch.
    DependencyOrder,
    /// The last attempt failed.
    Retry(Failure<V>),
    /// The firewall does not protect the item's object yet. `None`: the firewall is busy, and
    /// nothing is reported.
    FirewallNotReady(Option<Failure<V>>),
    /// Of a claim: the host cannot have the object's network or address.
    NetworkUnavailable,
    /// Of a claim: another object's value won. The text is for the object that lost.
    Conflict(String),
}

/// The last attempt to reach a value.
#[derive(Debug)]
pub(crate) struct Failure<V> {
    /// The value that was to be reached; `None`: the item was to go.
    pub(crate) target: Option<V>,
    pub(crate) message: String,
    /// Failures in a row.
    pub(crate) attempts: u32,
    /// No regular attempt before this time.
    pub(crate) not_before: Instant,
    pub(crate) last_attempt: Instant,
    /// Whether the subsystem tried: an item that the firewall held back did not reach the host.
    pub(crate) reached_host: bool,
}

impl<V> Failure<V> {
    /// Due at once, or a fraction of the longest pause after the last attempt.
    pub(crate) fn expedite(&mut self, now: Instant, longest: Duration) {
        let earliest = now.max(self.last_attempt + longest / MIN_RETRY_FRACTION);
        self.not_before = self.not_before.min(earliest);
    }
}

impl<V> Hold<V> {
    pub(crate) fn failure(&self) -> Option<&Failure<V>> {
        match self {
            Self::Retry(failure) | Self::FirewallNotReady(Some(failure)) => Some(failure),
            Self::DependencyOrder
            | Self::FirewallNotReady(None)
            | Self::NetworkUnavailable
            | Self::Conflict(_) => None,
        }
    }

    pub(crate) fn failure_mut(&mut self) -> Option<&mut Failure<V>> {
        match self {
            Self::Retry(failure) | Self::FirewallNotReady(Some(failure)) => Some(failure),
            Self::DependencyOrder
            | Self::FirewallNotReady(None)
            | Self::NetworkUnavailable
            | Self::Conflict(_) => None,
        }
    }

    /// The word for the reason.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::DependencyOrder => "DependencyOrder",
            Self::Retry(_) => "Retry",
            Self::FirewallNotReady(_) => "FirewallNotReady",
            Self::NetworkUnavailable => "NetworkUnavailable",
            Self::Conflict(_) => "Conflict",
        }
    }
}
