//! The database fails at every statement that a use case sends: the caller hears that it cannot be
//! done now, the use case is done whole or not at all, and the first write after that works.

use super::db_snapshot::DbSnapshot;
use super::{Trial, same};
use anyhow::{Context as _, Result, bail, ensure};
use novanet_control::{Cloud, ControlError, StoreError};
use novanet_store::Engine;
use novanet_store::inject::{self, FaultInjector};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard};

/// When a statement fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Before,
    /// The database has done it; the answer is lost.
    After,
}

/// Fails one statement, and knows all that were sent and failed.
#[derive(Debug, Default)]
pub(crate) struct Errors(Mutex<Plan>);

#[derive(Debug, Default)]
struct Plan {
    /// A use case runs, and no part of the test itself.
    runs: bool,
    at: Option<(usize, Stage)>,
    error: &'static str,
    sent: Vec<String>,
    failed: Option<String>,
    all_sent: BTreeSet<String>,
    /// How often a statement failed.
    all_failed: BTreeMap<String, usize>,
}

impl Errors {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap()
    }

    /// Runs a use case that fails at a statement: its answer, what it sent, where it failed.
    async fn run<T>(
        &self,
        at: Option<(usize, Stage)>,
        error: &'static str,
        use_case: impl Future<Output = T>,
    ) -> (T, Vec<String>, Option<String>) {
        {
            let mut plan = self.plan();
            (plan.runs, plan.at, plan.error) = (true, at, error);
            (plan.sent, plan.failed) = (vec![], None);
        }
        let done = use_case.await;
        let mut plan = self.plan();
        plan.runs = false;
        (done, std::mem::take(&mut plan.sent), plan.failed.take())
    }

    fn step(&self, stage: Stage, sql: &str) -> Option<sqlx::Error> {
        let mut plan = self.plan();
        // A ROLLBACK of an unknown transaction comes in the background.
        if !plan.runs || sql == "ROLLBACK" {
            return None;
        }
        let text = without_counts(sql);
        if stage == Stage::Before {
            plan.sent.push(text.clone());
            plan.all_sent.insert(text.clone());
        }
        if plan.at != Some((plan.sent.len(), stage)) {
            return None;
        }
        plan.at = None;
        plan.failed = Some(text.clone());
        *plan.all_failed.entry(text).or_default() += 1;
        Some(match plan.error {
            "lost" => sqlx::Error::Io(ErrorKind::UnexpectedEof.into()),
            code => inject::error_of(code),
        })
    }

    /// Every statement that was sent has failed some time.
    pub(crate) fn have_failed_all(&self) -> Result<()> {
        let plan = self.plan();
        let never = |sql: &&String| !plan.all_failed.contains_key(*sql);
        let never: Vec<&String> = plan.all_sent.iter().filter(never).collect();
        ensure!(never.is_empty(), "sent, and never failed: {never:#?}");
        ensure!(plan.all_sent.len() > 150, "{} only", plan.all_sent.len());
        Ok(())
    }
}

impl FaultInjector for Errors {
    fn before(&self, sql: &str) -> Option<sqlx::Error> {
        self.step(Stage::Before, sql)
    }

    fn after(&self, sql: &str) -> Option<sqlx::Error> {
        self.step(Stage::After, sql)
    }
}

/// A statement for any number of values is one statement.
fn without_counts(sql: &str) -> String {
    let mut text = String::new();
    let mut placeholder = false;
    for c in sql.chars() {
        if placeholder && c.is_ascii_digit() {
            continue;
        }
        placeholder = c == '$';
        text.push(c);
    }
    for (many, one) in [("$, $", "$"), ("($), ($)", "($)")] {
        while text.contains(many) {
            text = text.replace(many, one);
        }
    }
    text
}

/// What each engine says when it fails: full, I/O, no memory, busy; read-only, full, lost.
fn errors(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::Sqlite => &["13", "778", "7", "5"],
        Engine::Postgres => &["25006", "53100", "lost"],
    }
}

/// What begins and ends transactions fails in every way, the rest in two.
fn enough(sql: &str, engine: Engine) -> usize {
    let ends = ["BEGIN", "COMMIT", "SAVEPOINT", "ROLLBACK"];
    if ends.iter().any(|word| sql.starts_with(word)) {
        2 * errors(engine).len()
    } else {
        2
    }
}

/// How much of a use case one failure may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    /// It is one transaction.
    One,
    /// Some of its transactions; it may do without what failed.
    Some,
}

impl Trial<'_> {
    /// Fails a use case at each of its statements, those excepted that have failed often enough.
    pub(super) async fn fail<P, T>(
        &self,
        errors_of: &Arc<Errors>,
        name: &'static str,
        parts: Parts,
        ready: impl AsyncFn(&Cloud) -> novanet_control::Result<P>,
        use_case: impl AsyncFn(&Cloud, P) -> novanet_control::Result<T>,
    ) -> Result<()> {
        let (c, engine) = (&self.w.cloud, self.w.db().engine());
        let start = self.snapshots.take().await?;
        let prepared = ready(c).await?;
        let before = self.snapshots.take().await?;
        let (done, sent, _) = errors_of.run(None, "", use_case(c, prepared)).await;
        done.context(name)?;
        let after = self.snapshots.take().await?;
        start.put_back(c.db()).await?;
        for (index, sql) in sent.iter().enumerate() {
            for attempt in 0.. {
                ensure!(attempt < 40, "{name}: not sent any more: {sql}");
                let tries = errors_of.plan().all_failed.get(sql).copied();
                let tries = tries.unwrap_or(0);
                if tries >= enough(sql, engine) {
                    break;
                }
                let kinds = errors(engine);
                let stage = [Stage::Before, Stage::After][tries % 2];
                let error = kinds[(tries / 2 + index) % kinds.len()];
                let prepared = ready(c).await?;
                let at = Some((index + 1, stage));
                let (done, _, failed) = errors_of.run(at, error, use_case(c, prepared)).await;
                let when = || {
                    format!(
                        "{name}: {error} {stage:?} {failed:?}: {:?}",
                        done.as_ref().err()
                    )
                };
                let now = self.snapshots.take().await.with_context(when)?;
                let failed = failed.as_deref().with_context(when)?;
                let unavailable = match &done {
                    Err(ControlError::Store(StoreError::Unavailable { .. })) => true,
                    // Another connection is taken when one is lost at its BEGIN.
                    Ok(_) if error == "lost" && failed.starts_with("BEGIN") => false,
                    _ if parts == Parts::Some => false,
                    _ => bail!("{}", when()),
                };
                if unavailable && parts == Parts::One {
                    whole_or_not_at_all(&now, &before, &after, (failed, stage))
                        .with_context(when)?;
                }
                // The first write.
                start.put_back(c.db()).await.with_context(when)?;
            }
        }
        let prepared = ready(c).await?;
        use_case(c, prepared).await.context(name)?;
        Ok(())
    }
}

fn whole_or_not_at_all(
    now: &DbSnapshot,
    before: &DbSnapshot,
    after: &DbSnapshot,
    failed: (&str, Stage),
) -> Result<()> {
    if failed == ("COMMIT", Stage::After) {
        return same(now, after, &[]);
    }
    ensure!(now == before, "{:?}", now.differs_in(before));
    Ok(())
}
