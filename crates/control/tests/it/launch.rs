//! RunInstances.

use crate::fake_host::FakeHost;
use crate::world::{World, assert_refused, both, both_with, caller, group, ip, launch, refused};
use anyhow::Result;
use novanet_control::ControlError;
use novanet_control::instances::{InstanceState, Launch, USER_DATA_LIMIT};
use novanet_model::carve::Request;
use novanet_model::{HostObject, ImageId, NetworkKind, Resource};

fn count(min: i64, max: i64) -> Launch {
    Launch {
        min,
        max,
        ..launch(ImageId(1))
    }
}

#[test]
fn instances_are_placed_on_the_host_with_the_fewest_and_planned_there() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut one = w.host("h1").await;
        let mut two = w.host("h2").await;
        w.network("10.0.0.0/24").await;
        let (ids, change) = w.run_instances(&web, &count(4, 4)).await?;
        assert_eq!(ids.len(), 4);
        assert_eq!(change.hosts.iter().collect::<Vec<_>>(), ["h1", "h2"]);
        one.round().await;
        two.round().await;
        assert_eq!(
            (one.keys("instance").len(), two.keys("instance").len()),
            (2, 2)
        );
        assert_eq!(
            one.keys("binding").len(),
            4,
            "the gateway answers DHCP for all"
        );
        assert_eq!(two.keys("binding").len(), 0);
        for (index, view) in w.instances_of(&web, &ids).await?.into_iter().enumerate() {
            assert_eq!(view.row.launch_index, i64::try_from(index)?);
            assert_eq!(view.row.state, InstanceState::Running);
            assert_eq!(view.groups[0].name, "default");
            let host = if view.row.host.as_deref() == Some("h1") {
                &one
            } else {
                &two
            };
            let HostObject::Port(port) = host.get(&format!("port/{}/0", view.row.id.0)) else {
                panic!("another kind");
            };
            assert_eq!(port.address, view.ports[0].address);
        }
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn the_list_of_all_is_the_list_of_each() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mail = w.project("mail").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        w.floats("203.0.113.4/30").await;
        w.create_group(&web, "http", "d").await?;
        let both_groups = Launch {
            groups: vec![group("http"), group("default")],
            ..count(12, 12)
        };
        let (ids, _) = w.run_instances(&web, &both_groups).await?;
        w.run(&mail, 1).await;
        let float = w.allocate_address(&web, None).await?.address;
        let to = novanet_control::floating_ips::Association::to(ids[3]);
        w.associate_address(&web, float.into(), &to).await?;
        host.round().await;
        w.terminate(&web, &ids[..1]).await?;
        host.round().await;
        let text = |views: Vec<_>| format!("{views:#?}");
        let all = w.instances(&web).await?;
        assert_eq!(all.len(), 12);
        for view in all.clone() {
            let id = view.row.id;
            assert_eq!(text(vec![view]), text(vec![w.instance(&web, id).await?]));
        }
        assert_eq!(text(all.clone()), text(w.instances_of(&web, &ids).await?));
        assert_eq!(all[3].public_address, Some(float));
        assert_eq!(all[3].groups.len(), 2);
        assert_eq!(w.all_instances().await?.len(), 13);
        let foreign = [ids[1], novanet_model::InstanceId(13)];
        assert_refused!(
            w.instances_of(&web, &foreign).await,
            ControlError::NotFound { .. },
            "instance i-0000000d not found"
        );
        Ok(())
    });
}

#[test]
fn a_launch_is_as_large_as_the_quota_and_the_addresses_leave_but_not_below_its_least() {
    both_with(
        |config| {
            config.quotas.instances = Some(3);
            config.quotas.ram_mb = Some(8 * 512);
        },
        async |w: &World| -> Result<()> {
            w.image().await;
            let web = w.project("web").await;
            let mail = w.project("mail").await;
            let _host = w.host("h1").await;
            w.network("10.0.0.0/29").await;
            assert_eq!(w.run_instances(&web, &count(1, 5)).await?.0.len(), 3);
            assert_refused!(
                w.run_instances(&web, &count(1, 5)).await,
                ControlError::Quota { .. },
                "quota of instances exceeded: 3 in use, 1 more wanted, 3 allowed"
            );
            // Five addresses in the network, three are gone.
            assert_refused!(
                w.run_instances(&mail, &count(3, 3)).await,
                ControlError::Exhausted { .. },
                "no free fixed IP"
            );
            let large = Launch {
                instance_type: Some("m1.large".to_owned()),
                ..count(1, 1)
            };
            assert_refused!(
                w.run_instances(&mail, &large).await,
                ControlError::Quota {
                    resource: Resource::Ram,
                    ..
                },
                "quota of ram exceeded: 0 in use, 8192 more wanted, 4096 allowed"
            );
            assert_eq!(w.run_instances(&mail, &count(1, 3)).await?.0.len(), 2);
            w.assert_planned().await;
            Ok(())
        },
    );
}

