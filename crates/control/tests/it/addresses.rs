//! Floating IPs.

use crate::world::{World, assert_refused, both, both_with, caller, ip, launch, refused};
use anyhow::Result;
use novanet_control::ControlError;
use novanet_control::floating_ips::{Association, FloatingIpRef};
use novanet_model::carve::Request;
use novanet_model::{FloatingIpId, HostObject, ImageId, InstanceId, NetworkKind};

async fn cloud(w: &World) {
    w.image().await;
    w.network("10.0.0.0/24").await;
}

#[test]
fn an_address_leads_moves_and_leads_nowhere() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        cloud(w).await;
        w.floats("203.0.113.4/30").await;
        let ids = w.run(&web, 2).await;
        let float = w.allocate_address(&web, None).await?;
        assert_eq!(float.address, ip("203.0.113.5"));
        let key = format!("float/{}", float.address);
        for id in [ids[0], ids[1], ids[1]] {
            let to = Association::to(id);
            w.associate_address(&web, FloatingIpRef::Id(float.id), &to)
                .await?;
            host.round().await;
            let HostObject::FloatingIp(object) = host.get(&key) else {
                panic!("another kind");
            };
            assert_eq!(object.fixed, w.fixed_ip(&web, id).await);
            let view = w.instance(&web, id).await?;
            assert_eq!(view.public_address, Some(float.address));
        }
        assert_eq!(w.instance(&web, ids[0]).await?.public_address, None);
        let change = w.disassociate_address(&web, float.address.into()).await?;
        assert!(change.hosts.contains("h1"));
        host.round().await;
        assert!(!host.has(&key));
        // Once more changes nothing, and the call waits for no host.
        let change = w.disassociate_address(&web, float.address.into()).await?;
        assert!(change.hosts.is_empty());
        w.release_address(&web, float.address.into()).await?;
        assert!(w.addresses(&web).await?.is_empty());
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn an_instance_has_one_floating_ip_and_a_second_one_takes_its_place() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        cloud(w).await;
        w.floats("203.0.113.4/30").await;
        let to = Association::to(w.run(&web, 1).await[0]);
        let one = w.allocate_address(&web, None).await?.address;
        let two = w.allocate_address(&web, None).await?.address;
        w.associate_address(&web, one.into(), &to).await?;
        w.associate_address(&web, two.into(), &to).await?;
        host.round().await;
        assert_eq!(host.keys("float"), [format!("float/{two}")]);
        Ok(())
    });
}

#[test]
fn an_address_that_leads_to_an_instance_is_not_released_and_the_oldest_released_comes_back_last() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        cloud(w).await;
        w.floats("203.0.113.4/30").await;
        let id = w.run(&web, 1).await[0];
        let float = w.allocate_address(&web, None).await?.address;
        w.associate_address(&web, float.into(), &Association::to(id))
            .await?;
        host.round().await;
        assert_refused!(
            w.release_address(&web, float.into()).await,
            ControlError::StillAssociated { .. },
            &format!("floating IP {float}: is in use, it leads to instance {id}: disassociate it")
        );
        assert_eq!(host.follow().await.changes, []);
        assert_eq!(host.keys("float"), [format!("float/{float}")]);
        w.disassociate_address(&web, float.into()).await?;
        w.release_address(&web, float.into()).await?;
        host.round().await;
        assert_eq!(host.keys("float"), Vec::<String>::new());
        assert_ne!(w.allocate_address(&web, None).await?.address, float);
        assert_eq!(w.allocate_address(&web, None).await?.address, float);
        Ok(())
    });
}

#[test]
fn an_empty_pool_and_a_full_quota_are_told_apart() {
    both_with(
        |config| config.quotas.floating_ips = Some(3),
        async |w: &World| -> Result<()> {
            let web = w.project("web").await;
            w.floats("203.0.113.4/30").await;
            for _ in 0..2 {
                w.allocate_address(&web, None).await?;
            }
            assert_refused!(
                w.allocate_address(&web, None).await,
                ControlError::Exhausted { .. },
                "no free floating IP in pool nova"
            );
            assert_refused!(
                w.allocate_address(&web, Some("other")).await,
                ControlError::Exhausted { .. },
                "in pool other"
            );
            w.floats("203.0.113.8/29").await;
            w.allocate_address(&web, None).await?;
            assert_refused!(
                w.allocate_address(&web, None).await,
                ControlError::Quota { .. },
                "quota of floating_ips exceeded: 3 in use, 1 more wanted, 3 allowed"
            );
            Ok(())
        },
    );
}

