//! The plan, written: each kind of owner, edited rows, and that planning again changes nothing.

use super::seed::{
    Follower, a_network, a_project, insert_instance, insert_network, ip, name, place, placed, plug,
};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::plan::CloudSettings;
use novanet_model::rows::Network;
use novanet_model::rule::{Source, Traffic};
use novanet_model::{FloatingIpId, GroupId, HostObject, InstanceId, NetworkId, RuleId};
use novanet_store::instances::State;
use novanet_store::plan::Subject;
use novanet_store::{
    Db, PlanOwner, Tx, floating_ips, groups, instances, members, networks, objects, plan,
};
use std::collections::BTreeSet;

/// A project with a network, an instance, a floating IP that leads to it, a group and a rule.
pub(super) struct Cloud {
    pub(super) network: Network,
    pub(super) instance: InstanceId,
    float: FloatingIpId,
    pub(super) group: GroupId,
    pub(super) rule: RuleId,
}

pub(super) async fn a_cloud(tx: &mut Tx) -> Result<Cloud> {
    let project = a_project(tx, "web").await?;
    let mut network = a_network("10.0.0.0/24");
    network.host = Some("gw".to_owned());
    let network = insert_network(tx, network).await?;
    let group = groups::insert(tx, &project, "alice", "default", "").await?;
    let rule = groups::insert_rule(tx, group, Traffic::Any, Source::Group(group))
        .await?
        .id;
    let instance = insert_instance(tx, &project, &[group], Some("h1")).await?;
    let (fixed, _) = plug(tx, instance, &network).await?;
    let owners = place(tx, instance, &project, &[group], "h1").await?;
    floating_ips::insert(tx, &[ip("203.0.113.1")], "nova", None).await?;
    floating_ips::allocate(tx, "nova", &project).await?;
    let float = floating_ips::by_address(tx, ip("203.0.113.1"))
        .await?
        .expect("inserted")
        .id;
    floating_ips::point(tx, float, Some(fixed)).await?;
    let settings = CloudSettings::default();
    plan::replan(tx, &settings, owners).await?;
    let rest = [PlanOwner::Network(network.id), PlanOwner::FloatingIp(float)];
    plan::replan(tx, &settings, rest).await?;
    plan::take_dirty(tx).await?;
    Ok(Cloud {
        network,
        instance,
        float,
        group,
        rule,
    })
}

