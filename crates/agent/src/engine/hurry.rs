//! Tries again what failed, sooner than its turn: something has changed that it may have failed for.
//! Unlike the others it holds nothing back: it shortens the one wait that is by the clock
//! ([`super::failure`]), on a guess, and is never needed for being right.

use super::lane::{Lane, Progress, Shows};
use super::reconcile::Reconciler;
use crate::room::Room;
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

/// What failed in the rooms below, last seen.
pub(super) type Troubles = Vec<Arc<BTreeMap<ObjectKey, String>>>;

impl<R: Room> Reconciler<R> {
    /// What fails is tried again after this time at the latest.
    #[must_use]
    pub fn waiting_at_most(mut self, longest: Duration) -> Self {
        self.longest_wait = longest;
        self
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

impl<R: Room + Shows> Lane<R> {
    /// The lanes below have moved: if other things fail there than before, ours may be possible now.
    pub(super) fn look_below(&mut self) {
        let below = self.neighbours.below.iter_mut();
        let troubles: Troubles = below
            .map(|lane| Arc::clone(&lane.borrow_and_update().errors))
            .collect();
        if troubles != self.troubles {
            self.troubles = troubles;
            self.reconciler.hurry(Instant::now());
        }
    }
}

/// One of these lanes has moved; those that are gone never do.
pub(super) async fn any_moved(lanes: &mut [watch::Receiver<Progress>]) {
    if lanes.is_empty() {
        return std::future::pending().await;
    }
    let each = lanes
        .iter_mut()
        .map(|lane| Box::pin(super::lane::moved(Some(lane))));
    select_all(each).await;
}
