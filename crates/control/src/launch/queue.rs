//! The launches that wait for their transaction. A leaf: [`crate::Cloud`] holds the queue, and
//! `leader` decides which call runs.

use super::types::Call;
use crate::Result;
use novanet_model::InstanceId;
use novanet_store::Committed;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use tokio::sync::{Mutex, oneshot};

/// How many calls one transaction takes: it has a time limit, and others want to write too.
const MAX_CALLS: usize = 32;

/// What a call is answered.
pub(super) type Answer = Result<(Vec<InstanceId>, Committed)>;

/// A call that waits.
pub(super) struct Waiting {
    number: u64,
    pub(super) call: Call,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// Calls that wait for their transaction.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: std::sync::Mutex<Vec<Waiting>>,
    joined: AtomicU64,
    /// Locked by the call that runs its transaction.
    pub(super) running: Arc<Mutex<()>>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    /// Adds a call: its number in the queue, and its answer.
    pub(super) fn join(&self, call: Call) -> (u64, oneshot::Receiver<Answer>) {
        let number = self.joined.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.lock().push(Waiting {
            number,
            call,
            answer,
        });
        (number, answered)
    }

    /// This call and the waiting ones, in the order in which they joined, without cancelled ones.
    pub(super) fn take(&self, number: u64) -> Vec<Waiting> {
        let mut waiting = self.lock();
        waiting.retain(|w| !w.answer.is_closed());
        // It has the lock, but others may have joined before it.
        waiting.sort_by_key(|w| (w.number != number, w.number));
        let count = waiting.len().min(MAX_CALLS);
        waiting.drain(..count).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        // No code panics while it holds the lock, and the list would be valid all the same.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
