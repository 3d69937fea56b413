//! The use cases, in an order in which each finds what it needs.

use super::Trial;
use crate::fake_host::FakeHost;
use crate::world::{caller, described_rule, from, from_group, group, ip, launch, name, tcp};
use anyhow::{Context as _, Result};
use novanet_control::accounts::UserChange;
use novanet_control::floating_ips::{Association, FloatingIpRef};
use novanet_control::instances::Launch;
use novanet_control::key_pairs::KeyKind;
use novanet_control::{Caller, Cloud, Controllers, Modify};
use novanet_model::carve::{Change, Request};
use novanet_model::host_addresses::{HostAddress, HostAddresses};
use novanet_model::wire::{Follow, LeaseChange, LeaseEvent, Objects};
use novanet_model::{ImageId, InstanceId, NetworkId, NetworkKind, Resource};
use novanet_store::{Engine, PlanOwner, objects};
use std::io::Cursor;

/// What a second try may have otherwise, when the first has committed some of its transactions.
const TRIED_TWICE: &[&str] = &[
    "version",
    "horizon",
    "leases.epoch",
    "audit.id",
    "counters.value",
];

pub(super) async fn all(t: &Trial<'_>) -> Result<()> {
    let ann = people(t).await?;
    let mut hosts = operators(t, &ann).await?;
    launches(t, &ann, &mut hosts).await?;
    addresses(t, &ann).await?;
    filters(t, &ann).await?;
    endings(t, &ann, &mut hosts).await?;
    super::vpns::all(t, &mut hosts, TRIED_TWICE).await?;
    controllers(t, &ann, &mut hosts).await?;
    departures(t, &ann, &mut hosts).await
}

async fn people(t: &Trial<'_>) -> Result<Caller> {
    t.one("root_authority", async |c| c.root_authority().await)
        .await?;
    t.one("create_user", async |c| {
        c.create_user("ann", None, false).await
    })
    .await?;
    t.one("create_user", async |c| {
        c.create_user("root", None, true).await
    })
    .await?;
    t.one("create_project", async |c| {
        c.create_project(&name("shop"), "ann", "books").await
    })
    .await?;
    let shop = name("shop");
    t.one("add_member", async |c| c.add_member(&shop, "root").await)
        .await?;
    for project in [Some(&shop), None] {
        t.one("add_role", async |c| {
            c.add_role("root", "netadmin", project).await
        })
        .await?;
    }
    t.one("remove_role", async |c| {
        c.remove_role("root", "netadmin", None).await
    })
    .await?;
    t.one("authority", async |c| c.authority(&shop).await)
        .await?;
    t.several("issue_certificate", &[], async |c| {
        c.issue_certificate(&shop, "root").await
    })
    .await?;
    t.one("remove_member", async |c| {
        c.remove_member(&shop, "root").await
    })
    .await?;
    t.one("rotate_keys", async |c| c.rotate_keys("ann").await)
        .await?;
    t.one("modify_user", async |c| {
        let change = UserChange {
            admin: Some(true),
            ..UserChange::default()
        };
        c.modify_user("ann", change).await
    })
    .await?;
    t.one("delete_user", async |c| c.delete_user("root").await)
        .await?;
    t.one("modify_project", async |c| {
        c.modify_project(&shop, "ann", Some("more books")).await
    })
    .await?;
    t.one("set_quota", async |c| {
        c.set_quota(&shop, Resource::Ram, None).await
    })
    .await?;
    let ann = caller("ann", "shop", true);
    t.one("create_key_pair", async |c| {
        c.create_key_pair(&ann, "spare", KeyKind::Ed25519).await
    })
    .await?;
    let key = novanet_pki::ssh::generate_key_pair(KeyKind::Ed25519)?.public_openssh;
    t.one("import_key_pair", async |c| {
        c.import_key_pair(&ann, "laptop", &key).await
    })
    .await?;
    t.one("delete_key_pair", async |c| {
        c.delete_key_pair(&ann, "spare").await
    })
    .await?;
    Ok(ann)
}

