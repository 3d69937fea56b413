//! Hosts that are renamed or gone, with all that names them.

use super::seed::{a_network, insert_network, join, placed};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::wire::ObjectError;
use novanet_model::{InstanceId, ObjectKey};
use novanet_store::{PlanOwner, clock, hosts, networks, objects};

both! {
    a_renamed_host_keeps_its_objects_and_their_versions,
    a_deleted_host_leaves_nothing_that_anybody_waits_for,
}

const OWNER: PlanOwner = PlanOwner::Membership(InstanceId(1));

async fn a_renamed_host_keeps_its_objects_and_their_versions(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    join(&mut tx, "h1").await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    networks::set_host(&mut tx, network.id, "h1").await?;
    objects::put(&mut tx, OWNER, &[placed("h1", 1, 1)]).await?;
    let cleanup = ObjectError {
        key: ObjectKey("host/cleanup".to_owned()),
        message: "cleaned up".to_owned(),
    };
    hosts::report(&mut tx, "h1", "e", 1, std::slice::from_ref(&cleanup)).await?;
    clock::accept(&mut tx, "h1", "before").await?;
    let before = objects::digest(&mut tx, "h1").await?;
    tx.commit().await?;
    let mut tx = t.begin_planned().await?;
    hosts::rename(&mut tx, "h1", "h2").await?;
    let after = objects::digest(&mut tx, "h2").await?;
    assert_eq!((after.count, after.sum), (before.count, before.sum));
    assert_eq!(objects::digest(&mut tx, "h1").await?.count, 0);
    assert_eq!(hosts::errors_of(&mut tx, "h2").await?, [cleanup]);
    assert_eq!(hosts::troubles(&mut tx, "h2").await?, ["cleaned up"]);
    assert_eq!(hosts::troubles(&mut tx, "h1").await?, Vec::<String>::new());
    assert_eq!(clock::accepted(&mut tx, "h2").await?, ["before"]);
    let moved = networks::by_id(&mut tx, network.id).await?.unwrap();
    assert_eq!(moved.host.as_deref(), Some("h2"));
    let committed = tx.commit().await?;
    assert!(committed.hosts.contains("h1") && committed.hosts.contains("h2"));
    Ok(())
}

async fn a_deleted_host_leaves_nothing_that_anybody_waits_for(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    join(&mut tx, "h1").await?;
    objects::put(&mut tx, OWNER, &[placed("h1", 1, 1)]).await?;
    tx.commit().await?;
    let mut tx = t.begin_planned().await?;
    objects::put(&mut tx, OWNER, &[]).await?;
    assert!(!objects::removed_everywhere(&mut tx, OWNER).await?);
    hosts::delete(&mut tx, "h1").await?;
    assert!(objects::removed_everywhere(&mut tx, OWNER).await?);
    assert_eq!(hosts::by_name(&mut tx, "h1").await?, None);
    Ok(())
}
