//! When a subsystem is observed again: regularly, soon after a change, at once upon a disturbance, and
//! never so often that observing is what the host is busy with. Pure.

use crate::failure::jitter;
use std::time::Duration;
use tokio::time::Instant;

/// The engine's times. The defaults are what the agent runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Between two regular observations of a subsystem.
    pub interval: Duration,
    /// After a round that changed something: what we made is looked at again.
    pub verify: Duration,
    /// Disturbances closer than this are one.
    pub debounce: Duration,
    /// But no disturbance waits longer than this.
    pub debounce_limit: Duration,
    /// How long a removal waits for the subsystems that use the thing, before it goes ahead.
    pub hold_limit: Duration,
    /// How long a creation waits for the subsystems under it, before it goes ahead.
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

/// Regular observations take at most a twentieth of the time, changed_externally ones a fifth.
const REGULAR_SHARE: u32 = 20;
const DISTURBED_SHARE: u32 = 4;
/// However slow a subsystem is, it is observed this often when changed_externally.
pub(crate) const LONGEST_GAP: Duration = Duration::from_secs(2);

/// When one subsystem is due.
#[derive(Debug)]
pub(crate) struct Cadence {
    timing: Timing,
    regular: Option<Instant>,
    ended: Option<Instant>,
    cost: Duration,
    changed_externally: Option<(Instant, Instant)>,
    longest_gap: Duration,
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
            longest_gap: LONGEST_GAP,
        }
    }

    /// However long it took, after this pause the subsystem is observed again when changed_externally.
    #[must_use]
    pub(crate) fn pausing_at_most(mut self, longest: Duration) -> Self {
        self.longest_gap = longest;
        self
    }

    /// Somebody changed something of the subsystem's.
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

    /// Something of the subsystem's was changed by us.
    pub(crate) fn changed(&mut self, now: Instant) {
        let soon = now + self.at_most_often(self.timing.verify);
        // One that is past was tried in vain (the subsystem could not be observed): not again at once.
        let regular = self.regular.filter(|regular| *regular > now);
        self.regular = Some(regular.map_or(soon, |regular| regular.min(soon)));
    }

    /// When to observe next; `retry` is when a failed item is due.
    pub(crate) fn due(&self, retry: Option<Instant>) -> Option<Instant> {
        let gap = (self.cost * DISTURBED_SHARE).min(self.longest_gap);
        let earliest = self.ended.map(|ended| ended + gap);
        let changed_externally = self.changed_externally.map(|(first, last)| {
            (last + self.timing.debounce).min(first + self.timing.debounce_limit)
        });
        let hurried = [changed_externally, retry]
            .into_iter()
            .flatten()
            .min()
            .map(|at| earliest.map_or(at, |earliest| at.max(earliest)));
        [hurried, self.regular].into_iter().flatten().min()
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
    fn a_storm_of_disturbances_is_looked_at_within_the_limit() {
        let start = Instant::now();
        let mut cadence = Cadence::new(Timing::default());
        cadence.observed(start, start + MS);
        for i in 0..50 {
            cadence.changed_externally(start + (20 + 10 * i) * MS);
        }
        assert_eq!(cadence.due(None), Some(start + 120 * MS));
    }

    #[test]
    fn one_disturbance_is_looked_at_after_the_debounce() {
        let start = Instant::now();
        let mut cadence = Cadence::new(Timing::default());
        cadence.observed(start, start + MS);
        cadence.changed_externally(start + 500 * MS);
        assert_eq!(cadence.due(None), Some(start + 520 * MS));
    }

    #[test]
    fn a_slow_room_is_not_observed_all_the_time() {
        let start = Instant::now();
        let mut cadence = Cadence::new(Timing::default());
        cadence.observed(start, start + 200 * MS);
        cadence.changed_externally(start + 201 * MS);
        assert_eq!(cadence.due(None), Some(start + 1000 * MS));
        assert!(cadence.regular >= Some(start + 4000 * MS));
    }

    #[test]
    fn a_second_flush_of_a_room_that_guards_does_not_wait_for_what_the_first_has_cost() {
        let start = Instant::now();
        let mut cadence = Cadence::new(Timing::default()).pausing_at_most(10 * MS);
        cadence.changed_externally(start);
        cadence.observed(start + 20 * MS, start + 120 * MS);
        cadence.changed_externally(start + 121 * MS);
        assert_eq!(cadence.due(None), Some(start + 141 * MS));
        // One that came while the first was repaired is looked at after the pause.
        cadence.observed(start + 141 * MS, start + 241 * MS);
        cadence.changed_externally(start + 150 * MS);
        assert_eq!(cadence.due(None), Some(start + 251 * MS));
    }

    #[test]
    fn a_disturbance_during_an_observation_is_not_forgotten() {
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
