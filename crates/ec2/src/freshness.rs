//! Refuses requests that were signed too long ago or in the future. Depends on the forms of time
//! and on the errors.

use crate::error::{Code, Ec2Error};
use crate::timestamp::iso8601;
use time::{Duration, OffsetDateTime};

/// How far a client's clock may be off, in EC2 and by default here.
pub(crate) const SKEW: Duration = Duration::minutes(5);

/// A request that was signed at `signed` is good for `skew` either way.
pub(crate) fn check_signed_at(
    signed: OffsetDateTime,
    skew: Duration,
    now: OffsetDateTime,
) -> Result<(), Ec2Error> {
    if now - signed > skew {
        return Err(expired(format!(
            "Request has expired: it was signed at {}, and it is {} here. Check the clock of the client.",
            iso8601(signed),
            iso8601(now)
        )));
    }
    check_not_future(signed, skew, now)
}

/// A clock that is ahead by more than `skew`.
pub(crate) fn check_not_future(
    signed: OffsetDateTime,
    skew: Duration,
    now: OffsetDateTime,
) -> Result<(), Ec2Error> {
    if signed - now > skew {
        return Err(expired(format!(
            "Request is from the future: it was signed at {}, and it is {} here. Check the clock of the client.",
            iso8601(signed),
            iso8601(now)
        )));
    }
    Ok(())
}

/// A request that was good until `end`.
pub(crate) fn check_not_over(end: OffsetDateTime, now: OffsetDateTime) -> Result<(), Ec2Error> {
    if now > end {
        return Err(expired(format!(
            "Request has expired: it was good until {}, and it is {} here.",
            iso8601(end),
            iso8601(now)
        )));
    }
    Ok(())
}

fn expired(message: String) -> Ec2Error {
    Ec2Error::new(Code::RequestExpired, message)
}
