//! Users, projects and key pairs.

use crate::world::{World, assert_refused, both, caller, launch, name, refused};
use anyhow::Result;
use novanet_control::ControlError;
use novanet_control::floating_ips::Association;
use novanet_control::key_pairs::KeyKind;
use novanet_control::projects::Credentials;
use novanet_model::carve::Request;
use novanet_model::{ImageId, NetworkKind};

#[test]
fn a_user_has_keys_that_only_the_key_file_opens() {
    both(async |w: &World| -> Result<()> {
        let made = w.create_user("alice", None, false).await?;
        let read = w.credentials("alice").await?;
        assert!(read == made);
        assert_eq!(format!("{read:?}").matches(&made.secret_key).count(), 0);
        let keyless = w.without_key().await;
        assert_eq!(keyless.users().await?.len(), 1);
        assert_refused!(
            keyless.credentials("alice").await,
            ControlError::Unavailable(_),
            "the key file is missing"
        );
        assert_refused!(
            w.create_user("alice", None, false).await,
            ControlError::Exists { .. },
            "user alice already exists"
        );
        let same_key = Credentials {
            access_key: made.access_key,
            secret_key: "s".to_owned(),
        };
        assert_refused!(
            w.create_user("bob", Some(same_key), false).await,
            ControlError::InUse { .. },
            "belongs to another user"
        );
        assert_refused!(
            w.create_user("a/b", None, false).await,
            ControlError::Invalid(_),
            "user \"a/b\""
        );
        assert_eq!(w.users().await?.len(), 1);
        Ok(())
    });
}

#[test]
fn a_user_who_manages_a_project_is_not_deleted() {
    both(async |w: &World| -> Result<()> {
        w.project("web").await;
        assert_refused!(
            w.delete_user("boss-of-web").await,
            ControlError::InUse { .. },
            "project web is managed by it (delete the project first"
        );
        w.delete_project(&name("web")).await?;
        w.delete_user("boss-of-web").await?;
        assert_refused!(
            w.delete_user("boss-of-web").await,
            ControlError::NotFound { .. },
            "user boss-of-web not found"
        );
        Ok(())
    });
}

#[test]
fn a_project_needs_a_manager_and_a_name_of_its_own() {
    both(async |w: &World| -> Result<()> {
        w.project("web").await;
        assert_refused!(
            w.create_project(&name("mail"), "nobody", "d").await,
            ControlError::NotFound { .. },
            "user nobody not found"
        );
        assert_refused!(
            w.create_project(&name("web"), "boss-of-web", "d").await,
            ControlError::Exists { .. },
            "project web already exists"
        );
        assert_eq!(w.projects(None).await?.len(), 1);
        assert_eq!(w.projects(Some("boss-of-web")).await?.len(), 1);
        assert_eq!(w.projects(Some("joe")).await?.len(), 0);
        Ok(())
    });
}

#[test]
fn a_project_is_deleted_only_when_nothing_is_its() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        w.floats("203.0.113.4/30").await;
        let float = w.allocate_address(&web, None).await?.address;
        let ids = w.run(&web, 1).await;
        let id = name("web");
        let why = async || refused(w.delete_project(&id).await);
        assert_eq!(
            why().await,
            "project web: instance i-00000001 belongs to it (terminate it first); also floating IP \
             203.0.113.5"
        );
        host.round().await;
        w.terminate(&web, &ids).await?;
        assert!(why().await.contains("i-00000001 is being terminated"));
        host.round().await;
        assert!(
            why()
                .await
                .contains("floating IP 203.0.113.5 belongs to it (release it first")
        );
        w.release_address(&web, float.into()).await?;
        for own in ["own", "other"] {
            let bytes = std::io::Cursor::new(own.as_bytes());
            w.register_image_of(Some(&id), own, bytes).await?;
        }
        assert_eq!(
            why().await,
            "project web: image ami-00000002 (own) belongs to it (delete it first: nova-manage image \
             delete ami-00000002); also image ami-00000003 (other)"
        );
        for image in [2, 3] {
            w.delete_image(ImageId(image)).await?;
        }
        w.create_group(&web, "www", "d").await?;
        w.delete_project(&id).await?;
        let gone = w.audit(None, 3).await?;
        let gone: Vec<_> = gone
            .iter()
            .map(|e| format!("{} {} {}", e.action, e.object, e.detail))
            .collect();
        assert_eq!(
            gone,
            [
                "project.delete web ",
                "security_group.delete sg-00000002 www",
                "security_group.delete sg-00000001 default",
            ]
        );
        assert_refused!(
            w.delete_project(&id).await,
            ControlError::NotFound { .. },
            "project web not found"
        );
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn a_caller_whose_project_is_gone_by_now_is_told_so() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let _host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        w.floats("203.0.113.4/30").await;
        w.delete_project(&name("web")).await?;
        for text in [
            refused(w.run_instances(&web, &launch(ImageId(1))).await),
            refused(w.create_group(&web, "http", "d").await),
            refused(w.groups(&web).await),
            refused(w.allocate_address(&web, None).await),
            refused(w.create_key_pair(&web, "k", KeyKind::Ed25519).await),
        ] {
            assert_eq!(text, "project web not found");
        }
        Ok(())
    });
}

