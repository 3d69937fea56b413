//! The means for a restored database: tombstones in lists, epochs that are taken over,
//! numbers that the host has, and a database that may be read only.

use super::seed::{Follower, a_project, insert_instance, member, name, placed};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::rule::{Ports, Source, Traffic};
use novanet_model::wire::Follow;
use novanet_model::{GroupId, InstanceId, RuleId};
use novanet_store::{PlanOwner, StoreError, clock, counters, groups, instances, objects};

const OWNER: PlanOwner = PlanOwner::Membership(InstanceId(1));

both! {
    a_list_says_what_is_gone,
    an_epoch_is_taken_over_on_one_host_and_a_disputed_one_ends,
    a_raised_counter_gives_no_number_that_is_in_use,
    what_a_host_has_comes_back_under_its_own_numbers,
    a_database_that_must_not_be_changed_can_be_read,
}

async fn a_list_says_what_is_gone(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    objects::put(&mut tx, OWNER, &[placed("h1", 1, 1), placed("h1", 1, 2)]).await?;
    tx.commit().await?;
    let mut tx = t.begin_planned().await?;
    objects::put(&mut tx, OWNER, &[placed("h1", 1, 2)]).await?;
    tx.commit().await?;
    let list = objects::follow(&mut *t.connection().await?, "h1", &Follow::default()).await?;
    let told: Vec<_> = list
        .changes
        .iter()
        .map(|c| (c.key.clone(), c.version, c.object.is_some()))
        .collect();
    let (gone, there) = (member(1, 1).key(), member(1, 2).key());
    assert_eq!(told, [(gone, 2, false), (there.clone(), 1, true)]);
    assert!(list.whole);
    let mut fresh = Follower::of("h1");
    fresh.catch_up(&t).await?;
    assert_eq!(fresh.keys(), [there]);
    Ok(())
}

async fn an_epoch_is_taken_over_on_one_host_and_a_disputed_one_ends(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let own = clock::read(&mut tx).await?.epoch;
    clock::accept(&mut tx, "h1", "another").await?;
    assert_eq!(clock::read(&mut tx).await?.epoch, own, "nobody disputes it");
    clock::accept(&mut tx, "h1", &own).await?;
    let ended = clock::read(&mut tx).await?.epoch;
    assert_ne!(ended, own);
    assert_eq!(clock::accepted(&mut tx, "h1").await?.len(), 2);
    assert_eq!(clock::accepted(&mut tx, "h2").await?, Vec::<String>::new());
    tx.commit().await?;
    let list = objects::follow(&mut *t.connection().await?, "h1", &Follow::default()).await?;
    assert!(list.accepts.contains(&own) && list.accepts.contains(&"another".to_owned()));
    let follow = Follow {
        epoch: list.epoch,
        after: list.version,
        wait_ms: 0,
    };
    let delta = objects::follow(&mut *t.connection().await?, "h1", &follow).await?;
    assert_eq!((delta.whole, delta.accepts), (false, vec![]));
    Ok(())
}

async fn a_raised_counter_gives_no_number_that_is_in_use(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    counters::raise(&mut tx, "fresh", 7).await?;
    assert_eq!(counters::next(&mut tx, "fresh").await?, 8);
    counters::raise(&mut tx, "fresh", 3).await?;
    assert_eq!(counters::next(&mut tx, "fresh").await?, 9);
    Ok(())
}

async fn what_a_host_has_comes_back_under_its_own_numbers(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let group = GroupId(40);
    groups::insert_as(&mut tx, group, (&project, "alice"), "back", "about").await?;
    let found = groups::by_id(&mut tx, group).await?.unwrap();
    assert_eq!(
        (found.project, found.name),
        (name("web"), "back".to_owned())
    );
    let traffic = Traffic::Tcp(Ports { from: 22, to: 22 });
    let source = Source::Group(group);
    let rule = groups::insert_rule_as(&mut tx, RuleId(50), group, traffic, source).await?;
    assert_eq!(groups::rule_by_id(&mut tx, RuleId(50)).await?, Some(rule));
    let id = insert_instance(&mut tx, &project, &[], None).await?;
    instances::set_boot(&mut tx, id, 9).await?;
    assert_eq!(instances::by_id(&mut tx, id).await?.unwrap().boot, 9);
    Ok(())
}

async fn a_database_that_must_not_be_changed_can_be_read(t: Fresh) -> Result<()> {
    t.refuse_changes("because of this");
    for refused in [
        t.begin_planned().await.map(drop),
        t.begin_unplanned().await.map(drop),
    ] {
        let Err(StoreError::Refused(why)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(why, "because of this");
    }
    clock::read(&mut *t.read().await?).await?;
    Ok(())
}
