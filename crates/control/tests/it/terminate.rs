//! TerminateInstances: an address goes back only when no host has it any more.

use crate::world::{World, assert_refused, both, both_with, caller, ip, launch, refused};
use anyhow::Result;
use novanet_control::ControlError;
use novanet_control::floating_ips::Association;
use novanet_control::instances::InstanceState;
use novanet_model::wire::InstanceState as Said;
use novanet_model::{ImageId, InstanceId, ObjectKey};

#[test]
fn an_address_goes_back_to_the_pool_when_every_host_has_let_go_without_error() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut gate = w.host("a-gate").await;
        let mut two = w.host("b").await;
        // One address for instances.
        w.network("10.0.0.0/30").await;
        let id = w.run(&web, 1).await[0];
        gate.round().await;
        two.round().await;
        // The project's first instance is on the gateway; only `gate` has objects. A second host
        // comes in by a second project's instance; so make the other one known as a member there.
        let (before, _) = w.terminate(&web, &[id]).await?;
        assert_eq!(before, [(id, InstanceState::Running)]);
        let taken = async |when: &str| {
            let more = w.run_instances(&web, &launch(ImageId(1))).await;
            assert!(
                matches!(more, Err(ControlError::Exhausted { .. })),
                "{when}"
            );
            let state = w.instance(&web, id).await.unwrap().row.state;
            assert_eq!(state, InstanceState::Deleting, "{when}");
        };
        taken("at once").await;
        two.round().await;
        taken("another host reported").await;
        gate.report().await;
        taken("it has not heard of it").await;
        gate.follow().await;
        assert!(gate.keys("instance").is_empty());
        taken("it has not reported").await;
        let key = ObjectKey(format!("instance/{}", id.0));
        gate.errors.insert(key, "busy".to_owned());
        gate.report().await;
        taken("it could not").await;
        gate.errors.clear();
        gate.report().await;
        // The version is the same as before: a controller sees it, not the report.
        let mut controllers = novanet_control::Controllers::new("s1");
        controllers.round(w).await?;
        let view = w.instance(&web, id).await?;
        assert_eq!(view.row.state, InstanceState::Terminated);
        assert!(view.ports.is_empty() && view.groups.is_empty());
        let next = w.run(&web, 1).await[0];
        assert_eq!(w.fixed_ip(&web, next).await, ip("10.0.0.2"));
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn every_host_that_knew_the_address_has_to_let_go_of_it() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut one = w.host("h1").await;
        let mut two = w.host("h2").await;
        w.network("10.0.0.0/24").await;
        let ids = w.run(&web, 2).await;
        one.round().await;
        two.round().await;
        // h1 has the second one's address as the project's, and its DHCP binding.
        w.terminate(&web, &ids[1..]).await?;
        two.round().await;
        let state = async || w.instance(&web, ids[1]).await.unwrap().row.state;
        assert_eq!(state().await, InstanceState::Deleting);
        one.round().await;
        assert_eq!(state().await, InstanceState::Terminated);
        Ok(())
    });
}

#[test]
fn an_address_stays_taken_while_a_host_still_leads_a_floating_ip_to_it() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        w.floats("203.0.113.5/32").await;
        let id = w.run(&web, 1).await[0];
        let float = w.allocate_address(&web, None).await?.address;
        w.associate_address(&web, float.into(), &Association::to(id))
            .await?;
        host.round().await;
        w.terminate(&web, &[id]).await?;
        let key = ObjectKey(format!("float/{float}"));
        host.errors.insert(key, "no".to_owned());
        host.round().await;
        let state = async || w.instance(&web, id).await.unwrap().row.state;
        assert_eq!(state().await, InstanceState::Deleting);
        // The project keeps its address, it leads nowhere.
        assert_eq!(w.addresses(&web).await?[0].fixed, None);
        host.errors.clear();
        host.report().await;
        novanet_control::Controllers::new("s1").round(w).await?;
        assert_eq!(state().await, InstanceState::Terminated);
        Ok(())
    });
}

#[test]
fn a_late_word_of_a_host_does_not_bring_an_instance_back() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let id = w.run(&web, 1).await[0];
        host.round().await;
        w.terminate(&web, &[id]).await?;
        let running = || vec![crate::fake_host::report(id, Said::Running, 1)];
        host.say(running()).await;
        assert_eq!(
            w.instance(&web, id).await?.row.state,
            InstanceState::Deleting
        );
        host.round().await;
        host.say(running()).await;
        assert_eq!(
            w.instance(&web, id).await?.row.state,
            InstanceState::Terminated
        );
        Ok(())
    });
}

#[test]
fn instances_are_terminated_all_or_none_and_twice_is_once() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mail = w.project("mail").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let ids = w.run(&web, 2).await;
        host.round().await;
        let unknown = [ids[0], InstanceId(77)];
        assert_refused!(
            w.terminate(&web, &unknown).await,
            ControlError::NotFound { .. },
            "instance i-0000004d not found"
        );
        assert_eq!(
            w.instance(&web, ids[0]).await?.row.state,
            InstanceState::Running
        );
        assert!(refused(w.terminate(&mail, &ids).await).contains("not found"));
        let joe = caller("joe", "web", false);
        assert!(refused(w.terminate(&joe, &ids).await).contains("needs the role sysadmin"));
        let (before, _) = w.terminate(&web, &[ids[0], ids[0]]).await?;
        assert_eq!(
            before,
            [
                (ids[0], InstanceState::Running),
                (ids[0], InstanceState::Deleting)
            ]
        );
        host.round().await;
        let (before, change) = w.terminate(&web, &ids[..1]).await?;
        assert_eq!(before, [(ids[0], InstanceState::Terminated)]);
        assert!(change.hosts.is_empty());
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn what_is_being_terminated_no_longer_counts_for_the_quota() {
    both_with(
        |config| config.quotas.instances = Some(1),
        async |w: &World| -> Result<()> {
            w.image().await;
            let web = w.project("web").await;
            let mut host = w.host("h1").await;
            w.network("10.0.0.0/24").await;
            let id = w.run(&web, 1).await[0];
            host.round().await;
            w.terminate(&web, &[id]).await?;
            w.run(&web, 1).await;
            Ok(())
        },
    );
}
