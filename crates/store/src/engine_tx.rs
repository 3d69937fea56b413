//! Transactions of the engine: BEGIN on a living connection, with the write lock where the engine
//! needs one. Depends on `session` and `lock`.

use crate::Result;
use crate::lock::WriteLock;
use crate::session::{Conn, Health};
use sqlx::AnyPool;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Which database engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// One file, one host: the embedded default.
    Sqlite,
    /// Several servers, many hosts.
    Postgres,
}

/// Per process; PostgreSQL's own default limit is 100 for all.
pub(crate) const POSTGRES_READERS: u32 = 12;

/// The connections of writers, and the lock before them.
#[derive(Debug)]
pub(crate) struct Writers {
    pub(crate) pool: AnyPool,
    pub(crate) engine: Engine,
    pub(crate) lock: WriteLock,
    pub(crate) health: Arc<Health>,
}

/// A transaction of the engine that writes, with the lock that it needs.
#[derive(Debug)]
pub(crate) struct EngineTx(Conn);

impl EngineTx {
    pub(crate) async fn begin(writers: &Writers) -> Result<Self> {
        let lock = writers.lock.acquire().await?;
        let begin = match writers.engine {
            Engine::Sqlite => "BEGIN IMMEDIATE",
            Engine::Postgres => "BEGIN",
        };
        let mut conn = begin_on(&writers.pool, &writers.health, begin).await?;
        conn.hold(lock);
        Ok(Self(conn))
    }

    pub(crate) async fn commit(mut self) -> sqlx::Result<()> {
        self.0.commit().await
    }
}

impl Deref for EngineTx {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.0
    }
}

impl DerefMut for EngineTx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.0
    }
}

/// Begins on a living connection. A pooled one may have died since it was used last (PostgreSQL was
/// restarted): as nothing is done yet, the next is as good.
pub(crate) async fn begin_on(
    pool: &AnyPool,
    health: &Arc<Health>,
    sql: &'static str,
) -> Result<Conn> {
    let mut dead = 0;
    loop {
        let mut conn = Conn::acquire(pool, health).await?;
        match conn.begin(sql).await {
            Ok(()) => return Ok(conn),
            Err(error) if is_dead(&error) && dead < POSTGRES_READERS => dead += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the other end of the connection is gone; of SQLite, its thread.
fn is_dead(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // admin_shutdown, crash_shutdown, and ended because it was idle for too long.
        sqlx::Error::Database(last_words) => last_words
            .code()
            .is_some_and(|c| ["57P01", "57P02", "57P05", "25P03"].contains(&c.as_ref())),
        _ => false,
    }
}
