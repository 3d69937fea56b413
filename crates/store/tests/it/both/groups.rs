//! Security groups, their rules, combinations, and the hosts that need to know them.

use super::seed::{a_project, an_instance, insert, insert_instance, name, place};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::rows::SecurityRule;
use novanet_model::rule::{Ports, Source, Traffic};
use novanet_model::{GroupId, InstanceId, ProjectNumber, Resource, RuleId};
use novanet_store::groups::Group;
use novanet_store::members::{Placement, Usage};
use novanet_store::{PlanOwner, StoreError, Tx, groups, members, projects};
use std::collections::BTreeSet;

const SSH: Traffic = Traffic::Tcp(Ports { from: 22, to: 22 });

fn anywhere() -> Source {
    Source::Cidr("0.0.0.0/0".parse().unwrap())
}

async fn two_groups(tx: &mut Tx) -> Result<(GroupId, GroupId)> {
    let project = a_project(tx, "web").await?;
    let front = groups::insert(tx, &project, "alice", "front", "").await?;
    let back = groups::insert(tx, &project, "alice", "back", "").await?;
    Ok((front, back))
}

both! {
    a_group_comes_back_as_it_was_inserted,
    rules_of_every_kind_come_back_as_they_were_inserted,
    a_rule_has_one_source,
    a_group_is_deleted_with_its_rules_but_not_while_it_is_used,
    the_same_groups_have_the_same_number_in_whatever_order,
    an_instance_shows_its_groups_and_a_group_its_members,
    a_host_learns_of_a_group_with_its_first_instance_and_forgets_it_with_the_last,
    many_arrivals_at_once_count_like_one_after_the_other,
    what_a_project_uses_are_the_instances_that_arrived_and_did_not_leave,
    a_projects_rules_and_their_source_groups_are_read_at_once,
}

async fn a_group_comes_back_as_it_was_inserted(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let id = groups::insert(&mut tx, &project, "alice", "front", "what people see").await?;
    let wanted = Group {
        id,
        name: "front".to_owned(),
        description: "what people see".to_owned(),
        project: name("web"),
        project_number: ProjectNumber(1),
    };
    let other = a_project(&mut tx, "other").await?;
    let same_name = groups::insert(&mut tx, &other, "bob", "front", "").await?;
    let first = groups::insert(&mut tx, &project, "alice", "a", "").await?;
    assert_eq!(groups::by_id(&mut tx, id).await?, Some(wanted.clone()));
    assert_eq!(
        groups::by_name(&mut tx, &project, "front").await?,
        Some(wanted)
    );
    assert_eq!(groups::by_name(&mut tx, &project, "back").await?, None);
    let names: Vec<_> = groups::of_project(&mut tx, &project)
        .await?
        .into_iter()
        .map(|g| g.name)
        .collect();
    assert_eq!(names, ["a", "front"]);
    assert_eq!(groups::all(&mut tx).await?, [id, same_name, first]);
    let error = groups::insert(&mut tx, &project, "alice", "front", "")
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Conflict(_)), "{error:?}");
    Ok(())
}

