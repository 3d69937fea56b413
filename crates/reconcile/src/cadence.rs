//! When a worker observes its subsystem again: regularly, soon after a change, at once after an
//! external change, and never so often that the host is busy observing. Pure.

use crate::backoff::jitter;
use std::time::Duration;
use tokio::time::Instant;

/// The times of the workers. The agent runs with the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Between two regular observations of a subsystem.
    pub interval: Duration,
    /// From a round that changed something to the observation that verifies it.
    pub verify: Duration,
    /// External changes closer than this are one.
    pub debounce: Duration,
    /// No external change waits longer than this.
    pub debounce_limit: Duration,
    /// How long a removal waits for the subsystem above, before it goes ahead.
    pub hold_limit: Duration,
    /// How long a creation waits for the subsystems below, before it goes ahead.
    pub order_limit: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(3),
            verify: Duration::from_secs(1),
            debounce: Duration::from_millis(20),
            debounce_limit: Duration::from_millis(100),
            hold_limit: Duration::from_secs(15),
            order_limit: Duration::from_secs(2),
        }
    }
}

/// Regular observations take at most a twentieth of the time, those after external changes a fifth.
const REGULAR_SHARE: u32 = 20;
const EXTERNAL_SHARE: u32 = 4;
/// After an external change the pause is at most this, however slow the subsystem is to observe.
pub(crate) const MAX_GAP: Duration = Duration::from_secs(2);

/// When the next observation of one subsystem is due.
#[derive(Debug)]
pub(crate) struct Cadence {
    timing: Timing,
    regular: Option<Instant>,
    ended: Option<Instant>,
    cost: Duration,
    changed_externally: Option<(Instant, Instant)>,
    max_gap: Duration,
}

impl Cadence {
    /// Nothing is due before the first observation.
    pub(crate) fn new(timing: Timing) -> Self {
        Self {
            timing,
            regular: None,
            ended: None,
            cost: Duration::ZERO,
            changed_externally: None,
            max_gap: MAX_GAP,
        }
    }

    /// Sets the longest pause before an observation after an external change.
    #[must_use]
    pub(crate) fn with_max_gap(mut self, longest: Duration) -> Self {
        self.max_gap = longest;
        self
    }

    /// Another process changed something of the subsystem.
    pub(crate) fn changed_externally(&mut self, now: Instant) {
        let first = self.changed_externally.map_or(now, |(first, _)| first);
        self.changed_externally = Some((first, now));
    }

    /// The subsystem was observed; that began at `began`.
    pub(crate) fn observed(&mut self, began: Instant, now: Instant) {
        self.cost = now.duration_since(began);
        self.ended = Some(now);
        self.changed_externally = self.changed_externally.filter(|(_, last)| *last > began);
        self.regular = Some(now + self.at_most_often(self.timing.interval));
    }

    /// The worker itself changed something of the subsystem.
    pub(crate) fn changed(&mut self, now: Instant) {
        let soon = now + self.at_most_often(self.timing.verify);
        // If it is past, the observation failed: not again at once.
        let regular = self.regular.filter(|regular| *regular > now);
        self.regular = Some(regular.map_or(soon, |regular| regular.min(soon)));
    }

    /// When to observe next; `retry` is when a failed item is due.
    pub(crate) fn due(&self, retry: Option<Instant>) -> Option<Instant> {
        let gap = (self.cost * EXTERNAL_SHARE).min(self.max_gap);
        let earliest = self.ended.map(|ended| ended + gap);
        let changed_externally = self.changed_externally.map(|(first, last)| {
            (last + self.timing.debounce).min(first + self.timing.debounce_limit)
        });
        let early = [changed_externally, retry]
            .into_iter()
            .flatten()
            .min()
            .map(|at| earliest.map_or(at, |earliest| at.max(earliest)));
        [early, self.regular].into_iter().flatten().min()
    }

    fn at_most_often(&self, interval: Duration) -> Duration {
        jitter(interval).max(self.cost * REGULAR_SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_storm_of_external_changes_is_observed_within_the_limit() {
        let start = Instant::now();
        let mut cadence = Cadence::new(Timing::default());
        cadence.observed(start, start + MS);
        for i in 0..50 {
            cadence.changed_externally(start + (20 + 10 * i) * MS);
        }
        assert_eq!(cadence.due(None), Some(start + 120 * MS));
    }

    #[test]
    fn one_external_change_is_observed_after_the_debounce() {
        let start = Instant::now();
        let mut cadence = Cadence::new(Timing::default());
        cadence.observed(start, start + MS);
        cadence.changed_externally(start + 500 * MS);
        assert_eq!(cadence.due(None), Some(start + 520 * MS));
    }

    #[test]
    fn a_slow_subsystem_is_not_observed_all_the_time() {
        let start = Instant::now();
        let mut cadence = Cadence::new(Timing::default());
        cadence.observed(start, start + 200 * MS);
        cadence.changed_externally(start + 201 * MS);
        assert_eq!(cadence.due(None), Some(start + 1000 * MS));
        assert!(cadence.regular >= Some(start + 4000 * MS));
    }

    #[test]
    fn a_second_flush_of_the_firewall_does_not_wait_for_the_cost_of_the_first() {
        let start = Instant::now();
        let mut cadence = Cadence::new(Timing::default()).with_max_gap(10 * MS);
        cadence.changed_externally(start);
        cadence.observed(start + 20 * MS, start + 120 * MS);
        cadence.changed_externally(start + 121 * MS);
        assert_eq!(cadence.due(None), Some(start + 141 * MS));
        // One that came during the repair of the first is observed after the pause.
        cadence.observed(start + 141 * MS, start + 241 * MS);
        cadence.changed_externally(start + 150 * MS);
        assert_eq!(cadence.due(None), Some(start + 251 * MS));
    }

    #[test]
    fn an_external_change_during_an_observation_is_not_forgotten() {
        let start = Instant::now();
        let mut cadence = Cadence::new(Timing::default());
        cadence.changed_externally(start);
        cadence.changed_externally(start + 5 * MS);
        cadence.observed(start + 2 * MS, start + 10 * MS);
        assert!(cadence.due(None) < Some(start + 200 * MS));
        cadence.observed(start + 20 * MS, start + 21 * MS);
        assert!(cadence.due(None) > Some(start + 1000 * MS));
    }
}
