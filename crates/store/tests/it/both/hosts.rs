//! Hosts and their heartbeats, leases of controllers, the audit trail, image bytes.

use super::seed::{a_project, an_instance, insert, insert_instance, name, place};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::wire::{Hello, HostRole, ObjectError};
use novanet_model::{ImageId, Micros, NetworkKind, ObjectKey};
use novanet_store::audit::{Actor, Entry};
use novanet_store::hosts::Host;
use novanet_store::images::{Image, PART, UPLOAD_LIFE};
use novanet_store::instances::State;
use novanet_store::{StoreError, audit, hosts, images, instances, leases, members};
use std::time::Duration;

fn hello(version: &str) -> Hello {
    Hello {
        version: version.to_owned(),
        roles: vec![HostRole::Network, HostRole::Compute],
        my_ip: [192, 0, 2, 1].into(),
        kinds: vec![NetworkKind::Flat, NetworkKind::FlatDhcp],
        vcpus: 2,
        memory_mb: 7919,
    }
}

fn trouble(key: &str, message: &str) -> ObjectError {
    ObjectError {
        key: ObjectKey(key.to_owned()),
        message: message.to_owned(),
    }
}

fn alice() -> Actor {
    Actor {
        who: "alice".to_owned(),
        source: "192.0.2.9".to_owned(),
    }
}

both! {
    a_host_is_what_it_last_said_of_itself,
    a_heartbeat_says_how_far_the_host_is_and_all_that_is_not_in_force,
    the_load_of_a_host_counts_what_is_there,
    a_lease_is_one_holders_until_it_ends,
    one_of_many_gets_the_lease,
    the_audit_trail_tells_the_newest_first,
    an_entry_that_cannot_be_stored_is_refused_before_others_go_with_it,
    entries_of_any_transaction_have_ids_of_their_own,
    an_images_bytes_come_back_in_parts,
    an_image_whose_bytes_are_not_all_there_is_refused,
    bytes_that_nobody_needs_go_and_those_of_an_upload_stay,
    a_host_stays_in_the_zone_that_it_was_put_into,
}

async fn a_host_is_what_it_last_said_of_itself(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    hosts::hello(&mut tx, "h2", &hello("0.1.0")).await?;
    hosts::hello(
        &mut tx,
        "h1",
        &Hello {
            roles: vec![],
            kinds: vec![],
            ..hello("0.1.0")
        },
    )
    .await?;
    tx.now += Duration::from_micros(5);
    hosts::hello(
        &mut tx,
        "h1",
        &Hello {
            roles: vec![HostRole::Compute],
            ..hello("0.2.0")
        },
    )
    .await?;
    let wanted = Host {
        name: "h1".to_owned(),
        my_ip: [192, 0, 2, 1].into(),
        roles: vec![HostRole::Compute],
        kinds: vec![NetworkKind::Flat, NetworkKind::FlatDhcp],
        vcpus: 2,
        memory_mb: 7919,
        program_version: "0.2.0".to_owned(),
        availability_zone: "nova".to_owned(),
        disabled: false,
        seen_at: tx.now,
        applied_epoch: String::new(),
        applied_version: 0,
    };
    assert_eq!(hosts::by_name(&mut tx, "h1").await?, Some(wanted));
    assert_eq!(hosts::by_name(&mut tx, "h3").await?, None);
    let names: Vec<_> = hosts::list(&mut tx)
        .await?
        .into_iter()
        .map(|h| h.name)
        .collect();
    assert_eq!(names, ["h1", "h2"]);
    Ok(())
}