#[test]
fn the_same_client_token_again_answers_with_the_same_instances() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mail = w.project("mail").await;
        let _host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let token = Launch {
            client_token: Some("once".to_owned()),
            ..count(2, 2)
        };
        let (first, _) = w.run_instances(&web, &token).await?;
        let (again, change) = w.run_instances(&web, &token).await?;
        assert_eq!(first, again);
        assert!(change.hosts.is_empty());
        let (others, _) = w.run_instances(&mail, &token).await?;
        assert_ne!(first, others);
        Ok(())
    });
}

#[test]
fn a_client_token_stands_for_one_request_only() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let _host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let first = Launch {
            client_token: Some("tok-1".to_owned()),
            ..count(1, 1)
        };
        let (ids, _) = w.run_instances(&web, &first).await?;
        let others = [
            Launch {
                instance_type: Some("m1.large".to_owned()),
                ..first.clone()
            },
            Launch {
                max: 2,
                ..first.clone()
            },
            Launch {
                user_data: Some(b"#!/bin/sh".to_vec()),
                ..first.clone()
            },
            Launch {
                public_address: Some(false),
                ..first.clone()
            },
        ];
        for other in others {
            assert_refused!(
                w.run_instances(&web, &other).await,
                ControlError::TokenReused(_),
                "ClientToken tok-1: was used for a request with other parameters"
            );
        }
        assert_eq!(w.run_instances(&web, &first).await?.0, ids);
        // Also when the instances are gone.
        w.terminate(&web, &ids).await?;
        assert_eq!(w.run_instances(&web, &first).await?.0, ids);
        // Instances of a version that kept no digest are compared by their rows.
        let mut tx = w.db().begin_unplanned().await?;
        sqlx::query("UPDATE instances SET launch_digest = NULL")
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        assert_eq!(w.run_instances(&web, &first).await?.0, ids);
        let other = Launch {
            instance_type: Some("m1.large".to_owned()),
            ..first.clone()
        };
        assert_refused!(
            w.run_instances(&web, &other).await,
            ControlError::TokenReused(_),
            "tok-1"
        );
        Ok(())
    });
}

#[test]
fn a_launch_may_say_whether_its_instances_get_floating_ips() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let _host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        w.floats("203.0.113.0/30").await;
        let with = Launch {
            public_address: Some(true),
            ..count(1, 1)
        };
        let (ids, _) = w.run_instances(&web, &with).await?;
        assert!(w.instance(&web, ids[0]).await?.public_address.is_some());
        let (ids, _) = w.run_instances(&web, &count(1, 1)).await?;
        assert_eq!(w.instance(&web, ids[0]).await?.public_address, None);
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn a_chosen_address_is_given_when_it_is_free() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let _host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let with = |address: &str| Launch {
            private_address: Some(ip(address)),
            ..count(1, 1)
        };
        let (ids, _) = w.run_instances(&web, &with("10.0.0.77")).await?;
        assert_eq!(w.fixed_ip(&web, ids[0]).await, ip("10.0.0.77"));
        assert_refused!(
            w.run_instances(&web, &with("10.0.0.77")).await,
            ControlError::InUse { .. },
            "fixed IP 10.0.0.77: is taken or reserved"
        );
        for wrong in ["10.0.0.1", "10.0.0.255", "192.0.2.1"] {
            assert_refused!(
                w.run_instances(&web, &with(wrong)).await,
                ControlError::Invalid(_),
                "must be an address for instances of network 10.0.0.0/24"
            );
        }
        let two = Launch {
            max: 2,
            ..with("10.0.0.78")
        };
        assert_refused!(
            w.run_instances(&web, &two).await,
            ControlError::Invalid(_),
            "for one instance only"
        );
        Ok(())
    });
}

