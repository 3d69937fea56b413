//! Metadata as it was last heard from the server, in memory for a moment and on disk for bad times.

use super::{MetadataError, MetadataSource};
use novanet_model::InstanceId;
use novanet_model::wire::Metadata;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Semaphore;

/// An instance that boots asks a dozen questions in a row; one answer of the server is good for all.
const FRESH: Duration = Duration::from_secs(2);
/// How long the server may take before what is kept must do.
const PATIENCE: Duration = Duration::from_secs(2);
/// After the server did not answer: how long it is not asked again for what is kept.
const PAUSE: Duration = Duration::from_secs(5);
/// Questions to the server at a time: each needs a connection, and a thousand instances that boot
/// together must not take the agent's file descriptors for it.
const QUESTIONS: usize = 16;
/// What nobody has asked for so long is forgotten.
const FORGET: Duration = Duration::from_hours(30 * 24);

pub(super) struct Kept {
    folder: PathBuf,
    source: Arc<dyn MetadataSource>,
    questions: Semaphore,
    /// One question at a time for each instance; the others get the same answer.
    heard: Mutex<HashMap<InstanceId, Arc<tokio::sync::Mutex<Option<Heard>>>>>,
}

struct Heard {
    metadata: Arc<Metadata>,
    until: Instant,
}

impl Kept {
    pub(super) fn new(folder: PathBuf, source: Arc<dyn MetadataSource>) -> std::io::Result<Self> {
        crate::private::folder(&folder)?;
        forget_old(&folder);
        Ok(Self {
            folder,
            source,
            questions: Semaphore::new(QUESTIONS),
            heard: Mutex::default(),
        })
    }

    /// What this instance may know: from the server if it answers, else as it was last heard.
    pub(super) async fn get(&self, instance: InstanceId) -> Result<Arc<Metadata>, MetadataError> {
        let cell = {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            if heard.len() > 4096 {
                heard.retain(|_, cell| Arc::strong_count(cell) > 1);
            }
            Arc::clone(heard.entry(instance).or_default())
        };
        let mut last = cell.lock().await;
        if let Some(heard) = last.as_ref()
            && Instant::now() < heard.until
        {
            return Ok(Arc::clone(&heard.metadata));
        }
        let asked = self.ask(instance).await;
        let (metadata, good_for) = match asked {
            Ok(Ok(metadata)) => {
                let metadata = Arc::new(metadata);
                self.keep(instance, &metadata).await;
                (metadata, FRESH)
            }
            Ok(Err(error @ MetadataError::Unknown(_))) => {
                *last = None;
                self.forget(instance);
                return Err(error);
            }
            Ok(Err(error)) => (self.kept(instance).await.ok_or(error)?, PAUSE),
            Err(_) => {
                let error = MetadataError::Unavailable("no answer in time".to_owned());
                (self.kept(instance).await.ok_or(error)?, PAUSE)
            }
        };
        *last = Some(Heard {
            metadata: Arc::clone(&metadata),
            until: Instant::now() + good_for,
        });
        Ok(metadata)
    }

    /// The server's answer, if it comes in time.
    async fn ask(
        &self,
        instance: InstanceId,
    ) -> Result<Result<Metadata, MetadataError>, tokio::time::error::Elapsed> {
        tokio::time::timeout(PATIENCE, async {
            // The semaphore is never closed.
            let _turn = self.questions.acquire().await;
            self.source.metadata(instance).await
        })
        .await
    }

    /// Forgets the instances that the server no longer knows. If it does not answer, nothing is
    /// forgotten.
    pub(super) async fn forget_unknown(&self) {
        for instance in self.instances() {
            match self.ask(instance).await {
                Ok(Ok(_)) => {}
                Ok(Err(MetadataError::Unknown(_))) => self.forget(instance),
                Ok(Err(MetadataError::Unavailable(_))) | Err(_) => return,
            }
        }
    }

    /// Those of which something is kept.
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

    async fn kept(&self, instance: InstanceId) -> Option<Arc<Metadata>> {
        let path = self.path(instance);
        let read = tokio::task::spawn_blocking(move || std::fs::read(path));
        let bytes = read.await.ok()?.ok()?;
        serde_json::from_slice(&bytes).ok().map(Arc::new)
    }

    /// Not on the runtime's threads: a disk that hangs holds up this instance only.
    async fn keep(&self, instance: InstanceId, metadata: &Arc<Metadata>) {
        let (path, metadata) = (self.path(instance), Arc::clone(metadata));
        let write = move || {
            if let Err(error) = write(&path, &metadata) {
                tracing::warn!(path = %path.display(), %error, "metadata: cannot keep");
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
    crate::whole::replace(path, 0o600, &bytes)
}

fn path(folder: &Path, instance: InstanceId) -> PathBuf {
    folder.join(format!("{instance}.json"))
}

/// Removes what is kept of an instance, if anything is.
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
        if age.is_some_and(|age| age > FORGET) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
