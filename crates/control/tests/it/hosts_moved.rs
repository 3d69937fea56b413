//! Hosts get other names or are gone for good, networks get another gateway.

use crate::fake_host::FakeHost;
use crate::world::{World, assert_refused, both, both_with, on, refused};
use anyhow::Result;
use novanet_control::ControlError;
use novanet_control::floating_ips::{Association, FloatingIpRef};
use novanet_model::ObjectKey;
use novanet_store::{Engine, hosts};
use std::time::Duration;

#[test]
fn a_renamed_host_has_all_that_it_had_and_nothing_to_do() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        let net = w.network("10.0.0.0/24").await;
        w.floats("203.0.113.5/32").await;
        let id = w.run(&web, 1).await[0];
        let float = FloatingIpRef::Address(w.allocate_address(&web, None).await?.address);
        w.associate_address(&web, float, &Association::to(id))
            .await?;
        host.round().await;

        let up = refused(w.rename_host("h1", "new", false).await);
        assert!(up.contains("host h1: its agent was heard of"), "{up}");
        w.host("h2").await;
        assert_refused!(
            w.rename_host("h1", "h2", true).await,
            ControlError::Exists { .. },
            "host h2"
        );
        assert_eq!(
            refused(w.rename_host("h9", "new", true).await),
            "host h9 not found"
        );
        w.rename_host("h1", "new", true).await?;
        w.assert_planned().await;
        let mut names: Vec<_> = w.hosts().await?.into_iter().map(|h| h.name).collect();
        names.sort();
        assert_eq!(names, ["h2", "new"]);
        assert_eq!(
            w.cloud.network(&net.id.to_string()).await?.host.as_deref(),
            Some("new")
        );

        // Its agent goes on from where it was.
        let mut renamed = FakeHost::new(w.cloud.clone(), "new");
        renamed.epoch.clone_from(&host.epoch);
        renamed.version = host.version;
        renamed.objects = std::mem::take(&mut host.objects);
        let news = renamed.follow().await;
        assert!(!news.whole && news.changes.is_empty(), "{news:?}");
        renamed.report().await;
        renamed.assert_up_to_date().await;
        w.terminate(&web, &[id]).await?;
        renamed.round().await;
        renamed.round().await;
        assert!(renamed.keys("instance").is_empty());
        Ok(())
    });
}

