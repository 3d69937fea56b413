//! Parts of many instances at once, and what hosts say of them.

use super::seed::{a_network, a_project, insert_instance, insert_network, ip, member, plug};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::rule::{Source, Traffic};
use novanet_model::wire::{Hello, HostRole, ObjectError};
use novanet_model::{FloatingIpId, HostObject, NetworkKind, object};
use novanet_store::instances::State;
use novanet_store::{PlanOwner, clock, groups, hosts, instances, interfaces, objects, views};

fn a_hello() -> Hello {
    Hello {
        version: "0".to_owned(),
        roles: vec![HostRole::Network, HostRole::Compute],
        my_ip: ip("192.0.2.1"),
        kinds: vec![NetworkKind::FlatDhcp],
        vcpus: 1,
        memory_mb: 1,
    }
}

both! {
    parts_of_many_instances_are_those_of_each,
    a_hosts_word_does_not_undo_a_deletion_nor_count_for_another_boot,
    an_instance_is_let_go_when_each_host_has_applied_its_tombstones_without_error,
}

async fn parts_of_many_instances_are_those_of_each(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let net = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    let mut all = vec![];
    for name in ["web", "mail"] {
        let project = a_project(&mut tx, name).await?;
        let one = groups::insert(&mut tx, &project, "alice", "one", "first").await?;
        let two = groups::insert(&mut tx, &project, "alice", "two", "second").await?;
        groups::insert_rule(&mut tx, one, Traffic::Any, Source::Group(two)).await?;
        for of in [vec![one, two], vec![two], vec![]] {
            let id = insert_instance(&mut tx, &project, &of, Some("h1")).await?;
            plug(&mut tx, id, &net).await?;
            all.push((project.clone(), id));
        }
    }
    for (project, id) in &all {
        for filter in [None, Some(project)] {
            let ports = views::ports(&mut tx, filter)
                .await?
                .remove(id)
                .unwrap_or_default();
            assert_eq!(ports, interfaces::ports(&mut tx, *id).await?);
            assert_eq!(ports.len(), 1);
            let of = views::groups(&mut tx, filter)
                .await?
                .remove(id)
                .unwrap_or_default();
            assert_eq!(of, groups::of_instance(&mut tx, *id).await?);
        }
        assert_eq!(views::ports(&mut tx, Some(project)).await?.len(), 3);
    }
    assert_eq!(views::ports(&mut tx, None).await?.len(), 6);
    Ok(())
}

async fn a_hosts_word_does_not_undo_a_deletion_nor_count_for_another_boot(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let id = insert_instance(&mut tx, &project, &[], Some("h1")).await?;
    let running = State::Running;
    assert!(!instances::report_state(&mut tx, id, "h1", 2, running, None).await?);
    assert!(!instances::report_state(&mut tx, id, "h2", 1, running, None).await?);
    assert!(instances::report_state(&mut tx, id, "h1", 1, running, Some("well")).await?);
    let row = instances::by_id(&mut tx, id).await?.unwrap();
    assert_eq!((row.state, row.detail.as_deref()), (running, Some("well")));
    instances::set_state(&mut tx, id, State::Deleting, None).await?;
    assert!(!instances::report_state(&mut tx, id, "h1", 1, running, None).await?);
    let row = instances::by_id(&mut tx, id).await?.unwrap();
    assert_eq!(row.state, State::Deleting);
    Ok(())
}

async fn an_instance_is_let_go_when_each_host_has_applied_its_tombstones_without_error(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let net = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    let project = a_project(&mut tx, "web").await?;
    let id = insert_instance(&mut tx, &project, &[], Some("h1")).await?;
    let (_, address) = plug(&mut tx, id, &net).await?;
    let float = HostObject::FloatingIp(object::FloatingIp {
        address: ip("203.0.113.5"),
        fixed: address,
        interface: None,
    });
    let placed = [("h1".to_owned(), member(1, 2))];
    hosts::hello(&mut tx, "h1", &a_hello()).await?;
    hosts::hello(&mut tx, "gate", &a_hello()).await?;
    objects::put(&mut tx, PlanOwner::Membership(id), &placed).await?;
    objects::put(
        &mut tx,
        PlanOwner::FloatingIp(FloatingIpId(1)),
        &[("gate".to_owned(), float.clone())],
    )
    .await?;
    assert!(views::let_go(&mut tx).await?.is_empty(), "it lives");
    instances::set_state(&mut tx, id, State::Deleting, None).await?;
    assert!(
        views::let_go(&mut tx).await?.is_empty(),
        "an object is there"
    );
    objects::put(&mut tx, PlanOwner::Membership(id), &[]).await?;
    objects::put(&mut tx, PlanOwner::FloatingIp(FloatingIpId(1)), &[]).await?;
    let epoch = clock::read(&mut tx).await?.epoch;
    let version = tx.version;
    let error = |key| ObjectError {
        key,
        message: "no".to_owned(),
    };

    let member_fails = [error(placed[0].1.key())];
    hosts::report(&mut tx, "h1", &epoch, version - 1, &[]).await?;
    assert!(views::let_go(&mut tx).await?.is_empty(), "it is behind");
    hosts::report(&mut tx, "h1", &epoch, version, &member_fails).await?;
    assert!(views::let_go(&mut tx).await?.is_empty(), "it failed");
    hosts::report(&mut tx, "h1", "another", version, &[]).await?;
    assert!(views::let_go(&mut tx).await?.is_empty(), "another epoch");
    hosts::report(&mut tx, "h1", &epoch, version, &[]).await?;
    assert_eq!(views::let_go(&mut tx).await?, [id]);

    hosts::report(&mut tx, "gate", &epoch, version - 1, &[]).await?;
    assert!(views::float_clings(&mut tx, id).await?, "it is behind");
    hosts::report(&mut tx, "gate", &epoch, version, &[error(float.key())]).await?;
    assert!(views::float_clings(&mut tx, id).await?, "it failed");
    hosts::report(&mut tx, "gate", &epoch, version, &[]).await?;
    assert!(!views::float_clings(&mut tx, id).await?);
    Ok(())
}