async fn rules_of_every_kind_come_back_as_they_were_inserted(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let (front, back) = two_groups(&mut tx).await?;
    let mut wanted = vec![];
    for (traffic, source) in [
        (Traffic::Any, Source::Group(front)),
        (SSH, anywhere()),
        (
            Traffic::Tcp(Ports { from: 1, to: 65535 }),
            Source::Group(back),
        ),
        (Traffic::Udp(Ports { from: 53, to: 53 }), anywhere()),
        (
            Traffic::Icmp {
                icmp_type: None,
                code: None,
            },
            anywhere(),
        ),
        (
            Traffic::Icmp {
                icmp_type: Some(8),
                code: Some(0),
            },
            anywhere(),
        ),
        (
            Traffic::Icmp {
                icmp_type: Some(3),
                code: None,
            },
            anywhere(),
        ),
    ] {
        let rule = groups::insert_rule(&mut tx, back, traffic, source).await?;
        let expected = SecurityRule {
            id: rule.id,
            group: back,
            traffic,
            source,
            description: None,
        };
        assert_eq!(rule, expected);
        let found = groups::rule_by_id(&mut tx, rule.id).await?;
        assert_eq!(found.as_ref(), Some(&rule));
        wanted.push(rule);
    }
    assert_eq!(groups::rules_of(&mut tx, back).await?, wanted);
    assert_eq!(groups::rules_of(&mut tx, front).await?, []);
    assert_eq!(
        groups::rules_with_source(&mut tx, front).await?,
        [wanted[0].clone()]
    );
    let ids: Vec<RuleId> = wanted.iter().map(|r| r.id).collect();
    assert_eq!(groups::all_rules(&mut tx).await?, ids);
    groups::delete_rule(&mut tx, ids[0]).await?;
    assert_eq!(groups::rule_by_id(&mut tx, ids[0]).await?, None);
    let new = groups::insert_rule(&mut tx, back, SSH, anywhere()).await?;
    assert!(new.id > ids[6], "a rule's id is never another's");
    groups::describe_rule(&mut tx, new.id, "for the \"office\"").await?;
    let found = groups::rule_by_id(&mut tx, new.id).await?;
    let said = found.and_then(|rule| rule.description);
    assert_eq!(said.as_deref(), Some("for the \"office\""));
    let others = groups::rule_by_id(&mut tx, ids[1]).await?;
    assert_eq!(others.and_then(|rule| rule.description), None);
    Ok(())
}

async fn a_rule_has_one_source(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let (front, _) = two_groups(&mut tx).await?;
    groups::insert_rule(&mut tx, front, SSH, anywhere()).await?;
    tx.commit().await?;
    for sql in [
        "UPDATE security_group_rules SET cidr = NULL",
        "UPDATE security_group_rules SET group_id = 1",
    ] {
        t.by_hand(sql).await.unwrap_err();
    }
    Ok(())
}

async fn a_group_is_deleted_with_its_rules_but_not_while_it_is_used(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let (front, back) = two_groups(&mut tx).await?;
    groups::insert_rule(&mut tx, back, SSH, Source::Group(front)).await?;
    insert_instance(&mut tx, &name("web"), &[back], None).await?;
    tx.commit().await?;
    for used in [front, back] {
        let mut tx = t.begin_planned().await?;
        let error = groups::delete(&mut tx, used).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict(_)), "{error:?}");
    }
    let mut tx = t.begin_planned().await?;
    for rule in groups::rules_of(&mut tx, back).await? {
        groups::delete_rule(&mut tx, rule.id).await?;
    }
    groups::insert_rule(&mut tx, front, SSH, anywhere()).await?;
    groups::delete(&mut tx, front).await?;
    assert_eq!(groups::all(&mut tx).await?, [back]);
    assert_eq!(groups::all_rules(&mut tx).await?, []);
    Ok(())
}

async fn the_same_groups_have_the_same_number_in_whatever_order(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let (front, back) = two_groups(&mut tx).await?;
    let none = groups::combination(&mut tx, &[]).await?;
    let both = groups::combination(&mut tx, &[front, back]).await?;
    let one = groups::combination(&mut tx, &[front]).await?;
    assert_eq!(BTreeSet::from([none, both, one]).len(), 3);
    assert_eq!(
        groups::combination(&mut tx, &[back, front, back]).await?,
        both
    );
    assert_eq!(groups::combination(&mut tx, &[]).await?, none);
    Ok(())
}

async fn an_instance_shows_its_groups_and_a_group_its_members(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let (front, back) = two_groups(&mut tx).await?;
    let one = insert_instance(&mut tx, &name("web"), &[front, back], None).await?;
    let two = insert_instance(&mut tx, &name("web"), &[back], None).await?;
    let names: Vec<_> = groups::of_instance(&mut tx, one)
        .await?
        .into_iter()
        .map(|g| g.name)
        .collect();
    assert_eq!(names, ["front", "back"]);
    assert_eq!(groups::members(&mut tx, back).await?, [one, two]);
    assert_eq!(groups::members(&mut tx, front).await?, [one]);
    let owners = members::memberships(&mut tx, back).await?;
    assert_eq!(
        owners,
        BTreeSet::from([PlanOwner::Membership(one), PlanOwner::Membership(two)])
    );
    Ok(())
}