async fn operators(t: &Trial<'_>, ann: &Caller) -> Result<[FakeHost; 2]> {
    let mut two = Request::new(NetworkKind::FlatDhcp, "flat", "10.0.0.0/23".parse()?);
    (two.num_networks, two.network_size) = (2, Some(256));
    t.one("create_networks", async |c| c.create_networks(&two).await)
        .await?;
    let [mut h1, mut h2] = ["h1", "h2"].map(|name| FakeHost::new(t.w.cloud.clone(), name));
    let greeting = h1.greeting();
    for _new_or_known in 0..2 {
        t.one("hello", async |c| c.hello("h1", &greeting).await)
            .await?;
    }
    t.one("hello", async |c| c.hello("h2", &greeting).await)
        .await?;
    t.one("set_zone", async |c| c.set_zone("h2", "nova").await)
        .await?;
    for enabled in [false, true] {
        t.one("set_enabled", async |c| c.set_enabled("h2", enabled).await)
            .await?;
    }
    let more = Request::new(NetworkKind::FlatDhcp, "more", "10.9.0.0/24".parse()?);
    t.one("create_networks", async |c| c.create_networks(&more).await)
        .await?;
    let floats = "203.0.113.0/29".parse()?;
    t.one("create_floating_ips", async |c| {
        c.create_floating_ips(floats, None, None).await
    })
    .await?;
    let here = HostAddresses {
        addresses: [HostAddress {
            address: "192.0.2.9/24".parse()?,
            interface: "eth0".to_owned(),
        }]
        .into(),
        ..HostAddresses::default()
    };
    let more = "192.0.2.8/30".parse()?;
    t.one("create_floating_ips_around", async |c| {
        c.create_floating_ips_around(more, ("h1", &here)).await
    })
    .await?;
    t.one("report_addresses", async |c| {
        c.report_addresses("h1", &here).await
    })
    .await?;
    t.w.delete_floating_ips(more).await?;
    t.one("delete_floating_ips", async |c| {
        c.delete_floating_ips("203.0.113.6/32".parse().unwrap())
            .await
    })
    .await?;
    let some = [ip("10.0.0.7"), ip("10.0.1.7")];
    t.one("reserve_fixed_ips", async |c| {
        c.reserve_fixed_ips(&some).await
    })
    .await?;
    let mac = "52:54:00:00:00:09".parse()?;
    t.one("reserve_for_mac", async |c| {
        c.reserve_for_mac(some[0], mac).await
    })
    .await?;
    t.one("unreserve_fixed_ips", async |c| {
        c.unreserve_fixed_ips(&some).await
    })
    .await?;
    // Two parts, a transaction each. No list shows the stored parts of an image without a row.
    let bytes = vec![7; novanet_store::images::PART + 1];
    t.several("register_image", TRIED_TWICE, async |c| {
        c.register_image("tiny", Cursor::new(&bytes)).await
    })
    .await?;
    t.several("register_image_of", TRIED_TWICE, async |c| {
        let own = Cursor::new(b"her own");
        c.register_image_of(Some(&ann.project), "own", own).await
    })
    .await?;
    for host in [&mut h1, &mut h2] {
        host.round().await;
    }
    Ok([h1, h2])
}

async fn launches(t: &Trial<'_>, ann: &Caller, hosts: &mut [FakeHost; 2]) -> Result<()> {
    t.one("create_group", async |c| {
        c.create_group(ann, "front", "faces the world").await
    })
    .await?;
    let rules = [
        (tcp(80), from("0.0.0.0/0")),
        (tcp(22), from_group("default")),
        (tcp(81), from_group("front")),
    ];
    t.one("authorize", async |c| {
        c.authorize(ann, &group("front"), &rules).await
    })
    .await?;
    let (f, d) = (group("front"), described_rule(90));
    t.one("authorize_described", async |c| {
        c.authorize_described(ann, &f, &d).await
    })
    .await?;
    let two = Launch {
        min: 2,
        max: 2,
        groups: vec![group("front"), group("default")],
        key_name: Some("laptop".to_owned()),
        user_data: Some(b"#!/bin/sh".to_vec()),
        client_token: Some("once".to_owned()),
        ..launch(ImageId(1))
    };
    t.one("run_instances", async |c| c.run_instances(ann, &two).await)
        .await?;
    // As a version wrote it that did not seal it.
    t.sql(
        "UPDATE instances SET user_data = user_data_sealed, user_data_sealed = NULL \
         WHERE user_data_sealed IS NOT NULL",
    )
    .await?;
    t.one("seal_user_data", async |c| c.seal_user_data().await)
        .await?;
    let giving = t.w.with(|config| config.auto_assign_floating_ip = true);
    let giving = giving.await;
    drop(giving.db().begin_unplanned().await?);
    let own = launch(ImageId(2));
    t.one("run_instances", async |c| {
        // Each on connections of the same cloud: the counted statements are there.
        let _ = c;
        giving.run_instances(ann, &own).await
    })
    .await?;
    statuses(t, hosts).await?;
    let port = t.w.instance(ann, InstanceId(1)).await?.ports.remove(0);
    for event in [LeaseChange::Leased, LeaseChange::Released] {
        let (address, mac) = (port.address, port.mac);
        let event = LeaseEvent {
            event,
            address,
            mac,
        };
        t.one("leases", async |c| {
            c.leases("h1", std::slice::from_ref(&event)).await
        })
        .await?;
    }
    t.one("set_instance_groups", async |c| {
        c.set_instance_groups(ann, InstanceId(1), &[group("default")])
            .await
    })
    .await?;
    let both = [InstanceId(1), InstanceId(2)];
    t.one("stop", async |c| c.stop(ann, &both).await).await?;
    statuses(t, hosts).await?;
    t.one("start", async |c| c.start(ann, &both).await).await?;
    t.one("reboot", async |c| c.reboot(ann, &both).await).await
}

