//! Users, projects, quotas and key pairs.

use super::seed::{a_project, a_user, insert_instance, name};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::rule::{Source, Traffic};
use novanet_model::{ProjectNumber, Resource};
use novanet_store::instances::State;
use novanet_store::key_pairs::KeyPair;
use novanet_store::projects::Project;
use novanet_store::users::User;
use novanet_store::{StoreError, groups, instances, key_pairs, projects, users};

fn is_conflict(error: &StoreError) -> bool {
    matches!(error, StoreError::Conflict(_))
}

fn a_key(name: &str) -> KeyPair {
    KeyPair {
        name: name.to_owned(),
        fingerprint: "aa:bb".to_owned(),
        public_key: "ssh-ed25519 AAAA".to_owned(),
    }
}

both! {
    a_user_is_found_by_name_and_by_access_key,
    names_and_access_keys_are_unique,
    debug_output_of_a_user_shows_no_key,
    a_deleted_user_leaves_memberships_and_keys_but_a_manager_stays,
    roles_are_global_or_of_one_project,
    a_project_has_a_number_of_its_own_and_its_manager_as_member,
    a_project_goes_with_its_groups_and_quotas_but_not_with_instances,
    a_project_gets_another_manager_who_becomes_a_member,
    a_quota_is_the_projects_own_or_none,
    key_pairs_are_their_users,
}

async fn a_user_is_found_by_name_and_by_access_key(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    let now = tx.now;
    let admin = User {
        is_admin: true,
        created_at: now,
        sealed_secret: (0..=255).collect(),
        ..a_user("admin")
    };
    let alice = User {
        created_at: now,
        ..a_user("alice")
    };
    for user in [&alice, &admin] {
        users::insert(&mut tx, user).await?;
    }
    assert!(users::by_id(&mut tx, "admin").await? == Some(admin.clone()));
    assert!(users::by_access_key(&mut tx, "AKalice").await? == Some(alice.clone()));
    assert!(
        users::by_access_key(&mut tx, "akALICE").await?.is_none(),
        "case counts"
    );
    assert!(users::by_id(&mut tx, "bob").await?.is_none());
    assert!(users::list(&mut tx).await? == [admin.clone(), alice.clone()]);
    let changed = User {
        access_key: "another".to_owned(),
        sealed_secret: vec![9],
        is_admin: true,
        ..alice
    };
    users::update(&mut tx, &changed).await?;
    assert!(users::list(&mut tx).await? == [admin, changed]);
    Ok(())
}

async fn names_and_access_keys_are_unique(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    users::insert(&mut tx, &a_user("alice")).await?;
    tx.commit().await?;
    for user in [
        a_user("alice"),
        User {
            id: "bob".to_owned(),
            ..a_user("alice")
        },
    ] {
        let mut tx = t.begin_unplanned().await?;
        let error = users::insert(&mut tx, &user).await.unwrap_err();
        assert!(is_conflict(&error), "{error:?}");
    }
    Ok(())
}

async fn debug_output_of_a_user_shows_no_key(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    users::insert(&mut tx, &a_user("alice")).await?;
    let shown = format!("{:?}", users::by_id(&mut tx, "alice").await?);
    assert!(
        shown.contains("alice") && !shown.contains("AK") && !shown.contains("254"),
        "{shown}"
    );
    Ok(())
}

async fn a_deleted_user_leaves_memberships_and_keys_but_a_manager_stays(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    let web = a_project(&mut tx, "web").await?;
    users::insert(&mut tx, &a_user("alice")).await?;
    projects::add_member(&mut tx, &web, "alice").await?;
    projects::add_member(&mut tx, &web, "alice").await?;
    key_pairs::insert(&mut tx, "alice", &a_key("key")).await?;
    assert!(projects::has_member(&mut tx, &web, "alice").await?);
    users::delete(&mut tx, "alice").await?;
    assert!(!projects::has_member(&mut tx, &web, "alice").await?);
    assert_eq!(key_pairs::of_user(&mut tx, "alice").await?, []);
    tx.commit().await?;
    let mut tx = t.begin_unplanned().await?;
    let error = users::delete(&mut tx, "boss-of-web").await.unwrap_err();
    assert!(is_conflict(&error), "{error:?}");
    Ok(())
}

