//! Planned transactions that wait for each other share a transaction of the engine. Each one
//! commits or fails by itself, and is committed when its `commit` returns.

use crate::both::seed::a_user;
use crate::cut_off::polled;
use crate::engines::Fresh;
use anyhow::Result;
use novanet_store::audit::{self, Actor};
use novanet_store::{Committed, Db, Engine, StoreError, users};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// On one thread: a spawned task has run as far as it can before another one continues.
fn alone<F: Future<Output = Result<()>>>(engine: Engine, promise: impl FnOnce(Fresh) -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(async {
        let fresh = Fresh::on(engine).await.unwrap();
        let promised = timeout(Duration::from_mins(1), promise(fresh)).await;
        promised.expect("the promise took a minute").unwrap();
    });
}

fn alone_on_both<F: Future<Output = Result<()>>>(promise: impl Fn(Fresh) -> F) {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        alone(engine, &promise);
    }
}

/// A use case that makes a user, and ends when it is told to.
struct UseCase {
    has_begun: oneshot::Receiver<()>,
    end: oneshot::Sender<End>,
    task: JoinHandle<Result<Committed, StoreError>>,
}

#[derive(Debug)]
enum End {
    Commit,
    /// A statement fails, and the use case with it.
    Fail,
    /// A statement fails, and the use case does not care.
    CommitAllTheSame,
}

/// Returns when the use case waits for its turn.
async fn ask(db: &Db, name: impl ToString) -> UseCase {
    let (begun, has_begun) = oneshot::channel();
    let (end, told) = oneshot::channel();
    let (db, name) = (db.clone(), name.to_string());
    let task = tokio::spawn(async move {
        let mut tx = db.begin_planned().await?;
        let actor = Actor {
            who: name.clone(),
            source: "test".to_owned(),
        };
        audit::record(&mut tx, &actor, "user.create", None, &name, "").await?;
        users::insert(&mut tx, &a_user(&name)).await?;
        let _ = begun.send(());
        match told.await {
            Ok(End::Commit) => tx.commit().await,
            Ok(End::CommitAllTheSame) => {
                users::insert(&mut tx, &a_user(&name)).await.unwrap_err();
                tx.commit().await
            }
            _ => Err(users::insert(&mut tx, &a_user(&name)).await.unwrap_err()),
        }
    });
    tokio::task::yield_now().await;
    UseCase {
        has_begun,
        end,
        task,
    }
}

impl UseCase {
    /// Ends it as soon as it has its turn; it may wait for others then.
    async fn then(self, end: End) -> JoinHandle<Result<Committed, StoreError>> {
        self.has_begun.await.unwrap();
        self.end.send(end).unwrap();
        self.task
    }
}

async fn names(db: &Db) -> Vec<String> {
    let mut tx = db.read().await.unwrap();
    let all = users::list(&mut tx).await.unwrap();
    let names: Vec<String> = all.into_iter().map(|user| user.id).collect();
    // Those of `make_two` record nothing.
    let recorded = audit::list(&mut tx, None, i64::MAX).await.unwrap();
    let mut recorded: Vec<_> = recorded.into_iter().map(|entry| entry.object).collect();
    recorded.sort();
    let others = |name: &&String| !name.starts_with(['y', 'z']);
    assert!(names.iter().filter(others).eq(&recorded), "{recorded:?}");
    names
}

#[test]
fn those_who_wait_share_a_transaction_and_are_done_with_its_commit() {
    alone_on_both(|t| async move {
        let a = ask(&t, "a").await;
        let (b, c) = (ask(&t, "b").await, ask(&t, "c").await);
        let mut a = a.then(End::Commit).await;
        let late = timeout(Duration::from_millis(50), &mut a).await;
        late.expect_err("b has not ended yet");
        assert_eq!(names(&t).await, [""; 0], "it did not say that it is done");
        let b = b.then(End::Commit).await;
        let c = c.then(End::Commit).await;
        let versions = [a.await??.version, b.await??.version, c.await??.version];
        assert_eq!(versions, [1, 2, 3]);
        assert_eq!(names(&t).await, ["a", "b", "c"]);
        assert_eq!(t.begin_planned().await?.version, 4);
        Ok(())
    });
}