#[test]
fn key_pairs_are_the_users_own_and_the_private_half_is_kept_nowhere() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let (pair, private) = w.create_key_pair(&web, "mine", KeyKind::Ed25519).await?;
        assert!(private.contains("BEGIN OPENSSH PRIVATE KEY"));
        assert_eq!(w.key_pairs(&web).await?, std::slice::from_ref(&pair));
        let imported = w.import_key_pair(&web, "other", &pair.public_key).await?;
        assert_eq!(imported.fingerprint, pair.fingerprint);
        assert_refused!(
            w.create_key_pair(&web, "mine", KeyKind::Ed25519).await,
            ControlError::Exists { .. },
            "key pair mine already exists"
        );
        let broken = w.import_key_pair(&web, "third", "ssh-rsa broken").await;
        assert!(broken.is_err());
        w.create_key_pair(&web, "third", KeyKind::Ed25519).await?;
        assert_refused!(
            w.create_key_pair(&web, "fourth", KeyKind::Ed25519).await,
            ControlError::Quota { .. },
            "quota of key_pairs exceeded"
        );
        assert_refused!(
            w.create_key_pair(&web, "", KeyKind::Ed25519).await,
            ControlError::Invalid(_),
            "KeyName"
        );
        let mail = w.project("mail").await;
        assert!(w.key_pairs(&mail).await?.is_empty());
        w.delete_key_pair(&mail, "mine").await?;
        assert_eq!(w.key_pairs(&web).await?.len(), 3);
        w.delete_key_pair(&web, "mine").await?;
        w.delete_key_pair(&web, "mine").await?;
        assert_eq!(w.key_pairs(&web).await?.len(), 2);
        let gone = caller("ghost", "web", true);
        assert_eq!(
            refused(w.create_key_pair(&gone, "k", KeyKind::Ed25519).await),
            "user ghost not found"
        );
        Ok(())
    });
}

#[test]
fn a_scrubbed_project_owns_no_network_and_no_address_and_can_be_deleted() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        let mut own = Request::new(NetworkKind::FlatDhcp, "own", "10.0.0.0/24".parse()?);
        own.project = Some(name("web"));
        w.create_networks(&own).await?;
        w.floats("203.0.113.4/30").await;
        let float = w.allocate_address(&web, None).await?.address;
        let id = w.run(&web, 1).await[0];
        w.associate_address(&web, float.into(), &Association::to(id))
            .await?;
        host.round().await;
        let scrub = "nova-manage project scrub web";
        assert!(refused(w.delete_network("10.0.0.0/24").await).contains(scrub));
        assert_refused!(
            w.scrub_project(&name("web"), false).await,
            ControlError::InUse { .. },
            &format!(
                "project web: instance {id} is in network 10.0.0.0/24 (terminate it first, or: "
            )
        );
        w.terminate(&web, &[id]).await?;
        assert_refused!(
            w.scrub_project(&name("web"), false).await,
            ControlError::InUse { .. },
            "has 1 addresses of instances that are being terminated; waiting for h1"
        );
        assert_eq!(w.addresses(&web).await?.len(), 1, "all or nothing");
        host.round().await;
        assert!(refused(w.delete_project(&name("web")).await).contains(scrub));
        let done = w.scrub_project(&name("web"), false).await?;
        assert_eq!(done.networks, ["10.0.0.0/24"]);
        assert_eq!(done.floats.len(), 1);
        assert_eq!(w.cloud.network("10.0.0.0/24").await?.project, None);
        assert!(w.addresses(&web).await?.is_empty());
        w.scrub_project(&name("web"), false).await?;
        w.delete_project(&name("web")).await?;
        w.delete_network("10.0.0.0/24").await?;
        assert_refused!(
            w.scrub_project(&name("web"), false).await,
            ControlError::NotFound { .. },
            "project web not found"
        );
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn an_address_that_leads_to_an_instance_is_scrubbed_by_force_only_and_that_is_told() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        // A shared network: it is not the project's, and its instances go on.
        w.network("10.0.0.0/24").await;
        w.floats("203.0.113.8/29").await;
        let ids = w.run(&web, 2).await;
        let mut floats = vec![];
        for id in &ids {
            let float = w.allocate_address(&web, None).await?.address;
            let to = Association::to(*id);
            w.associate_address(&web, float.into(), &to).await?;
            floats.push(float);
        }
        let spare = w.allocate_address(&web, None).await?.address;
        host.round().await;
        assert_refused!(
            w.scrub_project(&name("web"), false).await,
            ControlError::InUse { .. },
            &format!(
                "project web: floating IP {} leads to instance {} (disassociate it first, or cut \
                 it off: nova-manage project scrub web --force); also floating IP {}",
                floats[0], ids[0], floats[1]
            )
        );
        assert_eq!(host.follow().await.changes, []);
        assert_eq!(w.addresses(&web).await?.len(), 3);
        let done = w.scrub_project(&name("web"), true).await?;
        let all = [
            (floats[0], Some(ids[0])),
            (floats[1], Some(ids[1])),
            (spare, None),
        ];
        assert_eq!(done.floats, all);
        assert!(done.change.hosts.contains("h1"));
        host.round().await;
        assert_eq!(host.keys("float"), Vec::<String>::new());
        w.assert_planned().await;
        Ok(())
    });
}
