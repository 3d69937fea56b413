//! Group commit: planned transactions that wait for each other in this process share one
//! transaction of the engine, because each commit waits for the disk. Depends on
//! `engine_tx` for that transaction and on `audit_entry` for its entries; knows no other rows.
//!
//! Each member runs behind a savepoint of its own. The group rolls an unfinished member back to its
//! savepoint, and a background task commits the finished members, so that no member depends on
//! another's caller. [`Member::commit`] returns only when the engine has committed.

use crate::audit_entry::{self, Entry};
use crate::engine_tx::{EngineTx, Writers};
use crate::fault::Fault;
use crate::lock::WRITE_TIMEOUT;
use crate::session::Conn;
use crate::{Engine, Result, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

/// Members that share one transaction of the engine, at most: other processes write too.
const MAX_MEMBERS: usize = 16;

const BUMP_CLOCK: &str = "UPDATE clock SET version = version + $1 WHERE id = 1 RETURNING version";

/// The same on PostgreSQL, which notifies other processes with the commit and not after a rollback.
/// A separate statement would cost every waiting member one more round trip.
const BUMP_CLOCK_AND_NOTIFY: &str = "UPDATE clock SET version = version + $1 WHERE id = 1 RETURNING version, \
    CASE WHEN pg_notify('novanet', CAST(version AS TEXT)) IS NULL THEN 0 ELSE 1 END";

const SAVEPOINT: &str = "SAVEPOINT member";
const ROLLBACK_TO_SAVEPOINT: &str = "ROLLBACK TO SAVEPOINT member";

/// The groups of a process, one after the other. Members join in the order in which they asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct GroupCommit {
    /// Locked by the member that runs. Holds the group that the next member joins.
    slot: Arc<Mutex<Option<Group>>>,
    waiting: Arc<AtomicUsize>,
}

/// A transaction of the engine that is not committed yet.
#[derive(Debug)]
struct Group {
    inner: EngineTx,
    engine: Engine,
    /// The clock row's version when the group began. The group holds the row until the commit,
    /// counts the versions of its members here, and writes the last one before the commit.
    clock: i64,
    /// The finished members, which wait for the commit.
    finished: Vec<oneshot::Sender<Result<()>>>,
    /// Audit entries of the finished members, not written yet.
    entries: Vec<Entry>,
    /// The present member runs behind a savepoint.
    saved: bool,
    /// The present member was dropped: the next step rolls back to its savepoint.
    needs_rollback: bool,
}

/// A planned transaction that runs now. Dropping it without [`Member::commit`] rolls it back.
#[derive(Debug)]
pub(crate) struct Member {
    // `Some` until the member ends. It goes back to the slot, or is dropped, before the slot is
    // unlocked.
    group: Option<Group>,
    slot: OwnedMutexGuard<Option<Group>>,
    commits: GroupCommit,
}

impl GroupCommit {
    /// Waits for the members that asked earlier and locks the clock row: the member and its
    /// version.
    pub(crate) async fn join(&self, writers: &Writers) -> Result<(Member, i64)> {
        let mut member = self.wait().await?;
        if let Some(full) = member
            .group
            .take_if(|group| group.finished.len() >= MAX_MEMBERS)
        {
            // In a task of its own: the caller may drop this future.
            let _done = tokio::spawn(full.close()).await;
        }
        if member.group.is_some() {
            match member.continue_group().await {
                Ok(version) => return Ok((member, version)),
                Err(error) => member.abandon_group(error),
            }
        }
        let mut inner = EngineTx::begin(writers).await?;
        let clock = bump_clock(&mut inner, writers.engine, 1).await?;
        member.group = Some(Group {
            inner,
            engine: writers.engine,
            clock,
            finished: Vec::new(),
            entries: Vec::new(),
            saved: false,
            needs_rollback: false,
        });
        Ok((member, clock))
    }

    async fn wait(&self) -> Result<Member> {
        let _counted = Waiting::count(&self.waiting);
        let slot = tokio::time::timeout(WRITE_TIMEOUT, Arc::clone(&self.slot).lock_owned());
        let Ok(mut slot) = slot.await else {
            let late = format!("the turn to write did not come in {WRITE_TIMEOUT:?}");
            return Err(StoreError::unavailable(Fault::Busy, late));
        };
        Ok(Member {
            group: slot.take(),
            slot,
            commits: self.clone(),
        })
    }
}

