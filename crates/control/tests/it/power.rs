//! StopInstances and StartInstances: what they keep, what they refuse, what hosts hear of it.

use crate::fake_host::report;
use crate::world::{World, assert_refused, both, caller, refused};
use anyhow::Result;
use novanet_control::ControlError;
use novanet_control::floating_ips::Association;
use novanet_control::instances::{InstanceRow, InstanceState};
use novanet_model::wire::InstanceState as Said;
use novanet_model::{HostObject, InstanceId};

async fn row(w: &World, id: InstanceId) -> InstanceRow {
    let operator = caller("root", "web", true);
    w.instance(&operator, id).await.unwrap().row
}

#[test]
fn a_stopped_instance_keeps_what_it_has_and_runs_again_as_another_boot() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        w.floats("203.0.113.5/32").await;
        let ids = w.run(&web, 2).await;
        let id = ids[0];
        let float = w.allocate_address(&web, None).await?.address;
        w.associate_address(&web, float.into(), &Association::to(id))
            .await?;
        host.round().await;
        let before = w.instance(&web, id).await?;

        let (was, _) = w.stop(&web, &[id]).await?;
        assert_eq!(was[0], before.row);
        assert!(row(w, id).await.is_stopping());
        let delta = host.follow().await;
        let keys: Vec<_> = delta.changes.iter().map(|c| c.key.to_string()).collect();
        assert_eq!(keys, ["instance/1"], "all else stays in force");
        // Stopping again changes nothing, and its host hears nothing.
        w.stop(&web, &[id]).await?;
        assert_refused!(
            w.start(&web, &[id]).await,
            ControlError::InUse { .. },
            "is being stopped, which cannot be started"
        );
        host.report().await;
        let stopped = w.instance(&web, id).await?;
        assert_eq!(stopped.row.state, InstanceState::Stopped);
        assert!(!stopped.row.is_stopping());
        assert_eq!(stopped.reason(), Some("User initiated shutdown"));
        assert_eq!(stopped.ports, before.ports);
        assert_eq!(stopped.public_address, Some(float));
        assert_eq!(stopped.groups, before.groups);
        w.stop(&web, &[id]).await?;
        assert_refused!(
            w.reboot(&web, &[id]).await,
            ControlError::InUse { .. },
            "is stopped, which cannot be rebooted"
        );
        assert_eq!(host.follow().await.changes.len(), 0, "nothing changed");

        w.start(&web, &[id]).await?;
        let started = row(w, id).await;
        assert_eq!(
            (started.state, started.halted, started.boot),
            (InstanceState::Pending, false, 2)
        );
        // The end of the boot before is old news.
        host.say(vec![report(id, Said::Stopped, 1)]).await;
        assert_eq!(row(w, id).await.state, InstanceState::Pending);
        host.round().await;
        let HostObject::Instance(object) = host.get("instance/1") else {
            panic!("another kind");
        };
        assert_eq!((object.boot, object.halted), (2, false));
        let again = w.instance(&web, id).await?;
        assert_eq!(again.row.state, InstanceState::Running);
        assert_eq!(
            (again.ports, again.public_address),
            (before.ports, Some(float))
        );
        w.start(&web, &[id]).await?;
        assert_eq!(row(w, id).await.boot, 2, "it runs already");
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn a_failed_instance_is_tried_again_by_a_start_and_no_more_after_a_stop() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let id = w.run(&web, 1).await[0];
        assert_refused!(
            w.stop(&web, &[id]).await,
            ControlError::InUse { .. },
            "is not running yet, which cannot be stopped"
        );
        host.follow().await;
        host.say(vec![report(id, Said::Error, 1)]).await;
        w.start(&web, &[id]).await?;
        let tried = row(w, id).await;
        assert_eq!((tried.state, tried.boot), (InstanceState::Pending, 2));
        host.say(vec![report(id, Said::Error, 2)]).await;
        w.stop(&web, &[id]).await?;
        assert!(row(w, id).await.is_stopping());
        host.round().await;
        assert_eq!(row(w, id).await.state, InstanceState::Stopped);
        // By itself is not by its user: both may be started.
        w.start(&web, &[id]).await?;
        host.follow().await;
        host.say(vec![report(id, Said::Stopped, 3)]).await;
        assert_ne!(
            w.instance(&web, id).await?.reason(),
            Some("User initiated shutdown")
        );
        w.stop(&web, &[id]).await?;
        assert!(!row(w, id).await.halted, "it was stopped already");
        w.start(&web, &[id]).await?;
        assert_eq!(row(w, id).await.boot, 4);
        Ok(())
    });
}

#[test]
fn stops_and_starts_are_for_sysadmins_of_the_project_and_change_all_or_none() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mail = w.project("mail").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let ids = w.run(&web, 2).await;
        host.round().await;
        let joe = caller("joe", "web", false);
        for error in [
            refused(w.stop(&joe, &ids).await),
            refused(w.start(&joe, &ids).await),
        ] {
            assert!(error.contains("needs the role sysadmin"), "{error}");
        }
        assert_refused!(
            w.stop(&mail, &ids).await,
            ControlError::NotFound { .. },
            "instance i-00000001 not found"
        );
        w.terminate(&web, &ids[1..]).await?;
        for (result, what) in [
            (w.stop(&web, &ids).await, "stopped"),
            (w.start(&web, &ids).await, "started"),
        ] {
            let why = format!("is being terminated, which cannot be {what}");
            assert!(refused(result).contains(&why));
        }
        assert!(!row(w, ids[0]).await.halted, "all or none");
        Ok(())
    });
}
