//! Roles that are given and taken, and leaving a project.

use super::seed::{a_project, a_user};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_store::{projects, users};

async fn a_role_is_given_and_taken_in_one_project_or_in_all(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    let web = a_project(&mut tx, "web").await?;
    let db = a_project(&mut tx, "db").await?;
    users::insert(&mut tx, &a_user("alice")).await?;
    for _ in 0..2 {
        users::add_role(&mut tx, "alice", "netadmin", Some(&web)).await?;
        users::add_role(&mut tx, "alice", "sysadmin", None).await?;
    }
    for role in users::GLOBAL_ROLES {
        users::add_role(&mut tx, "boss-of-db", role, None).await?;
    }
    // Neither of them alone counts; a global one does.
    let none: [&str; 0] = [];
    assert_eq!(users::roles(&mut tx, "alice", &web).await?, none);
    users::add_role(&mut tx, "alice", "netadmin", None).await?;
    assert_eq!(users::roles(&mut tx, "alice", &web).await?, ["netadmin"]);
    assert_eq!(users::roles(&mut tx, "alice", &db).await?, none);
    assert_eq!(
        users::roles(&mut tx, "boss-of-db", &db).await?,
        users::GLOBAL_ROLES
    );
    assert!(users::remove_role(&mut tx, "boss-of-db", "cloudadmin", None).await?);
    assert!(users::remove_role(&mut tx, "alice", "netadmin", None).await?);
    let given = |user: &str, role: &str, project: &str| {
        (user.to_owned(), role.to_owned(), project.to_owned())
    };
    let hers = [
        given("alice", "netadmin", "web"),
        given("alice", "sysadmin", ""),
    ];
    assert_eq!(users::given_roles(&mut tx, "alice").await?, hers);
    let all = users::given_roles(&mut tx, "").await?;
    assert_eq!(all[..2], hers);
    assert_eq!(all[2..], [given("boss-of-db", "itsec", "")]);
    // Each only from where it was given.
    assert!(!users::remove_role(&mut tx, "alice", "netadmin", None).await?);
    assert!(!users::remove_role(&mut tx, "alice", "sysadmin", Some(&web)).await?);
    assert!(users::remove_role(&mut tx, "alice", "sysadmin", None).await?);
    assert!(!users::remove_role(&mut tx, "alice", "sysadmin", None).await?);
    assert_eq!(users::given_roles(&mut tx, "alice").await?, hers[..1]);
    Ok(())
}

async fn who_leaves_a_project_has_no_role_there_and_keeps_those_elsewhere(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    let web = a_project(&mut tx, "web").await?;
    let db = a_project(&mut tx, "db").await?;
    users::insert(&mut tx, &a_user("alice")).await?;
    for project in [&web, &db] {
        projects::add_member(&mut tx, project, "alice").await?;
        users::add_role(&mut tx, "alice", "netadmin", Some(project)).await?;
    }
    assert!(users::leave_project(&mut tx, "alice", &web).await?);
    assert!(!users::leave_project(&mut tx, "alice", &web).await?);
    assert!(!projects::has_member(&mut tx, &web, "alice").await?);
    assert!(projects::has_member(&mut tx, &db, "alice").await?);
    let left = users::given_roles(&mut tx, "alice").await?;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].2, "db");
    Ok(())
}

both! {
    a_role_is_given_and_taken_in_one_project_or_in_all,
    who_leaves_a_project_has_no_role_there_and_keeps_those_elsewhere,
}