/// Every host does what it is to do, and reports.
async fn statuses(t: &Trial<'_>, hosts: &mut [FakeHost; 2]) -> Result<()> {
    for host in hosts {
        host.follow().await;
        let status = host.status();
        t.one("status", async |c| c.status(&host.name, &status).await)
            .await?;
    }
    Ok(())
}

async fn addresses(t: &Trial<'_>, ann: &Caller) -> Result<()> {
    t.one("allocate_address", async |c| {
        c.allocate_address(ann, None).await
    })
    .await?;
    t.one("allocate_this_address", async |c| {
        c.allocate_this_address(ann, ip("203.0.113.5"), None).await
    })
    .await?;
    let mine = FloatingIpRef::from(ip("203.0.113.5"));
    // First to an instance, then from that one to another, which has one already.
    for instance in [1, 3] {
        let to = Association::to(InstanceId(instance));
        t.one("associate_address", async |c| {
            c.associate_address(ann, mine, &to).await
        })
        .await?;
    }
    t.one("end_association", async |c| {
        c.end_association(ip("203.0.113.5")).await
    })
    .await?;
    let again = Association::to(InstanceId(3));
    t.w.associate_address(ann, mine, &again).await?;
    t.one("disassociate_address", async |c| {
        c.disassociate_address(ann, mine).await
    })
    .await?;
    t.one("release_address", async |c| {
        c.release_address(ann, mine).await
    })
    .await
}

async fn filters(t: &Trial<'_>, ann: &Caller) -> Result<()> {
    let (front, more) = (group("front"), [(tcp(82), from_group("default"))]);
    // Now there are members on both hosts.
    t.one("authorize", async |c| c.authorize(ann, &front, &more).await)
        .await?;
    let some = [
        (tcp(22), from_group("default")),
        (tcp(80), from("0.0.0.0/0")),
    ];
    t.one("revoke", async |c| c.revoke(ann, &front, &some).await)
        .await?;
    let mail = (tcp(25), "192.0.2.0/24".parse()?);
    t.one("block", async |c| c.block(mail.0, mail.1).await)
        .await?;
    t.one("unblock", async |c| c.unblock(mail.0, mail.1).await)
        .await?;
    let views = t.w.groups(ann).await?.0;
    let mut all = views.iter().flat_map(|view| &view.rules);
    let ids = [all.find(|r| r.description.is_some()).context("one")?.id];
    let f = Some(&front);
    t.one("revoke_by_id", async |c| c.revoke_by_id(ann, f, &ids).await)
        .await?;
    t.w.create_group(ann, "back", "d").await?;
    let rules = [(tcp(1), from("0.0.0.0/0")), (tcp(1), from_group("back"))];
    t.w.authorize(ann, &group("back"), &rules).await?;
    t.one("delete_group", async |c| {
        c.delete_group(ann, &group("back")).await
    })
    .await?;
    // As in a database that was filled by hand.
    t.w.create_user("bob", None, false).await?;
    t.w.create_project(&name("bare"), "bob", "").await?;
    let bob = caller("bob", "bare", true);
    let of_bob = "(SELECT id FROM security_groups WHERE project_id = 'bare')";
    t.sql(&format!(
        "DELETE FROM security_group_rules WHERE parent_group_id IN {of_bob}; \
         DELETE FROM security_groups WHERE project_id = 'bare'"
    ))
    .await?;
    t.several("groups", TRIED_TWICE, async |c| c.groups(&bob).await)
        .await
}

async fn endings(t: &Trial<'_>, ann: &Caller, hosts: &mut [FakeHost; 2]) -> Result<()> {
    for ids in [&[2][..], &[1, 3]] {
        let ids: Vec<InstanceId> = ids.iter().copied().map(InstanceId).collect();
        t.one("terminate", async |c| c.terminate(ann, &ids).await)
            .await?;
    }
    // The last who lets go ends it: the addresses go back.
    statuses(t, hosts).await?;
    let left = t.w.fixed_ips(None).await?;
    anyhow::ensure!(left.iter().all(|f| f.instance.is_none()), "{left:?}");
    Ok(())
}

