//! Security groups.

use crate::world::{
    World, assert_refused, both, caller, from, from_group, group, launch, name, refused, tcp,
};
use anyhow::Result;
use novanet_control::groups::{DEFAULT, GroupRef, SourceRef};
use novanet_control::instances::Launch;
use novanet_control::{Caller, ControlError};
use novanet_model::rule::Traffic;
use novanet_model::{GroupId, ImageId};

#[test]
fn every_project_has_a_default_group_whose_members_may_talk() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let (views, names) = w.groups(&web).await?;
        assert_eq!(views.len(), 1);
        assert_eq!(views[0].group.name, DEFAULT);
        assert_eq!(views[0].rules.len(), 1);
        assert_eq!(views[0].rules[0].traffic, Traffic::Any);
        assert_eq!(names[&views[0].group.id].name, DEFAULT);
        assert_refused!(
            w.delete_group(&web, &group(DEFAULT)).await,
            ControlError::InUse { .. },
            "cannot be deleted"
        );
        Ok(())
    });
}

#[test]
fn a_group_is_made_once_within_the_quota_and_its_name_is_printable() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        w.create_group(&web, "http", "web servers").await?;
        assert_refused!(
            w.create_group(&web, "http", "again").await,
            ControlError::Exists { .. },
            "security group http already exists"
        );
        for bad in ["", "a\nb", &"x".repeat(256)] {
            assert_refused!(
                w.create_group(&web, bad, "d").await,
                ControlError::Invalid(_),
                "GroupName"
            );
        }
        for n in 0..3 {
            w.create_group(&web, &format!("g{n}"), "d").await?;
        }
        assert_refused!(
            w.create_group(&web, "one too many", "d").await,
            ControlError::Quota { .. },
            "quota of security_groups exceeded"
        );
        // Another project's names are its own.
        let mail = w.project("mail").await;
        w.create_group(&mail, "http", "d").await?;
        Ok(())
    });
}