async fn a_host_learns_of_a_group_with_its_first_instance_and_forgets_it_with_the_last(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = name("web");
    let (front, back) = two_groups(&mut tx).await?;
    // The members of `back` let in the members of `front`.
    let rule = groups::insert_rule(&mut tx, back, SSH, Source::Group(front)).await?;
    let source = insert_instance(&mut tx, &project, &[front], Some("h1")).await?;
    place(&mut tx, source, &project, &[front], "h1").await?;
    assert_eq!(members::hosts_of_group(&mut tx, front).await?, ["h1"]);
    assert_eq!(
        members::hosts_with_source(&mut tx, front).await?,
        Vec::<String>::new()
    );

    let first = insert_instance(&mut tx, &project, &[back], Some("h2")).await?;
    let owners = place(&mut tx, first, &project, &[back], "h2").await?;
    let own = |id| BTreeSet::from([PlanOwner::Instance(id), PlanOwner::Membership(id)]);
    let mut wanted = own(first);
    // The group is new on h2, so are its rule, the members of the rule's source, the project.
    wanted.extend([
        PlanOwner::Group(back),
        PlanOwner::Rule(rule.id),
        PlanOwner::Membership(source),
    ]);
    assert_eq!(owners, wanted);
    assert_eq!(members::hosts_with_source(&mut tx, front).await?, ["h2"]);
    assert_eq!(
        members::hosts_of_project(&mut tx, &project).await?,
        ["h1", "h2"]
    );

    // Into another group and back: the host learns of it, and forgets it.
    let at = (first, Some("h2"));
    let owners = members::change_groups(&mut tx, at, &[back], &[front, back]).await?;
    assert!(owners.is_superset(&own(first)) && owners.contains(&PlanOwner::Group(front)));
    let hosts = members::hosts_of_group(&mut tx, front).await?;
    assert_eq!(hosts, ["h1", "h2"]);
    let in_groups = groups::of_instance(&mut tx, first).await?;
    assert_eq!(in_groups.len(), 2);
    let owners = members::change_groups(&mut tx, at, &[front, back], &[back]).await?;
    assert!(owners.contains(&PlanOwner::Group(front)));
    assert_eq!(members::hosts_of_group(&mut tx, front).await?, ["h1"]);

    let second = insert_instance(&mut tx, &project, &[back], Some("h2")).await?;
    assert_eq!(
        place(&mut tx, second, &project, &[back], "h2").await?,
        own(second),
        "one more costs one more"
    );
    assert_eq!(
        members::remove_member(&mut tx, first, &project, &[back], "h2").await?,
        own(first)
    );
    assert_eq!(members::hosts_of_group(&mut tx, back).await?, ["h2"]);
    let owners = members::remove_member(&mut tx, second, &project, &[back], "h2").await?;
    assert!(owners.is_superset(&BTreeSet::from([
        PlanOwner::Group(back),
        PlanOwner::Rule(rule.id),
        PlanOwner::Membership(source)
    ])));
    assert_eq!(
        members::hosts_of_group(&mut tx, back).await?,
        Vec::<String>::new()
    );
    assert_eq!(
        members::hosts_with_source(&mut tx, front).await?,
        Vec::<String>::new()
    );
    assert_eq!(members::hosts_of_project(&mut tx, &project).await?, ["h1"]);
    Ok(())
}

