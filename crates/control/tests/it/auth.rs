//! Whose signature it is, and what that one may do.

use crate::world::{World, assert_refused, both, name};
use anyhow::Result;
use novanet_control::{Caller, ControlError, Role};

#[test]
fn an_access_key_names_a_user_and_the_secret_is_that_users() {
    both(async |w: &World| -> Result<()> {
        let keys = w.create_user("alice", None, false).await?;
        let claim = w.claim(&keys.access_key).await?;
        assert_eq!(w.secret_of(&claim)?, keys.secret_key);
        assert!(!format!("{claim:?}").contains(&keys.secret_key));
        assert_refused!(
            w.claim("nobody").await,
            ControlError::NotFound { .. },
            "user nobody not found"
        );
        Ok(())
    });
}

#[test]
fn a_caller_gets_the_project_that_was_named_or_the_only_one() {
    both(async |w: &World| -> Result<()> {
        w.project("web").await;
        let keys = w.credentials("boss-of-web").await?;
        let claim = w.claim(&keys.access_key).await?;
        let only = w.caller(&claim, None, "192.0.2.9").await?;
        assert_eq!(only.project, name("web"));
        assert!(only.manager && !only.admin);
        assert_eq!(only.actor.source, "192.0.2.9");
        w.create_project(&name("mail"), "boss-of-web", "d").await?;
        // Two now, and none of the user's own name.
        assert_refused!(
            w.caller(&claim, None, "").await,
            ControlError::NotFound { .. },
            "project boss-of-web not found"
        );
        assert_eq!(
            w.caller(&claim, Some("mail"), "").await?.project,
            name("mail")
        );
        w.create_project(&name("boss-of-web"), "boss-of-web", "d")
            .await?;
        assert_eq!(
            w.caller(&claim, None, "").await?.project,
            name("boss-of-web")
        );
        Ok(())
    });
}

#[test]
fn only_members_and_administrators_get_into_a_project() {
    both(async |w: &World| -> Result<()> {
        w.project("web").await;
        let joe = w.create_user("joe", None, false).await?;
        let root = w.create_user("root", None, true).await?;
        let claim = w.claim(&joe.access_key).await?;
        assert_refused!(
            w.caller(&claim, Some("web"), "").await,
            ControlError::Forbidden(_),
            "user joe is no member of project web"
        );
        assert_refused!(
            w.caller(&claim, Some("a b"), "").await,
            ControlError::Invalid(_),
            "project \"a b\""
        );
        let claim = w.claim(&root.access_key).await?;
        let admin = w.caller(&claim, Some("web"), "").await?;
        assert!(admin.admin && !admin.manager);
        assert_refused!(
            w.caller(&claim, Some("nowhere"), "").await,
            ControlError::NotFound { .. },
            "project nowhere not found"
        );
        Ok(())
    });
}

#[test]
fn an_itsec_gets_into_every_project_and_a_cloudadmin_may_do_everything_there() {
    both(async |w: &World| -> Result<()> {
        w.project("web").await;
        let joe = w.create_user("joe", None, false).await?;
        let claim = w.claim(&joe.access_key).await?;
        let enters = async || w.caller(&claim, Some("web"), "").await;
        assert!(enters().await.is_err());
        w.add_role("joe", "itsec", None).await?;
        let caller = enters().await?;
        assert!(!caller.admin && !caller.manager);
        assert_refused!(
            caller.require(Role::SysAdmin),
            ControlError::Forbidden(_),
            "user joe needs the role sysadmin in project web (the operator gives it: \
             nova-manage role add joe sysadmin, and nova-manage role add joe sysadmin web)"
        );
        w.remove_role("joe", "itsec", None).await?;
        w.add_role("joe", "cloudadmin", None).await?;
        let caller = enters().await?;
        assert!(caller.admin && caller.require(Role::SysAdmin).is_ok());
        Ok(())
    });
}

#[test]
fn what_a_role_allows() {
    let caller = |admin, manager, role: &str| Caller {
        admin,
        manager,
        roles: std::iter::once(role.to_owned()).collect(),
        ..crate::world::caller("joe", "web", false)
    };
    let may = |caller: &Caller| {
        [Role::CloudAdmin, Role::NetAdmin, Role::SysAdmin].map(|role| caller.require(role).is_ok())
    };
    assert_eq!(may(&caller(false, false, "")), [false, false, false]);
    assert_eq!(may(&caller(false, false, "netadmin")), [false, true, false]);
    assert_eq!(may(&caller(false, false, "sysadmin")), [false, false, true]);
    assert_eq!(may(&caller(false, false, "cloudadmin")), [true, true, true]);
    assert_eq!(may(&caller(false, true, "")), [false, true, true]);
    assert_eq!(may(&caller(true, false, "")), [true, true, true]);
    assert_eq!(may(&Caller::operator(name("web"))), [true, true, true]);
}
