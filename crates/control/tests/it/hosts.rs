//! What hosts hear and say: lists, deltas, tombstones, reports, metadata, reboots, leases.

use crate::fake_host::{FakeHost, report};
use crate::world::{World, assert_refused, both, both_with, caller, group, launch, on, refused};
use anyhow::Result;
use base64::Engine as _;
use novanet_control::ControlError;
use novanet_control::floating_ips::Association;
use novanet_control::instances::{InstanceState, Launch};
use novanet_control::key_pairs::KeyKind;
use novanet_model::carve::Request;
use novanet_model::wire::{HostRole, InstanceState as Said, LeaseChange, LeaseEvent};
use novanet_model::{HostObject, ImageId, InstanceId, NetworkKind, ObjectKey};
use novanet_store::{Engine, instances};

#[test]
fn a_follower_gets_a_list_then_only_what_changes() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        w.floats("203.0.113.0/24").await;
        let first = host.follow().await;
        assert!(first.whole);
        let ids = w.run(&web, 5).await;
        host.round().await;
        let nothing = host.follow().await;
        assert!(!nothing.whole && nothing.changes.is_empty());
        // One change costs one change.
        let float = w.allocate_address(&web, None).await?.address;
        w.associate_address(&web, float.into(), &Association::to(ids[2]))
            .await?;
        let delta = host.follow().await;
        assert!(!delta.whole);
        assert_eq!(delta.changes.len(), 1);
        w.disassociate_address(&web, float.into()).await?;
        let delta = host.follow().await;
        assert_eq!(delta.changes.len(), 1);
        assert_eq!(delta.changes[0].object, None, "a tombstone");
        host.assert_up_to_date().await;
        assert_eq!(host.lists, 1);
        Ok(())
    });
}

#[test]
fn a_report_waits_for_a_use_case_instead_of_a_deadlock() {
    on(
        Engine::Postgres,
        |_| {},
        async |w: &World| -> Result<()> {
            w.image().await;
            let web = w.project("web").await;
            let mut host = w.host("h1").await;
            w.network("10.0.0.0/24").await;
            let ids = w.run(&web, 2).await;
            host.follow().await;
            // A use case has written the second instance, and writes the first one next.
            let mut tx = w.db().begin_planned().await?;
            instances::set_state(&mut tx, ids[1], InstanceState::Pending, None).await?;
            let (cloud, status) = (w.cloud.clone(), host.status());
            let report = tokio::spawn(async move { cloud.status("h1", &status).await });
            w.until_one_waits_for_a_lock().await?;
            instances::set_state(&mut tx, ids[0], InstanceState::Pending, None).await?;
            tx.commit().await?;
            report.await??;
            for id in ids {
                let state = w.instance(&web, id).await?.row.state;
                assert_eq!(state, InstanceState::Running);
            }
            Ok(())
        },
    );
}

#[test]
fn a_reboot_counts_up_and_old_news_of_the_boot_before_changes_nothing() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let ids = w.run(&web, 2).await;
        host.round().await;
        let state = async |id| w.instance(&web, id).await.unwrap().row.state;
        assert_eq!(state(ids[0]).await, InstanceState::Running);
        w.reboot(&web, &ids[..1]).await?;
        assert_eq!(state(ids[0]).await, InstanceState::Pending);
        host.say(vec![report(ids[0], Said::Running, 1)]).await;
        assert_eq!(state(ids[0]).await, InstanceState::Pending);
        let delta = host.follow().await;
        assert_eq!(delta.changes.len(), 1);
        let HostObject::Instance(object) = host.get(&format!("instance/{}", ids[0].0)) else {
            panic!("another kind");
        };
        assert_eq!(object.boot, 2);
        host.report().await;
        assert_eq!(state(ids[0]).await, InstanceState::Running);
        let joe = caller("joe", "web", false);
        assert!(refused(w.reboot(&joe, &ids).await).contains("needs the role sysadmin"));
        w.terminate(&web, &ids[1..]).await?;
        assert_refused!(
            w.reboot(&web, &ids).await,
            ControlError::InUse { .. },
            "is being terminated, which cannot be rebooted"
        );
        assert_eq!(state(ids[0]).await, InstanceState::Running, "all or none");
        Ok(())
    });
}

