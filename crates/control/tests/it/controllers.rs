//! The background controllers.

use crate::world::{World, both};
use anyhow::Result;
use novanet_control::Controllers;
use novanet_model::rows::Network;
use novanet_store::{PlanOwner, objects};

async fn rounds(w: &World, name: &str, count: usize) -> Result<()> {
    let mut controllers = Controllers::new(name);
    for _ in 0..count {
        controllers.round(w).await?;
    }
    Ok(())
}

/// Removes the host objects of a network past the use cases.
async fn damage(w: &World, net: &Network) -> Result<()> {
    let mut tx = w.db().begin_planned().await?;
    objects::put(&mut tx, PlanOwner::Network(net.id), &[]).await?;
    tx.commit().await?;
    Ok(())
}

#[test]
fn what_does_not_follow_from_its_row_is_repaired_by_the_check() {
    both(async |w: &World| -> Result<()> {
        let mut host = w.host("h1").await;
        let net = w.network("10.0.0.0/24").await;
        damage(w, &net).await?;
        let report = w.check().await?.to_string();
        assert!(
            report.contains("network:1: 3 host objects repaired"),
            "{report}"
        );
        w.assert_planned().await;
        host.follow().await;
        assert_eq!(host.objects.len(), 3);
        assert!(w.actions().await.contains(&"db.repair".to_owned()));
        Ok(())
    });
}

#[test]
fn the_check_runs_by_itself_on_the_server_that_has_the_lease_and_on_no_other() {
    both(async |w: &World| -> Result<()> {
        let mut host = w.host("h1").await;
        let net = w.network("10.0.0.0/24").await;
        rounds(w, "s1", 2).await?;
        damage(w, &net).await?;
        rounds(w, "s2", 3).await?;
        host.follow().await;
        assert!(host.objects.is_empty());
        rounds(w, "s1", 3).await?;
        host.follow().await;
        assert_eq!(host.objects.len(), 3);
        Ok(())
    });
}

#[test]
fn a_check_of_what_is_right_changes_nothing() {
    both(async |w: &World| -> Result<()> {
        let _host = w.host("h1").await;
        for n in 0..3 {
            w.network(&format!("10.0.{n}.0/24")).await;
        }
        w.floats("203.0.113.0/24").await;
        let before = w.clock().await?;
        rounds(w, "s1", 20).await?;
        w.assert_planned().await;
        assert_eq!(w.clock().await?, before);
        Ok(())
    });
}
