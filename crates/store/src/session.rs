//! A connection of a pool, and the state of its transaction. Depends on sqlx and on [`fault`].
//!
//! sqlx counts transactions for each connection, and a connection whose COMMIT or ROLLBACK failed
//! keeps its count: each later transaction on it fails. So BEGIN, COMMIT and ROLLBACK are
//! statements of this module. A connection whose state is unknown (one of these failed, or its
//! caller dropped the future) is closed, and so is a connection on which the database itself
//! failed. Until it is closed it takes no statement: SQLite ends some transactions by itself when
//! it fails, and what came later would be committed statement by statement.

use crate::fault::{self, Fault};
use crate::inject::{FaultInjector, Injection};
use crate::lock::WriteGuard;
use futures_util::future::{self, BoxFuture, FutureExt as _};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use sqlx::any::{AnyArguments, AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo};
use sqlx::error::BoxDynError;
use sqlx::pool::{PoolConnection, PoolConnectionMetadata};
use sqlx::{Any, AnyConnection, AnyPool, Either, Error, Execute, Executor, SqlStr};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long a ROLLBACK in the background may take; a statement of a dropped
/// future may run before it.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What statements run on. Every store function takes one.
#[derive(Debug)]
pub struct Conn {
    /// `None` only while it is dropped.
    connection: Option<PoolConnection<Any>>,
    status: Status,
    /// Held until the transaction has ended, also when that is in the background.
    lock: WriteGuard,
}

/// The state of a connection.
#[derive(Debug, Clone)]
struct Status {
    transaction: Transaction,
    /// The database failed in this transaction. No statement is sent until it is taken back.
    failed: Option<Fault>,
    /// It is closed after this transaction.
    retired: bool,
    health: Arc<Health>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    Open,
    /// A statement that begins or ends one was sent, and not answered with success.
    Unknown,
}

/// What all connections of a database have in common.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failed_at: Mutex<Option<Instant>>,
    pub(crate) injector: OnceLock<Arc<dyn FaultInjector>>,
}

impl Health {
    /// The database failed. Other connections have failed with it: a restarted server has closed
    /// them, and a demoted one takes no writes from them after the switch.
    fn note(&self, fault: Fault) {
        if fault != Fault::Busy {
            *self.failed_at() = Some(Instant::now());
        }
    }

    /// Whether a pooled connection may be used: it is not older than the last failure.
    pub(crate) fn accepts(&self, connection: &PoolConnectionMetadata) -> bool {
        let failed_at = *self.failed_at();
        failed_at.is_none_or(|at| connection.age < at.elapsed())
    }

    fn failed_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.failed_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Conn {
    /// A connection without a transaction.
    pub(crate) async fn acquire(pool: &AnyPool, health: &Arc<Health>) -> sqlx::Result<Self> {
        Ok(Self {
            connection: Some(pool.acquire().await?),
            status: Status {
                transaction: Transaction::None,
                failed: None,
                retired: false,
                health: Arc::clone(health),
            },
            lock: WriteGuard::none(),
        })
    }

    /// Begins a transaction.
    pub(crate) async fn begin(&mut self, sql: &'static str) -> sqlx::Result<()> {
        self.change_state(sql, Transaction::Open).await
    }

    /// Commits the transaction. After an error it may be committed or not.
    pub(crate) async fn commit(&mut self) -> sqlx::Result<()> {
        self.change_state("COMMIT", Transaction::None).await
    }

    async fn change_state(&mut self, sql: &'static str, to: Transaction) -> sqlx::Result<()> {
        self.status.admit()?;
        self.status.transaction = Transaction::Unknown;
        sqlx::raw_sql(sql).execute(&mut *self).await?;
        self.status.transaction = to;
        Ok(())
    }

    /// Sets a savepoint, or goes back to one. After an error the whole transaction is lost.
    pub(crate) async fn savepoint(&mut self, sql: &'static str) -> sqlx::Result<()> {
        let done = sqlx::raw_sql(sql).execute(&mut *self).await;
        if done.is_err() {
            self.status.transaction = Transaction::Unknown;
        }
        done.map(drop)
    }

    /// Goes back to a savepoint, also after a failure of the database. The transaction goes on
    /// then; the connection is closed after it.
    pub(crate) async fn roll_back_to(&mut self, sql: &'static str) -> sqlx::Result<()> {
        self.status.failed = None;
        self.savepoint(sql).await
    }

    /// Keeps the write lock until the transaction has ended.
    pub(crate) fn hold(&mut self, lock: WriteGuard) {
        self.lock = lock;
    }

    fn parts(&mut self) -> (&mut AnyConnection, &mut Status) {
        match &mut self.connection {
            Some(connection) => (connection, &mut self.status),
            None => unreachable!("a connection is there until it is dropped"),
        }
    }

    /// Admits a statement: the connection to send it on, and the check of its answers.
    fn admit<'q, E: Execute<'q, Any>>(
        &mut self,
        query: E,
    ) -> sqlx::Result<(&mut AnyConnection, Statement, Check<'_>)> {
        let (connection, status) = self.parts();
        let (statement, injection) = status.send(query)?;
        Ok((connection, statement, Check { status, injection }))
    }
}

/// Sees every answer to a statement: notes failures, and injects faults.
struct Check<'s> {
    status: &'s mut Status,
    injection: Option<Injection>,
}

