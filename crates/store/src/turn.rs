//! Whose use case is next. Use cases are serial at the clock row, and every commit waits for the disk:
//! those that wait for each other in this process share a transaction of the engine, each behind a
//! savepoint of its own, and hear that it is done when that is committed.
//!
//! Nobody's work hangs on somebody else's: what a use case leaves unfinished goes back to its
//! savepoint, and a task of its own commits what the others did, whoever goes away meanwhile. Knows
//! nothing of rows.

use crate::audit::{self, Entry};
use crate::fault::Fault;
use crate::lock::PATIENCE;
use crate::session::Conn;
use crate::tx::EngineTx;
use crate::{Db, Engine, Result, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

/// How many use cases share a transaction at most: other processes want to write too.
const MOST: usize = 16;

/// Puts the clock forward.
const TICK: &str = "UPDATE clock SET version = version + $1 WHERE id = 1 RETURNING version";

/// The same on PostgreSQL: other processes hear of it with the commit, and of nothing if there is none.
/// In a statement of its own that would be one more round trip for everybody who waits.
const TICK_AND_TELL: &str = "UPDATE clock SET version = version + $1 WHERE id = 1 RETURNING version, \
    CASE WHEN pg_notify('novanet', CAST(version AS TEXT)) IS NULL THEN 0 ELSE 1 END";

const SAVE: &str = "SAVEPOINT turn";
const TAKE_BACK: &str = "ROLLBACK TO SAVEPOINT turn";

/// The turns of a process, in the order in which they were asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turns {
    seat: Arc<Mutex<Option<Open>>>,
    waiting: Arc<AtomicUsize>,
}

/// A transaction of the engine that is not committed yet.
#[derive(Debug)]
struct Open {
    inner: EngineTx,
    engine: Engine,
    /// What the clock row says. It is held until the commit: the versions of those who share it are
    /// counted here, and put into it with the last.
    clock: i64,
    /// Those who are through, and wait until it is true.
    through: Vec<oneshot::Sender<Result<()>>>,
    /// Their audit entries, not written yet.
    entries: Vec<Entry>,
    /// Whether there is a savepoint before what the present one does.
    saved: bool,
    /// The present one has gone away: what it did is to be taken back.
    torn: bool,
}

/// A use case that has its turn. Dropping it without [`Turn::commit`] takes back what it did.
#[derive(Debug)]
pub(crate) struct Turn {
    // There until the turn ends; it goes back to the seat, or is gone, before the seat is free.
    open: Option<Open>,
    seat: OwnedMutexGuard<Option<Open>>,
    turns: Turns,
}

impl Turns {
    /// Waits for the turn and takes the clock row: the turn, and its version.
    pub(crate) async fn take(&self, db: &Db) -> Result<(Turn, i64)> {
        let mut turn = self.wait().await?;
        if let Some(full) = turn.open.take_if(|open| open.through.len() >= MOST) {
            // In a task of its own: whoever waits for its turn may go away.
            let _done = tokio::spawn(full.close()).await;
        }
        if turn.open.is_some() {
            match turn.join().await {
                Ok(version) => return Ok((turn, version)),
                Err(error) => turn.give_up(error),
            }
        }
        let mut inner = EngineTx::begin(db).await?;
        let clock = tick(&mut inner, db.engine(), 1).await?;
        turn.open = Some(Open {
            inner,
            engine: db.engine(),
            clock,
            through: Vec::new(),
            entries: Vec::new(),
            saved: false,
            torn: false,
        });
        Ok((turn, clock))
    }

    async fn wait(&self) -> Result<Turn> {
        let _counted = Waiting::count(&self.waiting);
        let seat = tokio::time::timeout(PATIENCE, Arc::clone(&self.seat).lock_owned());
        let Ok(mut seat) = seat.await else {
            let late = format!("the turn to write did not come in {PATIENCE:?}");
            return Err(StoreError::unavailable(Fault::Busy, late));
        };
        Ok(Turn {
            open: seat.take(),
            seat,
            turns: self.clone(),
        })
    }
}

/// One who waits for its turn.
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

