//! How far a worker is, as the other workers and the server see it, and waiting for it. Depends on
//! the keys of host objects only.

use futures_util::future::select_all;
use novanet_model::ObjectKey;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// How far a worker is. Batches are numbered from 1.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The worker attempted all creations and changes up to this batch; `errors` and `unready` are
    /// at least as new.
    pub created: u64,
    /// Why the subsystem's base items are not in force; `None`: they are.
    pub unready: Option<String>,
    /// The worker attempted everything up to this batch.
    pub done: u64,
    /// Why objects are not in force.
    pub errors: Arc<BTreeMap<ObjectKey, String>>,
    /// Foreign things that work against what is in force, as last observed.
    pub warnings: Arc<BTreeMap<ObjectKey, String>>,
    /// After a cleanup: the worker makes nothing any more.
    pub paused: bool,
}

/// Waits until this worker's progress changes; for ever if there is none or it has ended.
pub(crate) async fn moved<T>(worker: Option<&mut watch::Receiver<T>>) {
    if let Some(worker) = worker
        && worker.changed().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Waits until the progress of one of these workers changes.
pub(crate) async fn any_moved(workers: &mut [watch::Receiver<Progress>]) {
    if workers.is_empty() {
        return std::future::pending().await;
    }
    let each = workers
        .iter_mut()
        .map(|worker| Box::pin(moved(Some(worker))));
    select_all(each).await;
}