impl Check<'_> {
    /// `done`: the answer says that the database has executed the statement.
    fn answer<T>(
        &mut self,
        mut answer: sqlx::Result<T>,
        done: impl FnOnce(&T) -> bool,
    ) -> sqlx::Result<T> {
        if let (Ok(good), Some(injection)) = (&answer, &self.injection)
            && done(good)
            && let Some(error) = injection.after()
        {
            answer = Err(error);
        }
        answer.inspect_err(|error| self.status.note(error))
    }
}

impl Status {
    /// Refuses a statement after a failure of the database.
    fn admit(&self) -> sqlx::Result<()> {
        match self.failed {
            None => Ok(()),
            Some(fault) => Err(fault::refusal(fault)),
        }
    }

    fn note(&mut self, error: &Error) {
        if let Some(fault) = fault::of(error) {
            self.failed = Some(fault);
            self.retired = true;
            self.health.note(fault);
        }
    }

    fn send<'q, E: Execute<'q, Any>>(
        &mut self,
        mut query: E,
    ) -> sqlx::Result<(Statement, Option<Injection>)> {
        self.admit()?;
        let arguments = query.take_arguments().map_err(Error::Encode)?;
        let statement = Statement {
            arguments,
            persistent: query.persistent(),
            sql: query.sql(),
        };
        let injection = match self.health.injector.get() {
            None => None,
            Some(injector) => {
                let injection = Injection::new(injector, statement.sql.as_str());
                if let Some(error) = injection.before() {
                    self.note(&error);
                    return Err(error);
                }
                Some(injection)
            }
        };
        Ok((statement, injection))
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        let closes = self.status.retired || self.status.transaction == Transaction::Unknown;
        if self.status.transaction == Transaction::None && !closes {
            // Back to its pool.
            return drop(connection);
        }
        let Ok(runtime) = Handle::try_current() else {
            return drop(connection.detach());
        };
        let lock = std::mem::replace(&mut self.lock, WriteGuard::none());
        if closes {
            runtime.spawn(async move {
                let _closed_anyway = timeout(CLOSE_TIMEOUT, connection.close()).await;
                drop(lock);
            });
            return;
        }
        let mut ending = Self {
            connection: Some(connection),
            status: self.status.clone(),
            lock,
        };
        // A runtime that shuts down drops the task at once.
        ending.status.transaction = Transaction::Unknown;
        runtime.spawn(async move {
            let rollback = ending.change_state("ROLLBACK", Transaction::None);
            // After an error the state is unknown, and dropping it closes it.
            let _ = timeout(ROLLBACK_TIMEOUT, rollback).await;
        });
    }
}

/// A statement as sqlx takes it.
struct Statement {
    sql: SqlStr,
    arguments: Option<AnyArguments>,
    persistent: bool,
}

impl Execute<'_, Any> for Statement {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&AnyStatement> {
        None
    }

    fn take_arguments(&mut self) -> Result<Option<AnyArguments>, BoxDynError> {
        Ok(self.arguments.take())
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}

impl<'c> Executor<'c> for &'c mut Conn {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, sqlx::Result<Either<AnyQueryResult, AnyRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let (connection, statement, mut check) = match self.admit(query) {
            Ok(admitted) => admitted,
            Err(error) => return stream::once(future::ready(Err(error))).boxed(),
        };
        let answers = connection.fetch_many(statement);
        let answers = answers.map(move |answer| check.answer(answer, Either::is_left));
        answers.boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<AnyRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let (connection, statement, mut check) = match self.admit(query) {
            Ok(admitted) => admitted,
            Err(error) => return future::ready(Err(error)).boxed(),
        };
        let answer = connection.fetch_optional(statement);
        let answer = answer.map(move |answer| check.answer(answer, |_| true));
        answer.boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<AnyStatement>>
    where
        'c: 'e,
    {
        self.parts().0.prepare_with(sql, parameters)
    }
}

/// A connection to read from: a snapshot, or one statement at a time.
#[derive(Debug)]
pub struct Reading(pub(crate) Conn);

impl Deref for Reading {
    type Target = Conn;
    fn deref(&self) -> &Conn {
        &self.0
    }
}

impl DerefMut for Reading {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.0
    }
}