async fn a_heartbeat_says_how_far_the_host_is_and_all_that_is_not_in_force(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    for host in ["h1", "h2"] {
        hosts::hello(&mut tx, host, &hello("0.1.0")).await?;
    }
    let both = [trouble("a", "first"), trouble("b", "second")];
    hosts::report(&mut tx, "h2", "e", 1, &both).await?;
    hosts::report(&mut tx, "h1", "e", 7, &both).await?;
    assert_eq!(hosts::errors_of(&mut tx, "h1").await?, both);
    let host = hosts::by_name(&mut tx, "h1").await?.unwrap();
    assert_eq!(
        (
            host.applied_epoch.as_str(),
            host.applied_version,
            host.seen_at
        ),
        ("e", 7, tx.now)
    );
    let now = [trouble("b", "another reason"), trouble("c", "third")];
    hosts::report(&mut tx, "h1", "e", 8, &now).await?;
    assert_eq!(hosts::errors_of(&mut tx, "h1").await?, now);
    hosts::report(&mut tx, "h1", "e", 9, &[]).await?;
    assert_eq!(hosts::errors_of(&mut tx, "h1").await?, []);
    assert_eq!(
        hosts::errors_of(&mut tx, "h2").await?,
        both,
        "another host's stay"
    );
    Ok(())
}

async fn the_load_of_a_host_counts_what_is_there(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let web = a_project(&mut tx, "web").await?;
    let mut there = vec![];
    for host in ["h1", "h1", "h1", "h2"] {
        let id = insert_instance(&mut tx, &web, &[], Some(host)).await?;
        place(&mut tx, id, &web, &[], host).await?;
        there.push(id);
    }
    insert_instance(&mut tx, &web, &[], None).await?;
    for (id, state) in [(there[0], State::Deleting), (there[1], State::Terminated)] {
        instances::set_state(&mut tx, id, state, None).await?;
        members::remove_member(&mut tx, id, &web, &[], "h1").await?;
    }
    let mut load = hosts::load(&mut tx).await?;
    load.sort();
    assert_eq!(
        load,
        [("h1".to_owned(), 2, 1024, 2), ("h2".to_owned(), 1, 512, 1)]
    );
    Ok(())
}

async fn a_lease_is_one_holders_until_it_ends(t: Fresh) -> Result<()> {
    const TTL: Duration = Duration::from_secs(1);
    const MICRO: Duration = Duration::from_micros(1);
    let take = async |name: &str, holder: &str, later: Duration| {
        let mut tx = t.begin_unplanned().await?;
        tx.now = Micros::new(1_000) + later;
        let epoch = leases::take(&mut tx, name, holder, TTL).await?;
        tx.commit().await?;
        anyhow::Ok(epoch)
    };
    assert_eq!(take("sweep", "a", Duration::ZERO).await?, Some(1));
    assert_eq!(take("sweep", "b", MICRO).await?, None);
    assert_eq!(take("sweep", "a", TTL / 2).await?, Some(1), "renewed");
    assert_eq!(
        take("sweep", "b", TTL).await?,
        None,
        "because it was renewed"
    );
    assert_eq!(take("check", "b", TTL).await?, Some(1), "another lease");
    // The epoch fences what the old holder still wants to write.
    assert_eq!(take("sweep", "b", 2 * TTL).await?, Some(2));
    assert_eq!(take("sweep", "a", 2 * TTL + MICRO).await?, None);
    assert_eq!(take("sweep", "a", 4 * TTL).await?, Some(3));
    // Released by its holder, it is anybody's at once; others cannot release it.
    let release = async |holder: &str| {
        let mut tx = t.begin_unplanned().await?;
        tx.now = Micros::new(1_000) + 4 * TTL;
        let epoch = leases::take_and_release(&mut tx, "sweep", holder).await?;
        tx.commit().await?;
        anyhow::Ok(epoch)
    };
    assert_eq!(release("b").await?, None);
    assert_eq!(release("a").await?, Some(3));
    assert_eq!(take("sweep", "b", 4 * TTL).await?, Some(4));
    Ok(())
}

