//! A use case that ends at any of its statements has done nothing, and the next run of it ends as
//! if that had not been.

mod abort_injector;
pub(crate) mod db_snapshot;
mod errors;
mod readers;
mod table;
mod vpns;

use crate::world::{World, on};
use abort_injector::AbortInjector;
use anyhow::{Context, Result, ensure};
use db_snapshot::{DbSnapshot, DbSnapshots, settled};
use errors::{Errors, Parts};
use novanet_control::{Cloud, CloudConfig};
use novanet_store::Engine;
use novanet_store::inject::FaultInjector;
use sqlx::AssertSqlSafe;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

#[test]
fn on_sqlite_a_use_case_that_dies_at_any_statement_has_done_nothing_and_the_next_run_does_all() {
    on(Engine::Sqlite, with_vpns, try_all);
}

#[test]
fn on_postgres_a_use_case_that_dies_at_any_statement_has_done_nothing_and_the_next_run_does_all() {
    on(Engine::Postgres, with_vpns, try_all);
}

#[test]
fn on_sqlite_a_use_case_whose_database_fails_at_any_statement_is_whole_or_not_done_and_writes_go_on()
 {
    on(Engine::Sqlite, with_vpns, fail_all);
}

#[test]
fn on_postgres_a_use_case_whose_database_fails_at_any_statement_is_whole_or_not_done_and_writes_go_on()
 {
    on(Engine::Postgres, with_vpns, fail_all);
}

fn with_vpns(config: &mut CloudConfig) {
    "ami-00000001".clone_into(&mut config.vpn_image);
    // A host is up for as long as the trials take, on a slow machine too.
    config.service_down_time = Duration::from_hours(1);
}

async fn fail_all(w: &World) -> Result<()> {
    let errors = Arc::new(Errors::default());
    w.inject(Arc::clone(&errors) as Arc<dyn FaultInjector>);
    let mut trial = Trial::of(w).await?;
    trial.errors = Some(Arc::clone(&errors));
    Box::pin(table::all(&trial)).await?;
    trial.has_tried_all_use_cases();
    errors.have_failed_all()
}

async fn try_all(w: &World) -> Result<()> {
    let trial = Trial::of(w).await?;
    table::all(&trial).await?;
    trial.has_tried_all_use_cases();
    // So many that an injector that does not abort would be noticed.
    let aborts = trial.aborts.get();
    ensure!(aborts > 600, "{aborts} aborts only");
    Ok(())
}

/// Tables that no plan follows from and no list shows.
const UNPLANNED: &[&str] = &["leases", "image_blobs"];

/// How many statements set up a connection, which may come with one run and not with another.
const SETTING_UP: usize = 2;

/// Where use cases are tried, one after the other, in one cloud.
pub(crate) struct Trial<'w> {
    pub(crate) w: &'w World,
    injector: AbortInjector,
    snapshots: DbSnapshots,
    /// What fails, where nothing is aborted.
    errors: Option<Arc<Errors>>,
    tried: RefCell<BTreeSet<&'static str>>,
    aborts: Cell<usize>,
}

impl<'w> Trial<'w> {
    async fn of(w: &'w World) -> Result<Self> {
        // All connections that the store opens, those that write and those that read: to set one up
        // takes statements too.
        drop(w.db().begin_unplanned().await?);
        let mut opened = vec![];
        while let Ok(one) = timeout(Duration::from_secs(1), w.db().read()).await {
            opened.push(one?);
        }
        drop(opened);
        Ok(Self {
            w,
            injector: AbortInjector::new(),
            snapshots: DbSnapshots::of(w.db()).await?,
            errors: None,
            tried: RefCell::default(),
            aborts: Cell::new(0),
        })
    }

    /// One transaction: aborted after each statement it has changed not one byte, or, after its
    /// commit, everything. Then it is done whole.
    pub(crate) async fn one<T>(
        &self,
        name: &'static str,
        use_case: impl AsyncFn(&Cloud) -> novanet_control::Result<T>,
    ) -> Result<()> {
        self.tried.borrow_mut().insert(name);
        if let Some(errors) = &self.errors {
            let ready = async |_: &Cloud| Ok(());
            let use_case = async |c: &Cloud, ()| use_case(c).await;
            return Box::pin(self.fail(errors, name, Parts::One, ready, use_case)).await;
        }
        let (before, after, statements) = self.whole(name, &use_case).await?;
        let mut committed = false;
        for at in 1..=statements + SETTING_UP {
            let when = || format!("{name} aborted after statement {at} of {statements}");
            let mut tries = 0;
            loop {
                let this = if tries == 0 { at } else { statements };
                if self.abort_at(this, use_case(self.w)).await?.is_none() {
                    break;
                }
                // A connection that was aborted at its BEGIN or COMMIT is closed: this run did not
                // have to set one up, and had fewer statements.
                tries += 1;
                ensure!(tries < 20, "{}: was not", when());
                before.put_back(self.w.db()).await?;
            }
            let now = self.snapshots.take().await?;
            if now != before {
                ensure!(
                    at + SETTING_UP >= statements,
                    "{}: {:?}",
                    when(),
                    now.differs_in(&before)
                );
                same(&now, &after, &[]).with_context(when)?;
                self.w.assert_planned().await;
                before.put_back(self.w.db()).await?;
                committed = true;
                break;
            }
        }
        ensure!(committed, "{name}: its commit is not among the aborts");
        use_case(self.w).await.context(name)?;
        let again = self.snapshots.take().await?;
        same(&again, &after, &[]).with_context(|| format!("{name} after the aborts"))
    }

