//! SQLite only: the file, its owner, and the order of writers.

use crate::engines::{run, runtime, sqlite_url};
use novanet_store::{Db, Engine, StoreError, counters};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

/// What a busy process does.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// Each in a transaction of the engine.
    Writes,
    /// All that wait for each other in one.
    UseCases,
}

/// A handle that writes flat out with four tasks, and counts what it committed.
struct Busy {
    commits: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    tasks: tokio::task::JoinSet<()>,
}

impl Busy {
    const TASKS: i64 = 4;

    fn start(db: &Db, work: Work) -> Self {
        let (commits, stop) = (
            Arc::new(AtomicI64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..Self::TASKS {
            let (db, commits, stop) = (db.clone(), Arc::clone(&commits), Arc::clone(&stop));
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let tx = match work {
                        Work::Writes => db.begin_unplanned().await,
                        Work::UseCases => db.begin_planned().await,
                    };
                    let mut tx = tx.unwrap();
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

/// How many commits of a process that writes flat out 100 writes of another waited for, sorted.
async fn waits_beside(server: &Db, cli: &Db, work: Work) -> anyhow::Result<Vec<i64>> {
    let busy = Busy::start(server, work);
    let mut waits = vec![];
    for _ in 0..100 {
        // So that the server is in the middle of it, not just where the last write left it.
        let before = busy.commits.load(Ordering::SeqCst);
        while busy.commits.load(Ordering::SeqCst) < before + 3 {
            tokio::task::yield_now().await;
        }
        let before = busy.commits.load(Ordering::SeqCst);
        let tx = cli.begin_unplanned().await?;
        waits.push(busy.commits.load(Ordering::SeqCst) - before);
        tx.commit().await?;
    }
    waits.sort_unstable();
    assert!(busy.end().await > 300);
    Ok(waits)
}

#[test]
fn a_writer_has_its_turn_beside_a_process_that_writes_flat_out() {
    run(Engine::Sqlite, |server| async move {
        let cli = server.again().await?;
        for (work, at_once) in [(Work::Writes, 1), (Work::UseCases, Busy::TASKS)] {
            let waits = waits_beside(&server, &cli, work).await?;
            // Two commits of the engine, by construction; more when this thread is not run for a
            // while, so the longest waits say something of the machine. (SQLite alone: 4 and 150,
            // and the longest 2,000.)
            let fair = waits[50] <= 3 * at_once && waits[90] <= 20 * at_once;
            assert!(fair, "{work:?}: waited for so many commits: {waits:?}");
        }
        Ok(())
    });
}

#[test]
fn a_writer_that_gave_up_waiting_does_not_keep_the_lock() {
    run(Engine::Sqlite, |first| async move {
        let (second, third) = (first.again().await?, first.again().await?);
        let held = first.begin_unplanned().await?;
        for db in [&second, &second, &third] {
            // Cancelled in the middle of waiting, as a request whose client went away.
            let waiting =
                tokio::time::timeout(Duration::from_millis(30), db.begin_unplanned()).await;
            assert!(waiting.is_err());
        }
        held.commit().await?;
        for db in [&third, &second, &first] {
            tokio::time::timeout(Duration::from_secs(10), db.begin_unplanned())
                .await??
                .commit()
                .await?;
        }
        Ok(())
    });
}

/// The text of the error that opening this file gives.
async fn refusal(file: &Path) -> String {
    let error = Db::open(&sqlite_url(file)).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    error.to_string()
}

#[test]
fn a_new_database_is_nobody_elses_business() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state/nova.sqlite");
        let db = Db::open(&sqlite_url(&file)).await.unwrap();
        db.migrate().await.unwrap();
        assert_eq!(db.file(), Some(file.as_path()));
        let state = folder.path().join("state");
        assert_eq!(state.metadata().unwrap().mode() & 0o777, 0o700);
        for entry in std::fs::read_dir(&state).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().mode() & 0o777, 0o600, "{entry:?}");
        }
        // Opened up by hand, and by other programs' umask: closed again.
        db.close().await;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        Db::open(&sqlite_url(&file)).await.unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    });
}

#[test]
fn any_path_names_the_same_file_to_us_and_to_the_shell() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a b%20c?x=1#y é/nova.sqlite");
        let db = Db::open(&sqlite_url(&file)).await.unwrap();
        db.migrate().await.unwrap();
        assert!(file.metadata().unwrap().len() > 0);
    });
}

#[test]
fn a_file_of_somebody_else_is_refused_and_left_alone() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nova.sqlite");
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        let text = refusal(&file).await;
        assert!(
            text.contains("belongs to user id 65534, not to 0"),
            "{text}"
        );
        assert!(text.contains("run this as its owner"), "{text}");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    });
}