async fn one_of_many_gets_the_lease(t: Fresh) -> Result<()> {
    let mut tries = tokio::task::JoinSet::new();
    for holder in 0..8 {
        let db = t.again().await?;
        tries.spawn(async move {
            let mut tx = db.begin_unplanned().await?;
            let holder = format!("server-{holder}");
            let epoch = leases::take(&mut tx, "sweep", &holder, Duration::from_mins(1)).await?;
            tx.commit().await?;
            anyhow::Ok(epoch)
        });
    }
    let mut winners = vec![];
    for epoch in tries.join_all().await {
        winners.extend(epoch?);
    }
    assert_eq!(winners, [1]);
    Ok(())
}

async fn the_audit_trail_tells_the_newest_first(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    audit::record(
        &mut tx,
        &alice(),
        "floating_ip.associate",
        Some("web"),
        "203.0.113.5",
        "to i-1",
    )
    .await?;
    audit::record(
        &mut tx,
        &alice(),
        "floating_ip.release",
        None,
        "203.0.113.5",
        "",
    )
    .await?;
    let now = tx.now;
    tx.commit().await?;
    let mut tx = t.begin_planned().await?;
    tx.now = now + Duration::from_micros(1);
    audit::record(&mut tx, &alice(), "network.create", None, "10.0.0.0/24", "").await?;
    tx.commit().await?;
    let mut tx = t.read().await?;
    let all = audit::list(&mut tx, None, 10).await?;
    let actions: Vec<_> = all.iter().map(|e| e.action.as_str()).collect();
    assert_eq!(
        actions,
        [
            "network.create",
            "floating_ip.release",
            "floating_ip.associate"
        ]
    );
    let wanted = Entry {
        id: all[2].id,
        at: now,
        actor: "alice".to_owned(),
        source: "192.0.2.9".to_owned(),
        action: "floating_ip.associate".to_owned(),
        project_id: Some("web".to_owned()),
        object: "203.0.113.5".to_owned(),
        detail: "to i-1".to_owned(),
    };
    assert_eq!(all[2], wanted);
    assert_eq!(
        audit::list(&mut tx, Some("203.0.113.5"), 1).await?,
        all[1..2]
    );
    assert_eq!(audit::list(&mut tx, Some("nothing"), 10).await?, []);
    Ok(())
}

async fn an_entry_that_cannot_be_stored_is_refused_before_others_go_with_it(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let zero = audit::record(&mut tx, &alice(), "test", None, "a\0b", "").await;
    assert!(matches!(zero, Err(StoreError::Unfit(_))), "{zero:?}");
    Ok(())
}

async fn entries_of_any_transaction_have_ids_of_their_own(t: Fresh) -> Result<()> {
    let mut ids = std::collections::BTreeSet::new();
    for changes in [true, false, true, false] {
        let mut tx = if changes {
            t.begin_planned().await?
        } else {
            t.begin_unplanned().await?
        };
        // More than a version has room for.
        for n in 0..100 {
            audit::record(&mut tx, &alice(), "test", None, "x", &n.to_string()).await?;
        }
        let actor = alice();
        let change = audit::Change {
            actor: &actor,
            action: "test",
            project: None,
            object: "x",
            detail: "many",
        };
        audit::record_all(&mut tx, &vec![change; 1000]).await?;
        tx.commit().await?;
    }
    for entry in audit::list(&mut *t.read().await?, Some("x"), 10_000).await? {
        assert!(ids.insert(entry.id));
    }
    assert_eq!(ids.len(), 4400);
    Ok(())
}