#[test]
fn what_a_host_says_of_an_instance_is_kept_with_its_reason() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        let other = w.host("h2").await;
        w.network("10.0.0.0/24").await;
        let id = w.run(&web, 1).await[0];
        host.follow().await;
        let mut failed = report(id, Said::Error, 1);
        failed.detail = Some("runc: no such file".to_owned());
        host.say(vec![failed]).await;
        let row = w.instance(&web, id).await?.row;
        assert_eq!(row.state, InstanceState::Error);
        assert_eq!(row.detail.as_deref(), Some("runc: no such file"));
        // An instance of another host, or of none: no news.
        other.say(vec![report(id, Said::Running, 1)]).await;
        host.say(vec![report(InstanceId(77), Said::Running, 1)])
            .await;
        host.say(vec![report(id, Said::Gone, 1)]).await;
        assert_eq!(w.instance(&web, id).await?.row.state, InstanceState::Error);
        host.say(vec![report(id, Said::Stopped, 1)]).await;
        let row = w.instance(&web, id).await?.row;
        assert_eq!((row.state, row.detail), (InstanceState::Stopped, None));
        Ok(())
    });
}

#[test]
fn errors_of_a_host_are_listed_until_they_are_gone() {
    both(async |w: &World| -> Result<()> {
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        host.follow().await;
        let key = ObjectKey("bridge/1".to_owned());
        host.errors
            .insert(key.clone(), "br100 is foreign".to_owned());
        host.report().await;
        let errors = w.host_errors("h1").await?;
        assert_eq!(errors.len(), 1);
        assert_eq!(
            (&errors[0].key, errors[0].message.as_str()),
            (&key, "br100 is foreign")
        );
        host.errors.clear();
        host.report().await;
        assert!(w.host_errors("h1").await?.is_empty());
        assert_eq!(refused(w.host_errors("h9").await), "host h9 not found");
        let listed = w.hosts().await?;
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].applied_version, host.version);
        assert!(w.is_up(&listed[0]));
        assert_eq!(w.actions().await[0], "host.join");
        Ok(())
    });
}

#[test]
fn waiting_ends_when_the_host_has_applied_it_and_is_not_for_one_that_is_behind() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        host.round().await;
        let (_, change) = w.run_instances(&web, &launch(ImageId(1))).await?;
        let began = std::time::Instant::now();
        assert!(!w.applied(&change).await);
        assert!(began.elapsed() < std::time::Duration::from_secs(4));
        host.follow().await;
        let (applied, ()) = tokio::join!(w.applied(&change), host.report());
        assert!(applied);
        // Another server, which the host does not report to, sees it in the database.
        assert!(w.again().await.applied(&change).await);
        Ok(())
    });
}

#[test]
fn metadata_is_for_the_hosts_that_serve_the_instance() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut gate = FakeHost::new(w.cloud.clone(), "gate");
        gate.roles = vec![HostRole::Network];
        gate.hello().await;
        let mut one = w.host("h1").await;
        let stranger = w.host("h2").await;
        w.network("10.0.0.0/24").await;
        w.floats("203.0.113.5/32").await;
        w.create_group(&web, "http", "d").await?;
        let (pair, _) = w.create_key_pair(&web, "mine", KeyKind::Ed25519).await?;
        let full = Launch {
            key_name: Some("mine".to_owned()),
            user_data: Some(b"#!/bin/sh\n".to_vec()),
            groups: vec![group("http")],
            ..launch(ImageId(1))
        };
        let (ids, _) = w.run_instances(&web, &full).await?;
        let float = w.allocate_address(&web, None).await?.address;
        w.associate_address(&web, float.into(), &Association::to(ids[0]))
            .await?;
        gate.round().await;
        one.round().await;
        for host in ["gate", "h1"] {
            let told = w.metadata(host, ids[0]).await?;
            assert_eq!(told.instance_id, "i-00000001");
            assert_eq!(told.ami_id, "ami-00000001");
            assert_eq!(told.hostname, "i-00000001.novalocal");
            assert_eq!(told.local_ipv4, w.fixed_ip(&web, ids[0]).await.to_string());
            assert_eq!(told.public_ipv4, "203.0.113.5");
            assert_eq!(told.security_groups, ["http"]);
            assert_eq!(
                told.public_keys,
                [("mine".to_owned(), pair.public_key.clone())]
            );
            let data = base64::engine::general_purpose::STANDARD.decode(told.user_data.unwrap())?;
            assert_eq!(data, b"#!/bin/sh\n");
        }
        assert_refused!(
            w.metadata(&stranger.name, ids[0]).await,
            ControlError::NotFound { .. },
            "instance i-00000001 not found"
        );
        w.terminate(&web, &ids).await?;
        gate.round().await;
        one.round().await;
        assert!(w.metadata("h1", ids[0]).await.is_err());
        Ok(())
    });
}