#[test]
fn rules_are_authorized_and_revoked_all_or_none() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let http = group("http");
        w.create_group(&web, "http", "d").await?;
        w.authorize(&web, &http, &[(tcp(80), from("0.0.0.0/0"))])
            .await?;
        let rules = async || -> Result<usize> {
            let (views, _) = w.groups(&web).await?;
            let view = views.iter().find(|v| v.group.name == "http").unwrap();
            Ok(view.rules.len())
        };
        let twice = [(tcp(443), from("0.0.0.0/0")), (tcp(80), from("0.0.0.0/0"))];
        assert_refused!(
            w.authorize(&web, &http, &twice).await,
            ControlError::Exists { .. },
            "rule tcp 80 to 80 from 0.0.0.0/0 already exists"
        );
        assert_refused!(
            w.authorize(&web, &http, &[(tcp(1), from_group("nobody"))])
                .await,
            ControlError::NotFound { .. },
            "security group nobody not found"
        );
        assert_eq!(rules().await?, 1);
        let many: Vec<_> = (1..=6).map(|p| (tcp(p), from("10.0.0.0/8"))).collect();
        assert_refused!(
            w.authorize(&web, &http, &many).await,
            ControlError::Quota { .. },
            "quota of security_group_rules exceeded: 1 in use, 6 more wanted, 6 allowed"
        );
        w.authorize(&web, &http, &many[..5]).await?;
        assert_refused!(
            w.revoke(&web, &http, &[many[0].clone(), many[5].clone()])
                .await,
            ControlError::NotFound { .. },
            "rule tcp 6 to 6 from 10.0.0.0/8 not found"
        );
        assert_eq!(rules().await?, 6);
        w.revoke(&web, &http, &many[..5]).await?;
        assert_eq!(rules().await?, 1);
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn a_group_in_use_is_not_deleted() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        w.create_group(&web, "front", "d").await?;
        w.create_group(&web, "back", "d").await?;
        let rule = [(tcp(5432), from_group("front"))];
        w.authorize(&web, &group("back"), &rule).await?;
        assert_refused!(
            w.delete_group(&web, &group("front")).await,
            ControlError::InUse { .. },
            "a rule of group sg-00000003 names it"
        );
        let back = Launch {
            groups: vec![group("back")],
            ..launch(ImageId(1))
        };
        let (ids, _) = w.run_instances(&web, &back).await?;
        assert_refused!(
            w.delete_group(&web, &group("back")).await,
            ControlError::InUse { .. },
            "1 instances are in it"
        );
        host.round().await;
        w.terminate(&web, &ids).await?;
        host.round().await;
        w.delete_group(&web, &group("back")).await?;
        w.delete_group(&web, &group("front")).await?;
        assert_refused!(
            w.delete_group(&web, &group("front")).await,
            ControlError::NotFound { .. },
            "security group front not found"
        );
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn a_host_knows_the_members_of_source_groups_wherever_they_are() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut one = w.host("h1").await;
        let mut two = w.host("h2").await;
        w.network("10.0.0.0/24").await;
        let front = w.create_group(&web, "front", "d").await?;
        let back = w.create_group(&web, "back", "d").await?;
        let mut at = std::collections::BTreeMap::new();
        // Least loaded host first: one on each.
        for of in ["front", "back"] {
            let of_group = Launch {
                groups: vec![group(of)],
                ..launch(ImageId(1))
            };
            let (ids, _) = w.run_instances(&web, &of_group).await?;
            at.insert(of, w.instance(&web, ids[0]).await?);
        }
        let (front_at, back_at) = (&at["front"], &at["back"]);
        assert_eq!(front_at.row.host.as_deref(), Some("h1"));
        assert_eq!(back_at.row.host.as_deref(), Some("h2"));
        one.round().await;
        two.round().await;
        let member = format!("member/{}/{}", front.0, front_at.ports[0].address);
        assert!(!two.has(&member), "nobody needs it yet");
        let rule = [(tcp(5432), from_group("front"))];
        w.authorize(&web, &group("back"), &rule).await?;
        one.round().await;
        two.round().await;
        assert!(two.has(&member));
        assert!(!one.has(&member));
        let rules = |host: &crate::fake_host::FakeHost| {
            let of_back = format!("rule/{}/", back.0);
            host.keys("rule")
                .iter()
                .filter(|k| k.starts_with(&of_back))
                .count()
        };
        assert_eq!((rules(&one), rules(&two)), (0, 1));
        w.revoke(&web, &group("back"), &rule).await?;
        two.round().await;
        assert!(!two.has(&member));
        assert_eq!(rules(&two), 0);
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn the_groups_of_a_living_instance_change_on_its_host_and_where_it_is_a_member() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let front = w.create_group(&web, "front", "d").await?;
        let back = w.create_group(&web, "back", "d").await?;
        w.authorize(&web, &group("back"), &[(tcp(22), from_group("front"))])
            .await?;
        let in_default = launch(ImageId(1));
        let (ids, _) = w.run_instances(&web, &in_default).await?;
        let id = ids[0];
        let port = w.instance(&web, id).await?.ports.remove(0);
        host.round().await;
        let group_key = |group: GroupId| format!("group/{}", group.0);
        assert!(!host.has(&group_key(back)));

        let both_groups = [group("back"), GroupRef::Id(front), group("back")];
        w.set_instance_groups(&web, id, &both_groups).await?;
        host.round().await;
        let view = w.instance(&web, id).await?;
        let mut names: Vec<_> = view.groups.iter().map(|g| &g.name[..]).collect();
        names.sort_unstable();
        assert_eq!(names, ["back", "front"]);
        assert!(host.has(&group_key(back)) && host.has(&group_key(front)));
        let member = format!("member/{}/{}", front.0, port.address);
        assert!(host.has(&member), "it is a source of its own rule now");
        w.assert_planned().await;

        w.set_instance_groups(&web, id, &[group("back")]).await?;
        host.round().await;
        assert!(!host.has(&member) && !host.has(&group_key(front)));
        w.assert_planned().await;

        let other = w.project("mail").await;
        let foreign = w.create_group(&other, "relay", "d").await?;
        for bad in [GroupRef::Id(foreign), group("missing")] {
            let refused = w.set_instance_groups(&web, id, &[bad]).await;
            assert!(matches!(refused, Err(ControlError::NotFound { .. })));
        }
        let refused = w.set_instance_groups(&other, id, &[group("relay")]).await;
        assert!(matches!(refused, Err(ControlError::NotFound { .. })));
        assert!(w.set_instance_groups(&web, id, &[]).await.is_err());
        w.terminate(&web, &[id]).await?;
        let refused = w.set_instance_groups(&web, id, &[group("front")]).await;
        assert!(matches!(refused, Err(ControlError::InUse { .. })));
        Ok(())
    });
}

