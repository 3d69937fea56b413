//! Brings a database up to the steps of `schema`, all or nothing, and refuses one of another version.
//! Depends on transactions and on the clock row, whose epoch a new database gets here.

use crate::schema::{LIST, list_of, look, steps, tables};
use crate::{Db, Engine, Result, StoreError, clock};
use std::collections::BTreeSet;

impl Db {
    /// Brings the schema up to this program's version (`db sync`): all or nothing. Twice does
    /// nothing.
    pub async fn migrate(&self) -> Result<()> {
        self.make().await.map_err(|e| e.of(self.name()))
    }

    async fn make(&self) -> Result<()> {
        let mut tx = self.begin_unplanned().await?;
        if self.engine() == Engine::Postgres {
            // Servers that start together make it one after the other.
            sqlx::raw_sql("DO $$ BEGIN PERFORM pg_advisory_xact_lock(8773); END $$")
                .execute(&mut *tx)
                .await?;
        }
        let have = look(&mut tx, self.engine(), self.name()).await?;
        self.refuse_newer(&have)?;
        if have.is_empty() && !tables(&mut tx, self.engine()).await?.contains(LIST) {
            sqlx::raw_sql(list_of(self.engine()))
                .execute(&mut *tx)
                .await?;
        }
        for (version, step) in steps(self.engine()) {
            if have.contains(&version) {
                continue;
            }
            sqlx::raw_sql(step.sql).execute(&mut *tx).await?;
            sqlx::query(
                "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
                 execution_time) VALUES ($1, $2, TRUE, $3, 0)",
            )
            .bind(version)
            .bind(step.description)
            .bind(step.checksum)
            .execute(&mut *tx)
            .await?;
        }
        clock::ensure_epoch(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn applied(&self) -> Result<BTreeSet<i64>> {
        let mut tx = self.read().await?;
        look(&mut tx, self.engine(), self.name()).await
    }

    /// The schema's version there, and the one that this program needs (`db version`). Refuses a
    /// database that is not ours.
    pub async fn schema_version(&self) -> Result<(i64, i64)> {
        let have = self.applied().await.map_err(|e| e.of(self.name()))?;
        Ok((count(&have), count(&self.wanted())))
    }

    /// Refuses a schema of another version, saying what to do.
    pub async fn require_schema(&self) -> Result<()> {
        let have = self.applied().await.map_err(|e| e.of(self.name()))?;
        self.refuse_newer(&have)?;
        let want = self.wanted();
        if want.is_subset(&have) {
            return Ok(());
        }
        Err(StoreError::Refused(format!(
            "database {}: its schema is version {}, this program needs {} \
             (run: nova-manage db sync)",
            self.name(),
            count(&have),
            count(&want)
        )))
    }

    fn wanted(&self) -> BTreeSet<i64> {
        steps(self.engine()).into_keys().collect()
    }

    fn refuse_newer(&self, have: &BTreeSet<i64>) -> Result<()> {
        let want = self.wanted();
        if have.is_subset(&want) {
            return Ok(());
        }
        Err(StoreError::Refused(format!(
            "database {}: its schema is version {}, newer than this program's {} \
             (use the newer novanet)",
            self.name(),
            count(have),
            count(&want)
        )))
    }
}

fn count(steps: &BTreeSet<i64>) -> i64 {
    i64::try_from(steps.len()).unwrap_or(i64::MAX)
}
