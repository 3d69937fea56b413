//! Followers: list, delta, tombstone, list again.

use super::seed::{Follower, member, placed};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::wire::{Digest, fingerprint};
use novanet_model::{FloatingIpId, InstanceId};
use novanet_store::{PlanOwner, StoreError, clock, objects};

const OWNER: PlanOwner = PlanOwner::Membership(InstanceId(1));
const OTHER: PlanOwner = PlanOwner::Membership(InstanceId(2));

both! {
    a_follower_gets_a_list_then_deltas_then_tombstones,
    the_same_body_is_no_write_and_no_new_version,
    a_thing_that_comes_back_is_new_again,
    an_object_that_moves_to_another_thing_stays,
    one_change_among_a_thousand_objects_is_told_as_one,
    a_follower_of_another_epoch_lists_again,
    a_follower_ahead_of_the_clock_lists_again,
    a_digest_is_what_a_follower_that_is_up_to_date_computes,
    an_older_copy_of_the_database_makes_followers_list_again,
    an_object_that_was_edited_by_hand_is_named,
    a_follower_misses_nothing_while_eight_writers_commit,
}

async fn a_follower_gets_a_list_then_deltas_then_tombstones(t: Fresh) -> Result<()> {
    let mut follower = Follower::of("h1");
    let mut tx = t.begin_planned().await?;
    let changed = objects::put(
        &mut tx,
        OWNER,
        &[placed("h1", 1, 1), placed("h1", 1, 2), placed("h2", 1, 3)],
    )
    .await?;
    assert_eq!(changed, 3);
    tx.commit().await?;
    let answer = follower.catch_up(&t).await?;
    assert_eq!((answer.whole, answer.changes.len()), (true, 2));

    // One stays, one goes, one is new.
    let mut tx = t.begin_planned().await?;
    let changed = objects::put(&mut tx, OWNER, &[placed("h1", 1, 2), placed("h1", 1, 4)]).await?;
    assert_eq!(changed, 3, "one new, two gone");
    tx.commit().await?;
    let answer = follower.catch_up(&t).await?;
    assert_eq!((answer.whole, answer.version), (false, 2));
    let mut changes = answer.changes;
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    let told: Vec<_> = changes
        .iter()
        .map(|c| (c.key.0.as_str(), c.object.is_some()))
        .collect();
    let (gone, new) = (member(1, 1).key().0, member(1, 4).key().0);
    assert_eq!(told, [(gone.as_str(), false), (new.as_str(), true)]);
    assert_eq!(follower.keys(), [member(1, 2).key(), member(1, 4).key()]);

    let answer = follower.catch_up(&t).await?;
    assert_eq!(answer.changes, [], "nothing new");
    let mut other = Follower::of("h2");
    other.catch_up(&t).await?;
    assert!(other.keys().is_empty(), "its only object is gone");
    Ok(())
}

async fn the_same_body_is_no_write_and_no_new_version(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    objects::put(&mut tx, OWNER, &[placed("h1", 1, 1)]).await?;
    tx.commit().await?;
    let before = objects::digest(&mut *t.connection().await?, "h1").await?;
    let hints = t.hints().follow("h1");
    let mut tx = t.begin_planned().await?;
    assert_eq!(
        objects::put(&mut tx, OWNER, &[placed("h1", 1, 1)]).await?,
        0
    );
    assert!(tx.commit().await?.hosts.is_empty());
    assert!(!hints.has_changed()?);
    let after = objects::digest(&mut *t.connection().await?, "h1").await?;
    assert_eq!(
        (after.count, after.max, after.sum),
        (before.count, before.max, before.sum)
    );
    assert_eq!(after.version, before.version + 1);
    Ok(())
}

async fn a_thing_that_comes_back_is_new_again(t: Fresh) -> Result<()> {
    let mut follower = Follower::of("h1");
    for round in 0..3 {
        for wanted in [vec![placed("h1", 1, 1)], vec![]] {
            let mut tx = t.begin_planned().await?;
            assert_eq!(objects::put(&mut tx, OWNER, &wanted).await?, 1);
            tx.commit().await?;
            follower.catch_up(&t).await?;
            assert_eq!(follower.keys().len(), wanted.len(), "round {round}");
        }
    }
    Ok(())
}