    /// Several transactions: aborted after each statement what is planned follows from the rows,
    /// and doing it again ends as if it had not been aborted, but for some columns. Then it is done
    /// whole.
    pub(crate) async fn several<T>(
        &self,
        name: &'static str,
        but_for: &[&str],
        use_case: impl AsyncFn(&Cloud) -> novanet_control::Result<T>,
    ) -> Result<()> {
        let ready = async |_: &Cloud| Ok(());
        let use_case = async |c: &Cloud, ()| use_case(c).await;
        self.prepared(name, but_for, ready, use_case).await
    }

    /// [`Trial::several`] of something that has to get ready, without an abort.
    pub(crate) async fn prepared<P, T>(
        &self,
        name: &'static str,
        but_for: &[&str],
        ready: impl AsyncFn(&Cloud) -> novanet_control::Result<P>,
        use_case: impl AsyncFn(&Cloud, P) -> novanet_control::Result<T>,
    ) -> Result<()> {
        self.tried.borrow_mut().insert(name);
        if let Some(errors) = &self.errors {
            return Box::pin(self.fail(errors, name, Parts::Some, ready, use_case)).await;
        }
        let c = &self.w.cloud;
        let start = self.snapshots.take().await?;
        let whole = async |c: &Cloud| use_case(c, ready(c).await?).await;
        let (_, after, _) = self.whole(name, &whole).await?;
        let (_, statements) = self.injector.count(use_case(c, ready(c).await?)).await;
        start.put_back(c.db()).await?;
        for at in 1..=statements {
            let when = || format!("{name} aborted after statement {at} of {statements}");
            let ready = ready(c).await?;
            let before = self.snapshots.take().await?;
            self.abort_at(at, use_case(c, ready)).await?;
            let now = self.snapshots.take().await?;
            if now
                .differs_in(&before)
                .iter()
                .any(|t| !UNPLANNED.contains(t))
            {
                self.w.assert_planned().await;
            }
            // If it is, only the answer was not heard.
            if same(&now, &after, but_for).is_err() {
                self.sql("UPDATE leases SET expires_at = 1").await?;
                whole(c).await.with_context(when)?;
                let again = self.snapshots.take().await?;
                same(&again, &after, but_for).with_context(when)?;
            }
            start.put_back(c.db()).await?;
        }
        whole(c).await.context(name)?;
        Ok(())
    }

    pub(crate) async fn rows(&self, table: &str) -> Result<usize> {
        Ok(self.snapshots.take().await?.rows(table))
    }

    /// Changes rows past the use cases.
    pub(crate) async fn sql(&self, sql: &str) -> Result<()> {
        let mut tx = self.w.db().begin_unplanned().await?;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The states before and after a use case, and its number of statements. Ends in the state
    /// before.
    async fn whole<T>(
        &self,
        name: &str,
        use_case: &impl AsyncFn(&Cloud) -> novanet_control::Result<T>,
    ) -> Result<(DbSnapshot, DbSnapshot, usize)> {
        let before = self.snapshots.take().await?;
        let (done, statements) = self.injector.count(use_case(self.w)).await;
        done.with_context(|| name.to_owned())?;
        let after = self.snapshots.take().await?;
        ensure!(after != before, "{name} changes nothing");
        self.w.assert_planned().await;
        before.put_back(self.w.db()).await?;
        ensure!(self.snapshots.take().await? == before);
        Ok((before, after, statements))
    }

    async fn abort_at<F: Future>(&self, at: usize, work: F) -> Result<Option<F::Output>> {
        self.aborts.set(self.aborts.get() + 1);
        // One is there: the last abort may have closed it.
        Box::pin(async { self.w.db().begin_unplanned().await?.commit().await }).await?;
        let answer = self.injector.within(at, work).await;
        settled(self.w.db()).await?;
        Ok(answer)
    }

    /// Every public function of the cloud is tried, or only reads.
    fn has_tried_all_use_cases(&self) {
        let readers: BTreeSet<&str> = readers::READERS.iter().copied().collect();
        let known: BTreeSet<&str> = self.tried.borrow().union(&readers).copied().collect();
        let all = public_functions(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        let all: BTreeSet<&str> = all.iter().map(String::as_str).collect();
        assert_eq!(known, all, "known here, and in the sources");
    }
}

/// The names of what the sources offer.
fn public_functions(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(public_functions(&path));
            continue;
        }
        for line in fs::read_to_string(path).unwrap().lines() {
            if let Some(rest) = line.trim_start().strip_prefix("pub async fn ") {
                let name = rest.split(['(', '<']).next().unwrap();
                names.insert(name.to_owned());
            }
        }
    }
    names
}

fn same(is: &DbSnapshot, wanted: &DbSnapshot, but_for: &[&str]) -> Result<()> {
    let (is, wanted) = (is.essence(but_for), wanted.essence(but_for));
    let only = |one: &[String], other: &[String]| -> Vec<String> {
        let missing = one.iter().filter(|line| !other.contains(line));
        missing.cloned().collect()
    };
    let (more, less) = (only(&is, &wanted), only(&wanted, &is));
    ensure!(is == wanted, "is there: {more:#?}\nis missing: {less:#?}");
    Ok(())
}
