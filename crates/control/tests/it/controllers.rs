//! What happens without anybody asking.

use crate::world::{World, both};
use anyhow::Result;
use novanet_control::Controllers;
use novanet_model::rows::Network;
use novanet_store::{Thing, objects};

async fn rounds(w: &World, name: &str, count: usize) -> Result<()> {
    let mut controllers = Controllers::new(name);
    for _ in 0..count {
        controllers.round(w).await?;
    }
    Ok(())
}

/// Takes the host objects of a network away behind everybody's back.
async fn damage(w: &World, net: &Network) -> Result<()> {
    let mut tx = w.db().change().await?;
    objects::put(&mut tx, Thing::Network(net.id), &[]).await?;
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
        let before = w.seen().await?;
        rounds(w, "s1", 20).await?;
        w.assert_planned().await;
        assert_eq!(w.seen().await?, before);
        Ok(())
    });
}

#[test]
fn an_older_copy_of_the_database_begins_a_new_epoch_and_followers_list_again() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        host.round().await;
        let early = w.seen().await?;
        assert!(!w.notice_restore(None).await?);
        assert!(!w.notice_restore(Some((&early.0, early.1))).await?);
        let copy = w.file().map(|file| {
            // Everything is in the file and its write-ahead log.
            let copy = file.with_extension("copy");
            for suffix in ["", "-wal"] {
                let from = format!("{}{suffix}", file.display());
                std::fs::copy(from, format!("{}{suffix}", copy.display())).unwrap();
            }
            copy
        });
        w.run(&web, 2).await;
        host.round().await;
        let seen = w.seen().await?;
        let Some(copy) = copy else {
            // PostgreSQL: the clock of the copy, as it would look.
            let future = (seen.0.as_str(), seen.1 + 100);
            assert!(w.notice_restore(Some(future)).await?);
            assert_ne!(w.seen().await?.0, seen.0);
            assert!(host.follow().await.whole);
            host.assert_up_to_date().await;
            return Ok(());
        };
        let mut config = w.config().clone();
        config.database = format!("sqlite:///{}", copy.display());
        let restored = novanet_control::Cloud::open(config, None).await?;
        assert!(restored.notice_restore(Some((&seen.0, seen.1))).await?);
        assert!(
            !restored.notice_restore(Some((&seen.0, seen.1))).await?,
            "once"
        );
        host.follow_in(&restored);
        let news = host.follow().await;
        assert!(news.whole);
        assert!(host.keys("instance").is_empty());
        host.assert_up_to_date().await;
        Ok(())
    });
}
