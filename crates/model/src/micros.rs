//! A moment as the database stores it. Depends on `time` for calendar dates.

use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;
use time::OffsetDateTime;

/// A moment: microseconds since 1970 UTC, negative before. Sums and differences saturate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(i64);

impl Micros {
    /// From a stored number.
    pub const fn new(micros: i64) -> Self {
        Self(micros)
    }

    /// The number to store.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The time from `earlier` until this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        let micros = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// As a date; `None` outside of the years -9999 to 9999.
    pub fn date(self) -> Option<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000).ok()
    }
}

/// Drops parts of a microsecond.
impl From<OffsetDateTime> for Micros {
    fn from(date: OffsetDateTime) -> Self {
        let micros = date.unix_timestamp_nanos().div_euclid(1000);
        // The years that `time` knows fit.
        Self(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Micros {
    type Output = Self;
    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(micros(time)))
    }
}

impl AddAssign<Duration> for Micros {
    fn add_assign(&mut self, time: Duration) {
        *self = *self + time;
    }
}

impl Sub<Duration> for Micros {
    type Output = Self;
    fn sub(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(micros(time)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_differences_end_at_the_limits() {
        let hour = Duration::from_hours(1);
        assert_eq!((Micros(5) + hour).get(), 3_600_000_005);
        assert_eq!((Micros(5) - hour).get(), -3_599_999_995);
        assert_eq!(Micros(i64::MAX - 1) + hour, Micros(i64::MAX));
        assert_eq!(Micros(i64::MIN) - Duration::MAX, Micros(i64::MIN));
    }

    #[test]
    fn no_time_has_passed_since_a_later_moment() {
        assert_eq!(Micros(7).since(Micros(5)), Duration::from_micros(2));
        assert_eq!(Micros(5).since(Micros(7)), Duration::ZERO);
        let all = Duration::from_micros(u64::MAX);
        assert_eq!(Micros(i64::MAX).since(Micros(i64::MIN)), all);
    }

    #[test]
    fn a_date_has_its_microseconds_before_and_after_1970() {
        for micros in [1_767_323_045_000_007, 0, -1, -1_000_001] {
            let date = Micros(micros).date();
            assert_eq!(date.map(Micros::from), Some(Micros(micros)));
        }
        assert_eq!(Micros(i64::MAX).date(), None);
    }
}
