//! Real faults of both engines: after each the first write that comes when its cause has gone
//! works, and what was cut off is done whole or not at all. `both/faults.rs` tries each statement.

use crate::both::faults::{names, use_case};
use crate::engines::{Fresh, run, runtime};
use anyhow::{Context, Result, ensure};
use novanet_lab::{Abort, DiskPlan, FaultyDisk, Postgres, Proxy, eventually_async};
use novanet_store::{Db, Engine, Fault, StoreError};
use sqlx::{AnyConnection, Connection};
use std::process::Command;
use std::time::Duration;

/// Set in the process that has a fault of its own: which database it works on.
const WORK_ON: &str = "NOVANET_TEST_WORK_ON";

fn fault(done: &Result<(), StoreError>) -> Option<Fault> {
    match done {
        Err(StoreError::Unavailable { fault, .. }) => Some(*fault),
        _ => None,
    }
}

/// A use case that a fault may have hit: `done` is what its caller heard. The next one has to work.
async fn whole_and_the_next_works(
    db: &Db,
    name: &str,
    done: &Result<(), StoreError>,
) -> Result<bool> {
    let next = format!("next-{name}");
    use_case(db, true, &next)
        .await
        .with_context(|| next.clone())?;
    let there = names(db).await?;
    ensure!(there.contains(&next));
    let is_there = there.iter().any(|one| one == name);
    ensure!(is_there || done.is_err(), "{name}: said that it is done");
    Ok(is_there)
}

#[test]
fn a_database_that_is_full_is_written_again_at_once_when_it_is_not() {
    run(Engine::Sqlite, |t| async move {
        for round in 0..3 {
            // For this connection only: it is closed with the failure, and the limit is gone.
            let mut tx = t.begin_unplanned().await?;
            sqlx::raw_sql("PRAGMA max_page_count = 1")
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            let mut number = 0;
            let refused = loop {
                number += 1;
                let name = format!("full-{round}-{number:04}");
                let done = use_case(&t, round == 0, &name).await;
                if done.is_err() {
                    break (name, done);
                }
            };
            let (name, done) = refused;
            assert_eq!(fault(&done), Some(Fault::Full), "{done:?}");
            ensure!(!whole_and_the_next_works(&t, &name, &done).await?);
        }
        Ok(())
    });
}

#[test]
fn a_database_that_another_program_holds_is_written_again_at_once_when_it_lets_go() {
    run(Engine::Sqlite, |t| async move {
        let url = t.url().replace("sqlite:///", "sqlite://");
        let mut other = AnyConnection::connect(&url).await?;
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await?;
        let done = use_case(&t, true, "held").await;
        assert_eq!(fault(&done), Some(Fault::Busy), "{done:?}");
        sqlx::raw_sql("COMMIT").execute(&mut other).await?;
        ensure!(!whole_and_the_next_works(&t, "held", &done).await?);
        Ok(())
    });
}

/// Runs this test again in a process of its own, prepared by `prepare`; whether this is that
/// process.
fn apart(name: &str, prepare: impl FnOnce(&mut Command)) -> Option<String> {
    if let Ok(url) = std::env::var(WORK_ON) {
        return Some(url);
    }
    run(Engine::Sqlite, |t| async move {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(WORK_ON, t.url());
        prepare(&mut command);
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {said}", output.status);
        Ok(())
    });
    None
}

#[test]
fn a_disk_that_fails_at_any_call_loses_nothing_and_is_written_again_at_once_when_it_works() {
    let name = "real_faults::\
        a_disk_that_fails_at_any_call_loses_nothing_and_is_written_again_at_once_when_it_works";
    let disk = FaultyDisk::build().unwrap();
    let Some(url) = apart(name, |command| disk.preload(command, "nova.sqlite")) else {
        return;
    };
    runtime().block_on(async {
        let plan = DiskPlan::of_this_process().unwrap().unwrap();
        let db = Db::open(&url).await.unwrap();
        let (mut failed, mut refused) = (0, 0);
        for planned in [true, false] {
            for calls in 0.. {
                let name = format!("disk-{planned}-{calls:03}");
                plan.fail_after(calls).unwrap();
                let done = use_case(&db, planned, &name).await;
                let count = plan.repair().unwrap();
                if let Err(error) = &done {
                    assert!(fault(&done).is_some(), "after {calls} calls: {error:?}");
                    refused += 1;
                }
                let there = whole_and_the_next_works(&db, &name, &done).await;
                there
                    .with_context(|| format!("after {calls} calls"))
                    .unwrap();
                if count == 0 {
                    assert!(done.is_ok(), "{done:?}");
                    break;
                }
                failed += 1;
            }
        }
        // A transaction writes to the log and waits for it; a new connection reads the file.
        assert!(
            failed > 6 && refused > 3,
            "{failed} failed, {refused} refused"
        );
    });
}