async fn an_images_bytes_come_back_in_parts(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    let parts = [vec![7; PART], vec![0, 1, 2, 255]];
    for (number, data) in (0..).zip(&parts) {
        images::put_part(&mut tx, "sha256:a", number, vec![9]).await?;
        images::put_part(&mut tx, "sha256:a", number, data.clone()).await?;
    }
    tx.commit().await?;
    let mut tx = t.begin_unplanned().await?;
    for (number, data) in (0..).zip(&parts) {
        assert!(
            images::part(&mut tx, "sha256:a", number).await?.as_ref() == Some(data),
            "part {number}"
        );
    }
    assert_eq!(images::part(&mut tx, "sha256:a", 2).await?, None);
    let size = i64::try_from(PART + 4)?;
    let id = images::insert(&mut tx, "tiny", None, "sha256:a", size).await?;
    let wanted = Image {
        id,
        name: "tiny".to_owned(),
        project: None,
        digest: "sha256:a".to_owned(),
        size,
        is_public: true,
        created_at: tx.now,
    };
    assert_eq!(images::by_id(&mut tx, id).await?, Some(wanted.clone()));
    let web = a_project(&mut tx, "web").await?;
    let mine = images::insert(&mut tx, "mine", Some(&web), "sha256:a", size).await?;
    let found = images::list(&mut tx).await?;
    assert_eq!(found[0], wanted);
    assert_eq!(
        (found[1].id, &found[1].project, found[1].is_public),
        (mine, &Some(name("web")), false)
    );
    assert_eq!(images::by_id(&mut tx, ImageId(99)).await?, None);
    assert_eq!(images::with_digest(&mut tx, "sha256:a").await?, found);
    assert_eq!(images::with_digest(&mut tx, "sha256:b").await?, []);
    assert_eq!(images::of_project(&mut tx, &web).await?, found[1..]);
    images::delete(&mut tx, mine).await?;
    assert_eq!(images::list(&mut tx).await?, found[..1]);
    Ok(())
}

async fn an_image_whose_bytes_are_not_all_there_is_refused(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    images::put_part(&mut tx, "sha256:a", 0, vec![1, 2, 3]).await?;
    for (digest, size) in [("sha256:a", 4), ("sha256:b", 1)] {
        let error = images::insert(&mut tx, "tiny", None, digest, size)
            .await
            .unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
        assert!(error.to_string().contains("register it again"), "{error}");
    }
    Ok(())
}

async fn bytes_that_nobody_needs_go_and_those_of_an_upload_stay(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let web = a_project(&mut tx, "web").await?;
    for digest in ["named", "running", "terminated", "nobody"] {
        images::put_part(&mut tx, digest, 0, vec![1]).await?;
    }
    images::insert(&mut tx, "tiny", None, "named", 1).await?;
    for (digest, state) in [
        ("running", State::Running),
        ("terminated", State::Terminated),
    ] {
        let mut row = an_instance(&mut tx, &web, &[]).await?;
        row.image_digest = digest.to_owned();
        row.state = state;
        insert(&mut tx, &row, &[]).await?;
    }
    assert_eq!(images::collect(&mut tx).await?, 0, "they may be of uploads");
    tx.now += UPLOAD_LIFE + Duration::from_micros(1);
    images::put_part(&mut tx, "upload", 0, vec![1]).await?;
    assert_eq!(images::collect(&mut tx).await?, 2);
    for (digest, there) in [
        ("named", true),
        ("running", true),
        ("terminated", false),
        ("nobody", false),
        ("upload", true),
    ] {
        assert_eq!(
            images::part(&mut tx, digest, 0).await?.is_some(),
            there,
            "{digest}"
        );
    }
    Ok(())
}

async fn a_host_stays_in_the_zone_that_it_was_put_into(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    hosts::hello(&mut tx, "h1", &hello("0.1.0")).await?;
    hosts::set_zone(&mut tx, "h1", "cellar").await?;
    hosts::set_disabled(&mut tx, "h1", true).await?;
    hosts::hello(&mut tx, "h1", &hello("0.2.0")).await?;
    let host = hosts::by_name(&mut tx, "h1").await?.expect("it said hello");
    assert_eq!(host.availability_zone, "cellar");
    assert!(host.disabled, "until it is enabled");
    hosts::set_disabled(&mut tx, "h1", false).await?;
    let host = hosts::by_name(&mut tx, "h1").await?.expect("it is there");
    assert!(!host.disabled);
    Ok(())
}
