//! A cache of the server's answers about instances: in memory for seconds, and on disk for times
//! when the server does not answer. Depends on a [`MetadataSource`] and the file system.

use super::{MetadataError, MetadataSource};
use novanet_model::InstanceId;
use novanet_model::wire::Metadata;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Semaphore;

/// How long an answer of the server is used without asking again: an instance that boots asks a
/// dozen questions in a row.
const FRESH: Duration = Duration::from_secs(2);
/// How long the server may take before the cached answer is used.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// After the server did not answer: how long the cached answer is used without asking again.
const PAUSE: Duration = Duration::from_secs(5);
/// Questions to the server at a time: each needs a connection, and a thousand instances that boot
/// together must not use up the agent's file descriptors.
const MAX_QUESTIONS: usize = 16;
/// A cached answer that no instance has asked for in this time is removed.
const MAX_AGE: Duration = Duration::from_hours(30 * 24);

pub(super) struct Cache {
    folder: PathBuf,
    source: Arc<dyn MetadataSource>,
    questions: Semaphore,
    /// By instance. The inner lock lets one caller ask the server; the others get the same answer.
    answers: Mutex<HashMap<InstanceId, Arc<tokio::sync::Mutex<Option<CachedAnswer>>>>>,
}

struct CachedAnswer {
    metadata: Arc<Metadata>,
    until: Instant,
}

impl Cache {
    pub(super) fn new(folder: PathBuf, source: Arc<dyn MetadataSource>) -> std::io::Result<Self> {
        crate::private::folder(&folder)?;
        forget_old(&folder);
        Ok(Self {
            folder,
            source,
            questions: Semaphore::new(MAX_QUESTIONS),
            answers: Mutex::default(),
        })
    }

    /// The metadata of this instance: from the server if it answers, else its last answer.
    pub(super) async fn get(&self, instance: InstanceId) -> Result<Arc<Metadata>, MetadataError> {
        let cell = {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            if answers.len() > 4096 {
                answers.retain(|_, cell| Arc::strong_count(cell) > 1);
            }
            Arc::clone(answers.entry(instance).or_default())
        };
        let mut last = cell.lock().await;
        if let Some(answer) = last.as_ref()
            && Instant::now() < answer.until
        {
            return Ok(Arc::clone(&answer.metadata));
        }
        let asked = self.ask(instance).await;
        let (metadata, good_for) = match asked {
            Ok(Ok(metadata)) => {
                let metadata = Arc::new(metadata);
                self.store(instance, &metadata).await;
                (metadata, FRESH)
            }
            Ok(Err(error @ MetadataError::Unknown(_))) => {
                *last = None;
                self.forget(instance);
                return Err(error);
            }
            Ok(Err(error)) => (self.cached(instance).await.ok_or(error)?, PAUSE),
            Err(_) => {
                let error = MetadataError::Unavailable("no answer in time".to_owned());
                (self.cached(instance).await.ok_or(error)?, PAUSE)
            }
        };
        *last = Some(CachedAnswer {
            metadata: Arc::clone(&metadata),
            until: Instant::now() + good_for,
        });
        Ok(metadata)
    }

    /// The server's answer, if it comes within [`SERVER_TIMEOUT`].
    async fn ask(
        &self,
        instance: InstanceId,
    ) -> Result<Result<Metadata, MetadataError>, tokio::time::error::Elapsed> {
        tokio::time::timeout(SERVER_TIMEOUT, async {
            // The semaphore is never closed.
            let _permit = self.questions.acquire().await;
            self.source.metadata(instance).await
        })
        .await
    }

    /// Forgets the instances that the server no longer knows. Stops at the first question that the
    /// server does not answer.
    pub(super) async fn forget_unknown(&self) {
        for instance in self.instances() {
            match self.ask(instance).await {
                Ok(Ok(_)) => {}
                Ok(Err(MetadataError::Unknown(_))) => self.forget(instance),
                Ok(Err(MetadataError::Unavailable(_))) | Err(_) => return,
            }
        }
    }

    /// The instances with a file in the cache.
    fn instances(&self) -> Vec<InstanceId> {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten();
        files
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                name.to_str()?.strip_suffix(".json")?.parse().ok()
            })
            .collect()
    }

    fn forget(&self, instance: InstanceId) {
        if let Err(error) = forget(&self.folder, instance) {
            tracing::warn!(%instance, %error, "metadata: cannot forget");
        }
    }

    fn path(&self, instance: InstanceId) -> PathBuf {
        path(&self.folder, instance)
    }

    async fn cached(&self, instance: InstanceId) -> Option<Arc<Metadata>> {
        let path = self.path(instance);
        let read = tokio::task::spawn_blocking(move || std::fs::read(path));
        let bytes = read.await.ok()?.ok()?;
        serde_json::from_slice(&bytes).ok().map(Arc::new)
    }

    /// Writes on a blocking thread: a disk that hangs delays this instance only.
    async fn store(&self, instance: InstanceId, metadata: &Arc<Metadata>) {
        let (path, metadata) = (self.path(instance), Arc::clone(metadata));
        let write = move || {
            if let Err(error) = write(&path, &metadata) {
                tracing::warn!(path = %path.display(), %error, "metadata: cannot write the cache");
            }
        };
        let _ = tokio::task::spawn_blocking(write).await; // a panic is in the log already
    }
}

fn write(path: &Path, metadata: &Metadata) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(metadata)?;
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        let file = std::fs::File::options().write(true).open(path)?;
        return file.set_modified(SystemTime::now());
    }
    crate::atomic_file::replace(path, 0o600, &bytes)
}

fn path(folder: &Path, instance: InstanceId) -> PathBuf {
    folder.join(format!("{instance}.json"))
}

/// Removes the instance's file, if there is one.
pub(super) fn forget(folder: &Path, instance: InstanceId) -> std::io::Result<()> {
    match std::fs::remove_file(path(folder, instance)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn forget_old(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|meta| meta.modified());
        let age = modified
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age > MAX_AGE) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
