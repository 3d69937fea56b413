//! Suppresses log lines that repeat, and counts them. Pure: the caller passes the time.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// So often a line is written within [`WINDOW`]; the rest is counted.
const AT_ONCE: u32 = 3;

/// How long a line counts as the same one, and how often its count is said.
const WINDOW: Duration = Duration::from_mins(1);

/// Different lines that are known at one time. The oldest one gives way.
const LINES: usize = 256;

/// Longer lines, in bytes, are not compared.
const MAX_LINE_BYTES: usize = 8 << 10;

/// The lines of the last minute.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    lines: HashMap<String, Seen>,
    /// No window ends before.
    next: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    since: Instant,
    written: u32,
    held: u64,
}

impl Repeats {
    /// Whether a line is to be written now.
    pub(super) fn pass(&mut self, line: &str, now: Instant) -> bool {
        if line.len() > MAX_LINE_BYTES {
            return true;
        }
        if let Some(seen) = self.lines.get_mut(line) {
            if seen.written < AT_ONCE {
                seen.written += 1;
                return true;
            }
            seen.held += 1;
            return false;
        }
        if self.lines.len() < LINES || self.give_way() {
            let seen = Seen {
                since: now,
                written: 1,
                held: 0,
            };
            self.lines.insert(line.to_owned(), seen);
            self.next.get_or_insert(now + WINDOW);
        }
        true
    }

    /// When [`Self::due`] has something to do next.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// The lines that were held back in windows that have ended, with how often.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(String, u64)> {
        if self.next.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let mut due = Vec::new();
        self.lines.retain(|line, seen| {
            if seen.since + WINDOW > now {
                return true;
            }
            if seen.held == 0 {
                return false;
            }
            due.push((line.clone(), std::mem::take(&mut seen.held)));
            // It goes on: from here one line a window.
            seen.since = now;
            true
        });
        self.next = self.lines.values().map(|seen| seen.since + WINDOW).min();
        due
    }

    /// All that is held back, at the end.
    pub(super) fn rest(&mut self) -> Vec<(String, u64)> {
        self.next = None;
        let all = self.lines.drain().map(|(line, seen)| (line, seen.held));
        all.filter(|(_, held)| *held > 0).collect()
    }

    /// Makes space for a line; `false` where every stored line has a count to report.
    fn give_way(&mut self) -> bool {
        let quiet = self.lines.iter().filter(|(_, seen)| seen.held == 0);
        let oldest = quiet.min_by_key(|(_, seen)| seen.since);
        let Some(oldest) = oldest.map(|(line, _)| line.clone()) else {
            return false;
        };
        self.lines.remove(&oldest).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_repeats_is_written_three_times_and_then_counted_once_a_minute() {
        let mut repeats = Repeats::default();
        let start = Instant::now();
        let passed = (0..40).filter(|_| repeats.pass("no", start)).count();
        assert_eq!(passed, 3);
        assert!(repeats.pass("another", start));
        assert_eq!(repeats.due(start), []);
        let minute = start + WINDOW;
        assert_eq!(repeats.next(), Some(minute));
        assert_eq!(repeats.due(minute), [("no".to_owned(), 37)]);
        // It goes on: suppressed at once, and reported after the next minute.
        assert!(!repeats.pass("no", minute));
        assert_eq!(repeats.due(minute + WINDOW), [("no".to_owned(), 1)]);
        // It ends: forgotten a minute later.
        assert_eq!(repeats.due(minute + WINDOW * 2), []);
        assert_eq!(repeats.next(), None);
        assert!(repeats.pass("no", minute + WINDOW * 2));
    }

    #[test]
    fn memory_is_bounded_and_a_flood_of_different_lines_does_not_hide_one_that_repeats() {
        let mut repeats = Repeats::default();
        let start = Instant::now();
        for _ in 0..5 {
            repeats.pass("no", start);
        }
        for n in 0..10_000 {
            assert!(repeats.pass(&format!("line {n}"), start));
        }
        assert!(repeats.lines.len() <= LINES);
        assert!(repeats.pass(&"x".repeat(MAX_LINE_BYTES + 1), start));
        assert_eq!(repeats.rest(), [("no".to_owned(), 2)]);
        for n in 0..300 {
            for _ in 0..4 {
                repeats.pass(&format!("line {n}"), start);
            }
        }
        assert_eq!(repeats.lines.len(), LINES);
        assert!(repeats.pass("one more", start));
    }
}