async fn an_object_that_moves_to_another_thing_stays(t: Fresh) -> Result<()> {
    let mut follower = Follower::of("h1");
    let mut tx = t.begin_planned().await?;
    objects::put(&mut tx, OWNER, &[placed("h1", 1, 1)]).await?;
    tx.commit().await?;
    // Whichever of the two is planned first.
    for (first, second) in [
        (vec![], vec![placed("h1", 1, 1)]),
        (vec![placed("h1", 1, 1)], vec![]),
    ] {
        let mut tx = t.begin_planned().await?;
        objects::put(&mut tx, OWNER, &first).await?;
        objects::put(&mut tx, OTHER, &second).await?;
        tx.commit().await?;
        follower.catch_up(&t).await?;
        assert_eq!(follower.keys(), [member(1, 1).key()]);
        // And back, the new owner first.
        let mut tx = t.begin_planned().await?;
        objects::put(&mut tx, OTHER, &first).await?;
        objects::put(&mut tx, OWNER, &second).await?;
        tx.commit().await?;
        follower.catch_up(&t).await?;
        assert_eq!(follower.keys(), [member(1, 1).key()]);
    }
    Ok(())
}

async fn one_change_among_a_thousand_objects_is_told_as_one(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    for group in 0..4 {
        let many: Vec<_> = (0..250).map(|last| placed("h1", group, last)).collect();
        objects::put(&mut tx, PlanOwner::FloatingIp(FloatingIpId(group)), &many).await?;
    }
    tx.commit().await?;
    let mut follower = Follower::of("h1");
    assert_eq!(follower.catch_up(&t).await?.changes.len(), 1000);
    let mut tx = t.begin_planned().await?;
    assert_eq!(
        objects::put(&mut tx, OWNER, &[placed("h1", 9, 1)]).await?,
        1
    );
    tx.commit().await?;
    assert_eq!(follower.catch_up(&t).await?.changes.len(), 1);
    Ok(())
}

async fn a_follower_of_another_epoch_lists_again(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    objects::put(&mut tx, OWNER, &[placed("h1", 1, 1)]).await?;
    tx.commit().await?;
    let mut follower = Follower::of("h1");
    follower.catch_up(&t).await?;
    let mut tx = t.begin_planned().await?;
    clock::new_epoch(&mut tx).await?;
    tx.commit().await?;
    let answer = follower.catch_up(&t).await?;
    assert_eq!((answer.whole, answer.changes.len()), (true, 1));
    assert!(!follower.catch_up(&t).await?.whole, "once is enough");
    Ok(())
}

async fn a_follower_ahead_of_the_clock_lists_again(t: Fresh) -> Result<()> {
    let mut ahead = Follower::of("h1");
    ahead.catch_up(&t).await?;
    ahead.version = 99;
    assert!(ahead.catch_up(&t).await?.whole);
    Ok(())
}

async fn a_digest_is_what_a_follower_that_is_up_to_date_computes(t: Fresh) -> Result<()> {
    let mut follower = Follower::of("h1");
    for round in 0..30u8 {
        let mut tx = t.begin_planned().await?;
        let wanted: Vec<_> = (0..round % 7).map(|n| placed("h1", 1, n)).collect();
        objects::put(
            &mut tx,
            PlanOwner::FloatingIp(FloatingIpId(i64::from(round % 3))),
            &wanted,
        )
        .await?;
        tx.commit().await?;
        if round % 4 == 0 {
            follower.catch_up(&t).await?;
            let digest = objects::digest(&mut *t.connection().await?, "h1").await?;
            assert_eq!(follower.digest(), digest, "round {round}");
            let full = objects::full_digest(&mut *t.connection().await?, "h1").await?;
            let all = follower.objects.iter();
            let print = fingerprint(all.map(|(key, (version, _))| (key.0.as_str(), *version)));
            let wanted = Digest {
                fingerprint: Some(print),
                ..digest
            };
            assert_eq!(full, wanted, "round {round}");
        }
    }
    let nobody = objects::digest(&mut *t.connection().await?, "h9").await?;
    assert_eq!(
        (nobody.count, nobody.max, nobody.sum, nobody.version),
        (0, 0, 0, 30)
    );
    Ok(())
}