#[test]
fn an_address_of_another_project_is_not_there() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let mail = w.project("mail").await;
        let _host = w.host("h1").await;
        cloud(w).await;
        w.floats("203.0.113.4/30").await;
        let to = Association::to(w.run(&mail, 1).await[0]);
        let float = w.allocate_address(&web, None).await?;
        for named in [FloatingIpRef::Id(float.id), float.address.into()] {
            let missing = ["not found"];
            for text in [
                refused(w.release_address(&mail, named).await),
                refused(w.associate_address(&mail, named, &to).await),
                refused(w.disassociate_address(&mail, named).await),
            ] {
                assert!(text.contains(missing[0]), "{text}");
            }
        }
        // Nor is another project's instance.
        assert_refused!(
            w.associate_address(&web, float.address.into(), &to).await,
            ControlError::NotFound { .. },
            "instance"
        );
        assert_eq!(w.addresses(&web).await?.len(), 1);
        Ok(())
    });
}

#[test]
fn an_address_leads_only_to_what_can_have_it() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        cloud(w).await;
        w.floats("203.0.113.4/30").await;
        let ids = w.run(&web, 2).await;
        let float: FloatingIpRef = w.allocate_address(&web, None).await?.address.into();
        let fixed = Association {
            fixed: Some(ip("10.0.0.99")),
            ..Association::to(ids[0])
        };
        assert_refused!(
            w.associate_address(&web, float, &fixed).await,
            ControlError::InUse { .. },
            "does not have the fixed IP 10.0.0.99"
        );
        w.associate_address(&web, float, &Association::to(ids[0]))
            .await?;
        let stays = Association {
            may_move: false,
            ..Association::to(ids[1])
        };
        assert_refused!(
            w.associate_address(&web, float, &stays).await,
            ControlError::InUse { .. },
            "leads to instance i-00000001 already"
        );
        host.round().await;
        w.terminate(&web, &[ids[1]]).await?;
        assert_refused!(
            w.associate_address(&web, float, &Association::to(ids[1]))
                .await,
            ControlError::InUse { .. },
            "is being terminated"
        );
        host.round().await;
        for gone in [ids[1], InstanceId(77)] {
            assert_refused!(
                w.associate_address(&web, float, &Association::to(gone))
                    .await,
                ControlError::NotFound { .. },
                "not found"
            );
        }
        Ok(())
    });
}

#[test]
fn the_operators_ranges_are_added_once_and_deleted_whole_or_not_at_all() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let range = "203.0.113.0/29".parse()?;
        assert_eq!(w.create_floating_ips(range, None, None).await?, 6);
        assert_eq!(w.create_floating_ips(range, None, None).await?, 0);
        assert_eq!(
            w.create_floating_ips("203.0.113.9/32".parse()?, Some("two"), None)
                .await?,
            1
        );
        let huge = w
            .create_floating_ips("10.0.0.0/8".parse()?, None, None)
            .await;
        assert_refused!(huge, ControlError::Invalid(_), "more than 65536 addresses");
        let taken = w.allocate_address(&web, None).await?.address;
        assert_refused!(
            w.delete_floating_ips(range).await,
            ControlError::InUse { .. },
            "project web has it (release it first)"
        );
        assert_eq!(w.floating_ips().await?.len(), 7);
        w.release_address(&web, taken.into()).await?;
        assert_eq!(w.delete_floating_ips(range).await?, 6);
        assert_refused!(
            w.delete_floating_ips(range).await,
            ControlError::NotFound { .. },
            "not found"
        );
        assert_eq!(w.floating_ips().await?.len(), 1);
        Ok(())
    });
}

#[test]
fn an_address_given_by_itself_comes_with_the_instance_and_goes_with_it() {
    both_with(
        |config| config.auto_assign_floating_ip = true,
        async |w: &World| -> Result<()> {
            let web = w.project("web").await;
            let mut host = w.host("h1").await;
            cloud(w).await;
            w.floats("203.0.113.4/30").await;
            let id = w.run(&web, 1).await[0];
            let float = w.instance(&web, id).await?.public_address.unwrap();
            host.round().await;
            assert_eq!(host.keys("float"), [format!("float/{float}")]);
            // One is left, four are asked for, one is enough.
            let four = novanet_control::instances::Launch {
                max: 4,
                ..launch(ImageId(1))
            };
            let (more, _) = w.run_instances(&web, &four).await?;
            assert_eq!(more.len(), 1);
            assert_refused!(
                w.run_instances(&web, &four).await,
                ControlError::Exhausted { .. },
                "no free floating IP"
            );
            assert_eq!(w.instances(&web).await?.len(), 2);
            w.terminate(&web, &[id]).await?;
            assert_eq!(w.addresses(&web).await?.len(), 1);
            host.round().await;
            w.assert_planned().await;
            // Nothing of the launches that were refused keeps an address.
            let used = w.fixed_ips(None).await?;
            assert_eq!(used.iter().filter(|f| f.instance.is_some()).count(), 1);
            Ok(())
        },
    );
}

