//! Session tokens of the metadata service (IMDSv2): an instance gets one by PUT and shows it with
//! each request. Kept nowhere: a token is its end and a digest over a secret of this process.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use novanet_model::InstanceId;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read as _};
use std::time::{Duration, Instant};

/// Longest life in seconds, as in EC2.
const MAX_LIFE: u64 = 21_600;
/// Length of the end of a token's life in its bytes.
const END: usize = 8;

/// Makes and checks tokens. Tokens of another process are not valid.
pub(super) struct Tokens {
    secret: [u8; 32],
    /// Lives are counted from here: no step of the clock changes them.
    start: Instant,
}

impl Tokens {
    pub(super) fn new() -> io::Result<Self> {
        let mut secret = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut secret)?;
        Ok(Self {
            secret,
            start: Instant::now(),
        })
    }

    /// A token for an instance; `None`: the life (seconds, as text) is not 1 to 21,600.
    pub(super) fn issue(&self, instance: InstanceId, life: &str) -> Option<String> {
        let life = life.trim().parse().ok()?;
        if !(1..=MAX_LIFE).contains(&life) {
            return None;
        }
        let end = (self.start.elapsed() + Duration::from_secs(life)).as_secs();
        Some(self.token(instance, end.to_be_bytes()))
    }

    /// Whether a token is this instance's and its life is not over.
    pub(super) fn is_valid(&self, instance: InstanceId, token: &str) -> bool {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(token) else {
            return false;
        };
        let Some(end) = bytes.first_chunk::<END>() else {
            return false;
        };
        let wanted = self.token(instance, *end);
        // Digests: how long the comparison takes says nothing about the token.
        let same = Sha256::digest(&wanted) == Sha256::digest(token);
        same && self.start.elapsed().as_secs() < u64::from_be_bytes(*end)
    }

    fn token(&self, instance: InstanceId, end: [u8; END]) -> String {
        // All parts have fixed lengths.
        let digest = Sha256::new()
            .chain_update(self.secret)
            .chain_update(instance.0.to_be_bytes())
            .chain_update(end)
            .finalize();
        URL_SAFE_NO_PAD.encode([end.as_slice(), &digest].concat())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_instances_of_one_process_and_ends() {
        let tokens = Tokens::new().unwrap();
        let [one, two] = [1, 2].map(InstanceId);
        let token = tokens.issue(one, "60").unwrap();
        assert!(tokens.is_valid(one, &token));
        assert!(!tokens.is_valid(two, &token));
        assert!(!Tokens::new().unwrap().is_valid(one, &token));
        for wrong in ["", "x", &token[1..], &token.replace('A', "B")] {
            assert!(!tokens.is_valid(one, wrong), "{wrong}");
        }
        for life in ["0", "21601", "", "a", "-1"] {
            assert!(tokens.issue(one, life).is_none(), "{life}");
        }
        let past = Tokens {
            start: tokens.start.checked_sub(Duration::from_secs(61)).unwrap(),
            ..tokens
        };
        assert!(!past.is_valid(one, &token));
    }
}
