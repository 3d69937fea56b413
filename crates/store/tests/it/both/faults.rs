//! The database fails at any statement: the connection is closed, and the next write works.

use super::seed::a_user;
use crate::engines::Fresh;
use anyhow::{Context, Result, ensure};
use novanet_store::audit::{self, Actor};
use novanet_store::inject::{self, FaultInjector};
use novanet_store::{Conn, Db, Engine, StoreError, Tx, users};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::timeout;

both! {
    after_a_failure_at_any_statement_its_connection_is_closed_and_the_next_write_works,
    after_a_failure_of_a_reading_statement_its_connection_is_closed,
    a_failure_of_one_who_shares_a_transaction_takes_only_its_own_back_or_all_hear_of_it,
    after_a_failure_of_a_rollback_its_connection_is_closed,
    after_a_failure_nothing_more_of_its_transaction_is_sent,
    a_transaction_that_nobody_waits_for_any_more_leaves_a_connection_that_works,
}

/// Fails once, at a statement with this number.
#[derive(Debug, Default)]
struct Once(Mutex<Plan>);

#[derive(Debug, Default)]
struct Plan {
    /// Statements since the plan was made, but for ROLLBACK: that comes in the background.
    count: usize,
    /// The next ROLLBACK fails.
    at_rollback: bool,
    at: Option<(usize, Stage)>,
    error: &'static str,
    sent: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Before,
    /// The database has done it; the answer is lost.
    After,
}

const STAGES: [Stage; 2] = [Stage::Before, Stage::After];

impl Once {
    fn on(db: &Db) -> Arc<Self> {
        let once = Arc::new(Self::default());
        db.inject_faults(Arc::clone(&once) as Arc<dyn FaultInjector>);
        once
    }

    fn at(&self, number: usize, stage: Stage, error: &'static str) {
        *self.0.lock().unwrap() = Plan {
            at: Some((number, stage)),
            error,
            ..Plan::default()
        };
    }

    /// Ends the plan: the statements sent meanwhile, and whether one failed.
    fn end(&self) -> (Vec<String>, bool) {
        let plan = std::mem::take(&mut *self.0.lock().unwrap());
        let failed = plan.at.is_none() && !plan.error.is_empty();
        (plan.sent, failed)
    }

    fn step(&self, stage: Stage, sql: &str) -> Option<sqlx::Error> {
        let mut plan = self.0.lock().unwrap();
        if sql == "ROLLBACK" {
            let fails = std::mem::take(&mut plan.at_rollback);
            return fails.then(|| inject::error_of(plan.error));
        }
        if stage == Stage::Before {
            plan.count += 1;
            plan.sent.push(sql.to_owned());
        }
        if plan.at != Some((plan.count, stage)) {
            return None;
        }
        plan.at = None;
        Some(match plan.error {
            "lost" => sqlx::Error::Io(ErrorKind::UnexpectedEof.into()),
            code => inject::error_of(code),
        })
    }
}

impl FaultInjector for Once {
    fn before(&self, sql: &str) -> Option<sqlx::Error> {
        self.step(Stage::Before, sql)
    }

    fn after(&self, sql: &str) -> Option<sqlx::Error> {
        self.step(Stage::After, sql)
    }
}

/// What each engine says when it fails: full, I/O, busy, no memory; read-only, lost.
fn errors(engine: Engine) -> &'static [&'static str] {
    match engine {
        Engine::Sqlite => &["13", "778", "5", "7"],
        Engine::Postgres => &["25006", "53100", "lost"],
    }
}

/// A connection that was marked is known again until it is closed.
async fn mark(c: &mut Conn) -> Result<()> {
    sqlx::raw_sql("CREATE TEMPORARY TABLE IF NOT EXISTS marked (a BIGINT)")
        .execute(c)
        .await?;
    Ok(())
}

async fn is_marked(c: &mut Conn, engine: Engine) -> Result<bool> {
    let sql = match engine {
        Engine::Sqlite => "SELECT count(*) FROM temp.sqlite_master WHERE name = 'marked'",
        Engine::Postgres => {
            "SELECT count(*) FROM pg_class WHERE relname = 'marked' \
             AND relnamespace = pg_my_temp_schema()"
        }
    };
    let count: i64 = sqlx::query_scalar(sql).fetch_one(c).await?;
    Ok(count > 0)
}

async fn make(tx: &mut Tx, name: &str) -> Result<(), StoreError> {
    users::insert(tx, &a_user(name)).await?;
    let actor = Actor {
        who: name.to_owned(),
        source: "test".to_owned(),
    };
    audit::record(tx, &actor, "user.create", None, name, "").await
}

