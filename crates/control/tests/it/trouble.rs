//! Spoiled rows, networks that a host refuses, and the calls meanwhile: a launch leaves a shared
//! network out while there is another, waits for one of the project's own, and a floating IP blocks
//! no call.

use crate::world::{World, assert_refused, both, both_with, ip, launch, name, refused};
use anyhow::Result;
use novanet_control::floating_ips::Association;
use novanet_control::instances::InstanceState;
use novanet_control::{Caller, ControlError};
use novanet_model::carve::Request;
use novanet_model::wire::{InstanceReport, InstanceState as Said};
use novanet_model::{ImageId, InstanceId, NetworkId, NetworkKind, ObjectKey};
use std::net::Ipv4Addr;

/// Edits rows as an operator would.
async fn by_hand(w: &World, sql: &'static str) -> Result<()> {
    let mut tx = w.db().begin_unplanned().await?;
    sqlx::query(sql).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// A network of a project's own.
async fn own_network(w: &World, cidr: &str, project: &str) -> Result<NetworkId> {
    let mut request = Request::new(NetworkKind::FlatDhcp, "own", cidr.parse()?);
    request.network_size = Some(256);
    request.project = Some(name(project));
    Ok(w.create_networks(&request).await?.networks[0].id)
}

async fn addresses(w: &World, caller: &Caller, id: InstanceId) -> Vec<Ipv4Addr> {
    let view = w.instance(caller, id).await.unwrap();
    view.ports.iter().map(|port| port.address).collect()
}

#[test]
fn a_shared_network_that_its_host_refuses_is_left_out_while_there_is_another() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        let networks = [
            w.network("10.0.0.0/24").await,
            w.network("10.1.0.0/24").await,
        ];
        host.follow().await;
        let key = |n: usize| ObjectKey::of_network(networks[n].id);
        host.errors.insert(key(1), "the name is taken".to_owned());
        host.report().await;
        let [id] = w.run(&web, 1).await[..] else {
            panic!("not one instance");
        };
        assert_eq!(addresses(w, &web, id).await, [ip("10.0.0.2")]);
        // What another host says of it is that one's own affair.
        let other = w.host("h2").await;
        host.errors.clear();
        host.report().await;
        let mut other = other;
        other.follow().await;
        other.errors.insert(key(1), "the name is taken".to_owned());
        other.report().await;
        let id = w.run(&web, 1).await[0];
        let both = [ip("10.0.0.3"), ip("10.1.0.2")];
        assert_eq!(addresses(w, &web, id).await, both);
        // Where all are refused, instances wait for all of them.
        for n in [0, 1] {
            host.errors.insert(key(n), "the name is taken".to_owned());
        }
        host.follow().await;
        host.report().await;
        let id = w.run(&web, 1).await[0];
        let both = [ip("10.0.0.4"), ip("10.1.0.3")];
        assert_eq!(addresses(w, &web, id).await, both);
        Ok(())
    });
}

#[test]
fn a_projects_own_network_that_is_refused_is_waited_for_and_the_reason_goes_when_it_runs() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        for cidr in ["10.0.0.0/24", "10.1.0.0/24"] {
            own_network(w, cidr, "web").await?;
        }
        host.follow().await;
        let key = ObjectKey::of_network(NetworkId(2));
        host.errors.insert(key, "the name is taken".to_owned());
        host.report().await;
        let id = w.run(&web, 1).await[0];
        assert_eq!(addresses(w, &web, id).await.len(), 2);
        host.follow().await;
        let waits = |boot, detail: Option<&str>| InstanceReport {
            instance: id,
            state: Said::Pending,
            boot,
            detail: detail.map(str::to_owned),
        };
        host.say(vec![waits(1, Some("the name is taken"))]).await;
        let told = async || {
            let row = w.instance(&web, id).await.unwrap().row;
            (row.state, row.detail)
        };
        let reason = Some("the name is taken".to_owned());
        assert_eq!(told().await, (InstanceState::Pending, reason));
        host.report().await;
        assert_eq!(told().await, (InstanceState::Running, None));
        // Another boot begins without the words about the one before.
        let mut ended = waits(1, Some("ended by itself"));
        ended.state = Said::Stopped;
        host.say(vec![ended]).await;
        assert_eq!(told().await.0, InstanceState::Stopped);
        w.reboot(&web, &[id]).await?;
        assert_eq!(told().await, (InstanceState::Pending, None));
        Ok(())
    });
}