#[test]
fn leases_are_noted_for_the_address_and_its_owner_only() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let _host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let id = w.run(&web, 1).await[0];
        let port = w.instance(&web, id).await?.ports.remove(0);
        let event = |event, mac| LeaseEvent {
            event,
            address: port.address,
            mac,
        };
        let stranger = "02:00:00:00:00:01".parse()?;
        let leased = async || w.fixed_ips(None).await.unwrap()[0].leased;
        w.leases("h1", &[event(LeaseChange::Leased, stranger)])
            .await?;
        assert!(!leased().await);
        w.leases("h1", &[event(LeaseChange::Leased, port.mac)])
            .await?;
        assert!(leased().await);
        w.leases("h1", &[event(LeaseChange::Released, port.mac)])
            .await?;
        assert!(!leased().await);
        Ok(())
    });
}

#[test]
fn a_host_is_down_after_service_down_time() {
    let soon = |config: &mut novanet_control::CloudConfig| {
        config.service_down_time = std::time::Duration::from_millis(300);
    };
    both_with(soon, async |w: &World| -> Result<()> {
        let host = w.host("h1").await;
        let up = async || w.is_up(&w.hosts().await.unwrap()[0]);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while up().await {
            assert!(std::time::Instant::now() < end, "it is still up");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let mut config = w.cloud.config().clone();
        config.service_down_time = std::time::Duration::from_mins(1);
        let patient = novanet_control::Cloud::open(config, None).await?;
        assert!(patient.is_up(&w.hosts().await?[0]));
        host.hello().await;
        assert_eq!(w.hosts().await?.len(), 1);
        Ok(())
    });
}

#[test]
fn the_gateway_of_new_networks_is_the_network_host_once_it_is_there() {
    let chosen = |config: &mut novanet_control::CloudConfig| {
        config.network_host = Some("h2".to_owned());
    };
    both_with(chosen, async |w: &World| -> Result<()> {
        // Before any host has reported, the flag may name one that comes.
        assert_eq!(w.network("10.0.0.0/24").await.host, None);
        let _first = w.host("h1").await;
        let other = Request::new(NetworkKind::FlatDhcp, "n", "10.0.2.0/24".parse()?);
        assert_refused!(
            w.create_networks(&other).await,
            ControlError::Invalid(_),
            "network_host \"h2\": is no host of this cloud: there is h1"
        );
        let _chosen = w.host("h2").await;
        assert_eq!(w.networks().await?[0].host.as_deref(), Some("h2"));
        assert_eq!(w.network("10.0.1.0/24").await.host.as_deref(), Some("h2"));
        Ok(())
    });
}

#[test]
fn instances_are_placed_only_on_hosts_of_the_zone_asked_for() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let _host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let zone = |zone: &str| Launch {
            availability_zone: Some(zone.to_owned()),
            ..launch(ImageId(1))
        };
        assert_refused!(
            w.run_instances(&web, &zone("mars")).await,
            ControlError::Invalid(_),
            "AvailabilityZone \"mars\": does not exist: there is nova"
        );
        let _far = w.host("h2").await;
        // An operator moves it, as docs/schema.md says.
        let mut tx = w.cloud.db().begin_unplanned().await?;
        novanet_store::hosts::set_zone(&mut tx, "h2", "mars").await?;
        tx.commit().await?;
        for (name, host) in [("mars", "h2"), ("nova", "h1")] {
            for _ in 0..2 {
                let id = w.run_instances(&web, &zone(name)).await?.0[0];
                let row = w.instance(&web, id).await?.row;
                assert_eq!(row.host.as_deref(), Some(host));
                assert_eq!(row.availability_zone, name);
            }
        }
        let anywhere = w.run(&web, 2).await;
        for id in anywhere {
            let row = w.instance(&web, id).await?.row;
            let zone = if row.host.as_deref() == Some("h2") {
                "mars"
            } else {
                "nova"
            };
            assert_eq!(row.availability_zone, zone, "it is its host's");
        }
        Ok(())
    });
}
