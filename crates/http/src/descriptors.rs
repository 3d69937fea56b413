//! How many file descriptors this process may have, and which part of them connections may take.
//! The server and the agent of `novanet up` share one process: without a division, clients of the
//! API could take the descriptors with which the agent repairs the host.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::OnceLock;

/// The soft limit is not raised beyond this. Child processes inherit it, and some of them close or
/// look at every possible descriptor when they start.
const ENOUGH: u64 = 65_536;

/// The limit on a host with many descriptors.
const MAX_CONNECTIONS: usize = 1024;

/// Largest number of connections that each listener may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// EC2 API: a quarter of the descriptors, at most 1,024.
    pub ec2: usize,
    /// Metadata service: a quarter of the descriptors, at most 1,024.
    pub metadata: usize,
    /// Agent API (unix socket): an eighth of the descriptors, at most 1,024.
    pub agents: usize,
}

impl Shares {
    /// Of a process that may have `descriptors`. At least three eighths stay for everything else:
    /// netlink sockets, databases, files, and the pipes of child processes.
    fn of(descriptors: u64) -> Self {
        let part = |n: u64| {
            usize::try_from(descriptors / n)
                .map_or(MAX_CONNECTIONS, |p| p.clamp(1, MAX_CONNECTIONS))
        };
        Self {
            ec2: part(4),
            metadata: part(4),
            agents: part(8),
        }
    }
}

/// The shares of this process. The first call raises the soft limit of descriptors
/// (`RLIMIT_NOFILE`) to the hard one, 65,536 at most.
pub fn shares() -> Shares {
    static SHARES: OnceLock<Shares> = OnceLock::new();
    *SHARES.get_or_init(|| Shares::of(raise()))
}

/// The soft limit after it was raised as far as it may be. `None` in a limit means "unlimited".
fn raise() -> u64 {
    let now = getrlimit(Resource::Nofile);
    let soft = now.current.unwrap_or(u64::MAX);
    let wanted = now.maximum.unwrap_or(u64::MAX).min(ENOUGH);
    if soft >= wanted {
        return soft;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: now.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, soft, "cannot raise the limit of open files (RLIMIT_NOFILE)");
            soft
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Shares;

    #[test]
    fn connections_never_take_more_than_five_eighths_of_the_descriptors() {
        for descriptors in [64, 256, 1024, 4096, 65_536, u64::MAX] {
            let shares = Shares::of(descriptors);
            let sum = u64::try_from(shares.ec2 + shares.metadata + shares.agents).unwrap_or(0);
            assert!(sum <= descriptors / 8 * 5, "{descriptors}: {shares:?}");
            assert!(shares.agents > 0);
        }
        let usual = Shares::of(1024);
        assert_eq!((usual.ec2, usual.metadata, usual.agents), (256, 256, 128));
    }
}
