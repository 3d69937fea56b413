//! Making the schema is cut off, at every point where it waits for the database: the next start
//! makes the rest, and nothing is spoiled.

use crate::engines::{runtime, sqlite_url};
use novanet_lab::Postgres;
use novanet_store::{Db, Engine, clock};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

#[test]
fn on_sqlite_a_schema_that_was_cut_off_is_finished_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let mut waits = 0;
        loop {
            let url = sqlite_url(&folder.path().join(format!("{waits}.sqlite")));
            if cut_off_and_start(&url, waits, || {}).await {
                break;
            }
            waits += 1;
        }
        assert!(waits > 5, "cut off {waits} times only");
    });
}

#[test]
fn on_postgres_a_schema_that_was_cut_off_is_finished_by_the_next_start() {
    let server = Postgres::shared().unwrap();
    runtime().block_on(async {
        let mut waits = 0;
        loop {
            let database = server.fresh_database().unwrap();
            let name = database.url.rsplit('/').next().unwrap();
            // The server may finish statements that were sent before the cut.
            let ended = || until_nobody_is_in(server, name);
            if cut_off_and_start(&database.url, waits, ended).await {
                break;
            }
            // A database of its own takes long to make: not after each wait.
            waits += 5;
        }
        assert!(waits > 5, "cut off up to {waits} waits only");
    });
}

fn until_nobody_is_in(server: &Postgres, database: &str) {
    let count = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'");
    let asked = Instant::now();
    while server.psql("postgres", &count).unwrap().trim() != "0" {
        assert!(asked.elapsed() < Duration::from_secs(10), "{database}");
    }
}

/// Makes the schema, but only until it has waited so many times; then starts as a server does.
/// Whether it was made before that.
async fn cut_off_and_start(url: &str, waits: usize, ended: impl Fn()) -> bool {
    let db = Db::open(url).await.unwrap();
    let done = polled(waits, db.migrate()).await;
    db.close().await;
    ended();
    let db = Db::open(url).await.unwrap();
    let (have, want) = db.schema_version().await.unwrap();
    let accepted = db.require_schema().await;
    assert!(
        (have == want) == accepted.is_ok(),
        "{waits}: {have} of {want}, {accepted:?}"
    );
    if have != want {
        // Not "an old one": servers make one that is missing, and leave an old one to the operator.
        assert_eq!(have, 0, "after {waits} waits");
        let mut tx = db.read().await.unwrap();
        let left: i64 = sqlx::query_scalar(match db.engine() {
            Engine::Sqlite => "SELECT count(*) FROM sqlite_master",
            Engine::Postgres => {
                "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()"
            }
        })
        .fetch_one(&mut *tx)
        .await
        .unwrap();
        assert_eq!(left, 0, "after {waits} waits: all or nothing");
        drop(tx);
        db.migrate().await.unwrap();
    }
    db.require_schema().await.unwrap();
    let tx = db.read().await;
    let epoch = clock::read(&mut tx.unwrap()).await.unwrap().epoch;
    assert!(!epoch.is_empty(), "after {waits} waits");
    db.close().await;
    done
}

/// Drops the future when it has waited so many times. Whether it was done before that.
pub(crate) async fn polled<T, E: std::fmt::Debug>(
    mut waits: usize,
    future: impl Future<Output = Result<T, E>>,
) -> bool {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(done) => {
            done.unwrap();
            Poll::Ready(true)
        }
        Poll::Pending if waits == 0 => Poll::Ready(false),
        Poll::Pending => {
            waits -= 1;
            Poll::Pending
        }
    })
    .await
}