async fn an_older_copy_of_the_database_makes_followers_list_again(mut t: Fresh) -> Result<()> {
    let mut follower = Follower::of("h1");
    let mut tx = t.begin_planned().await?;
    objects::put(&mut tx, OWNER, &[placed("h1", 1, 1)]).await?;
    tx.commit().await?;
    let copy = t.copy().await?;
    let mut tx = t.begin_planned().await?;
    objects::put(&mut tx, OWNER, &[placed("h1", 1, 2)]).await?;
    tx.commit().await?;
    follower.catch_up(&t).await?;
    // Restored without `db restored`: the follower is ahead of the clock.
    let mut unaware = follower.clone();
    assert!(unaware.catch_up(&copy).await?.whole);
    assert_eq!(unaware.keys(), [member(1, 1).key()]);
    // The copy has moved on before the follower came: only the epoch can tell, or the digest.
    let mut tx = copy.begin_planned().await?;
    objects::put(&mut tx, OTHER, &[placed("h1", 1, 3)]).await?;
    tx.commit().await?;
    let mut misled = follower.clone();
    misled.catch_up(&copy).await?;
    assert_ne!(
        misled.digest(),
        objects::digest(&mut *copy.connection().await?, "h1").await?
    );
    let mut tx = copy.begin_planned().await?;
    clock::new_epoch(&mut tx).await?;
    tx.commit().await?;
    assert!(follower.catch_up(&copy).await?.whole);
    assert_eq!(follower.keys(), [member(1, 1).key(), member(1, 3).key()]);
    assert_eq!(
        follower.digest(),
        objects::digest(&mut *copy.connection().await?, "h1").await?
    );
    Ok(())
}

async fn an_object_that_was_edited_by_hand_is_named(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    objects::put(&mut tx, OWNER, &[placed("h1", 1, 1)]).await?;
    tx.commit().await?;
    t.by_hand("UPDATE host_objects SET body = 'nonsense'")
        .await?;
    let error = Follower::of("h1").catch_up(&t).await.unwrap_err();
    let Some(StoreError::BadRow { row, .. }) = error.downcast_ref() else {
        panic!("{error:?}");
    };
    assert_eq!(*row, format!("host_objects {}", member(1, 1).key()));
    Ok(())
}

async fn a_follower_misses_nothing_while_eight_writers_commit(t: Fresh) -> Result<()> {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8u8 {
        let db = t.again().await?;
        writers.spawn(async move {
            for round in 0..12u8 {
                let mut tx = db.begin_planned().await?;
                let host = if round % 2 == 0 { "h1" } else { "h2" };
                let wanted: Vec<_> = (0..(writer + round) % 5)
                    .map(|n| placed(host, i64::from(writer), n))
                    .collect();
                objects::put(
                    &mut tx,
                    PlanOwner::FloatingIp(FloatingIpId(i64::from(writer))),
                    &wanted,
                )
                .await?;
                // Some die before they are through.
                if (writer + round) % 3 > 0 {
                    tx.commit().await?;
                }
            }
            anyhow::Ok(())
        });
    }
    let mut followers = [Follower::of("h1"), Follower::of("h2")];
    while let Some(done) = writers
        .try_join_next()
        .or_else(|| (!writers.is_empty()).then_some(Ok(Ok(()))))
    {
        done??;
        for follower in &mut followers {
            follower.catch_up(&t).await?;
        }
    }
    for follower in &mut followers {
        follower.catch_up(&t).await?;
        let mut fresh = Follower::of(follower.host);
        fresh.catch_up(&t).await?;
        assert_eq!(follower.objects, fresh.objects);
        assert_eq!(
            follower.digest(),
            objects::digest(&mut *t.connection().await?, follower.host).await?
        );
    }
    Ok(())
}
