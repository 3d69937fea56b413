//! Members of projects and their roles.

use crate::world::{World, assert_refused, both, launch, name};
use anyhow::Result;
use novanet_control::members::Given;
use novanet_control::{ControlError, Role};
use novanet_model::ProjectId;

async fn joe_may(w: &World, role: Role) -> Result<bool> {
    let keys = w.credentials("joe").await?;
    let claim = w.claim(&keys.access_key).await?;
    let caller = w.caller(&claim, Some("web"), "").await?;
    Ok(caller.require(role).is_ok())
}

#[test]
fn a_role_counts_where_it_was_given_in_the_project_and_in_all_and_ends_with_either() {
    both(async |w: &World| -> Result<()> {
        w.project("web").await;
        let (web, mail) = (name("web"), name("mail"));
        w.create_user("joe", None, false).await?;
        w.create_project(&mail, "boss-of-web", "").await?;
        w.add_member(&web, "joe").await?;
        w.add_member(&web, "joe").await?;
        for project in [Some(&web), None] {
            let other = if project.is_some() { None } else { Some(&web) };
            w.add_role("joe", "netadmin", project).await?;
            w.add_role("joe", "netadmin", project).await?;
            assert!(!joe_may(w, Role::NetAdmin).await?);
            assert!(!w.has_role("joe", "netadmin", Some(&web)).await?);
            let everywhere = w.has_role("joe", "netadmin", None).await?;
            assert_eq!(everywhere, project.is_none());
            let given = Given {
                user: "joe".to_owned(),
                role: "netadmin".to_owned(),
                project: project.map(ToString::to_string),
            };
            assert_eq!(w.roles(Some("joe")).await?, [given]);
            w.add_role("joe", "netadmin", other).await?;
            assert!(joe_may(w, Role::NetAdmin).await?);
            assert!(!joe_may(w, Role::SysAdmin).await?);
            assert!(w.has_role("joe", "netadmin", Some(&web)).await?);
            assert!(!w.has_role("joe", "netadmin", Some(&mail)).await?);
            // Taken from one place it is still there in the other, which is said, and counts no
            // more.
            let left = w.remove_role("joe", "netadmin", project).await?;
            assert_eq!(left.len(), 1);
            assert_eq!(left[0].project.as_deref(), other.map(ProjectId::as_str));
            assert!(!joe_may(w, Role::NetAdmin).await?);
            assert_eq!(w.remove_role("joe", "netadmin", other).await?, []);
        }
        for project in [Some(&web), None] {
            w.add_role("joe", "sysadmin", project).await?;
        }
        assert!(joe_may(w, Role::SysAdmin).await?);
        // A user that leaves a project keeps no role.
        w.remove_member(&web, "joe").await?;
        w.add_member(&web, "joe").await?;
        assert!(!joe_may(w, Role::SysAdmin).await?);
        let done: Vec<_> = w.audit(Some("joe"), 100).await?;
        let mut done: Vec<_> = done.into_iter().map(|entry| entry.action).collect();
        done.dedup();
        assert!(done.contains(&"role.add".to_owned()), "{done:?}");
        assert!(done.contains(&"project.remove".to_owned()), "{done:?}");
        Ok(())
    });
}

#[test]
fn what_cannot_be_a_role_or_a_member_is_refused_by_name() {
    both(async |w: &World| -> Result<()> {
        w.project("web").await;
        let web = name("web");
        w.create_user("joe", None, false).await?;
        assert_refused!(
            w.add_role("joe", "netadmin", Some(&web)).await,
            ControlError::InUse { .. },
            "user joe: is no member of project web (add it: nova-manage project add web joe)"
        );
        assert_refused!(
            w.add_role("joe", "king", None).await,
            ControlError::Invalid(_),
            "role \"king\": must be one of cloudadmin, itsec, sysadmin, netadmin, developer"
        );
        assert_refused!(
            w.add_role("joe", "cloudadmin", Some(&web)).await,
            ControlError::Invalid(_),
            "role \"cloudadmin\": is for all projects or for none: leave the project out"
        );
        for error in [
            w.add_role("ann", "netadmin", None).await.unwrap_err(),
            w.add_member(&web, "ann").await.unwrap_err(),
            w.has_role("ann", "netadmin", None).await.unwrap_err(),
            w.roles(Some("ann")).await.unwrap_err(),
        ] {
            assert_eq!(error.to_string(), "user ann not found");
        }
        assert_refused!(
            w.add_member(&name("nowhere"), "joe").await,
            ControlError::NotFound { .. },
            "project nowhere not found"
        );
        assert_refused!(
            w.remove_role("joe", "netadmin", Some(&web)).await,
            ControlError::InUse { .. },
            "user joe: has no role netadmin in project web (see: nova-manage role list joe)"
        );
        assert_refused!(
            w.remove_member(&web, "joe").await,
            ControlError::InUse { .. },
            "user joe: is no member of project web"
        );
        assert_refused!(
            w.remove_member(&web, "boss-of-web").await,
            ControlError::InUse { .. },
            "user boss-of-web: manages project web"
        );
        Ok(())
    });
}

#[test]
fn a_disabled_host_gets_no_new_instances_and_what_runs_there_goes_on() {
    both(async |w: &World| -> Result<()> {
        let image = w.image().await;
        let web = w.project("web").await;
        let mut h1 = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let first = w.run(&web, 1).await[0];
        h1.round().await;
        w.set_enabled("h1", false).await?;
        assert_refused!(
            w.run_instances(&web, &launch(image)).await,
            ControlError::NoHost(_),
            "every compute host is disabled (nova-manage service enable HOST)"
        );
        let _h2 = w.host("h2").await;
        for _ in 0..2 {
            let id = w.run(&web, 1).await[0];
            let host = w.instance(&web, id).await?.row.host;
            assert_eq!(host.as_deref(), Some("h2"));
        }
        let kept = w.instance(&web, first).await?.row;
        assert_eq!(kept.host.as_deref(), Some("h1"));
        assert_eq!(kept.state, novanet_store::instances::State::Running);
        w.set_enabled("h1", true).await?;
        let id = w.run(&web, 1).await[0];
        let host = w.instance(&web, id).await?.row.host;
        assert_eq!(host.as_deref(), Some("h1"), "it has the fewest");
        assert_refused!(
            w.set_enabled("h9", true).await,
            ControlError::NotFound { .. },
            "host h9 not found"
        );
        Ok(())
    });
}

#[test]
fn a_host_in_another_zone_is_found_there_by_the_next_instances() {
    both(async |w: &World| -> Result<()> {
        w.host("h1").await;
        w.set_zone("h1", "rack-2").await?;
        assert_eq!(w.hosts().await?[0].availability_zone, "rack-2");
        // It stays there when its agent introduces itself again.
        w.host("h1").await;
        assert_eq!(w.hosts().await?[0].availability_zone, "rack-2");
        let entry = &w.audit(Some("h1"), 1).await?[0];
        assert_eq!(
            (entry.action.as_str(), entry.detail.as_str()),
            ("host.zone", "nova to rack-2")
        );
        assert_refused!(
            w.set_zone("h9", "rack-2").await,
            ControlError::NotFound { .. },
            "host h9 not found"
        );
        assert_refused!(
            w.set_zone("h1", "rack 2").await,
            ControlError::Invalid(_),
            "zone \"rack 2\""
        );
        Ok(())
    });
}