#[test]
fn a_host_is_deleted_when_nothing_is_on_it_and_takes_its_tombstones_along() {
    let soon = |config: &mut novanet_control::CloudConfig| {
        config.service_down_time = Duration::ZERO;
    };
    both_with(soon, async |w: &World| -> Result<()> {
        let patient = w
            .with(|config| config.service_down_time = Duration::from_mins(5))
            .await;
        patient
            .register_image("tiny", std::io::Cursor::new(b"an image".to_vec()))
            .await?;
        let web = w.project("web").await;
        let mut gone = w.host("gone").await;
        let net = w.network("10.0.0.0/24").await;
        let launch = crate::world::launch(novanet_model::ImageId(1));
        let (ids, _) = patient.run_instances(&web, &launch).await?;
        gone.round().await;
        assert!(refused(patient.delete_host("gone").await).contains("stop it first"));
        let has = refused(w.delete_host("gone").await);
        assert!(
            has.contains("has the instances i-00000001: terminate"),
            "{has}"
        );
        w.terminate(&web, &ids).await?;
        let serves = refused(w.delete_host("gone").await);
        assert!(serves.contains("is the gateway of 10.0.0.0/24"), "{serves}");

        let mut other = w.host("other").await;
        w.modify_network(net.id, &to_host("other")).await?;
        other.round().await;
        assert!(other.has("gateway/1") && other.has("dhcp/1"));
        gone.follow().await;
        assert!(!gone.has("gateway/1"), "it serves it no longer");
        w.delete_host("gone").await?;
        assert_eq!(refused(w.delete_host("gone").await), "host gone not found");
        // What waited for it has ended: its address is free again.
        let (ids, _) = patient.run_instances(&web, &launch).await?;
        other.round().await;
        assert_eq!(other.keys("instance"), [format!("instance/{}", ids[0].0)]);
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn a_deletion_waits_for_a_heartbeat_instead_of_a_deadlock() {
    let soon = |config: &mut novanet_control::CloudConfig| {
        config.service_down_time = Duration::ZERO;
    };
    on(Engine::Postgres, soon, async |w: &World| -> Result<()> {
        let mut gone = w.host("gone").await;
        let cleanup = ObjectKey("host/cleanup".to_owned());
        gone.errors.insert(cleanup, "was cleaned up".to_owned());
        gone.round().await;
        // A heartbeat has locked the host's row, and removes its error next.
        let mut heartbeat = w.db().begin_unplanned().await?;
        hosts::set_zone(&mut heartbeat, "gone", "nova").await?;
        let cloud = w.cloud.clone();
        let deletion = tokio::spawn(async move { cloud.delete_host("gone").await });
        w.until_one_waits_for_a_lock().await?;
        hosts::report(&mut heartbeat, "gone", &gone.epoch, gone.version, &[]).await?;
        heartbeat.commit().await?;
        deletion.await??;
        // The next heartbeat of the agent that goes on leaves nothing of a host that is gone.
        gone.report().await;
        let mut tx = w.db().read().await?;
        assert_eq!(hosts::errors_of(&mut tx, "gone").await?, []);
        Ok(())
    });
}

#[test]
fn a_network_goes_to_a_host_that_can_serve_it_and_has_its_instances() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut one = w.host("h1").await;
        let net = w.network("10.0.0.0/24").await;
        let id = w.run(&web, 1).await[0];
        one.round().await;
        w.host("h2").await;
        let mut compute = FakeHost::new(w.cloud.clone(), "h3");
        compute.roles = vec![novanet_model::wire::HostRole::Compute];
        compute.hello().await;
        let why = refused(w.modify_network(net.id, &to_host("h2")).await);
        assert!(
            why.contains("i-00000001") && why.contains("not on h2"),
            "{why}"
        );
        let why = refused(w.modify_network(net.id, &to_host("h3")).await);
        assert!(why.contains("does not serve flatdhcp"), "{why}");
        assert_eq!(
            refused(w.modify_network(net.id, &to_host("h9")).await),
            "host h9 not found"
        );
        w.modify_network(net.id, &to_host("h1")).await?;
        w.terminate(&web, &[id]).await?;
        one.round().await;
        one.round().await;
        w.modify_network(net.id, &to_host("h2")).await?;
        assert_eq!(
            w.cloud.network(&net.id.to_string()).await?.host.as_deref(),
            Some("h2")
        );
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn an_instance_that_waits_for_a_host_without_an_agent_says_so() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let id = w.run(&web, 1).await[0];
        assert_eq!(w.instance(&web, id).await?.row.detail, None);
        let late = w
            .with(|config| config.service_down_time = Duration::ZERO)
            .await;
        let all = [
            late.instance(&web, id).await?,
            late.instances(&web).await?.remove(0),
            late.instances_of(&web, &[id]).await?.remove(0),
            late.all_instances().await?.remove(0),
        ];
        for view in all {
            let why = view.row.detail.unwrap();
            assert!(why.starts_with("host h1: no agent since 20"), "{why}");
        }
        // A host that has a reason of its own.
        let mut held = host;
        held.follow().await;
        held.errors.insert(
            ObjectKey("host/cleanup".to_owned()),
            "the host was cleaned up".to_owned(),
        );
        held.say(vec![]).await;
        let why = w.instance(&web, id).await?.row.detail;
        assert_eq!(why.as_deref(), Some("host h1: the host was cleaned up"));
        Ok(())
    });
}

fn to_host(name: &str) -> novanet_control::Modify {
    novanet_control::Modify {
        host: Some(name.to_owned()),
        ..novanet_control::Modify::default()
    }
}