#[test]
fn addresses_need_the_net_administrators_role() {
    both(async |w: &World| -> Result<()> {
        w.project("web").await;
        w.floats("203.0.113.4/30").await;
        let mut user = caller("joe", "web", false);
        user.roles.insert("sysadmin".to_owned());
        assert_refused!(
            w.allocate_address(&user, None).await,
            ControlError::Forbidden(_),
            "user joe needs the role netadmin in project web"
        );
        let float = FloatingIpRef::Id(FloatingIpId(1));
        let to = Association::to(InstanceId(1));
        for text in [
            refused(w.associate_address(&user, float, &to).await),
            refused(w.disassociate_address(&user, float).await),
            refused(w.release_address(&user, float).await),
        ] {
            assert!(text.contains("needs the role netadmin"), "{text}");
        }
        user.roles.insert("netadmin".to_owned());
        w.allocate_address(&user, None).await?;
        Ok(())
    });
}

#[test]
fn every_address_that_changes_hands_is_in_the_audit() {
    let auto = |config: &mut novanet_control::CloudConfig| config.auto_assign_floating_ip = true;
    both_with(auto, async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        cloud(w).await;
        w.floats("203.0.113.4/30").await;
        let id = w.run(&web, 1).await[0];
        let fixed = w.fixed_ip(&web, id).await;
        let chosen = w.allocate_address(&web, None).await?.address;
        w.associate_address(&web, chosen.into(), &Association::to(id))
            .await?;
        host.round().await;
        w.terminate(&web, &[id]).await?;
        host.round().await;
        let group = w.groups(&web).await?.0[0].group.id;
        let said: Vec<String> = w
            .audit(None, 100)
            .await?
            .into_iter()
            .rev()
            .filter(|e| e.project_id.as_deref() == Some("web"))
            .map(|e| format!("{} {} {} {}", e.actor, e.action, e.object, e.detail))
            .collect();
        let boss = "boss-of-web";
        assert_eq!(
            said,
            [
                "operator project.create web boss-of-web".to_owned(),
                format!("operator security_group.create {group} default"),
                format!("operator security_group.authorize {group} -1 from {group}"),
                format!("{boss} floating_ip.allocate 203.0.113.5 "),
                format!("{boss} floating_ip.associate 203.0.113.5 {id} {fixed}"),
                format!("{boss} instance.run {id} m1.tiny on h1 with {fixed}"),
                format!("{boss} floating_ip.allocate {chosen} "),
                format!("{boss} floating_ip.disassociate 203.0.113.5 {id} has {chosen} now"),
                format!("{boss} floating_ip.associate {chosen} {id} {fixed}"),
                format!("{boss} floating_ip.disassociate {chosen} {id} terminated"),
                format!("{boss} instance.terminate {id} "),
                format!("controller:deletions fixed_ip.release {fixed} {id}"),
            ]
        );
        Ok(())
    });
}

#[test]
fn floating_ips_are_never_addresses_of_a_network_and_the_other_way_round() {
    both(async |w: &World| -> Result<()> {
        w.network("10.6.0.0/24").await;
        for range in ["10.6.0.0/28", "10.6.0.0/16", "10.6.0.0/24", "10.6.0.200/32"] {
            assert_refused!(
                w.create_floating_ips(range.parse()?, None, None).await,
                ControlError::InUse { .. },
                &format!("floating IP {range}: overlaps network 10.6.0.0/24 (test)")
            );
        }
        w.floats("10.7.0.8/31").await;
        let mut request = Request::new(NetworkKind::FlatDhcp, "net", "10.7.0.0/24".parse()?);
        request.network_size = Some(256);
        assert_refused!(
            w.create_networks(&request).await,
            ControlError::InUse { .. },
            "network 10.7.0.0/24: floating IP 10.7.0.8 is in it"
        );
        // Beside each other they may be.
        w.network("10.7.0.0/29").await;
        assert_eq!(w.floating_ips().await?.len(), 2, "a /31 is two addresses");
        Ok(())
    });
}

#[test]
fn an_address_that_is_free_can_be_chosen_and_one_that_is_not_says_so() {
    both(async |w: &World| -> Result<()> {
        let web = w.project("web").await;
        let mail = w.project("mail").await;
        w.floats("203.0.113.8/29").await;
        let wanted = ip("203.0.113.12");
        let got = w.allocate_this_address(&web, wanted, None).await?;
        assert_eq!(
            (got.address, got.project.as_ref()),
            (wanted, Some(&web.project))
        );
        for (caller, address, pool) in [
            (&mail, "203.0.113.12", None),
            (&web, "203.0.113.12", None),
            (&web, "192.0.2.1", None),
            (&web, "203.0.113.13", Some("other")),
        ] {
            assert_refused!(
                w.allocate_this_address(caller, ip(address), pool).await,
                ControlError::InUse { .. },
                &format!("floating IP {address}: is not free")
            );
        }
        let joe = caller("joe", "web", false);
        assert_refused!(
            w.allocate_this_address(&joe, ip("203.0.113.13"), None)
                .await,
            ControlError::Forbidden(_),
            "netadmin"
        );
        w.allocate_this_address(&mail, ip("203.0.113.13"), Some("nova"))
            .await?;
        Ok(())
    });
}