#[test]
fn root_makes_no_database_in_somebody_elses_folder() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(folder.path(), Some(65534), None).unwrap();
        let file = folder.path().join("nova.sqlite");
        let text = refusal(&file).await;
        assert!(text.contains("belongs to user id 65534"), "{text}");
        assert!(!file.exists());
    });
}

#[test]
fn what_is_no_database_is_refused_by_its_name() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nova.sqlite");
        std::fs::write(
            &file,
            "no database at all, but long enough to have a header".repeat(20),
        )
        .unwrap();
        let text = refusal(&file).await;
        assert!(
            text.contains("nova.sqlite: is not a SQLite database"),
            "{text}"
        );
        let text = refusal(folder.path()).await;
        assert!(text.contains("Is a directory"), "{text}");
    });
}

#[test]
fn a_connection_of_an_unknown_engine_is_refused_without_repeating_its_password() {
    runtime().block_on(async {
        for url in ["mysql://nova:s3cret@host/nova", "s3cret"] {
            let text = Db::open(url).await.unwrap_err().to_string();
            assert!(
                text.contains("must start with sqlite:// or postgresql://"),
                "{text}"
            );
            assert!(!text.contains("@host"), "{text}");
        }
    });
}

/// A file as nova made it: no write-ahead log, readable by its group.
async fn novas_file(file: &Path) {
    use sqlx::Connection;
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}?mode=rwc", file.display());
    let mut nova = sqlx::AnyConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(
        "CREATE TABLE migrate_version (repository_id TEXT, version INTEGER); \
         CREATE TABLE networks (id INTEGER PRIMARY KEY, cidr TEXT); \
         INSERT INTO networks VALUES (1, '10.0.0.0/8')",
    )
    .execute(&mut nova)
    .await
    .unwrap();
    nova.close().await.unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o640)).unwrap();
}

#[test]
fn not_a_byte_nor_a_mode_of_somebody_elses_database_is_changed_and_nothing_put_beside_it() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nova.sqlite");
        novas_file(&file).await;
        let before = std::fs::read(&file).unwrap();
        let text = refusal(&file).await;
        assert!(text.contains("nova.sqlite: is of nova itself"), "{text}");
        assert!(
            text.contains("it is left as it is: name an empty one"),
            "{text}"
        );
        assert!(std::fs::read(&file).unwrap() == before);
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o640);
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    });
}

#[test]
fn a_disk_that_is_full_and_a_file_that_is_locked_are_told_with_what_helps() {
    run(Engine::Sqlite, |t| async move {
        // Another program, that does not queue as ours do.
        let mut other = t.again().await?.read().await?;
        sqlx::raw_sql("COMMIT; BEGIN IMMEDIATE")
            .execute(&mut *other)
            .await?;
        let error = t.begin_planned().await.unwrap_err().of(t.name());
        let text = error.to_string();
        assert!(text.starts_with("database file /"), "{text}");
        assert!(
            text.ends_with("nova.sqlite: is busy: somebody else has been writing for too long"),
            "{text}"
        );
        assert!(error.remedy().unwrap().contains("fuser"));
        sqlx::raw_sql("COMMIT; BEGIN").execute(&mut *other).await?;
        drop(other);
        // As full as a disk: no page more than there are.
        let mut tx = t.begin_planned().await?;
        sqlx::raw_sql("PRAGMA max_page_count = 1")
            .execute(&mut *tx)
            .await?;
        let error = loop {
            let filler = "INSERT INTO meta SELECT hex(randomblob(16)), hex(randomblob(4000))";
            if let Err(error) = sqlx::query(filler).execute(&mut *tx).await {
                break StoreError::from(error);
            }
        };
        assert_eq!(error.to_string(), "database: has no room left");
        assert_eq!(error.remedy(), Some("make room on its disk, and try again"));
        Ok(())
    });
}

#[test]
fn an_error_for_lack_of_room_is_told_to_whoever_keeps_some() {
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    novanet_store::when_full(|| {
        TOLD.fetch_add(1, Ordering::SeqCst);
    });
    runtime().block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&sqlite_url(&folder.path().join("db")))
            .await
            .unwrap();
        let mut tx = db.begin_unplanned().await.unwrap();
        for sql in ["PRAGMA max_page_count = 8", "CREATE TABLE big (x)"] {
            sqlx::raw_sql(sql).execute(&mut *tx).await.unwrap();
        }
        let sql = "INSERT INTO big VALUES (zeroblob(1000000))";
        let error = sqlx::raw_sql(sql).execute(&mut *tx).await.unwrap_err();
        let error = StoreError::from(error);
        assert!(error.to_string().contains("has no room left"), "{error}");
        assert!(TOLD.load(Ordering::SeqCst) > 0);
    });
}
