//! Deletion of users and projects: what a preview names is what goes, and the last administrator
//! stays.

use crate::world::{World, assert_refused, both, group, name, tcp};
use anyhow::Result;
use novanet_control::groups::SourceRef;
use novanet_control::key_pairs::KeyKind;
use novanet_control::preview::{Effect, Preview};
use novanet_control::{Caller, ControlError};
use novanet_model::Resource;

/// The steps as lines: what happens, on which host, to which object.
fn lines(preview: &Preview) -> Vec<String> {
    let steps = preview.steps.iter();
    let line = steps.map(|step| {
        let host = step.host.as_deref().unwrap_or("-");
        let effect = match step.effect {
            Effect::Remove => "remove",
            Effect::Revoke => "revoke",
            Effect::Change => "change",
            Effect::Create => "create",
        };
        format!("{effect} {host} {}: {}", step.object, step.what)
    });
    line.collect()
}

#[test]
fn a_preview_of_a_users_deletion_names_its_rows_in_order_and_changes_nothing() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let id = name("web");
        w.create_user("joe", None, false).await?;
        w.add_member(&id, "joe").await?;
        w.add_role("joe", "netadmin", None).await?;
        w.add_role("joe", "netadmin", Some(&id)).await?;
        let issued = w.issue_certificate(&id, "joe").await?;
        let joe = Caller {
            actor: novanet_store::audit::Actor {
                who: "joe".to_owned(),
                ..web.actor.clone()
            },
            ..web.clone()
        };
        let (pair, _) = w.create_key_pair(&joe, "laptop", KeyKind::Ed25519).await?;
        let clock = w.clock().await?;
        let audit = w.audit(None, 1).await?;
        let access = w.credentials("joe").await?.access_key;
        let preview = w.preview_delete_user("joe").await?;
        assert_eq!(preview.blockers, []);
        assert_eq!(
            lines(&preview),
            [
                format!(
                    "revoke - certificate {}: of user joe in project web",
                    issued.serial
                ),
                "remove - role netadmin: of user joe in all projects".to_owned(),
                "remove - role netadmin: of user joe in project web".to_owned(),
                "remove - membership: of user joe in project web".to_owned(),
                format!("remove - key pair laptop: {}", pair.fingerprint),
                format!("remove - user joe: access key {access}"),
            ]
        );
        assert_eq!(w.clock().await?, clock, "a preview writes nothing");
        assert_eq!(w.audit(None, 1).await?, audit);
        let boss = w.preview_delete_user("boss-of-web").await?;
        let blockers: Vec<&str> = boss.blockers.iter().map(|b| &*b.object).collect();
        assert_eq!(blockers, ["project web"]);
        w.delete_user("joe").await?;
        assert_eq!(w.roles(None).await?, []);
        assert_refused!(
            w.preview_delete_user("joe").await,
            ControlError::NotFound { .. },
            "user joe not found"
        );
        Ok(())
    });
}

#[test]
fn a_preview_of_a_projects_deletion_names_its_rows_and_what_hosts_have_of_its_groups() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let (web, mail) = (w.project("web").await, w.project("mail").await);
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        w.floats("203.0.113.4/30").await;
        // A rule of another project that names a group of this one; an administrator may.
        let both_sides = Caller {
            admin: true,
            ..mail.clone()
        };
        let source = SourceRef::Group {
            group: group("default"),
            project: Some(name("web")),
        };
        w.authorize(&both_sides, &group("default"), &[(tcp(80), source)])
            .await?;
        w.run(&mail, 1).await;
        w.set_quota(&name("web"), Resource::Cores, Some(7)).await?;
        let ids = w.run(&web, 1).await;
        let float = w.allocate_address(&web, None).await?.address;
        host.round().await;
        let blocked = w.preview_delete_project(&name("web")).await?;
        let why: Vec<&str> = blocked.blockers.iter().map(|b| &*b.object).collect();
        assert_eq!(why, ["instance i-00000002", "floating IP 203.0.113.5"]);
        let here = |line: &String| line.starts_with("remove h1 ");
        assert!(
            lines(&blocked).iter().any(here),
            "its groups are on the host"
        );
        w.terminate(&web, &ids).await?;
        host.round().await;
        w.release_address(&web, float.into()).await?;
        let preview = w.preview_delete_project(&name("web")).await?;
        assert_eq!(preview.blockers, []);
        assert_eq!(
            lines(&preview),
            [
                "remove - rule 3: tcp 80 to 80 from sg-00000001 of group default in project mail",
                "remove - membership: of user boss-of-web in project web",
                "remove - quota cores: 7",
                "remove - instance i-00000002: record of a terminated one",
                "remove - rule 1: -1 from sg-00000001 of group default",
                "remove - security group default: sg-00000001",
                "remove - project web: managed by boss-of-web",
                "remove h1 rule/2/3: rule 3 of security group 2",
            ]
        );
        w.delete_project(&name("web")).await?;
        let gone = host.follow().await;
        let gone: Vec<&str> = gone.changes.iter().map(|c| c.key.0.as_str()).collect();
        assert_eq!(gone, ["rule/2/3"], "as the preview said");
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn the_last_administrator_is_not_deleted_even_if_two_are_deleted_at_once() {
    both(async |w: &World| -> Result<()> {
        w.create_user("root", None, true).await?;
        w.create_user("joe", None, false).await?;
        assert_refused!(
            w.delete_user("root").await,
            ControlError::InUse { .. },
            "user root: the cloud has no other administrator (make one first: nova-manage user admin"
        );
        let preview = w.preview_delete_user("root").await?;
        assert_eq!(preview.blockers.len(), 1, "{preview:?}");
        w.delete_user("joe").await?;
        w.create_user("toor", None, true).await?;
        let (one, other) = tokio::join!(w.delete_user("root"), w.delete_user("toor"));
        assert_eq!(
            usize::from(one.is_ok()) + usize::from(other.is_ok()),
            1,
            "{one:?} {other:?}"
        );
        assert_eq!(w.users().await?.len(), 1);
        Ok(())
    });
}
