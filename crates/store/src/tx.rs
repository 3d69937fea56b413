//! One transaction. There are three kinds, chosen by the rows that it writes:
//!
//! * [`Db::read`]: one snapshot, writes nothing.
//! * [`Db::begin_unplanned`]: rows that no plan follows from (heartbeats, errors, leases).
//! * [`Db::begin_planned`]: planned rows. Its first statement bumps the clock row, which makes
//!   versions commit-ordered and use cases serial on both engines: a use case plans with every
//!   earlier one before its eyes, and no follower can see version 8 before version 7 is committed.
//!   Those that wait for each other share a transaction of the engine ([`crate::group_commit`]).
//!
//! Nothing slow belongs inside: no key generation, no file, no network.

use crate::audit_entry::{self, Entry};
use crate::engine_tx::{EngineTx, begin_on};
use crate::group_commit::Member;
use crate::session::{Conn, Reading};
use crate::{Db, Engine, Result, StoreError};
use novanet_model::Micros;
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};

/// A transaction that writes. Dropping it without [`Tx::commit`] takes everything back.
#[derive(Debug)]
pub struct Tx {
    inner: Inner,
    db: Db,
    /// Time of the transaction, for all rows that it writes.
    pub now: Micros,
    /// The version that this transaction's host objects get; 0 in a [`Db::begin_unplanned`].
    pub version: i64,
    /// Hosts whose objects it changed.
    pub(crate) touched: BTreeSet<String>,
    /// Audit entries, to be written with its commit.
    pub(crate) entries: Vec<Entry>,
}

/// The engine's transaction that executes the statements.
#[derive(Debug)]
enum Inner {
    /// A transaction of the engine.
    Own(EngineTx),
    /// A member of a group commit.
    Member(Member),
}

/// A transaction's change of the plan: callers can wait until these hosts have applied it.
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
        match &self.inner {
            Inner::Own(own) => own,
            Inner::Member(member) => member.connection(),
        }
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Conn {
        match &mut self.inner {
            Inner::Own(own) => own,
            Inner::Member(member) => member.connection_mut(),
        }
    }
}

impl Tx {
    /// Commits and tells the followers in this process.
    pub async fn commit(self) -> Result<Committed> {
        let version = self.version;
        match self.inner {
            Inner::Own(mut own) => {
                audit_entry::write(&mut own, &self.entries).await?;
                own.commit().await?;
            }
            Inner::Member(member) => member.commit(self.entries).await?,
        }
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

    /// Refuses a call that needs the locked clock row: a fault in this program.
    pub(crate) fn require_change(&self, what: &str) -> Result<()> {
        if self.version > 0 {
            return Ok(());
        }
        Err(StoreError::Refused(format!("{what} outside of a change")))
    }
}

impl Db {
    /// A snapshot to read from. Never hold it across a wait for the network.
    pub async fn read(&self) -> Result<Reading> {
        let begin = match self.engine() {
            Engine::Sqlite => "BEGIN",
            Engine::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        Ok(Reading(begin_on(self.pool(), self.health(), begin).await?))
    }

    /// A connection for one statement that reads: it is a snapshot by itself, and on PostgreSQL a
    /// transaction around it is two more round trips.
    pub async fn connection(&self) -> Result<Reading> {
        let conn = Conn::acquire(self.pool(), self.health()).await?;
        Ok(Reading(conn))
    }

    /// A transaction for rows that no plan follows from.
    pub async fn begin_unplanned(&self) -> Result<Tx> {
        self.may_change()?;
        let own = EngineTx::begin(self.writers()).await?;
        Ok(self.tx(Inner::Own(own), 0))
    }

    /// A transaction for planned rows: takes the clock row first.
    pub async fn begin_planned(&self) -> Result<Tx> {
        self.may_change()?;
        let (member, version) = self.commits().join(self.writers()).await?;
        Ok(self.tx(Inner::Member(member), version))
    }

    fn tx(&self, inner: Inner, version: i64) -> Tx {
        Tx {
            inner,
            db: self.clone(),
            now: now(),
            version,
            touched: BTreeSet::new(),
            entries: Vec::new(),
        }
    }
}

/// The time on this machine's clock.
pub fn now() -> Micros {
    time::OffsetDateTime::now_utc().into()
}
