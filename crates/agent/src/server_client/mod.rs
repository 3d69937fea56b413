//! The agent's side of the conversation with the server: follows the host's objects, reports the
//! host's progress, sends lease events, answers questions. Depends on the engine; must not know
//! subsystems.
//!
//! A server that is down is normal: the host stays as it is, and the client tries again with
//! growing pauses.

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

/// The lease events that wait for the server, on disk until the server has them.
pub trait LeaseSource: Send + Sync {
    /// The oldest events, at most `limit`.
    fn pending(&self, limit: usize) -> std::io::Result<Vec<LeaseEvent>>;
    /// Removes the oldest `count` events, which the server has.
    fn acknowledge(&self, count: usize) -> std::io::Result<()>;
    /// Notified when there are new ones.
    fn changed(&self) -> Arc<Notify>;
}

/// The times of the conversation. The defaults are what the agent runs with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// How long the server may delay its answer to a follower.
    pub wait: Duration,
    /// Between two heartbeats (`report_interval`).
    pub heartbeat: Duration,
    /// Between two comparisons of all objects.
    pub resync: Duration,
    /// First pause while the server is down; the next pauses double.
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
    /// The client of the server.
    pub client: Client,
    /// The engine that merges the news.
    pub engine: Engine,
    /// Answers the server's questions.
    pub answers: Answers,
    /// The introduction of the host.
    pub hello: Hello,
    /// The introduction has the present address of the host as `my_ip`.
    pub my_ip_follows: bool,
    /// The lease events; `None`: a host without DHCP.
    pub leases: Option<Arc<dyn LeaseSource>>,
    /// The times of the conversation.
    pub pace: Pace,
}

impl Conversation {
    /// Runs until it is dropped.
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