pub(crate) async fn use_case(db: &Db, planned: bool, name: &str) -> Result<(), StoreError> {
    let mut tx = if planned {
        db.begin_planned().await?
    } else {
        db.begin_unplanned().await?
    };
    make(&mut tx, name).await?;
    tx.commit().await.map(drop)
}

pub(crate) async fn names(db: &Db) -> Result<Vec<String>> {
    let mut tx = db.read().await?;
    let users = users::list(&mut tx).await?;
    let entries = audit::list(&mut tx, None, i64::MAX).await?;
    ensure!(users.len() == entries.len(), "{users:?} {entries:?}");
    Ok(users.into_iter().map(|user| user.id).collect())
}

/// The names of statements that begin and end transactions, of the others their first words.
fn kind(sql: &str) -> String {
    sql.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

async fn after_a_failure_at_any_statement_its_connection_is_closed_and_the_next_write_works(
    t: Fresh,
) -> Result<()> {
    let once = Once::on(&t);
    let (mut sent, mut failed_at, mut number) = (BTreeSet::new(), BTreeSet::new(), 0);
    for planned in [true, false] {
        for &error in errors(t.engine()) {
            for stage in STAGES {
                for at in 1.. {
                    number += 1;
                    let name = format!("{number}-{at}-{error}-{stage:?}");
                    let mut tx = t.begin_unplanned().await?;
                    mark(&mut tx).await?;
                    tx.commit().await?;
                    once.at(at, stage, error);
                    let done = use_case(&t, planned, &name).await;
                    let (statements, failed) = once.end();
                    sent.extend(statements.iter().map(|sql| kind(sql)));
                    // A lost connection is noticed at BEGIN, and another one taken.
                    if !failed || (done.is_ok() && error == "lost" && at == 1) {
                        done?;
                        if failed {
                            continue;
                        }
                        break;
                    }
                    let sql = kind(&statements[at - 1]);
                    let unavailable = matches!(done, Err(StoreError::Unavailable { .. }));
                    ensure!(unavailable, "{name} at {sql}: {done:?}");
                    let is_commit = sql == "COMMIT";
                    failed_at.insert(sql);
                    let mut tx = t.begin_unplanned().await.context(name.clone())?;
                    ensure!(!is_marked(&mut tx, t.engine()).await?, "{name}");
                    drop(tx);
                    let next = format!("next-{name}");
                    use_case(&t, planned, &next).await.context(name.clone())?;
                    let names = names(&t).await?;
                    ensure!(names.contains(&next), "{name}");
                    let done = names.contains(&name);
                    ensure!(done == (is_commit && stage == Stage::After), "{name}");
                }
            }
        }
    }
    assert_eq!(sent, failed_at, "sent, and failed at");
    Ok(())
}

async fn after_a_failure_of_a_reading_statement_its_connection_is_closed(t: Fresh) -> Result<()> {
    let once = Once::on(&t);
    for &error in errors(t.engine()) {
        for (at, in_snapshot) in [(1, false), (1, true), (2, true)] {
            let read = async || {
                if in_snapshot {
                    t.read().await
                } else {
                    t.connection().await
                }
            };
            mark(&mut *t.connection().await?).await?;
            once.at(at, Stage::Before, error);
            let done = async { users::list(&mut *read().await?).await }.await;
            ensure!(once.end().1, "{error} was not injected");
            if error == "lost" && in_snapshot && at == 1 {
                done?;
            } else {
                let unavailable = matches!(done, Err(StoreError::Unavailable { .. }));
                ensure!(unavailable, "{error} at {at}: {done:?}");
            }
            // All readers: the marked one is not among them any more, or was not the one that
            // failed.
            let mut tx = read().await?;
            let marked = is_marked(&mut tx, t.engine()).await?;
            ensure!(!marked || error == "5", "{error} at {at}");
            users::list(&mut tx).await?;
        }
    }
    Ok(())
}

async fn a_failure_of_one_who_shares_a_transaction_takes_only_its_own_back_or_all_hear_of_it(
    t: Fresh,
) -> Result<()> {
    let once = Once::on(&t);
    let (mut sent, mut failed_at) = (BTreeSet::new(), BTreeSet::new());
    for &error in errors(t.engine()) {
        for stage in STAGES {
            for at in 1.. {
                let name = |who: &str| format!("{who}-{at}-{error}-{stage:?}");
                let mut first = t.begin_planned().await?;
                // The others wait for their turn.
                let others = ["b", "c", "d"].map(|who| {
                    let (db, name) = (t.clone(), name(who));
                    tokio::spawn(async move {
                        let mut tx = db.begin_planned().await?;
                        make(&mut tx, &name).await?;
                        if who == "c" {
                            // Refused, so it has to be taken back.
                            make(&mut tx, &name).await?;
                        }
                        tx.commit().await.map(drop)
                    })
                });
                tokio::task::yield_now().await;
                once.at(at, stage, error);
                let mut done = vec![];
                let made = make(&mut first, &name("a")).await;
                done.push(match made {
                    Ok(()) => first.commit().await.map(drop),
                    Err(error) => {
                        drop(first);
                        Err(error)
                    }
                });
                for other in others {
                    done.push(timeout(Duration::from_mins(1), other).await??);
                }
                let (statements, failed) = once.end();
                sent.extend(statements.iter().map(|sql| kind(sql)));
                let there = names(&t).await?;
                for (who, done) in ["a", "b", "c", "d"].iter().zip(&done) {
                    let is_there = there.contains(&name(who));
                    let answer_lost = failed && stage == Stage::After;
                    ensure!(
                        is_there == done.is_ok() || (is_there && answer_lost),
                        "{} at {:?}: {done:?}",
                        name(who),
                        statements.get(at - 1)
                    );
                }
                use_case(&t, true, &name("next")).await?;
                if !failed {
                    break;
                }
                failed_at.insert(kind(&statements[at - 1]));
            }
        }
    }
    // Of a transaction that begins after a failure.
    for statements in [&mut sent, &mut failed_at] {
        statements.retain(|sql| !sql.starts_with("BEGIN"));
    }
    assert_eq!(sent, failed_at, "sent, and failed at");
    for wanted in ["SAVEPOINT member", "ROLLBACK TO SAVEPOINT", "COMMIT"] {
        ensure!(failed_at.contains(wanted), "{failed_at:?}");
    }
    Ok(())
}

async fn after_a_failure_of_a_rollback_its_connection_is_closed(t: Fresh) -> Result<()> {
    let once = Once::on(&t);
    // An error that does not say that the database failed, too: SQLite has no transaction any more.
    for &error in errors(t.engine()).iter().chain(&["1"]) {
        // All that there are.
        let most = if t.engine() == Engine::Sqlite { 1 } else { 4 };
        let mut all = vec![];
        while all.len() < most {
            let mut tx = t.begin_unplanned().await?;
            mark(&mut tx).await?;
            all.push(tx);
        }
        for tx in all {
            tx.commit().await?;
        }
        let mut tx = t.begin_unplanned().await?;
        ensure!(is_marked(&mut tx, t.engine()).await?);
        make(&mut tx, "a").await?;
        *once.0.lock().unwrap() = Plan {
            at_rollback: true,
            error,
            ..Plan::default()
        };
        drop(tx);
        let mut all = vec![];
        while all.len() < most {
            let mut tx = t.begin_unplanned().await?;
            let marked = is_marked(&mut tx, t.engine()).await?;
            all.push((tx, marked));
        }
        let left = all.iter().filter(|(_, marked)| *marked).count();
        ensure!(left < most, "{error}: the connection is used again");
        drop(all);
        assert_eq!(names(&t).await?, [""; 0]);
    }
    Ok(())
}

async fn after_a_failure_nothing_more_of_its_transaction_is_sent(t: Fresh) -> Result<()> {
    let once = Once::on(&t);
    let error = errors(t.engine())[0];
    let mut tx = t.begin_planned().await?;
    once.at(1, Stage::Before, error);
    make(&mut tx, "a").await.unwrap_err();
    // SQLite may have taken everything back: this would be in no transaction.
    make(&mut tx, "b").await.unwrap_err();
    let refused = tx.commit().await.unwrap_err();
    ensure!(
        matches!(refused, StoreError::Unavailable { .. }),
        "{refused:?}"
    );
    assert_eq!(once.end().0.len(), 1);
    assert_eq!(names(&t).await?, [""; 0]);
    use_case(&t, true, "c").await?;
    assert_eq!(names(&t).await?, ["c"]);
    Ok(())
}

async fn a_transaction_that_nobody_waits_for_any_more_leaves_a_connection_that_works(
    t: Fresh,
) -> Result<()> {
    for polls in 0.. {
        let name = format!("n{polls:03}");
        let through = crate::cut_off::polled(polls, use_case(&t, false, &name)).await;
        // Each connection of the pool.
        for next in 0..4 {
            use_case(&t, false, &format!("{name}-{next}")).await?;
        }
        if through {
            return Ok(());
        }
    }
    unreachable!("it is through some time")
}