#[test]
fn a_launch_names_the_networks_row_that_makes_no_sense() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let (web, shop) = (w.project("web").await, w.project("shop").await);
        let _host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let own = own_network(w, "10.1.0.0/24", "web").await?;
        by_hand(w, "UPDATE networks SET gateway = 'foo' WHERE id = 2").await?;
        let why = "network 2: gateway \"foo\": invalid IPv4 address syntax (the operator corrects the \
                   row in the database, or deletes the network: nova-manage network delete 2)";
        let run = async |who: &Caller| w.run_instances(who, &launch(ImageId(1))).await;
        assert_refused!(run(&web).await, ControlError::Exhausted { .. }, why);
        assert_eq!(refused(run(&web).await), why);
        // With a good one of its own beside it, too: it was promised both.
        own_network(w, "10.2.0.0/24", "web").await?;
        assert_eq!(refused(run(&web).await), why);
        // Others are not concerned.
        let id = w.run(&shop, 1).await[0];
        assert_eq!(addresses(w, &shop, id).await, [ip("10.0.0.2")]);
        by_hand(w, "UPDATE networks SET gateway = '10.1.0.1' WHERE id = 2").await?;
        let id = w.run(&web, 1).await[0];
        let addresses = addresses(w, &web, id).await;
        assert_eq!(addresses, [ip("10.1.0.2"), ip("10.2.0.2")]);
        assert_eq!(own, NetworkId(2));
        Ok(())
    });
}

#[test]
fn with_shared_networks_that_make_no_sense_only_no_vlan_network_is_taken_instead() {
    let flat_manager = |config: &mut novanet_control::CloudConfig| {
        config.network_manager = NetworkKind::FlatDhcp;
    };
    both_with(flat_manager, async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        host.kinds.push(NetworkKind::Vlan);
        host.hello().await;
        w.network("10.0.0.0/24").await;
        let mut vlan = Request::new(NetworkKind::Vlan, "v", "10.9.0.0/24".parse()?);
        vlan.network_size = Some(256);
        w.create_networks(&vlan).await?;
        by_hand(w, "UPDATE networks SET dns1 = 'x' WHERE id = 1").await?;
        let text = refused(w.run_instances(&web, &launch(ImageId(1))).await);
        assert!(text.contains("network 1: dns1 \"x\""), "{text}");
        // A VLAN network without a project is one of many: another one will do, but not none.
        w.delete_network("1").await?;
        host.follow().await;
        host.report().await;
        by_hand(w, "UPDATE networks SET dns1 = 'x' WHERE id = 2").await?;
        let text = refused(w.run_instances(&web, &launch(ImageId(1))).await);
        assert!(text.contains("network 2: dns1 \"x\""), "{text}");
        vlan.range = "10.8.0.0/24".parse()?;
        w.create_networks(&vlan).await?;
        let id = w.run(&web, 1).await[0];
        assert_eq!(addresses(w, &web, id).await, [ip("10.8.0.3")]);
        Ok(())
    });
}

#[test]
fn a_floating_ip_whose_interface_makes_no_sense_hinders_no_other_and_is_named_where_it_matters() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        w.floats("203.0.113.4/30").await;
        let id = w.run(&web, 1).await[0];
        let to = Association::to(id);
        let float = w.allocate_address(&web, None).await?;
        w.associate_address(&web, float.address.into(), &to).await?;
        host.round().await;
        let there = host.keys("float");
        assert_eq!(there.len(), 1);
        by_hand(w, "UPDATE floating_ips SET interface = 'eth 7'").await?;
        let why = "floating_ip 1 (203.0.113.5): interface \"eth 7\": may have letters, digits, '.', '_', \
                   '-' and ':' only, and not start with '-'";
        let bad = w.bad_rows().await?;
        assert_eq!(bad.len(), 2);
        assert_eq!(bad[0], why);
        // The objects of the last valid row stay, and the lists say so.
        novanet_control::Controllers::new("s1").round(w).await?;
        host.round().await;
        assert_eq!(host.keys("float"), there);
        assert_eq!(w.addresses(&web).await?.len(), 1);
        assert_eq!(
            w.instances(&web).await?[0].public_address,
            Some(float.address)
        );
        assert_eq!(w.all_instances().await?.len(), 1);
        // It can be taken away, but not led anywhere.
        w.disassociate_address(&web, float.address.into()).await?;
        host.round().await;
        assert!(host.keys("float").is_empty());
        let again = w.associate_address(&web, float.address.into(), &to).await;
        assert_refused!(again, ControlError::Store(_), why);
        // No instance gets the other one, which is as bad.
        assert_refused!(
            w.allocate_address(&web, None).await,
            ControlError::Exhausted { .. },
            "no free floating IP in pool nova"
        );
        w.release_address(&web, float.address.into()).await?;
        by_hand(w, "UPDATE floating_ips SET interface = NULL WHERE id = 1").await?;
        assert_eq!(w.bad_rows().await?.len(), 1);
        let float = w.allocate_address(&web, None).await?;
        w.associate_address(&web, float.address.into(), &to).await?;
        // Also with its instance it goes from the host.
        by_hand(w, "UPDATE floating_ips SET interface = 'eth 7'").await?;
        w.terminate(&web, &[id]).await?;
        host.round().await;
        assert!(host.keys("float").is_empty());
        by_hand(w, "UPDATE floating_ips SET interface = NULL").await?;
        w.assert_planned().await;
        Ok(())
    });
}