/// Counts a caller that waits for the slot.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn count(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Member {
    /// The connection for the member's statements.
    pub(crate) fn connection(&self) -> &Conn {
        match &self.group {
            Some(group) => &group.inner,
            None => unreachable!("a member has its group until it ends"),
        }
    }

    /// The same, to send statements.
    pub(crate) fn connection_mut(&mut self) -> &mut Conn {
        &mut self.group_mut().inner
    }

    fn group_mut(&mut self) -> &mut Group {
        match &mut self.group {
            Some(group) => group,
            None => unreachable!("a member has its group until it ends"),
        }
    }

    /// Sets a savepoint after the members before this one. Answers with this member's version.
    async fn continue_group(&mut self) -> sqlx::Result<i64> {
        let group = self.group_mut();
        group.roll_back_unfinished().await?;
        group.inner.savepoint(SAVEPOINT).await?;
        group.saved = true;
        Ok(group.clock + group.finished())
    }

    /// The engine's transaction is unusable: its finished members have failed.
    fn abandon_group(&mut self, error: sqlx::Error) {
        if let Some(group) = self.group.take() {
            answer_all(group.finished, Err(error));
        }
    }

    /// Commits at once if no other member waits, else together with the waiting members.
    pub(crate) async fn commit(mut self, entries: Vec<Entry>) -> Result<()> {
        let Some(mut group) = self.group.take() else {
            return Ok(());
        };
        if group.finished.is_empty() && self.commits.waiting.load(Ordering::Relaxed) == 0 {
            audit_entry::write(&mut group.inner, &entries).await?;
            return Ok(group.inner.commit().await?);
        }
        let (done, answered) = oneshot::channel();
        group.finished.push(done);
        group.entries.extend(entries);
        group.saved = false;
        *self.slot = Some(group);
        let slot = Arc::clone(&self.commits.slot);
        drop(self);
        // This task asks for the slot after all members that wait now.
        tokio::spawn(async move {
            let mut slot = slot.lock_owned().await;
            if let Some(left) = slot.take() {
                left.close().await;
            }
        });
        answered.await.unwrap_or_else(|_| {
            let why = "the commit was cut off";
            Err(StoreError::unavailable(Fault::Lost, why))
        })
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Without finished members the engine rolls the whole transaction back.
        let shared = self.group.take().filter(|group| !group.finished.is_empty());
        if let Some(mut group) = shared {
            group.needs_rollback |= group.saved;
            *self.slot = Some(group);
        }
    }
}

impl Group {
    /// Rolls back what a dropped member wrote.
    async fn roll_back_unfinished(&mut self) -> sqlx::Result<()> {
        if self.needs_rollback {
            self.inner.roll_back_to(ROLLBACK_TO_SAVEPOINT).await?;
            self.needs_rollback = false;
        }
        self.saved = false;
        Ok(())
    }

    /// The last statements before the commit.
    async fn finish(&mut self) -> sqlx::Result<()> {
        self.roll_back_unfinished().await?;
        // A COMMIT after a failed statement rolls back, and PostgreSQL does not call that an error.
        // This statement fails then; so it is sent even if it would add 0 versions.
        let later = self.finished() - 1;
        if later > 0 || self.entries.is_empty() {
            bump_clock(&mut self.inner, self.engine, later).await?;
        }
        audit_entry::write(&mut self.inner, &self.entries).await
    }

    /// The number of finished members.
    fn finished(&self) -> i64 {
        i64::try_from(self.finished.len()).unwrap_or(i64::MAX)
    }

    /// Commits and answers all finished members.
    async fn close(mut self) {
        let done = match self.finish().await {
            Ok(()) => self.inner.commit().await,
            Err(error) => Err(error),
        };
        answer_all(self.finished, done);
    }
}

async fn bump_clock(c: &mut Conn, engine: Engine, by: i64) -> sqlx::Result<i64> {
    let sql = match engine {
        Engine::Sqlite => BUMP_CLOCK,
        Engine::Postgres => BUMP_CLOCK_AND_NOTIFY,
    };
    sqlx::query_scalar(sql).bind(by).fetch_one(c).await
}

/// Gives every finished member the same answer.
fn answer_all(finished: Vec<oneshot::Sender<Result<()>>>, done: sqlx::Result<()>) {
    let done = done.map_err(StoreError::from);
    for member in finished {
        let _gone_away = member.send(match &done {
            Ok(()) => Ok(()),
            Err(StoreError::Unavailable { fault, source, .. }) => {
                Err(StoreError::unavailable(*fault, source.to_string()))
            }
            Err(other) => Err(StoreError::unavailable(Fault::Lost, other.to_string())),
        });
    }
}