#[test]
fn what_fails_in_the_middle_takes_only_its_own_back() {
    alone_on_both(|t| async move {
        let a = ask(&t, "a").await;
        let (b, c) = (ask(&t, "b").await, ask(&t, "c").await);
        let a = a.then(End::Commit).await;
        let b = b.then(End::Fail).await.await?;
        assert!(matches!(b, Err(StoreError::Conflict(_))), "{b:?}");
        let c = c.then(End::Commit).await;
        assert_eq!((a.await??.version, c.await??.version), (1, 2));
        assert_eq!(names(&t).await, ["a", "c"]);
        Ok(())
    });
}

#[test]
fn the_last_one_may_fail_or_go_away_and_the_others_are_done() {
    alone_on_both(|t| async move {
        let (first, last) = (ask(&t, "a").await, ask(&t, "b").await);
        let first = first.then(End::Commit).await;
        last.then(End::Fail).await.await?.unwrap_err();
        first.await??;
        // In the middle of its work …
        let (first, last) = (ask(&t, "c").await, ask(&t, "d").await);
        let first = first.then(End::Commit).await;
        last.has_begun.await?;
        last.task.abort();
        first.await??;
        // … and before its turn has come.
        let (first, last) = (ask(&t, "e").await, ask(&t, "f").await);
        last.task.abort();
        first.then(End::Commit).await.await??;
        assert_eq!(names(&t).await, ["a", "c", "e"]);
        Ok(())
    });
}

#[test]
fn whoever_goes_away_at_any_moment_takes_nothing_of_others_with_it() {
    alone_on_both(|t| async move {
        let mut cut_off = BTreeSet::new();
        let mut polls = 0;
        for round in 0.. {
            let a = ask(&t, name('a', round)).await;
            let (db, stage) = (t.clone(), Arc::new(AtomicUsize::new(0)));
            let its = Arc::clone(&stage);
            let b = tokio::spawn(async move { polled(polls, make_two(&db, round, &its)).await });
            let a = a.then(End::Commit).await;
            let through = b.await?;
            a.await??;
            let there = names(&t).await;
            assert!(there.contains(&name('a', round)), "cut off at {stage:?}");
            // Its commit may come about when it has gone away; then it did all.
            let done = ['y', 'z'].map(|kind| there.contains(&name(kind, round)));
            assert!(
                done == [true; 2] || (done == [false; 2] && !through),
                "{there:?}"
            );
            polls = if through { 0 } else { polls + 1 };
            if !through {
                cut_off.insert(stage.load(Ordering::Relaxed));
            }
            // An answer may come before the test waits for it: in the next run it does not.
            if through && cut_off.len() == STAGES {
                break;
            }
        }
        Ok(())
    });
}

fn name(kind: char, number: usize) -> String {
    format!("{kind}{number:02}")
}

/// It asks for its turn, makes one user and another, and commits.
const STAGES: usize = 4;

async fn make_two(db: &Db, number: usize, stage: &AtomicUsize) -> Result<Committed, StoreError> {
    let mut tx = db.begin_planned().await?;
    for kind in ['y', 'z'] {
        stage.fetch_add(1, Ordering::Relaxed);
        users::insert(&mut tx, &a_user(&name(kind, number))).await?;
    }
    stage.fetch_add(1, Ordering::Relaxed);
    tx.commit().await
}

#[test]
fn a_commit_that_takes_everything_back_is_not_taken_for_one() {
    alone(Engine::Postgres, |t| async move {
        let (a, b) = (ask(&t, "a").await, ask(&t, "b").await);
        let a = a.then(End::Commit).await;
        let b = b.then(End::CommitAllTheSame).await;
        a.await?.unwrap_err();
        b.await?.unwrap_err();
        assert_eq!(names(&t).await, [""; 0]);
        Ok(())
    });
}

#[test]
fn when_the_connection_dies_nobody_hears_that_it_is_done() {
    alone(Engine::Postgres, |t| async move {
        let (a, b) = (ask(&t, "a").await, ask(&t, "b").await);
        let a = a.then(End::Commit).await;
        b.has_begun.await?;
        t.cut_connections()?;
        b.end.send(End::Commit).unwrap();
        for one in [a, b.task] {
            let error = one.await?.unwrap_err();
            assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        }
        let c = ask(&t, "c").await;
        c.then(End::Commit).await.await??;
        assert_eq!(names(&t).await, ["c"]);
        Ok(())
    });
}