async fn what_a_project_uses_are_the_instances_that_arrived_and_did_not_leave(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    assert_eq!(members::usage(&mut tx, &name("web")).await?, None);
    let (web, other) = (
        a_project(&mut tx, "web").await?,
        a_project(&mut tx, "other").await?,
    );
    projects::set_quota(&mut tx, &web, Resource::Cores, 20).await?;
    let uses = |instances: i64, vcpus, mib| Usage {
        instances: (instances, None),
        cores: (vcpus, Some(20)),
        ram: (mib, None),
        fixed_ips: None,
    };
    assert_eq!(members::usage(&mut tx, &web).await?, Some(uses(0, 0, 0)));
    let mut there = vec![];
    for (project, host, vcpus) in [
        (&web, "h1", 1),
        (&web, "h1", 2),
        (&web, "h2", 4),
        (&other, "h1", 8),
    ] {
        let mut row = an_instance(&mut tx, project, &[]).await?;
        (row.vcpus, row.memory_mb) = (vcpus, 512 * vcpus);
        insert(&mut tx, &row, &[]).await?;
        place(&mut tx, row.id, project, &[], host).await?;
        there.push(row.id);
    }
    let all = Some(uses(3, 7, 7 * 512));
    assert_eq!(members::usage(&mut tx, &web).await?, all);
    members::remove_member(&mut tx, there[1], &web, &[], "h1").await?;
    let rest = Some(uses(2, 5, 5 * 512));
    assert_eq!(members::usage(&mut tx, &web).await?, rest);
    members::remove_member(&mut tx, there[0], &web, &[], "h1").await?;
    members::remove_member(&mut tx, there[2], &web, &[], "h2").await?;
    assert_eq!(members::usage(&mut tx, &web).await?, Some(uses(0, 0, 0)));
    Ok(())
}

async fn a_projects_rules_and_their_source_groups_are_read_at_once(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let (front, back) = two_groups(&mut tx).await?;
    let other = a_project(&mut tx, "other").await?;
    let theirs = groups::insert(&mut tx, &other, "bob", "theirs", "").await?;
    let first = groups::insert_rule(&mut tx, front, SSH, anywhere()).await?;
    let second = groups::insert_rule(&mut tx, back, SSH, Source::Group(theirs)).await?;
    groups::insert_rule(&mut tx, theirs, SSH, Source::Group(front)).await?;
    let rules = groups::rules_of_project(&mut tx, &name("web")).await?;
    assert_eq!(
        rules.iter().map(|r| r.id).collect::<Vec<_>>(),
        [first.id, second.id]
    );
    let sources = groups::sources_of_project(&mut tx, &name("web")).await?;
    assert_eq!(sources.iter().map(|g| g.id).collect::<Vec<_>>(), [theirs]);
    Ok(())
}

async fn many_arrivals_at_once_count_like_one_after_the_other(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = name("web");
    let (front, back) = two_groups(&mut tx).await?;
    let there = insert_instance(&mut tx, &project, &[front], Some("h1")).await?;
    place(&mut tx, there, &project, &[front], "h1").await?;
    let rule = groups::insert_rule(&mut tx, front, SSH, Source::Group(back)).await?;

    let of_first = [front, back];
    let of_second = [front];
    let (a, b, c) = (InstanceId(901), InstanceId(902), InstanceId(903));
    let placement = |instance, groups, host, vcpus| Placement {
        instance,
        project: &project,
        groups,
        host,
        vcpus,
        memory_mb: 512,
    };
    let owners = members::add_members(
        &mut tx,
        &[
            placement(a, &of_first[..], "h1", 1),
            placement(b, &of_second[..], "h2", 2),
            placement(c, &of_second[..], "h2", 4),
        ],
    )
    .await?;
    let own = |id| [PlanOwner::Instance(id), PlanOwner::Membership(id)];
    let mut wanted: BTreeSet<PlanOwner> = [a, b, c].into_iter().flat_map(own).collect();
    // New are `back` on h1, `front` with its rule on h2, and the project on h2.
    wanted.extend([
        PlanOwner::Group(back),
        PlanOwner::Group(front),
        PlanOwner::Rule(rule.id),
    ]);
    wanted.insert(PlanOwner::Membership(there));
    assert_eq!(owners, wanted);
    assert_eq!(members::hosts_of_group(&mut tx, front).await?, ["h1", "h2"]);
    assert_eq!(members::hosts_of_group(&mut tx, back).await?, ["h1"]);
    let usage = members::usage(&mut tx, &project).await?.unwrap();
    assert_eq!(usage.instances.0, 4);
    assert_eq!(usage.cores.0, 1 + 7);
    assert_eq!(usage.ram.0, 4 * 512);
    Ok(())
}
