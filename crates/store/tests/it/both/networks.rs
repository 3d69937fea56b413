//! Networks: every column there and back, what must be unique, what cannot be.

use super::seed::{
    a_network, a_project, allocate, insert_instance, insert_network, join, kept, member, name,
    placed, plug, with,
};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::rows::Network;
use novanet_model::wire::ObjectError;
use novanet_model::{NetworkKind, ObjectKey};
use novanet_store::{PlanOwner, StoreError, Tx, clock, fixed_ips, hosts, networks, objects};
use std::collections::BTreeMap;

/// A VLAN network with something in every column.
async fn a_full_one(tx: &mut Tx) -> Result<Network> {
    let project = a_project(tx, "web").await?;
    Ok(with(a_network("10.1.0.0/24"), |n| {
        "with everything".clone_into(&mut n.label);
        n.kind = NetworkKind::Vlan;
        n.bridge = "br101".parse().unwrap();
        n.bridge_interface = Some("eth1".parse().unwrap());
        n.vlan = Some(101);
        n.dns = vec!["192.0.2.53".parse().unwrap(), "192.0.2.54".parse().unwrap()];
        n.vpn_public_address = Some("203.0.113.1".parse().unwrap());
        n.vpn_public_port = Some(1000);
        n.vpn_private_address = Some("10.1.0.2".parse().unwrap());
        n.dhcp_start = "10.1.0.3".parse().unwrap();
        n.project = Some(project);
        n.host = Some("h1".to_owned());
        n.multi_host = true;
        n.injected = true;
        n.mtu = Some(9000);
        n.vpn_clients = 5;
    }))
}

fn is_conflict(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::Conflict(_)))
}

both! {
    a_network_comes_back_as_it_was_inserted,
    a_network_gets_a_host_and_a_project,
    a_network_that_is_being_deleted_is_shown_to_nobody_but_who_waits_for_it,
    a_deleted_network_leaves_its_range_to_the_next_and_its_id_to_none,
    what_must_be_unique_is_a_conflict_and_not_a_fault,
    hand_edits_that_cannot_be_are_refused_by_the_database,
    a_network_that_its_project_leaves_is_anybodys,
    a_network_is_held_by_every_host_that_may_still_have_something_of_it,
    a_network_is_refused_by_the_host_that_is_to_be_its_gateway_and_by_no_other,
}

async fn a_network_comes_back_as_it_was_inserted(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let full = a_full_one(&mut tx).await?;
    for network in [full, a_network("10.2.0.0/24")] {
        let there = insert_network(&mut tx, network).await?;
        let wanted = Some(there.clone());
        assert_eq!(networks::by_id(&mut tx, there.id).await?, wanted);
        assert_eq!(
            networks::by_cidr(&mut tx, &there.cidr.to_string()).await?,
            wanted
        );
        assert_eq!(
            fixed_ips::reserved_ranges(&mut tx, there.id).await?,
            kept(&there)
        );
    }
    let ids: Vec<_> = networks::list(&mut tx)
        .await?
        .iter()
        .map(|n| n.id.0)
        .collect();
    assert_eq!(ids, [1, 2]);
    assert_eq!(networks::by_cidr(&mut tx, "10.1.0.0/25").await?, None);
    Ok(())
}

async fn a_network_gets_a_host_and_a_project(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let first = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    let second = insert_network(&mut tx, a_network("10.0.1.0/24")).await?;
    assert_eq!(
        networks::without_host(&mut tx).await?,
        [first.id, second.id]
    );
    networks::set_host(&mut tx, first.id, "h1").await?;
    networks::set_project(&mut tx, first.id, &project).await?;
    assert_eq!(networks::without_host(&mut tx).await?, [second.id]);
    let found = networks::by_id(&mut tx, first.id).await?.unwrap();
    assert_eq!(
        (found.host.as_deref(), found.spec.project),
        (Some("h1"), Some(name("web")))
    );
    Ok(())
}

async fn a_network_that_is_being_deleted_is_shown_to_nobody_but_who_waits_for_it(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    networks::set_deleting(&mut tx, network.id).await?;
    assert_eq!(networks::list(&mut tx).await?, []);
    assert_eq!(networks::by_id(&mut tx, network.id).await?, None);
    assert_eq!(networks::by_cidr(&mut tx, "10.0.0.0/24").await?, None);
    assert_eq!(networks::without_host(&mut tx).await?, []);
    assert_eq!(networks::in_the_way(&mut tx).await?.deleting, [network]);
    Ok(())
}

