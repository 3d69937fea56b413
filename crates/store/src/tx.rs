//! One transaction. There are three kinds, and the kind is chosen by what is written:
//!
//! * [`Db::read`]: one snapshot, writes nothing.
//! * [`Db::write`]: rows that no plan follows from (heartbeats, errors, leases).
//! * [`Db::change`]: planned rows. Its first statement bumps the clock row, which makes versions
//!   commit-ordered and use cases serial on both engines: a use case plans with every earlier one
//!   before its eyes, and no follower can see version 8 before version 7 is committed.
//!
//! Nothing slow belongs inside: no key generation, no file, no network.

use crate::lock::WriteGuard;
use crate::{Db, Engine, Result};
use sqlx::{Any, AnyConnection};
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};

/// What statements run on. Every store function takes one.
pub type Conn = AnyConnection;

/// A transaction that writes. Dropping it without [`Tx::commit`] takes everything back.
#[derive(Debug)]
pub struct Tx {
    // Order matters: the transaction must end before the lock is given up.
    inner: sqlx::Transaction<'static, Any>,
    guard: WriteGuard,
    db: Db,
    /// Time of the transaction, for all rows that it writes: microseconds since 1970 UTC.
    pub now: i64,
    /// The version that this transaction's host objects get; 0 in a [`Db::write`].
    pub version: i64,
    /// Hosts whose objects it changed.
    pub(crate) touched: BTreeSet<String>,
    /// Audit entries that it wrote.
    pub(crate) recorded: i64,
}

/// What a transaction did to the plan: who wants to wait for it, waits for these hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Version of the changed host objects.
    pub version: i64,
    /// Hosts whose objects changed.
    pub hosts: BTreeSet<String>,
}

impl Deref for Tx {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.inner
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.inner
    }
}

impl Tx {
    /// Makes everything true and tells the followers of this process (and, on PostgreSQL, of the
    /// others).
    pub async fn commit(mut self) -> Result<Committed> {
        let version = self.version;
        if !self.touched.is_empty() && self.db.engine() == Engine::Postgres {
            sqlx::query("SELECT pg_notify('novanet', $1)")
                .bind(version.to_string())
                .execute(&mut *self.inner)
                .await?;
        }
        self.inner.commit().await?;
        drop(self.guard);
        if !self.touched.is_empty() {
            self.db.hints().tell(version, &self.touched);
        }
        Ok(Committed {
            version,
            hosts: self.touched,
        })
    }

    /// The engine underneath.
    pub fn engine(&self) -> Engine {
        self.db.engine()
    }
}

impl Db {
    /// A snapshot to read from. Never hold it across a wait for the network.
    pub async fn read(&self) -> Result<sqlx::Transaction<'static, Any>> {
        let begin = match self.engine() {
            Engine::Sqlite => "BEGIN",
            Engine::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        Ok(self.pool().begin_with(begin).await?)
    }

    /// A transaction for rows that no plan follows from.
    pub async fn write(&self) -> Result<Tx> {
        let guard = self.write_lock().acquire().await?;
        let begin = match self.engine() {
            Engine::Sqlite => "BEGIN IMMEDIATE",
            Engine::Postgres => "BEGIN",
        };
        Ok(Tx {
            inner: self.pool().begin_with(begin).await?,
            guard,
            db: self.clone(),
            now: now(),
            version: 0,
            touched: BTreeSet::new(),
            recorded: 0,
        })
    }

    /// A transaction for planned rows: takes the clock row first.
    pub async fn change(&self) -> Result<Tx> {
        let mut tx = self.write().await?;
        tx.version = sqlx::query_scalar(
            "UPDATE clock SET version = version + 1 WHERE id = 1 RETURNING version",
        )
        .fetch_one(&mut *tx)
        .await?;
        tx.now = now();
        Ok(tx)
    }
}

/// Microseconds since 1970 UTC.
pub(crate) fn now() -> i64 {
    i64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
}
