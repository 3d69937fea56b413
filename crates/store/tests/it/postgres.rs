//! PostgreSQL only: the server may go away.

use crate::engines::{run, runtime};
use novanet_lab::Postgres;
use novanet_store::{Db, Engine, StoreError, clock, counters};
use std::time::{Duration, Instant};

fn is_unavailable(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable { .. })
}

#[test]
fn a_server_that_goes_away_in_the_middle_is_unavailable_and_not_a_fault_of_the_statement() {
    runtime().block_on(async {
        let server = Postgres::start().unwrap();
        let db = Db::open(&server.url).await.unwrap();
        db.migrate().await.unwrap();
        let mut tx = db.begin_planned().await.unwrap();
        counters::next(&mut tx, "a").await.unwrap();
        drop(server);
        let error = counters::next(&mut tx, "a").await.unwrap_err();
        assert!(is_unavailable(&error), "{error:?}");
        let error = tx.commit().await.unwrap_err();
        assert!(is_unavailable(&error), "{error:?}");
        let error = db.begin_planned().await.unwrap_err();
        assert!(is_unavailable(&error), "{error:?}");
        // A CLI started now says so at once.
        let asked = Instant::now();
        let error = Db::open("postgresql://nova@127.0.0.1:1/nova")
            .await
            .unwrap_err();
        assert!(is_unavailable(&error), "{error:?}");
        assert_eq!(
            error.to_string(),
            "database nova at 127.0.0.1:1: cannot be reached"
        );
        assert_eq!(
            error.remedy(),
            Some("start PostgreSQL there, or correct sql_connection")
        );
        assert!(asked.elapsed() < Duration::from_secs(5));
    });
}

#[test]
fn after_a_restart_of_the_server_the_next_transaction_just_works() {
    run(Engine::Postgres, |t| async move {
        // Several pooled connections, all cut.
        let mut held = vec![];
        for _ in 0..5 {
            held.push(t.read().await?);
        }
        let mut tx = t.begin_planned().await?;
        counters::next(&mut tx, "a").await?;
        drop(held);
        t.cut_connections()?;
        let error = counters::next(&mut tx, "a").await.unwrap_err();
        assert!(is_unavailable(&error), "{error:?}");
        drop(tx);
        for _ in 0..6 {
            let mut tx = t.begin_planned().await?;
            assert_eq!(
                counters::next(&mut tx, "a").await?,
                1,
                "what was cut is not there"
            );
        }
        clock::read(&mut *t.read().await?).await?;
        Ok(())
    });
}

#[test]
fn a_wrong_name_or_user_is_refused_and_the_password_is_not_repeated() {
    runtime().block_on(async {
        let port = Postgres::shared().unwrap().port();
        for url in [
            format!("postgresql://nova:s3cret@127.0.0.1:{port}/nothing"),
            format!("postgresql://nobody:s3cret@127.0.0.1:{port}/postgres"),
            format!("postgresql://nova:s3cret@127.0.0.1:{port}x/postgres"),
        ] {
            let error = Db::open(&url).await.unwrap_err();
            assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
            let text = format!("{error} {error:?}");
            assert!(text.contains("sql_connection"), "{text}");
            assert!(!text.contains("s3cret"), "{text}");
        }
    });
}

#[test]
fn other_servers_hear_of_a_change_by_notification() {
    run(Engine::Postgres, |t| async move {
        let mut listener = sqlx::postgres::PgListener::connect(&t.url()).await?;
        listener.listen("novanet").await?;
        // Rolled back, so there is no notification.
        drop(t.begin_planned().await?);
        let version = t.begin_planned().await?.commit().await?.version;
        let heard = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await??;
        assert_eq!(heard.payload(), version.to_string());
        Ok(())
    });
}

#[test]
fn a_statement_that_is_put_together_is_prepared_once() {
    run(Engine::Postgres, |t| async move {
        let mut tx = t.read().await?;
        let mut prepared = vec![];
        for _ in 0..3 {
            novanet_store::networks::list(&mut tx).await?;
            novanet_store::fixed_ips::list(&mut tx, "").await?;
            let count: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_prepared_statements")
                .fetch_one(&mut *tx)
                .await?;
            prepared.push(count);
        }
        assert!(prepared[0] >= 2, "{prepared:?}");
        assert_eq!(prepared[2], prepared[1]);
        Ok(())
    });
}

#[test]
fn what_postgresql_cannot_hold_is_the_callers_fault_and_not_the_statements() {
    run(Engine::Postgres, |t| async move {
        let mut tx = t.begin_unplanned().await?;
        let zero = counters::next(&mut tx, "a\0b").await.unwrap_err();
        assert!(matches!(zero, StoreError::Unfit(_)), "{zero:?}");
        assert_eq!(
            zero.to_string(),
            "cannot be stored: invalid byte sequence for encoding \"UTF8\": 0x00"
        );
        drop(tx);
        let mut tx = t.begin_unplanned().await?;
        let beyond = "SELECT CAST(9223372036854775807 AS BIGINT) + $1";
        let beyond = sqlx::query(beyond).bind(1_i64).fetch_one(&mut *tx).await;
        let beyond = StoreError::from(beyond.map(|_| ()).unwrap_err());
        assert!(matches!(beyond, StoreError::Unfit(_)), "{beyond:?}");
        Ok(())
    });
}

#[test]
fn a_first_start_leaves_no_complaint_in_the_servers_own_log() {
    runtime().block_on(async {
        let server = Postgres::start().unwrap();
        let complaints = || -> Vec<String> {
            let log = std::fs::read_to_string(server.folder().join("log")).unwrap();
            assert!(log.contains("ready to accept connections"), "{log}");
            // FATAL is said to who asked whether it is up.
            let bad = ["ERROR:", "WARNING:", "STATEMENT:"];
            let lines = log.lines().filter(|l| bad.iter().any(|b| l.contains(b)));
            lines.map(str::to_owned).collect()
        };
        // Servers that start together, on an empty database, and one more later.
        let (one, two) = (Db::open(&server.url).await, Db::open(&server.url).await);
        let (one, two) = (one.unwrap(), two.unwrap());
        let (first, second) = tokio::join!(one.migrate(), two.migrate());
        first.unwrap();
        second.unwrap();
        one.require_schema().await.unwrap();
        two.migrate().await.unwrap();
        assert_eq!(complaints(), [""; 0]);
        // They would be there.
        let mut tx = one.begin_unplanned().await.unwrap();
        assert!(
            sqlx::query("SELECT nonsense")
                .execute(&mut *tx)
                .await
                .is_err()
        );
        assert_eq!(complaints().len(), 2);
    });
}