async fn a_deleted_network_leaves_its_range_to_the_next_and_its_id_to_none(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/29")).await?;
    while allocate(&mut tx, &network).await?.is_some() {}
    networks::delete(&mut tx, network.id).await?;
    assert_eq!(fixed_ips::list(&mut tx, "").await?, []);
    let again = insert_network(&mut tx, a_network("10.0.0.0/29")).await?;
    assert!(again.id > network.id);
    let (_, address) = allocate(&mut tx, &again).await?.unwrap();
    assert_eq!(address, again.dhcp_start, "from the beginning");
    Ok(())
}

async fn what_must_be_unique_is_a_conflict_and_not_a_fault(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let full = a_full_one(&mut tx).await?;
    insert_network(&mut tx, full.clone()).await?;
    tx.commit().await?;
    let other = || {
        with(full.clone(), |n| {
            n.cidr = "10.9.0.0/24".parse().unwrap();
            "other".clone_into(&mut n.uuid);
        })
    };
    let cases = [
        (
            "cidr",
            with(other(), |n| {
                n.cidr = full.cidr;
                n.bridge = "br9".parse().unwrap();
                n.vlan = Some(9);
                n.vpn_public_port = Some(9);
            }),
        ),
        (
            "vlan, on whatever interface",
            with(other(), |n| {
                n.bridge_interface = None;
                n.bridge = "br9".parse().unwrap();
                n.vpn_public_port = Some(9);
            }),
        ),
        (
            "bridge of a VLAN network",
            with(other(), |n| {
                n.vlan = Some(9);
                n.vpn_public_port = Some(9);
            }),
        ),
        (
            "VPN address and port",
            with(other(), |n| {
                n.bridge = "br9".parse().unwrap();
                n.vlan = Some(9);
            }),
        ),
    ];
    for (what, network) in cases {
        let mut tx = t.begin_planned().await?;
        let error = insert_network(&mut tx, network).await.unwrap_err();
        assert!(is_conflict(&error), "{what}: {error:?}");
    }
    // The same port of another address, a shared flat bridge.
    let mut tx = t.begin_planned().await?;
    let fine = with(other(), |n| {
        n.bridge = "br9".parse().unwrap();
        n.vlan = Some(9);
        n.bridge_interface = None;
        n.vpn_public_address = None;
    });
    insert_network(&mut tx, fine).await?;
    for cidr in ["10.10.0.0/24", "10.11.0.0/24"] {
        insert_network(&mut tx, a_network(cidr)).await?;
    }
    Ok(())
}

async fn hand_edits_that_cannot_be_are_refused_by_the_database(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let full = a_full_one(&mut tx).await?;
    insert_network(&mut tx, full).await?;
    tx.commit().await?;
    for sql in [
        "UPDATE networks SET vlan = 0",
        "UPDATE networks SET vlan = 4095",
        "UPDATE networks SET vlan = NULL",
        "UPDATE networks SET kind = 'quantum'",
        "UPDATE networks SET bridge = 'br-longer-than-15'",
        "UPDATE networks SET bridge = ''",
        "UPDATE networks SET bridge_interface = 'a-name-of-16-byt'",
        "UPDATE networks SET vpn_public_port = 65536",
        "UPDATE networks SET mtu = 67",
        "UPDATE networks SET cidr = NULL",
        "UPDATE networks SET project_id = 'nobody'",
        "DELETE FROM projects",
        "INSERT INTO reserved_ranges (network_id, first_addr, last_addr, reason) VALUES (1, 7, 6, 'x')",
        "INSERT INTO clock (id, epoch, version) VALUES (2, '', 0)",
        "INSERT INTO quotas (project_id, resource, hard_limit) VALUES ('web', 'cores', -2)",
        "INSERT INTO group_hosts (group_id, host, members) VALUES (1, 'h1', 0)",
        "INSERT INTO project_hosts (project_id, host, members, vcpus, memory_mb) \
         VALUES ('web', 'h1', 0, 1, 512)",
        "INSERT INTO host_objects (host, object_key, owner, kind, version, deleted, body) \
         VALUES ('h', 'k', 'o', 'k', 1, 2, '')",
        "INSERT INTO floating_ips (id, address, addr, pool, interface, created_at, updated_at) \
         VALUES (1, '203.0.113.1', 1, 'nova', 'a-name-of-16-byt', 0, 0)",
    ] {
        let refused = t.by_hand(sql).await;
        assert!(
            matches!(refused, Err(sqlx::Error::Database(_))),
            "{sql}: {refused:?}"
        );
    }
    for sql in [
        "UPDATE networks SET vlan = 4094",
        "UPDATE networks SET label = ''",
    ] {
        assert_eq!(t.by_hand(sql).await?, 1, "{sql}");
    }
    Ok(())
}

