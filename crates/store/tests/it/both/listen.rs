//! Hints of other processes.

use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::object::Member;
use novanet_model::{FloatingIpId, GroupId, HostObject};
use novanet_store::{Db, Engine, PlanOwner, objects};
use std::time::Duration;

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

async fn a_listener_goes_on_for_ever_and_takes_no_hint_away(t: Fresh) -> Result<()> {
    let listener = tokio::spawn({
        let db = Db::clone(&t);
        async move { db.listen().await }
    });
    let mut hints = t.hints().follow("h1");
    for last in 1..=3 {
        let version = change(&t, last).await?;
        assert!(*hints.borrow_and_update() >= version);
    }
    // By another process: PostgreSQL tells, SQLite's followers have to look.
    let other = t.again().await?;
    let version = change(&other, 4).await?;
    while t.engine() == Engine::Postgres && *hints.borrow_and_update() < version {
        tokio::time::timeout(Duration::from_secs(30), hints.changed()).await??;
    }
    assert!(!listener.is_finished());
    listener.abort();
    Ok(())
}

both! {
    a_listener_goes_on_for_ever_and_takes_no_hint_away,
}