async fn controllers(t: &Trial<'_>, ann: &Caller, hosts: &mut [FakeHost; 2]) -> Result<()> {
    let lost = PlanOwner::Network(NetworkId(1));
    let mut tx = t.w.db().begin_planned().await?;
    objects::put(&mut tx, lost, &[]).await?;
    tx.commit().await?;
    t.one("check", async |c| c.check().await).await?;

    let (epoch, version) = t.w.clock().await?;
    let held = Objects {
        epoch: "another".to_owned(),
        version,
        whole: true,
        changes: t.w.follow("h1", &Follow::default()).await?.changes,
        ..Objects::default()
    };
    t.one("drop_restored", async |c| {
        c.drop_restored("h1", &held).await
    })
    .await?;
    t.one("adopt_restored", async |c| {
        c.adopt_restored("h1", &held).await.map(drop)
    })
    .await?;
    assert_eq!(t.w.clock().await?.0, epoch);

    // Something for each step of a round: a row edited by hand, a deletion that no report ended
    // (what was in its way is over, but the host has nothing new to say), objects that are wrong.
    let id = t.w.run(ann, 1).await[0];
    for host in hosts.iter_mut() {
        host.round().await;
    }
    t.w.terminate(ann, &[id]).await?;
    for host in hosts.iter_mut() {
        let all: Vec<_> = host.objects.keys().cloned().collect();
        host.follow().await;
        let gone = all.into_iter().filter(|k| !host.objects.contains_key(k));
        host.errors = gone.map(|key| (key, "busy".to_owned())).collect();
        host.report().await;
        host.errors.clear();
        host.report().await;
    }
    let mut tx = t.w.db().begin_planned().await?;
    objects::put(&mut tx, PlanOwner::Network(NetworkId(2)), &[]).await?;
    tx.commit().await?;
    t.sql("UPDATE networks SET mtu = 1400 WHERE id = 1").await?;
    t.several("round", TRIED_TWICE, async |c| {
        Controllers::new("s1").round(c).await
    })
    .await?;

    sweep(t).await
}

async fn sweep(t: &Trial<'_>) -> Result<()> {
    // Two hours later, and an image whose storing was given up.
    t.sql(
        "UPDATE host_objects SET deleted_at = deleted_at - 7200000000 WHERE deleted = 1; \
         UPDATE instances SET terminated_at = terminated_at - 7200000000; \
         INSERT INTO image_blobs SELECT 'sha256:0', part, data, 0 FROM image_blobs \
         WHERE part = 1; UPDATE leases SET expires_at = 1",
    )
    .await?;
    // It comes once a minute, and then it is like every other transaction: an engine will do.
    if t.w.db().engine() == Engine::Postgres {
        return Ok(());
    }
    let a_minute = async |c: &Cloud| {
        let mut controllers = Controllers::new("s1");
        for _ in 1..60 {
            controllers.round(c).await?;
        }
        Ok(controllers)
    };
    let last = async |c: &Cloud, mut controllers: Controllers| controllers.round(c).await;
    t.prepared("round", TRIED_TWICE, a_minute, last).await?;
    let left = (t.rows("image_blobs").await?, t.rows("instances").await?);
    // Two parts of one image, and the one of the other.
    anyhow::ensure!(left == (3, 0), "{left:?}");
    Ok(())
}

async fn departures(t: &Trial<'_>, ann: &Caller, hosts: &mut [FakeHost; 2]) -> Result<()> {
    let modify = Modify {
        settings: Change {
            gateway: Some(ip("10.9.0.9")),
            dhcp_start: Some(ip("10.9.0.4")),
            ..Change::default()
        },
        host: Some("h2".to_owned()),
        reserve: vec![ip("10.9.0.20"), ip("10.9.0.21")],
        ..Modify::default()
    };
    t.one("modify_network", async |c| {
        c.modify_network(NetworkId(3), &modify).await
    })
    .await?;
    t.one("delete_network", async |c| {
        c.delete_network("10.9.0.0/24").await
    })
    .await?;
    statuses(t, hosts).await?;
    // No host has to let go of this one: its host never existed.
    t.w.allocate_address(ann, None).await?;
    t.sql("UPDATE networks SET project_id = 'shop' WHERE id = 2")
        .await?;
    t.sql("DELETE FROM dirty").await?;
    t.one("scrub_project", async |c| {
        c.scrub_project(&name("shop"), true).await
    })
    .await?;
    t.one("delete_image", async |c| {
        c.delete_image(novanet_model::ImageId(2)).await
    })
    .await?;
    t.one("delete_project", async |c| {
        c.delete_project(&name("shop")).await
    })
    .await?;
    t.one("rename_host", async |c| {
        c.rename_host("h2", "h3", true).await
    })
    .await?;
    t.sql("UPDATE hosts SET seen_at = 0").await?;
    t.one("delete_host", async |c| c.delete_host("h3").await)
        .await
}
