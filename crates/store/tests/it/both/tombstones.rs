//! Tombstones: which objects a host must remove first, and when no host needs a tombstone any more.

use super::seed::{Follower, join, member, placed};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::wire::ObjectError;
use novanet_model::{InstanceId, ObjectKey};
use novanet_store::objects::TOMBSTONE_LIFE;
use novanet_store::{PlanOwner, clock, hosts, objects};
use std::time::Duration;

const OWNER: PlanOwner = PlanOwner::Membership(InstanceId(1));
const OTHER: PlanOwner = PlanOwner::Membership(InstanceId(2));

both! {
    a_thing_is_gone_when_every_host_has_applied_its_tombstones_without_error,
    tombstones_go_after_an_hour_when_their_host_has_let_go_and_not_before,
}

async fn a_thing_is_gone_when_every_host_has_applied_its_tombstones_without_error(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let epoch = clock::read(&mut tx).await?.epoch;
    for host in ["h1", "h2"] {
        join(&mut tx, host).await?;
    }
    objects::put(&mut tx, OWNER, &[placed("h1", 1, 1), placed("h2", 1, 1)]).await?;
    assert!(
        !objects::removed_everywhere(&mut tx, OWNER).await?,
        "it is there"
    );
    tx.commit().await?;
    let mut tx = t.begin_planned().await?;
    let version = tx.version;
    objects::put(&mut tx, OWNER, &[]).await?;
    hosts::report(&mut tx, "h1", &epoch, version, &[]).await?;
    assert!(
        !objects::removed_everywhere(&mut tx, OWNER).await?,
        "h2 has it"
    );
    hosts::report(&mut tx, "h2", "another epoch", version, &[]).await?;
    assert!(
        !objects::removed_everywhere(&mut tx, OWNER).await?,
        "h2 is in another epoch"
    );
    hosts::report(&mut tx, "h2", &epoch, version - 1, &[]).await?;
    assert!(
        !objects::removed_everywhere(&mut tx, OWNER).await?,
        "h2 is behind"
    );
    let stuck = ObjectError {
        key: member(1, 1).key(),
        message: "busy".to_owned(),
    };
    hosts::report(&mut tx, "h2", &epoch, version, &[stuck]).await?;
    assert!(
        !objects::removed_everywhere(&mut tx, OWNER).await?,
        "h2 could not"
    );
    hosts::report(&mut tx, "h2", &epoch, version, &[]).await?;
    assert!(objects::removed_everywhere(&mut tx, OWNER).await?);
    assert!(
        objects::removed_everywhere(&mut tx, OTHER).await?,
        "never there"
    );
    Ok(())
}

async fn tombstones_go_after_an_hour_when_their_host_has_let_go_and_not_before(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let epoch = clock::read(&mut tx).await?.epoch;
    for host in ["h1", "h2", "h3"] {
        join(&mut tx, host).await?;
        objects::put(
            &mut tx,
            OWNER,
            &[
                placed("h1", 1, 1),
                placed("h2", 1, 2),
                placed("h3", 1, 3),
                placed("nobody", 1, 4),
            ],
        )
        .await?;
    }
    tx.commit().await?;
    let mut late = Follower::of("h1");
    late.catch_up(&t).await?;
    let mut tx = t.begin_planned().await?;
    objects::put(&mut tx, OWNER, &[]).await?;
    let version = tx.commit().await?.version;

    let mut tx = t.begin_planned().await?;
    let hour = tx.now + TOMBSTONE_LIFE + Duration::from_secs(1);
    let stuck = ObjectError {
        key: member(1, 3).key(),
        message: "busy".to_owned(),
    };
    hosts::report(&mut tx, "h1", &epoch, version, &[]).await?;
    hosts::report(&mut tx, "h2", &epoch, version - 1, &[]).await?;
    hosts::report(&mut tx, "h3", &epoch, version, &[stuck]).await?;
    assert_eq!(
        objects::sweep_tombstones(&mut tx).await?,
        0,
        "not an hour old"
    );
    assert_eq!(clock::read(&mut tx).await?.horizon, 0);
    tx.now = hour;
    // h1's, and the one of a host that never was.
    assert_eq!(objects::sweep_tombstones(&mut tx).await?, 2);
    assert_eq!(clock::read(&mut tx).await?.horizon, version);
    assert!(
        !objects::removed_everywhere(&mut tx, OWNER).await?,
        "h2 is behind, h3 could not"
    );
    hosts::report(&mut tx, "h2", "another epoch", version, &[]).await?;
    assert_eq!(
        objects::sweep_tombstones(&mut tx).await?,
        0,
        "versions of two epochs say nothing"
    );
    hosts::report(&mut tx, "h2", &epoch, version, &[]).await?;
    hosts::report(&mut tx, "h3", &epoch, version, &[]).await?;
    assert_eq!(objects::sweep_tombstones(&mut tx).await?, 2);
    tx.commit().await?;

    // A follower that has not seen them cannot get a delta any more.
    assert!(late.catch_up(&t).await?.whole);
    assert_eq!(late.keys(), Vec::<ObjectKey>::new());
    assert!(!late.catch_up(&t).await?.whole);
    Ok(())
}