async fn roles_are_global_or_of_one_project(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    let (web, other) = (
        a_project(&mut tx, "web").await?,
        a_project(&mut tx, "other").await?,
    );
    users::insert(&mut tx, &a_user("alice")).await?;
    tx.commit().await?;
    for sql in [
        "INSERT INTO user_role_association VALUES ('alice', 'itsec')",
        "INSERT INTO user_role_association VALUES ('alice', 'netadmin')",
        "INSERT INTO user_project_role_association VALUES ('alice', 'web', 'netadmin')",
        "INSERT INTO user_project_role_association VALUES ('alice', 'web', 'itsec')",
    ] {
        t.by_hand(sql).await?;
    }
    let mut tx = t.begin_unplanned().await?;
    assert_eq!(
        users::roles(&mut tx, "alice", &web).await?,
        ["itsec", "netadmin"]
    );
    assert_eq!(users::roles(&mut tx, "alice", &other).await?, ["itsec"]);
    users::delete(&mut tx, "alice").await?;
    assert_eq!(
        users::roles(&mut tx, "alice", &web).await?,
        Vec::<String>::new()
    );
    Ok(())
}

async fn a_project_has_a_number_of_its_own_and_its_manager_as_member(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    users::insert(&mut tx, &a_user("boss")).await?;
    for (number, id) in [(1, "web"), (2, "db")] {
        assert_eq!(
            projects::insert(&mut tx, &name(id), "boss", "what for").await?,
            ProjectNumber(number)
        );
    }
    let web = Project {
        id: name("web"),
        number: ProjectNumber(1),
        description: "what for".to_owned(),
        manager: "boss".to_owned(),
    };
    assert_eq!(projects::by_id(&mut tx, &name("web")).await?, Some(web));
    assert_eq!(projects::by_id(&mut tx, &name("nobody")).await?, None);
    assert!(projects::has_member(&mut tx, &name("web"), "boss").await?);
    users::insert(&mut tx, &a_user("alice")).await?;
    projects::add_member(&mut tx, &name("db"), "alice").await?;
    let ids = |found: Vec<Project>| {
        found
            .into_iter()
            .map(|p| p.id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(projects::list(&mut tx, "").await?), ["db", "web"]);
    assert_eq!(ids(projects::list(&mut tx, "alice").await?), ["db"]);
    assert_eq!(
        ids(projects::list(&mut tx, "bob").await?),
        Vec::<String>::new()
    );
    tx.commit().await?;
    let mut tx = t.begin_unplanned().await?;
    let error = projects::insert(&mut tx, &name("web"), "boss", "")
        .await
        .unwrap_err();
    assert!(is_conflict(&error), "{error:?}");
    drop(tx);
    let mut tx = t.begin_unplanned().await?;
    let error = projects::insert(&mut tx, &name("new"), "nobody", "")
        .await
        .unwrap_err();
    assert!(is_conflict(&error), "{error:?}");
    Ok(())
}

async fn a_project_goes_with_its_groups_and_quotas_but_not_with_instances(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let (web, other) = (
        a_project(&mut tx, "web").await?,
        a_project(&mut tx, "other").await?,
    );
    let mine = groups::insert(&mut tx, &web, "alice", "mine", "").await?;
    let theirs = groups::insert(&mut tx, &other, "bob", "theirs", "").await?;
    groups::insert_rule(&mut tx, mine, Traffic::Any, Source::Group(mine)).await?;
    groups::insert_rule(&mut tx, mine, Traffic::Any, Source::Group(theirs)).await?;
    projects::set_quota(&mut tx, &web, Resource::Cores, 4).await?;
    let instance = insert_instance(&mut tx, &web, &[mine], None).await?;
    tx.commit().await?;
    let mut tx = t.begin_planned().await?;
    let error = projects::delete(&mut tx, &web).await.unwrap_err();
    assert!(is_conflict(&error), "{error:?}");
    drop(tx);
    let mut tx = t.begin_planned().await?;
    instances::forget(&mut tx, instance).await?;
    assert_eq!(
        instances::by_id(&mut tx, instance).await?.unwrap().state,
        State::Terminated
    );
    projects::delete(&mut tx, &web).await?;
    assert_eq!(projects::by_id(&mut tx, &web).await?, None);
    assert_eq!(groups::all(&mut tx).await?, [theirs]);
    assert_eq!(groups::all_rules(&mut tx).await?, []);
    assert_eq!(projects::quota(&mut tx, &web, Resource::Cores).await?, None);
    // Its number is never another's: it is in names in the kernel.
    assert_eq!(
        projects::insert(&mut tx, &web, "boss-of-other", "").await?,
        ProjectNumber(3)
    );
    Ok(())
}

async fn a_project_gets_another_manager_who_becomes_a_member(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    let web = a_project(&mut tx, "web").await?;
    users::insert(&mut tx, &a_user("alice")).await?;
    projects::update(&mut tx, &web, "alice", "books").await?;
    let found = projects::by_id(&mut tx, &web).await?.unwrap();
    assert_eq!((&*found.manager, &*found.description), ("alice", "books"));
    assert!(projects::has_member(&mut tx, &web, "alice").await?);
    assert!(projects::has_member(&mut tx, &web, "boss-of-web").await?);
    let members = projects::members(&mut tx, &web).await?;
    assert_eq!(members, ["alice", "boss-of-web"]);
    Ok(())
}

async fn a_quota_is_the_projects_own_or_none(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    let web = a_project(&mut tx, "web").await?;
    assert_eq!(projects::quota(&mut tx, &web, Resource::Cores).await?, None);
    for limit in [20, -1, 0] {
        projects::set_quota(&mut tx, &web, Resource::Cores, limit).await?;
        assert_eq!(
            projects::quota(&mut tx, &web, Resource::Cores).await?,
            Some(limit)
        );
    }
    assert_eq!(projects::quota(&mut tx, &web, Resource::Ram).await?, None);
    Ok(())
}

async fn key_pairs_are_their_users(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    for user in ["alice", "bob"] {
        users::insert(&mut tx, &a_user(user)).await?;
    }
    for key in ["b", "a"] {
        key_pairs::insert(&mut tx, "alice", &a_key(key)).await?;
    }
    key_pairs::insert(&mut tx, "bob", &a_key("a")).await?;
    assert_eq!(
        key_pairs::of_user(&mut tx, "alice").await?,
        [a_key("a"), a_key("b")]
    );
    let web = a_project(&mut tx, "web").await?;
    assert_eq!(key_pairs::most_of_members(&mut tx, &web).await?, 0);
    for user in ["alice", "bob"] {
        projects::add_member(&mut tx, &web, user).await?;
    }
    assert_eq!(key_pairs::most_of_members(&mut tx, &web).await?, 2);
    assert_eq!(
        key_pairs::by_name(&mut tx, "alice", "b").await?,
        Some(a_key("b"))
    );
    assert_eq!(key_pairs::by_name(&mut tx, "bob", "b").await?, None);
    assert!(key_pairs::delete(&mut tx, "alice", "a").await?);
    assert!(!key_pairs::delete(&mut tx, "alice", "a").await?);
    assert_eq!(
        key_pairs::by_name(&mut tx, "bob", "a").await?,
        Some(a_key("a"))
    );
    tx.commit().await?;
    let mut tx = t.begin_unplanned().await?;
    let error = key_pairs::insert(&mut tx, "bob", &a_key("a"))
        .await
        .unwrap_err();
    assert!(is_conflict(&error), "{error:?}");
    Ok(())
}
