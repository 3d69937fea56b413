//! Lockout: after some wrong signatures for an access key, requests with this key from the same
//! address are refused for a while. Another address with the right secret is not hindered.

use novanet_control::Lockout;
use novanet_ec2::{Code, Ec2Error};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most keys and addresses that are counted at a time. When there are more, those go first that
/// are not locked.
const MAX_COUNTED: usize = 16_384;

/// Failures of one access key from one address.
#[derive(Debug)]
struct Failures {
    count: u32,
    /// Of the first failure that counts.
    since: Instant,
    locked_until: Option<Instant>,
}

/// Counts wrong signatures. Times are monotonic: a step of the clock neither locks nor unlocks.
#[derive(Debug)]
pub(crate) struct Lockouts {
    config: Lockout,
    failures: Mutex<HashMap<(String, IpAddr), Failures>>,
}

impl Lockouts {
    pub(crate) fn new(config: Lockout) -> Self {
        Self {
            config,
            failures: Mutex::default(),
        }
    }

    /// Refuses a key that is locked for an address. Keys that do not exist are locked too, so that
    /// the answer does not tell them apart.
    pub(crate) fn check(&self, key: &str, from: IpAddr, now: Instant) -> Result<(), Ec2Error> {
        let failures = self.failures();
        if failures.is_empty() {
            return Ok(());
        }
        let found = failures.get(&(key.to_owned(), from.to_canonical()));
        let left = found
            .and_then(|f| f.locked_until)
            .and_then(|until| until.checked_duration_since(now))
            .filter(|left| !left.is_zero());
        let Some(left) = left else {
            return Ok(());
        };
        let minutes = left.as_secs().div_ceil(60);
        Err(Ec2Error::new(
            Code::AuthFailure,
            format!(
                "Too many requests with wrong signatures came for this access key from this \
                 address: it is locked for {minutes} minutes."
            ),
        ))
    }

    /// Counts a wrong signature.
    pub(crate) fn failed(&self, key: &str, from: IpAddr, now: Instant) {
        let Lockout {
            attempts,
            window,
            lock,
        } = self.config;
        if attempts == 0 {
            return;
        }
        let mut failures = self.failures();
        if failures.len() >= MAX_COUNTED {
            failures.retain(|_, f| f.counts(window, now));
        }
        if failures.len() >= MAX_COUNTED {
            failures.retain(|_, f| f.locked_until.is_some());
        }
        if failures.len() >= MAX_COUNTED {
            failures.clear();
        }
        let new = || Failures {
            count: 0,
            since: now,
            locked_until: None,
        };
        let counted = failures
            .entry((key.to_owned(), from.to_canonical()))
            .or_insert_with(new);
        if !counted.counts(window, now) {
            *counted = new();
        }
        counted.count += 1;
        if counted.count >= attempts {
            counted.locked_until = now.checked_add(lock);
            tracing::warn!(%from, attempts, "EC2 API: wrong signatures: an access key is locked");
        }
    }

    /// A right signature ends the count.
    pub(crate) fn succeeded(&self, key: &str, from: IpAddr) {
        let mut failures = self.failures();
        if !failures.is_empty() {
            failures.remove(&(key.to_owned(), from.to_canonical()));
        }
    }

    fn failures(&self) -> MutexGuard<'_, HashMap<(String, IpAddr), Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failures {
    /// Whether they still matter.
    fn counts(&self, window: Duration, now: Instant) -> bool {
        match self.locked_until {
            Some(until) => now < until,
            None => now.saturating_duration_since(self.since) < window,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    fn minutes(n: u64) -> Duration {
        Duration::from_mins(n)
    }

    fn lockouts(attempts: u32) -> Lockouts {
        Lockouts::new(Lockout {
            attempts,
            window: minutes(10),
            lock: minutes(15),
        })
    }

    #[test]
    fn a_key_is_locked_for_the_address_that_failed_and_for_a_while() {
        let (lockouts, start) = (lockouts(3), Instant::now());
        for at in 0..2 {
            lockouts.failed("key", HERE, start + minutes(at));
            assert!(lockouts.check("key", HERE, start + minutes(at)).is_ok());
        }
        lockouts.failed("key", HERE, start + minutes(2));
        let locked = |at: u64| lockouts.check("key", HERE, start + minutes(at));
        let error = locked(2).map_err(|e| (e.code, e.message));
        assert!(
            matches!(&error, Err((Code::AuthFailure, text)) if text.contains("for 15 minutes")),
            "{error:?}"
        );
        assert!(locked(16).is_err() && locked(17).is_ok());
        assert!(lockouts.check("key", THERE, start + minutes(2)).is_ok());
        assert!(lockouts.check("other", HERE, start + minutes(2)).is_ok());
        // Afterwards it counts from one again.
        lockouts.failed("key", HERE, start + minutes(17));
        assert!(locked(17).is_ok());
    }

    #[test]
    fn failures_that_are_far_apart_or_before_a_success_do_not_add_up() {
        let (lockouts, start) = (lockouts(2), Instant::now());
        lockouts.failed("key", HERE, start);
        lockouts.failed("key", HERE, start + minutes(10));
        assert!(lockouts.check("key", HERE, start + minutes(10)).is_ok());
        lockouts.succeeded("key", HERE);
        lockouts.failed("key", HERE, start + minutes(11));
        assert!(lockouts.check("key", HERE, start + minutes(11)).is_ok());
        lockouts.failed("key", HERE, start + minutes(12));
        assert!(lockouts.check("key", HERE, start + minutes(12)).is_err());
    }

    #[test]
    fn memory_is_bounded_and_zero_attempts_lock_nothing() {
        let (all, start) = (lockouts(1), Instant::now());
        for n in 0..MAX_COUNTED + 10 {
            all.failed(&n.to_string(), HERE, start);
        }
        assert!(all.failures().len() <= MAX_COUNTED);
        let never = lockouts(0);
        never.failed("key", HERE, start);
        assert!(never.check("key", HERE, start).is_ok());
    }
}