/// The group `relay` of project mail, by name and by id.
fn relay(id: GroupId) -> [SourceRef; 2] {
    [
        SourceRef::Group {
            group: group("relay"),
            project: Some(name("mail")),
        },
        SourceRef::Group {
            group: GroupRef::Id(id),
            project: None,
        },
    ]
}

#[test]
fn another_projects_group_is_named_only_with_a_say_in_both_projects() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let mail = w.project("mail").await;
        let id = w.create_group(&mail, "relay", "d").await?;
        let default = group(DEFAULT);
        w.groups(&web).await?;
        for source in relay(id) {
            let rule = [(tcp(25), source)];
            for text in [
                refused(w.authorize(&web, &default, &rule).await),
                refused(w.revoke(&web, &default, &rule).await),
            ] {
                assert!(text.ends_with("not found"), "{text}");
                assert!(text.starts_with("security group"), "{text}");
            }
        }
        // The manager of web manages news, too.
        w.create_project(&name("news"), "boss-of-web", "d").await?;
        let news = caller("boss-of-web", "news", true);
        let letters = w.create_group(&news, "letters", "d").await?;
        let source = SourceRef::Group {
            group: GroupRef::Id(letters),
            project: None,
        };
        let rule = [(tcp(25), source)];
        w.authorize(&web, &default, &rule).await?;
        let (_, names) = w.groups(&web).await?;
        assert_eq!(names[&letters].name, "letters");
        let (_, names) = w.groups(&caller("joe", "web", false)).await?;
        assert_eq!(names[&letters].name, "", "joe is a stranger in news");
        // A caller without a role there may still revoke the project's own rule.
        w.revoke(&caller("joe", "web", true), &default, &rule)
            .await?;
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn a_rule_of_another_project_keeps_neither_a_group_nor_a_project() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let mail = w.project("mail").await;
        let operator = Caller::operator(name("web"));
        let rules = async || -> Result<usize> {
            let (views, _) = w.groups(&web).await?;
            Ok(views.iter().map(|v| v.rules.len()).sum())
        };
        w.groups(&web).await?;
        let id = w.create_group(&mail, "relay", "d").await?;
        let [by_name, by_id] = relay(id);
        w.authorize(&operator, &group(DEFAULT), &[(tcp(25), by_name)])
            .await?;
        w.authorize(&operator, &group(DEFAULT), &[(tcp(26), by_id)])
            .await?;
        assert_eq!(rules().await?, 3);
        w.delete_group(&mail, &group("relay")).await?;
        assert_eq!(rules().await?, 1);
        w.assert_planned().await;

        let id = w.create_group(&mail, "relay", "d").await?;
        let [by_name, _] = relay(id);
        w.authorize(&operator, &group(DEFAULT), &[(tcp(25), by_name)])
            .await?;
        w.delete_project(&name("mail")).await?;
        assert_eq!(rules().await?, 1);
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn groups_need_the_net_administrators_role_and_are_the_projects_own() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let id = w.create_group(&web, "http", "d").await?;
        let joe = caller("joe", "web", false);
        let rule = [(tcp(80), from("0.0.0.0/0"))];
        let http = group("http");
        for text in [
            refused(w.create_group(&joe, "x", "d").await),
            refused(w.delete_group(&joe, &http).await),
            refused(w.authorize(&joe, &http, &rule).await),
            refused(w.revoke(&joe, &http, &rule).await),
        ] {
            assert!(text.contains("needs the role netadmin"), "{text}");
        }
        let mail = w.project("mail").await;
        let by_id = novanet_control::groups::GroupRef::Id(id);
        assert_refused!(
            w.authorize(&mail, &by_id, &rule).await,
            ControlError::NotFound { .. },
            "security group sg-"
        );
        Ok(())
    });
}