/// Kinds of the objects of a host, sorted.
pub(super) async fn kinds(db: &Db, host: &'static str) -> Result<Vec<&'static str>> {
    let mut follower = Follower::of(host);
    follower.catch_up(db).await?;
    let mut kinds: Vec<_> = follower
        .objects
        .values()
        .map(|(_, object)| object.kind().as_str())
        .collect();
    kinds.sort_unstable();
    Ok(kinds)
}

/// Takes the marks: the owners that were marked.
async fn marks(db: &Db) -> Result<Vec<String>> {
    let mut tx = db.begin_planned().await?;
    let any = plan::has_dirty(&mut tx).await?;
    let owners = plan::take_dirty(&mut tx).await?;
    assert_eq!(any, !owners.is_empty());
    assert!(!plan::has_dirty(&mut tx).await?);
    tx.commit().await?;
    Ok(owners.iter().map(ToString::to_string).collect())
}

both! {
    every_kind_of_row_becomes_objects_on_the_hosts_that_need_them,
    planning_everything_again_changes_nothing_and_repairs_what_was_spoiled,
    what_is_gone_or_going_has_no_objects,
    one_floating_ip_among_many_is_planned_alone,
    a_row_in_hand_is_planned_as_one_that_is_read,
    an_edited_row_is_marked_once_and_an_unimportant_column_does_not_mark,
}

async fn every_kind_of_row_becomes_objects_on_the_hosts_that_need_them(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let cloud = a_cloud(&mut tx).await?;
    let settings = CloudSettings::default();
    let mut found = vec![];
    for owner in [
        PlanOwner::Network(cloud.network.id),
        PlanOwner::Instance(cloud.instance),
        PlanOwner::Membership(cloud.instance),
        PlanOwner::FloatingIp(cloud.float),
        PlanOwner::Group(cloud.group),
        PlanOwner::Rule(cloud.rule),
    ] {
        for (host, object) in plan::objects_of(&mut tx, &settings, owner).await? {
            found.push(format!("{owner} {host} {}", object.kind().as_str()));
        }
    }
    insta::allow_duplicates! { insta::assert_snapshot!(found.join("\n"), @r"
        network:1 gw bridge
        network:1 gw gateway
        network:1 gw dhcp
        instance:1 h1 instance
        instance:1 h1 port
        instance:1 gw binding
        membership:1 h1 member
        membership:1 h1 project
        float:1 gw float
        group:1 h1 group
        rule:1 h1 rule
        "); }
    tx.commit().await?;
    let (gw, h1) = (
        kinds(&t, "gw").await?.join(" "),
        kinds(&t, "h1").await?.join(" "),
    );
    insta::allow_duplicates! {
        insta::assert_snapshot!(gw, @"binding bridge dhcp float gateway");
        insta::assert_snapshot!(h1, @"group instance member port project rule");
    }
    Ok(())
}

async fn planning_everything_again_changes_nothing_and_repairs_what_was_spoiled(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let cloud = a_cloud(&mut tx).await?;
    let settings = CloudSettings::default();
    let owners = plan::all_owners(&mut tx).await?;
    let wanted = BTreeSet::from([
        PlanOwner::Network(cloud.network.id),
        PlanOwner::Instance(cloud.instance),
        PlanOwner::Membership(cloud.instance),
        PlanOwner::FloatingIp(cloud.float),
        PlanOwner::Group(cloud.group),
        PlanOwner::Rule(cloud.rule),
    ]);
    assert_eq!(owners, wanted);
    assert_eq!(plan::replan(&mut tx, &settings, owners).await?, 0);
    // An object of a row that is long gone, and one of the row's missing.
    objects::put(
        &mut tx,
        PlanOwner::FloatingIp(FloatingIpId(77)),
        &[placed("gw", 1, 1)],
    )
    .await?;
    objects::put(&mut tx, PlanOwner::FloatingIp(cloud.float), &[]).await?;
    tx.commit().await?;
    let mut tx = t.begin_planned().await?;
    let owners = plan::all_owners(&mut tx).await?;
    assert!(owners.contains(&PlanOwner::FloatingIp(FloatingIpId(77))));
    assert_eq!(plan::replan(&mut tx, &settings, owners).await?, 2);
    tx.commit().await?;
    assert!(kinds(&t, "gw").await?.contains(&"float"));
    assert!(!kinds(&t, "gw").await?.contains(&"member"));
    Ok(())
}

async fn what_is_gone_or_going_has_no_objects(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let cloud = a_cloud(&mut tx).await?;
    let settings = CloudSettings::default();
    instances::set_state(&mut tx, cloud.instance, State::Deleting, None).await?;
    networks::set_deleting(&mut tx, cloud.network.id).await?;
    floating_ips::release(&mut tx, cloud.float).await?;
    let owners =
        members::remove_member(&mut tx, cloud.instance, &name("web"), &[cloud.group], "h1").await?;
    plan::replan(&mut tx, &settings, owners).await?;
    for owner in [
        PlanOwner::Network(cloud.network.id),
        PlanOwner::Instance(cloud.instance),
        PlanOwner::Membership(cloud.instance),
        PlanOwner::FloatingIp(cloud.float),
        PlanOwner::Group(GroupId(99)),
        PlanOwner::Rule(RuleId(99)),
        PlanOwner::FloatingIp(FloatingIpId(99)),
        PlanOwner::Network(NetworkId(99)),
        PlanOwner::Instance(InstanceId(99)),
        PlanOwner::Membership(InstanceId(99)),
    ] {
        assert_eq!(
            plan::objects_of(&mut tx, &settings, owner).await?,
            [],
            "{owner}"
        );
    }
    let owners = plan::all_owners(&mut tx).await?;
    plan::replan(&mut tx, &settings, owners).await?;
    tx.commit().await?;
    assert_eq!(kinds(&t, "gw").await?, Vec::<&str>::new());
    assert_eq!(kinds(&t, "h1").await?, Vec::<&str>::new());
    Ok(())
}

async fn one_floating_ip_among_many_is_planned_alone(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let cloud = a_cloud(&mut tx).await?;
    let settings = CloudSettings::default();
    let nowhere = floating_ips::point(&mut tx, cloud.float, None).await?;
    let nowhere = [Subject::FloatingIp(nowhere.unwrap())];
    assert_eq!(plan::replan(&mut tx, &settings, nowhere).await?, 1);
    let version = tx.commit().await?.version;
    let mut follower = Follower::of("gw");
    follower.catch_up(&t).await?;
    assert!(
        follower
            .objects
            .values()
            .all(|(_, object)| !matches!(object, HostObject::FloatingIp(_)))
    );
    assert_eq!(follower.version, version);
    Ok(())
}

async fn a_row_in_hand_is_planned_as_one_that_is_read(t: Fresh) -> Result<()> {
    let settings = CloudSettings::default();
    let mut tx = t.begin_planned().await?;
    let cloud = a_cloud(&mut tx).await?;
    tx.commit().await?;
    let mut tx = t.begin_planned().await?;
    let float = floating_ips::by_id(&mut tx, cloud.float).await?.unwrap();
    let rule = groups::rule_by_id(&mut tx, cloud.rule).await?.unwrap();
    let in_hand = [Subject::FloatingIp(float), Subject::Rule(rule)];
    assert_eq!(plan::replan(&mut tx, &settings, in_hand).await?, 0);
    groups::delete_rule(&mut tx, cloud.rule).await?;
    let gone = [Subject::NoRule(cloud.rule)];
    assert_eq!(plan::replan(&mut tx, &settings, gone).await?, 1);
    let read = [
        PlanOwner::FloatingIp(cloud.float),
        PlanOwner::Rule(cloud.rule),
    ];
    assert_eq!(plan::replan(&mut tx, &settings, read).await?, 0);
    Ok(())
}

async fn an_edited_row_is_marked_once_and_an_unimportant_column_does_not_mark(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let cloud = a_cloud(&mut tx).await?;
    tx.commit().await?;
    assert_eq!(marks(&t).await?, Vec::<String>::new());
    for sql in [
        "UPDATE networks SET label = 'x', vpn_private_address = '10.0.0.9', updated_at = 1",
        "UPDATE floating_ips SET updated_at = 1",
        "UPDATE fixed_ips SET leased = 1",
    ] {
        assert_eq!(t.by_hand(sql).await?, 1, "{sql}");
        assert_eq!(marks(&t).await?, Vec::<String>::new(), "{sql}");
    }
    let network = format!("network:{}", cloud.network.id);
    for sql in [
        "UPDATE networks SET cidr = '10.0.0.0/25'",
        "UPDATE networks SET gateway = '10.0.0.9'",
        "UPDATE networks SET dhcp_start = '10.0.0.7'",
        "UPDATE networks SET dns1 = '192.0.2.1'",
        "UPDATE networks SET dns2 = '192.0.2.2'",
        "UPDATE networks SET bridge = 'br7'",
        "UPDATE networks SET bridge_interface = 'eth7'",
        "UPDATE networks SET vlan = 7",
        "UPDATE networks SET vpn_public_address = '203.0.113.7'",
        "UPDATE networks SET vpn_public_port = 7",
        "UPDATE networks SET mtu = 1400",
        "UPDATE networks SET host = 'gw2'",
        "UPDATE networks SET project_id = 'web'",
    ] {
        for _ in 0..2 {
            t.by_hand(sql).await?;
        }
        assert_eq!(marks(&t).await?, std::slice::from_ref(&network), "{sql}");
    }
    t.by_hand("UPDATE floating_ips SET interface = 'eth7'")
        .await?;
    t.by_hand("UPDATE security_group_rules SET from_port = 1")
        .await?;
    assert_eq!(
        marks(&t).await?,
        [
            format!("float:{}", cloud.float),
            format!("rule:{}", cloud.rule)
        ]
    );
    // Planned again, the hosts get what was edited.
    let mut tx = t.begin_planned().await?;
    plan::replan(
        &mut tx,
        &CloudSettings::default(),
        [PlanOwner::Network(cloud.network.id)],
    )
    .await?;
    tx.commit().await?;
    assert!(kinds(&t, "gw2").await?.contains(&"bridge"));
    Ok(())
}