async fn a_network_that_its_project_leaves_is_anybodys(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let full = a_full_one(&mut tx).await?;
    let network = insert_network(&mut tx, full).await?;
    networks::leave_project(&mut tx, network.id).await?;
    let wanted = with(network.clone(), |n| {
        n.project = None;
    });
    assert_eq!(networks::by_id(&mut tx, network.id).await?, Some(wanted));
    Ok(())
}

async fn a_network_is_held_by_every_host_that_may_still_have_something_of_it(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let epoch = clock::read(&mut tx).await?.epoch;
    let web = a_project(&mut tx, "web").await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    let other = insert_network(&mut tx, a_network("10.0.1.0/24")).await?;
    let inside = insert_instance(&mut tx, &web, &[], Some("h1")).await?;
    let outside = insert_instance(&mut tx, &web, &[], Some("h4")).await?;
    plug(&mut tx, inside, &network).await?;
    plug(&mut tx, outside, &other).await?;
    let owners = [
        (PlanOwner::Network(network.id), "gw"),
        (PlanOwner::Instance(inside), "h1"),
        (PlanOwner::Membership(inside), "h2"),
        (PlanOwner::Network(other.id), "h3"),
        (PlanOwner::Instance(outside), "h4"),
    ];
    for (group, (owner, host)) in (0..).zip(owners) {
        join(&mut tx, host).await?;
        objects::put(&mut tx, owner, &[placed(host, group, 1)]).await?;
    }
    assert_eq!(
        networks::holders(&mut tx, network.id).await?,
        ["gw", "h1", "h2"]
    );
    tx.commit().await?;
    // Tombstones hold it as long as their host has not applied them.
    let mut tx = t.begin_planned().await?;
    let version = tx.version;
    for (owner, _) in &owners[..3] {
        objects::put(&mut tx, *owner, &[]).await?;
    }
    hosts::report(&mut tx, "gw", &epoch, version, &[]).await?;
    hosts::report(&mut tx, "h1", &epoch, version - 1, &[]).await?;
    hosts::report(&mut tx, "h2", &epoch, version, &[]).await?;
    assert_eq!(networks::holders(&mut tx, network.id).await?, ["h1"]);
    let stuck = ObjectError {
        key: member(2, 1).key(),
        message: "busy".to_owned(),
    };
    hosts::report(&mut tx, "h1", &epoch, version, &[]).await?;
    hosts::report(&mut tx, "h2", &epoch, version, &[stuck]).await?;
    assert_eq!(networks::holders(&mut tx, network.id).await?, ["h2"]);
    hosts::report(&mut tx, "h2", &epoch, version, &[]).await?;
    let nobody: [&str; 0] = [];
    assert_eq!(networks::holders(&mut tx, network.id).await?, nobody);
    Ok(())
}

async fn a_network_is_refused_by_the_host_that_is_to_be_its_gateway_and_by_no_other(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    join(&mut tx, "h1").await?;
    let mut ids = Vec::new();
    for (cidr, host) in [("10.0.0.0/24", "h1"), ("10.1.0.0/24", "h2")] {
        let network = insert_network(&mut tx, a_network(cidr)).await?;
        networks::set_host(&mut tx, network.id, host).await?;
        ids.push(network.id);
    }
    let cannot = |network| ObjectError {
        key: ObjectKey::of_network(network),
        message: "the name is taken".to_owned(),
    };
    let all = [cannot(ids[0]), cannot(ids[1])];
    hosts::report(&mut tx, "h1", "e", 1, &all).await?;
    let first = BTreeMap::from([(ids[0], "the name is taken".to_owned())]);
    assert_eq!(networks::refused(&mut tx).await?, first);
    hosts::report(&mut tx, "h1", "e", 2, &all[1..]).await?;
    assert_eq!(networks::refused(&mut tx).await?, BTreeMap::new());
    Ok(())
}