impl Turn {
    /// The connection, for the statements of the present use case.
    pub(crate) fn connection(&self) -> &Conn {
        match &self.open {
            Some(open) => &open.inner,
            None => unreachable!("a turn has it until it ends"),
        }
    }

    /// The same, to send some.
    pub(crate) fn connection_mut(&mut self) -> &mut Conn {
        &mut self.open_mut().inner
    }

    fn open_mut(&mut self) -> &mut Open {
        match &mut self.open {
            Some(open) => open,
            None => unreachable!("a turn has it until it ends"),
        }
    }

    /// Goes on where the one before left off.
    async fn join(&mut self) -> sqlx::Result<i64> {
        let open = self.open_mut();
        open.repair().await?;
        open.inner.savepoint(SAVE).await?;
        open.saved = true;
        Ok(open.clock + open.through())
    }

    /// The transaction cannot be used any more: those who are through have done nothing.
    fn give_up(&mut self, error: sqlx::Error) {
        if let Some(open) = self.open.take() {
            tell(open.through, Err(error));
        }
    }

    /// Makes true what the use case did: at once, or with what those do who wait for their turn.
    pub(crate) async fn commit(mut self, entries: Vec<Entry>) -> Result<()> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        if open.through.is_empty() && self.turns.waiting.load(Ordering::Relaxed) == 0 {
            audit::write(&mut open.inner, &entries).await?;
            return Ok(open.inner.commit().await?);
        }
        let (done, heard) = oneshot::channel();
        open.through.push(done);
        open.entries.extend(entries);
        open.saved = false;
        *self.seat = Some(open);
        let seat = Arc::clone(&self.turns.seat);
        drop(self);
        // Its place is behind all who wait now.
        tokio::spawn(async move {
            let mut seat = seat.lock_owned().await;
            if let Some(left) = seat.take() {
                left.close().await;
            }
        });
        heard.await.unwrap_or_else(|_| {
            let why = "the commit was cut off";
            Err(StoreError::unavailable(Fault::Lost, why))
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // With nobody else's work in it, the engine takes everything back.
        if let Some(mut open) = self.open.take().filter(|open| !open.through.is_empty()) {
            open.torn |= open.saved;
            *self.seat = Some(open);
        }
    }
}

impl Open {
    /// Takes back what one who went away left.
    async fn repair(&mut self) -> sqlx::Result<()> {
        if self.torn {
            self.inner.roll_back_to(TAKE_BACK).await?;
            self.torn = false;
        }
        self.saved = false;
        Ok(())
    }

    /// The last before the commit.
    async fn finish(&mut self) -> sqlx::Result<()> {
        self.repair().await?;
        // Also if there is nothing to put forward: a COMMIT after a statement that failed takes
        // everything back, and PostgreSQL does not call that an error. This statement does.
        let later = self.through() - 1;
        if later > 0 || self.entries.is_empty() {
            tick(&mut self.inner, self.engine, later).await?;
        }
        audit::write(&mut self.inner, &self.entries).await
    }

    /// How many are through.
    fn through(&self) -> i64 {
        i64::try_from(self.through.len()).unwrap_or(i64::MAX)
    }

    /// Makes true what was done, and says so.
    async fn close(mut self) {
        let done = match self.finish().await {
            Ok(()) => self.inner.commit().await,
            Err(error) => Err(error),
        };
        tell(self.through, done);
    }
}

async fn tick(c: &mut Conn, engine: Engine, by: i64) -> sqlx::Result<i64> {
    let sql = match engine {
        Engine::Sqlite => TICK,
        Engine::Postgres => TICK_AND_TELL,
    };
    sqlx::query_scalar(sql).bind(by).fetch_one(c).await
}

/// The same to everybody.
fn tell(through: Vec<oneshot::Sender<Result<()>>>, done: sqlx::Result<()>) {
    let done = done.map_err(StoreError::from);
    for one in through {
        let _gone_away = one.send(match &done {
            Ok(()) => Ok(()),
            Err(StoreError::Unavailable { fault, source, .. }) => {
                Err(StoreError::unavailable(*fault, source.to_string()))
            }
            Err(other) => Err(StoreError::unavailable(Fault::Lost, other.to_string())),
        });
    }
}
