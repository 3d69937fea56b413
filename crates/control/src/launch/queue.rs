//! Whose launch is next: who gets the turn takes everybody who waits into its transaction. Knows
//! nothing of instances.

use super::types::{Call, Outcome};
use crate::{Cloud, ControlError, Result};
use novanet_model::InstanceId;
use novanet_store::{Committed, StoreError, Tx};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard, oneshot};

/// How many calls one transaction takes: it has a time limit, and others want to write too.
const MAX_CALLS: usize = 32;

/// How often a launch is tried with other MACs.
const TRIES: usize = 3;

type Answer = Result<(Vec<InstanceId>, Committed)>;

struct Waiting {
    number: u64,
    call: Call,
    answer: oneshot::Sender<Answer>,
}

/// Calls that wait for their transaction.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Vec<Waiting>>,
    joined: AtomicU64,
    turn: Arc<Turn<()>>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    fn join(&self, call: Call) -> (u64, oneshot::Receiver<Answer>) {
        let number = self.joined.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.lock().push(Waiting {
            number,
            call,
            answer,
        });
        (number, answered)
    }

    /// This one, and those who wait beside it, first come first, without those who have gone away.
    fn take(&self, number: u64) -> Vec<Waiting> {
        let mut waiting = self.lock();
        waiting.retain(|w| !w.answer.is_closed());
        // It has waited for the turn, but others may have joined before it.
        waiting.sort_by_key(|w| (w.number != number, w.number));
        let count = waiting.len().min(MAX_CALLS);
        waiting.drain(..count).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        // Nobody panics while holding it, and it would be in order all the same.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cloud {
    /// Launches in a transaction of its own, or in somebody else's.
    pub(super) async fn launch_in_turn(&self, call: Call) -> Answer {
        let (number, mut answered) = self.launches().join(call);
        loop {
            let turn = Arc::clone(&self.launches().turn);
            let turn = tokio::select! {
                biased;
                done = &mut answered => return done.unwrap_or_else(|_| Err(cut_off())),
                turn = turn.lock_owned() => turn,
            };
            // Who had the turn before answered before giving it on.
            match answered.try_recv() {
                Ok(answer) => return answer,
                Err(oneshot::error::TryRecvError::Closed) => return Err(cut_off()),
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            if let Some(answer) = self.take_turn(number, turn).await? {
                return answer;
            }
        }
    }

    /// Launches for those who wait. `Some`: only the caller did, and this is its answer.
    async fn take_turn(&self, number: u64, turn: OwnedMutexGuard<()>) -> Result<Option<Answer>> {
        let tx = self.db().begin_planned().await?;
        let mut calls = self.launches().take(number);
        if calls.len() == 1
            && let Some(one) = calls.pop()
        {
            // Cut off with its caller, as every other use case is.
            return Ok(Some(self.launch_alone(&one.call, Some(tx)).await));
        }
        // The others' launches do not end because one of them goes away.
        let cloud = self.clone();
        tokio::spawn(async move {
            cloud.launch_together(tx, calls).await;
            drop(turn);
        });
        Ok(None)
    }

    async fn launch_together(&self, tx: Tx, waiting: Vec<Waiting>) {
        let calls: Vec<&Call> = waiting.iter().map(|w| &w.call).collect();
        let outcomes = self.launch_all(tx, &calls).await.unwrap_or_else(|error| {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "each launch on its own now"
            );
            calls.iter().map(|_| Outcome::RetryAlone).collect()
        });
        for (Waiting { call, answer, .. }, outcome) in waiting.into_iter().zip(outcomes) {
            let result = match outcome {
                Outcome::Done(ids, committed) => Ok((ids, committed)),
                Outcome::Refused(error) => Err(error),
                Outcome::RetryAlone => self.launch_alone(&call, None).await,
            };
            let _gone_away = answer.send(result);
        }
    }

    async fn launch_alone(&self, call: &Call, tx: Option<Tx>) -> Answer {
        let mut first = tx;
        let mut tries = 0;
        loop {
            let tx = match first.take() {
                Some(tx) => tx,
                None => self.db().begin_planned().await?,
            };
            match self.launch_all(tx, &[call]).await.map(|mut all| all.pop()) {
                // A MAC that somebody has already, one in eight million: other ones, from the
                // beginning, because PostgreSQL's transaction is dead now.
                Err(ControlError::Store(StoreError::Conflict(_))) if tries < TRIES => tries += 1,
                Err(error) | Ok(Some(Outcome::Refused(error))) => return Err(error),
                Ok(Some(Outcome::Done(ids, committed))) => return Ok((ids, committed)),
                Ok(Some(Outcome::RetryAlone) | None) => return Err(cut_off()),
            }
        }
    }
}

fn cut_off() -> ControlError {
    ControlError::Unavailable("the launch was cut off (try again; the log says why)".to_owned())
}
