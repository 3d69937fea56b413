//! The agent's side of the conversation with the server: follows the host's objects, reports how
//! far the host is, passes leases on, answers questions. A server that is down is normal: the host
//! goes on as it is, and this comes back with growing pauses.
//!
//! Must not know: subsystems.

mod client;
mod error;
mod follow;
mod outage;
mod report;

pub use client::{Client, Session};
pub use error::{RequestError, ServerAddress};

use crate::runtime::engine::Engine;
use crate::runtime::questions::Answers;
use novanet_model::wire::{Hello, LeaseEvent};
use novanet_reconcile::Backoff;
use outage::Outage;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Where lease events wait for the server. Kept on disk until it has answered.
pub trait LeaseSource: Send + Sync {
    /// The oldest events, at most `limit`.
    fn pending(&self, limit: usize) -> std::io::Result<Vec<LeaseEvent>>;
    /// The server has the oldest `count` events.
    fn acknowledge(&self, count: usize) -> std::io::Result<()>;
    /// Notified when there are new ones.
    fn changed(&self) -> Arc<Notify>;
}

/// The times of the conversation. The defaults are what the agent runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// How long the server may wait with its answer to a follower.
    pub wait: Duration,
    /// Between two heartbeats (`report_interval`).
    pub heartbeat: Duration,
    /// Between two comparisons of all objects.
    pub resync: Duration,
    /// First pause when the server is down; doubles.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(25),
            heartbeat: Duration::from_secs(10),
            resync: Duration::from_mins(1),
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_secs(5),
        }
    }
}

/// The conversation of one host with its server.
pub struct Conversation {
    /// How to reach it.
    pub client: Client,
    /// What it is about.
    pub engine: Engine,
    /// Who answers questions.
    pub answers: Answers,
    /// How the host introduces itself.
    pub hello: Hello,
    /// Its `my_ip` is the address that the host has now.
    pub my_ip_follows: bool,
    /// Where lease events wait, on a host that has leases.
    pub leases: Option<Arc<dyn LeaseSource>>,
    /// Its times.
    pub pace: Pace,
}

impl Conversation {
    /// Talks until it is dropped.
    pub async fn run(self) {
        let follower = follow::Follower::new(&self);
        tokio::join!(
            follower.follow(),
            follower.resync(),
            report::statuses(&self),
            report::leases(&self),
            report::addresses(&self, follower.joined()),
        );
    }

    fn outage(&self) -> Outage {
        Outage::new(Backoff {
            first: self.pace.first_pause,
            longest: self.pace.longest_pause,
        })
    }
}
