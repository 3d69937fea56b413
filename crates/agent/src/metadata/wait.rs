//! The long poll for user-data: a request with `?wait=SECONDS` is answered when the data differs
//! from what the client has, or when the time is over. Pure.
//!
//! The client says what it has by `&digest=` (SHA-256 in hexadecimal, which a shell computes with
//! `sha256sum`) or by `If-None-Match` with the last answer's `ETag`. Without either it waits for
//! the next change.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// Longest wait in seconds.
const MAX_WAIT: u64 = 300;

/// What a request for user-data says about waiting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wait {
    /// How long to wait at most; `None`: not at all.
    pub(super) at_most: Option<Duration>,
    /// Digest of what the client has.
    pub(super) has: Option<String>,
}

impl Wait {
    /// From the query and the header. The error is the text of the answer.
    pub(super) fn of(query: &str, if_none_match: Option<&str>) -> Result<Self, String> {
        let mut wait = Self {
            at_most: None,
            has: if_none_match.map(|tag| tag.trim_matches('"').to_ascii_lowercase()),
        };
        for (name, value) in pairs(query) {
            match name {
                "wait" => match value.parse() {
                    Ok(seconds @ 1..=MAX_WAIT) => wait.at_most = Some(Duration::from_secs(seconds)),
                    _ => return Err(format!("wait: must be 1 to {MAX_WAIT} seconds\n")),
                },
                "digest" if value.len() == 64 && value.chars().all(|c| c.is_ascii_hexdigit()) => {
                    wait.has = Some(value.to_ascii_lowercase());
                }
                "digest" => return Err("digest: must be a SHA-256 in hexadecimal\n".to_owned()),
                _ => {}
            }
        }
        Ok(wait)
    }
}

/// The digest of user-data; of none it is that of nothing.
pub(super) fn digest(data: Option<&Bytes>) -> String {
    hex::encode(Sha256::digest(data.map_or(&[][..], |bytes| bytes)))
}

/// The pairs of a query. Names and values that matter here need no percent-encoding.
fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').unwrap_or((part, "")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_how_long_and_what_it_has() {
        let none = digest(None);
        assert_eq!(Wait::of("", None).unwrap(), Wait::default());
        let wait = Wait::of(&format!("wait=300&digest={}", none.to_uppercase()), None).unwrap();
        assert_eq!(wait.at_most, Some(Duration::from_mins(5)));
        assert_eq!(wait.has.as_deref(), Some(&*none));
        let tag = format!("\"{none}\"");
        assert_eq!(Wait::of("x=1&wait=1", Some(&tag)).unwrap().has, Some(none));
        for bad in [
            "wait=0",
            "wait=301",
            "wait=",
            "wait",
            "wait=-1",
            "digest=ab",
            "digest=",
        ] {
            assert!(Wait::of(bad, None).is_err(), "{bad}");
        }
    }
}
