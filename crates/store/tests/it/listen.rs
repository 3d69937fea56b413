//! PostgreSQL's notifications: changes of another process are heard at once, without any poll.

use crate::engines::{Fresh, run};
use anyhow::Result;
use novanet_lab::Postgres;
use novanet_model::object::Member;
use novanet_model::{FloatingIpId, GroupId, HostObject};
use novanet_store::{Db, Engine, PlanOwner, objects};
use std::time::Duration;
use tokio::sync::watch::Receiver;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Far more than any step here takes.
const LONG: Duration = Duration::from_secs(30);

/// A change for host h1, as another process makes it; its version.
async fn change(db: &Db, last: u8) -> Result<i64> {
    let mut tx = db.begin_planned().await?;
    let member = HostObject::Member(Member {
        group: GroupId(1),
        address: [10, 0, 0, last].into(),
    });
    objects::put(
        &mut tx,
        PlanOwner::FloatingIp(FloatingIpId(1)),
        &[("h1".to_owned(), member)],
    )
    .await?;
    Ok(tx.commit().await?.version)
}

async fn heard(hints: &mut Receiver<i64>, version: i64) -> Result<()> {
    while *hints.borrow_and_update() < version {
        timeout(LONG, hints.changed()).await??;
    }
    Ok(())
}

fn listening(db: &Db) -> JoinHandle<()> {
    let db = db.clone();
    tokio::spawn(async move { db.listen().await })
}

/// Waits for a listener whose process is none of `old`; that one.
async fn listener_besides(t: &Fresh, old: &[String]) -> Result<String> {
    let name = t.url().rsplit('/').next().unwrap_or_default().to_owned();
    let sql = format!(
        "SELECT pid FROM pg_stat_activity \
         WHERE datname = '{name}' AND state = 'idle' AND query LIKE 'LISTEN%'"
    );
    let until = Instant::now() + LONG;
    loop {
        let all = Postgres::shared()?.psql("postgres", &sql)?;
        if let Some(new) = all.lines().find(|pid| !old.iter().any(|o| o == pid)) {
            return Ok(new.to_owned());
        }
        anyhow::ensure!(Instant::now() < until, "{all}, not besides {old:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_change_of_another_process_is_heard_long_before_a_poll_would_see_it() {
    run(Engine::Postgres, |t| async move {
        let other = t.again().await?;
        let listener = listening(&t);
        listener_besides(&t, &[]).await?;
        let mut hints = t.hints().follow("h1");
        let mut quickest = Duration::MAX;
        for last in 1..=5 {
            let version = change(&other, last).await?;
            let committed = Instant::now();
            heard(&mut hints, version).await?;
            quickest = quickest.min(committed.elapsed());
            // Changes that follow each other closely are told together.
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
        assert!(quickest < Duration::from_millis(50), "{quickest:?}");
        listener.abort();
        Ok(())
    });
}

#[test]
fn many_changes_are_few_hints_and_the_last_change_is_among_them() {
    run(Engine::Postgres, |t| async move {
        let other = t.again().await?;
        let listener = listening(&t);
        listener_besides(&t, &[]).await?;
        let mut hints = t.hints().follow("h1");
        let counter = tokio::spawn(async move {
            let mut count = 0;
            while timeout(Duration::from_secs(1), hints.changed())
                .await
                .is_ok()
            {
                hints.borrow_and_update();
                count += 1;
            }
            let newest = *hints.borrow();
            (count, newest)
        });
        let began = Instant::now();
        let mut version = 0;
        for last in 1..=100 {
            version = change(&other, last).await?;
        }
        let took = began.elapsed();
        let (count, newest) = counter.await?;
        assert_eq!(newest, version);
        // One at each end, one in every pause, and the look at the beginning.
        let most = 3 + took.as_millis() / 100;
        assert!(count <= most, "{count} hints in {took:?}");
        listener.abort();
        Ok(())
    });
}

#[test]
fn a_listener_that_was_cut_off_comes_back_and_everybody_looks() {
    run(Engine::Postgres, |t| async move {
        let other = t.again().await?;
        let listener = listening(&t);
        let mut cut = vec![];
        for last in 1..=3 {
            let pid = listener_besides(&t, &cut).await?;
            let mut hints = t.hints().follow("h1");
            let sql = format!("SELECT pg_terminate_backend({pid})");
            Postgres::shared()?.psql("postgres", &sql)?;
            cut.push(pid);
            // The notifications of the meantime are lost.
            timeout(LONG, hints.changed()).await??;
            let version = change(&other, last).await?;
            heard(&mut hints, version).await?;
        }
        assert!(!listener.is_finished());
        listener.abort();
        Ok(())
    });
}
