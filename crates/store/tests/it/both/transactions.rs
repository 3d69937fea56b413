//! Transactions, the clock, counters and hints.

use super::seed::{a_user, member};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::InstanceId;
use novanet_store::{Db, Engine, PlanOwner, clock, counters, objects, users};
use std::collections::BTreeSet;
use std::time::Duration;

const OWNER: PlanOwner = PlanOwner::Membership(InstanceId(1));

both! {
    a_change_that_is_dropped_leaves_nothing_behind,
    every_change_takes_the_next_version_and_a_write_takes_none,
    a_snapshot_sees_nothing_of_what_is_committed_after_it,
    objects_are_not_written_without_the_clock,
    a_planned_transaction_waits_for_one_that_locked_the_clock,
    changes_of_many_writers_are_serial,
    numbers_of_a_counter_are_never_given_twice,
    a_new_epoch_is_another_one_and_keeps_the_version,
    a_commit_tells_the_followers_of_the_hosts_it_touched_and_no_others,
}

async fn a_change_that_is_dropped_leaves_nothing_behind(t: Fresh) -> Result<()> {
    let hints = t.hints().follow("h1");
    let before = clock::read(&mut *t.read().await?).await?;
    let mut tx = t.begin_planned().await?;
    users::insert(&mut tx, &a_user("alice")).await?;
    objects::put(&mut tx, OWNER, &[("h1".to_owned(), member(1, 2))]).await?;
    drop(tx);
    let mut tx = t.begin_planned().await?;
    assert_eq!(
        tx.version,
        before.version + 1,
        "the version was not used up"
    );
    assert_eq!(users::list(&mut tx).await?, []);
    assert_eq!(objects::digest(&mut tx, "h1").await?.count, 0);
    assert!(!hints.has_changed()?);
    drop(tx);
    assert_eq!(clock::read(&mut *t.read().await?).await?, before);
    Ok(())
}

async fn every_change_takes_the_next_version_and_a_write_takes_none(t: Fresh) -> Result<()> {
    for version in 1..=3 {
        let tx = t.begin_planned().await?;
        assert_eq!((tx.version, tx.engine()), (version, t.engine()));
        assert_eq!(t.file().is_some(), t.engine() == Engine::Sqlite);
        for url in ["sqlite:////x/nova.sqlite", "sqlite:///x/nova.sqlite"] {
            assert_eq!(Db::file_of(url), Some("/x/nova.sqlite".into()));
        }
        assert_eq!(Db::file_of("postgresql://x/nova.sqlite"), None);
        assert_eq!(tx.commit().await?.version, version);
        let tx = t.begin_unplanned().await?;
        assert_eq!(tx.version, 0);
        tx.commit().await?;
    }
    assert_eq!(clock::read(&mut *t.read().await?).await?.version, 3);
    Ok(())
}

async fn a_snapshot_sees_nothing_of_what_is_committed_after_it(t: Fresh) -> Result<()> {
    let mut snapshot = t.read().await?;
    let before = clock::read(&mut snapshot).await?;
    let mut tx = t.begin_planned().await?;
    users::insert(&mut tx, &a_user("alice")).await?;
    tx.commit().await?;
    assert_eq!(clock::read(&mut snapshot).await?, before);
    assert_eq!(users::list(&mut snapshot).await?, []);
    assert_eq!(users::list(&mut *t.read().await?).await?.len(), 1);
    Ok(())
}

async fn objects_are_not_written_without_the_clock(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    let placed = [("h1".to_owned(), member(1, 2))];
    // They would have no version, and no follower would ever see them.
    objects::put(&mut tx, OWNER, &placed).await.unwrap_err();
    Ok(())
}

async fn a_planned_transaction_waits_for_one_that_locked_the_clock(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    clock::lock(&mut tx).await?;
    let mut planned = std::pin::pin!(t.begin_planned());
    let early = tokio::time::timeout(Duration::from_millis(50), &mut planned).await;
    early.expect_err("the clock is locked");
    users::insert(&mut tx, &a_user("alice")).await?;
    tx.commit().await?;
    let mut planned = planned.await?;
    assert_eq!(planned.version, 1, "the lock took no version");
    assert_eq!(users::list(&mut planned).await?.len(), 1);
    Ok(())
}

async fn changes_of_many_writers_are_serial(t: Fresh) -> Result<()> {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let db = t.again().await?;
        writers.spawn(async move {
            let mut seen = vec![];
            for _ in 0..10 {
                let mut tx = db.begin_planned().await?;
                // A lost update would show here: read, wait, write.
                let last = counters::next(&mut tx, "turns").await?;
                tokio::task::yield_now().await;
                assert_eq!(counters::next(&mut tx, "turns").await?, last + 1);
                assert_eq!(last, tx.version * 2 - 1, "writer {writer}");
                seen.push(tx.commit().await?.version);
            }
            anyhow::Ok(seen)
        });
    }
    let seen: Vec<i64> = writers
        .join_all()
        .await
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    assert_eq!(seen.len(), 80);
    assert_eq!(BTreeSet::from_iter(seen), (1..=80).collect());
    Ok(())
}

async fn numbers_of_a_counter_are_never_given_twice(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    assert_eq!(counters::next(&mut tx, "a").await?, 1);
    assert_eq!(counters::take(&mut tx, "a", 5).await?, 2);
    assert_eq!(counters::next(&mut tx, "a").await?, 7);
    assert_eq!(counters::next(&mut tx, "b").await?, 1);
    assert_eq!(
        counters::take_both(&mut tx, ("a", 2), ("b", 3)).await?,
        (8, 2)
    );
    assert_eq!(
        counters::take_both(&mut tx, ("d", 1), ("c", 4)).await?,
        (1, 1)
    );
    tx.commit().await?;
    let mut tx = t.begin_unplanned().await?;
    assert_eq!(counters::next(&mut tx, "a").await?, 10);
    Ok(())
}

async fn a_new_epoch_is_another_one_and_keeps_the_version(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let before = clock::read(&mut tx).await?;
    assert!(!before.epoch.is_empty());
    clock::new_epoch(&mut tx).await?;
    tx.commit().await?;
    let after = clock::read(&mut *t.read().await?).await?;
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(after.version, before.version);
    Ok(())
}

async fn a_commit_tells_the_followers_of_the_hosts_it_touched_and_no_others(
    t: Fresh,
) -> Result<()> {
    let mut mine = t.hints().follow("h1");
    let mut other = t.hints().follow("h2");
    let mut tx = t.begin_planned().await?;
    objects::put(&mut tx, OWNER, &[("h1".to_owned(), member(1, 2))]).await?;
    assert!(!mine.has_changed()?, "not before it is true");
    let committed = tx.commit().await?;
    let version = committed.version;
    assert_eq!(committed.hosts, BTreeSet::from(["h1".to_owned()]));
    tokio::time::timeout(Duration::from_secs(5), mine.changed()).await??;
    assert_eq!(*mine.borrow_and_update(), version);
    assert!(!other.has_changed()?);
    t.hints().tell_all(version);
    assert!(other.has_changed()? && !mine.has_changed()?);
    assert_eq!(*other.borrow_and_update(), version);
    Ok(())
}
