//! The schema: its steps, bringing a database up to them, refusing one that is not at them.
//!
//! Steps are numbered below 1000 where both engines share them and above where they do not, so the
//! largest number says little: a schema's version is the number of its steps.

use crate::{Db, Engine, Result, StoreError};
use sqlx::migrate::{MigrateError, Migrator};
use std::collections::BTreeSet;

static COMMON: Migrator = sqlx::migrate!("migrations/common");
static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

impl Db {
    /// Brings the schema up to this program's version (`db sync`). Twice does nothing.
    pub async fn migrate(&self) -> Result<()> {
        let _guard = self.write_lock().acquire().await?;
        self.refuse_newer(&self.applied().await?)?;
        for steps in self.steps() {
            let mut migrator = Migrator {
                // The other list's.
                ignore_missing: true,
                ..Migrator::DEFAULT
            };
            migrator.migrations = steps.migrations.clone();
            migrator.run(self.pool()).await.map_err(not_migrated)?;
        }
        crate::clock::ensure_epoch(self.pool()).await
    }

    fn steps(&self) -> [&'static Migrator; 2] {
        match self.engine() {
            Engine::Sqlite => [&COMMON, &SQLITE],
            Engine::Postgres => [&COMMON, &POSTGRES],
        }
    }

    fn wanted(&self) -> BTreeSet<i64> {
        let steps = self.steps().into_iter().flat_map(Migrator::iter);
        steps.map(|step| step.version).collect()
    }

    async fn applied(&self) -> Result<BTreeSet<i64>> {
        let found: std::result::Result<Vec<i64>, sqlx::Error> =
            sqlx::query_scalar("SELECT version FROM _sqlx_migrations WHERE success")
                .fetch_all(self.pool())
                .await;
        match found {
            Ok(steps) => Ok(steps.into_iter().collect()),
            Err(error) if is_no_such_table(&error) => Ok(BTreeSet::new()),
            Err(other) => Err(other.into()),
        }
    }

    /// The schema's version there, and the one that this program needs (`db version`). One whose
    /// making was cut off counts as none: who makes a missing one goes on with it.
    pub async fn schema_version(&self) -> Result<(i64, i64)> {
        let have = if self.is_whole().await? {
            version(&self.applied().await?)
        } else {
            0
        };
        Ok((have, version(&self.wanted())))
    }

    /// Whether the schema was made to its end: the first epoch is the last thing that it gets.
    async fn is_whole(&self) -> Result<bool> {
        let epoch: std::result::Result<Option<String>, sqlx::Error> =
            sqlx::query_scalar("SELECT epoch FROM clock WHERE id = 1")
                .fetch_optional(self.pool())
                .await;
        match epoch {
            Ok(epoch) => Ok(epoch.is_none_or(|e| !e.is_empty())),
            Err(error) if is_no_such_table(&error) => Ok(false),
            Err(other) => Err(other.into()),
        }
    }

    /// Refuses a schema of another version, saying what to do.
    pub async fn require_schema(&self) -> Result<()> {
        let (have, want) = (self.applied().await?, self.wanted());
        self.refuse_newer(&have)?;
        let whole = self.is_whole().await?;
        if want.is_subset(&have) && whole {
            return Ok(());
        }
        let have = if whole { have } else { BTreeSet::new() };
        Err(StoreError::Refused(format!(
            "the database's schema is version {}, this program needs {} (run: nova-manage db sync)",
            version(&have),
            version(&want)
        )))
    }

    fn refuse_newer(&self, have: &BTreeSet<i64>) -> Result<()> {
        let want = self.wanted();
        if have.is_subset(&want) {
            return Ok(());
        }
        Err(StoreError::Refused(format!(
            "the database's schema is version {}, newer than this program's {} \
             (use the newer novanet)",
            version(have),
            version(&want)
        )))
    }
}

fn version(steps: &BTreeSet<i64>) -> i64 {
    i64::try_from(steps.len()).unwrap_or(i64::MAX)
}

/// An empty database, that is.
fn is_no_such_table(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|e| {
        e.code().is_some_and(|c| c == "42P01") || e.message().starts_with("no such table")
    })
}

fn not_migrated(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        MigrateError::VersionMismatch(step) => StoreError::Refused(format!(
            "the database's schema was made by another program: its step {step} differs"
        )),
        other => StoreError::unavailable("could not be brought up to date", other),
    }
}
