//! Tries again what failed, sooner than its turn: something has changed that it may have failed for.
//! Unlike the others it holds nothing back: it shortens the one wait that is by the clock
//! ([`crate::failure`]), on a guess, and is never needed for being right.

use crate::command::{Progress, Shows};
use crate::reconcile::Reconciler;
use crate::subsystem::Subsystem;
use crate::worker::SubsystemWorker;
use futures_util::future::select_all;
use novanet_model::ObjectKey;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A try in vain may be news itself (a process that ends at once), so between two tries is at least
/// this part of the longest wait.
const SHARE: u32 = 3;

/// What failed in the subsystems below, last seen.
pub(crate) type Troubles = Vec<Arc<BTreeMap<ObjectKey, String>>>;

impl<R: Subsystem> Reconciler<R> {
    /// What fails is tried again after this time at the latest.
    #[must_use]
    pub fn waiting_at_most(mut self, longest: Duration) -> Self {
        self.longest_wait = longest;
        self
    }

    /// When a failed item is due again, if there is one.
    pub fn next_retry(&self) -> Option<Instant> {
        if let Some(blind) = &self.blind {
            return Some(blind.not_before); // before it sees again, no item can be tried
        }
        let items = self.failing.values().map(|failure| failure.not_before);
        items.min()
    }

    /// What failed is due at once: the subsystems below were behind when it was tried, and are not any more.
    pub fn retry(&mut self, now: Instant) {
        for failure in self.failing.values_mut() {
            failure.not_before = failure.not_before.min(now);
        }
    }

    /// What failed is due at once, or soon if it was tried a moment ago.
    pub fn hurry(&mut self, now: Instant) {
        let pause = self.longest_wait / SHARE;
        let sooner = |not_before: &mut Instant, tried: Instant| {
            *not_before = (*not_before).min(now.max(tried + pause));
        };
        for failure in self.failing.values_mut() {
            sooner(&mut failure.not_before, failure.tried);
        }
        if let Some(blind) = &mut self.blind {
            sooner(&mut blind.not_before, blind.tried);
        }
    }
}

impl<R: Subsystem + Shows> SubsystemWorker<R> {
    /// The workers below have moved: if other things fail there than before, ours may be possible now.
    pub(crate) fn look_below(&mut self) {
        let below = self.dependencies.below.iter_mut();
        let troubles: Troubles = below
            .map(|worker| Arc::clone(&worker.borrow_and_update().errors))
            .collect();
        if self.ahead && !self.is_ahead() {
            self.ahead = false;
            self.reconciler.retry(Instant::now());
        }
        if troubles != self.troubles {
            self.troubles = troubles;
            self.reconciler.hurry(Instant::now());
        }
    }
}

impl<R: Subsystem + Shows> SubsystemWorker<R> {
    /// A worker below has not tried yet what this one has been told.
    pub(crate) fn is_ahead(&self) -> bool {
        let below = self.dependencies.below.iter();
        let mut tried = below.map(|worker| worker.borrow().created);
        tried.any(|batch| batch < self.batch)
    }

    /// Something here failed or waits, and a worker below has moved.
    pub(crate) async fn below_moved(&mut self) {
        self.look_below();
        if self.reconciler.is_deferring() {
            self.resume().await;
        }
    }

    /// Before items are tried: what a worker below is still busy with may be missing.
    pub(crate) fn look_ahead(&mut self) {
        let ahead = self.is_ahead();
        self.ahead |= ahead;
        self.reconciler.below_is_behind(ahead);
    }
}

/// One of these workers has moved; those that are gone never do.
pub(crate) async fn any_moved(workers: &mut [watch::Receiver<Progress>]) {
    if workers.is_empty() {
        return std::future::pending().await;
    }
    let each = workers
        .iter_mut()
        .map(|worker| Box::pin(crate::worker::moved(Some(worker))));
    select_all(each).await;
}
