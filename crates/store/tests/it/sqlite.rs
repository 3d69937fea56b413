//! What is SQLite's own: the file, its owner, and whose turn it is to write.

use crate::engines::{Fresh, run, runtime, sqlite_url};
use novanet_store::{Db, Engine, StoreError, clock, counters};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

/// A handle that writes flat out with four tasks, and counts what it committed.
struct Busy {
    commits: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    tasks: tokio::task::JoinSet<()>,
}

impl Busy {
    fn start(db: &Db) -> Self {
        let (commits, stop) = (
            Arc::new(AtomicI64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (db, commits, stop) = (db.clone(), Arc::clone(&commits), Arc::clone(&stop));
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let mut tx = db.change().await.unwrap();
                    counters::next(&mut tx, "busy").await.unwrap();
                    tx.commit().await.unwrap();
                    commits.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        Self {
            commits,
            stop,
            tasks,
        }
    }

    async fn end(self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
        self.commits.load(Ordering::SeqCst)
    }
}

#[test]
fn a_writer_waits_for_a_handful_of_commits_of_a_process_that_writes_flat_out() {
    run(Engine::Sqlite, |server| async move {
        let busy = Busy::start(&server);
        let cli = server.again().await?;
        let mut longest = 0;
        for _ in 0..100 {
            // So that the server is in the middle of it, not just where the last write left it.
            let before = busy.commits.load(Ordering::SeqCst);
            while busy.commits.load(Ordering::SeqCst) < before + 3 {
                tokio::task::yield_now().await;
            }
            let before = busy.commits.load(Ordering::SeqCst);
            let tx = cli.write().await?;
            longest = longest.max(busy.commits.load(Ordering::SeqCst) - before);
            tx.commit().await?;
        }
        // Two by construction, more when this thread is not run in between; without turns: hundreds.
        assert!(longest <= 20, "waited for {longest} commits");
        assert!(busy.end().await > 300);
        Ok(())
    });
}

#[test]
fn a_writer_that_gave_up_waiting_does_not_keep_the_lock() {
    run(Engine::Sqlite, |first| async move {
        let (second, third) = (first.again().await?, first.again().await?);
        let held = first.write().await?;
        for db in [&second, &second, &third] {
            // Cancelled in the middle of waiting, as a request whose client went away.
            let waiting = tokio::time::timeout(Duration::from_millis(30), db.write()).await;
            assert!(waiting.is_err());
        }
        held.commit().await?;
        for db in [&third, &second, &first] {
            tokio::time::timeout(Duration::from_secs(10), db.write())
                .await??
                .commit()
                .await?;
        }
        Ok(())
    });
}