#[test]
fn what_is_not_there_is_named_and_nothing_is_launched() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let good = || count(1, 1);
        let wrong = [
            (launch(ImageId(9)), "image ami-00000009 not found"),
            (
                Launch {
                    instance_type: Some("m9.huge".to_owned()),
                    ..good()
                },
                "instance type m9.huge not found",
            ),
            (
                Launch {
                    key_name: Some("lost".to_owned()),
                    ..good()
                },
                "key pair lost not found",
            ),
            (
                Launch {
                    groups: vec![group("nobody")],
                    ..good()
                },
                "security group nobody not found",
            ),
            (count(0, 1), "must be at least 1"),
            (count(2, 1), "MaxCount not below MinCount"),
            (
                Launch {
                    user_data: Some(vec![b'x'; USER_DATA_LIMIT + 1]),
                    ..good()
                },
                "must be at most 16384 bytes",
            ),
        ];
        for (launch, words) in wrong {
            let text = refused(w.run_instances(&web, &launch).await);
            assert!(text.contains(words), "{text}");
        }
        let joe = caller("joe", "web", false);
        let text = refused(w.run_instances(&joe, &good()).await);
        assert_eq!(
            text,
            "user joe needs the role sysadmin in project web (the operator gives it: nova-manage role \
             add joe sysadmin, and nova-manage role add joe sysadmin web)"
        );
        assert!(w.instances(&web).await?.is_empty());
        assert!(w.fixed_ips(None).await?.is_empty());
        let largest = Launch {
            user_data: Some(vec![b'x'; USER_DATA_LIMIT]),
            ..good()
        };
        w.run_instances(&web, &largest).await?;
        drop(host);
        Ok(())
    });
}

#[test]
fn without_a_host_or_a_network_the_refusal_says_what_is_missing() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        assert_refused!(
            w.run_instances(&web, &count(1, 1)).await,
            ControlError::Exhausted { .. },
            "there is no network for this project"
        );
        w.network("10.0.0.0/24").await;
        assert_refused!(
            w.run_instances(&web, &count(1, 1)).await,
            ControlError::NoHost(_),
            "no compute host has reported yet"
        );
        let mut gateway = FakeHost::new(w.cloud.clone(), "gate");
        gateway.roles = vec![novanet_model::wire::HostRole::Network];
        gateway.hello().await;
        assert_refused!(
            w.run_instances(&web, &count(1, 1)).await,
            ControlError::NoHost(_),
            "no compute host has reported yet"
        );
        w.host("h1").await;
        w.run_instances(&web, &count(1, 1)).await?;
        Ok(())
    });
}

#[test]
fn a_vlan_network_is_refused_by_name_while_no_host_can_run_one() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let host = w.host("h1").await;
        let request = Request::new(NetworkKind::Vlan, "vlan", "10.0.0.0/24".parse()?);
        w.create_networks(&request).await?;
        assert_refused!(
            w.run_instances(&web, &count(1, 1)).await,
            ControlError::NoHost(_),
            "no host can run network 1 (vlan, 10.0.0.0/24): it is a vlan network, and no host's kernel \
             can run those (modprobe 8021q there), or delete it (nova-manage network delete 1) and use \
             a flatdhcp or flat network"
        );
        let net = w.networks().await?.remove(0);
        assert_eq!(net.project, None, "the refused launch took the network");
        let mut able = FakeHost::new(w.cloud.clone(), "h2");
        able.kinds.push(NetworkKind::Vlan);
        able.hello().await;
        let (ids, _) = w.run_instances(&web, &count(1, 1)).await?;
        let view = w.instance(&web, ids[0]).await?;
        assert_eq!(view.row.host.as_deref(), Some("h2"));
        let net = w.networks().await?.remove(0);
        assert_eq!(net.project, Some(web.project.clone()));
        drop(host);
        Ok(())
    });
}

#[test]
fn a_project_has_no_more_fixed_ips_than_its_quota() {
    let two = |config: &mut novanet_control::CloudConfig| config.quotas.fixed_ips = Some(2);
    both_with(two, async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let _host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        w.run(&web, 2).await;
        assert_refused!(
            w.run_instances(&web, &launch(ImageId(1))).await,
            ControlError::Quota { .. },
            "quota of fixed_ips exceeded: 2 in use, 1 more wanted, 2 allowed"
        );
        Ok(())
    });
}
