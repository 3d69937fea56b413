//! The call that runs next takes all waiting calls of the queue into its transaction. Depends on
//! `batch` for the launches themselves; knows no rows.

use super::queue::{Answer, Waiting};
use super::types::{Call, Outcome};
use crate::{Cloud, ControlError, Result};
use novanet_store::{StoreError, Tx};
use std::sync::Arc;
use tokio::sync::{OwnedMutexGuard, oneshot};

/// How often a launch is tried with other MACs.
const TRIES: usize = 3;

impl Cloud {
    /// Launches in a transaction of its own, or in that of another call.
    pub(super) async fn launch_queued(&self, call: Call) -> Answer {
        let (number, mut answered) = self.launches().join(call);
        loop {
            let running = Arc::clone(&self.launches().running);
            let running = tokio::select! {
                biased;
                done = &mut answered => return done.unwrap_or_else(|_| Err(cut_off())),
                running = running.lock_owned() => running,
            };
            // The previous holder sends all answers before it releases the lock.
            match answered.try_recv() {
                Ok(answer) => return answer,
                Err(oneshot::error::TryRecvError::Closed) => return Err(cut_off()),
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            if let Some(answer) = self.run_waiting(number, running).await? {
                return answer;
            }
        }
    }

    /// Launches for all waiting calls. `Some`: only this call waited, and this is its answer.
    async fn run_waiting(
        &self,
        number: u64,
        running: OwnedMutexGuard<()>,
    ) -> Result<Option<Answer>> {
        let tx = self.db().begin_planned().await?;
        let mut calls = self.launches().take(number);
        if calls.len() == 1
            && let Some(one) = calls.pop()
        {
            // Dropped with its caller, as every other use case.
            return Ok(Some(self.launch_alone(&one.call, Some(tx)).await));
        }
        // A caller that drops its future does not end the launches of the others.
        let cloud = self.clone();
        tokio::spawn(async move {
            cloud.launch_together(tx, calls).await;
            drop(running);
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
                // A MAC that is taken already, one in eight million: other ones, from the
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