/// Memory that this process may not have: a database that lies in it.
async fn hog(kib: Option<usize>) -> Result<AnyConnection> {
    let mut hog = AnyConnection::connect("sqlite::memory:").await?;
    sqlx::raw_sql("CREATE TABLE hog (bytes BLOB)")
        .execute(&mut hog)
        .await?;
    let add =
        |bytes: usize| sqlx::AssertSqlSafe(format!("INSERT INTO hog VALUES (zeroblob({bytes}))"));
    if let Some(kib) = kib {
        sqlx::raw_sql(add(kib * 1024)).execute(&mut hog).await?;
        return Ok(hog);
    }
    for bytes in [1 << 20, 1 << 16, 1 << 12, 1 << 8] {
        while sqlx::raw_sql(add(bytes)).execute(&mut hog).await.is_ok() {}
    }
    Ok(hog)
}

#[test]
fn a_process_without_memory_loses_nothing_and_writes_again_at_once_when_there_is_some() {
    let name = "real_faults::\
        a_process_without_memory_loses_nothing_and_writes_again_at_once_when_there_is_some";
    let Some(url) = apart(name, |_| {}) else {
        return;
    };
    runtime().block_on(async {
        let db = Db::open(&url).await.unwrap();
        // It can never be raised again: that is why this is a process of its own.
        let mut limit = AnyConnection::connect("sqlite::memory:").await.unwrap();
        sqlx::raw_sql("PRAGMA hard_heap_limit = 16777216")
            .execute(&mut limit)
            .await
            .unwrap();
        let mut refused = 0;
        for left in [0, 1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 256, 1024] {
            let name = format!("memory-{left:04}");
            let reserve = hog(Some(left)).await.unwrap();
            let all = hog(None).await.unwrap();
            reserve.close().await.unwrap();
            let done = use_case(&db, true, &name).await;
            all.close().await.unwrap();
            if let Err(error) = &done {
                assert!(fault(&done).is_some(), "{left} KiB left: {error:?}");
                refused += 1;
            }
            let there = whole_and_the_next_works(&db, &name, &done).await;
            there.with_context(|| format!("{left} KiB left")).unwrap();
        }
        assert!(refused > 1, "{refused} refused");
    });
}

#[test]
fn a_server_that_took_no_writes_for_a_while_is_written_at_once_when_it_does() {
    run(Engine::Postgres, |t| async move {
        let url = t.url();
        let database = url.rsplit('/').next().unwrap().to_owned();
        let server = Postgres::shared()?;
        let set = |value: &str| {
            let change = format!("ALTER DATABASE {database} {value} default_transaction_read_only");
            server.psql(
                "postgres",
                &format!("{change}{}", if value == "SET" { " = on" } else { "" }),
            )
        };
        for round in 0..3 {
            set("SET")?;
            // As after a switch of the primary: sessions begin anew, and keep what they found.
            t.cut_connections()?;
            let held = [
                t.begin_unplanned().await?,
                t.begin_unplanned().await?,
                t.begin_unplanned().await?,
            ];
            drop(held);
            let name = format!("standby-{round}");
            let done = use_case(&t, round == 0, &name).await;
            assert_eq!(fault(&done), Some(Fault::Standby), "{done:?}");
            set("RESET")?;
            ensure!(!whole_and_the_next_works(&t, &name, &done).await?);
        }
        Ok(())
    });
}

#[test]
fn a_connection_that_is_cut_at_any_message_is_all_or_nothing_and_the_next_write_works() {
    run(Engine::Postgres, |t: Fresh| async move {
        let port = Postgres::shared()?.port();
        let proxy = Proxy::to(port)?;
        let url = t
            .url()
            .replace(&format!(":{port}/"), &format!(":{}/", proxy.port()));
        let db = Db::open(&url).await?;
        for planned in [true, false] {
            for when in [Abort::Before, Abort::After] {
                let name = format!("commit-{planned}-{when:?}");
                proxy.abort_at(1, "COMMIT", when);
                let done = use_case(&db, planned, &name).await;
                ensure!(proxy.end().is_some(), "{name}");
                assert_eq!(fault(&done), Some(Fault::Lost), "{name}: {done:?}");
                let there = whole_and_the_next_works(&db, &name, &done).await?;
                ensure!(there == (when == Abort::After), "{name}");
                for number in 1.. {
                    let name = format!("cut-{planned}-{when:?}-{number:02}");
                    proxy.abort_at(number, "", when);
                    let done = use_case(&db, planned, &name).await;
                    if proxy.end().is_none() {
                        done?;
                        break;
                    }
                    // A BEGIN is sent again, on another connection.
                    let lost = matches!(fault(&done), Some(Fault::Lost)) || done.is_ok();
                    ensure!(lost, "{name}: {done:?}");
                    whole_and_the_next_works(&db, &name, &done).await?;
                }
            }
        }
        Ok(())
    });
}

#[test]
fn a_server_that_was_stopped_is_written_at_once_when_it_runs_again() {
    runtime().block_on(async {
        let server = Postgres::start().unwrap();
        let db = Db::open(&server.url).await.unwrap();
        db.migrate().await.unwrap();
        use_case(&db, true, "before").await.unwrap();
        server.stop().unwrap();
        let done = use_case(&db, true, "stopped").await;
        assert!(fault(&done).is_some(), "{done:?}");
        server.start_again().unwrap();
        let there = whole_and_the_next_works(&db, "stopped", &done)
            .await
            .unwrap();
        assert!(!there);
        // Readers notice by themselves, too.
        eventually_async(Duration::from_secs(20), async || names(&db).await.map(drop))
            .await
            .unwrap();
        server.stop().unwrap();
    });
}
