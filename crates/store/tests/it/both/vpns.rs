//! VPNs of projects: what they reserve, and what follows from them.

use super::seed::{a_network, a_project, insert_instance, insert_network, ip, name, with};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::object::{AddressRange, HostObject};
use novanet_model::plan::CloudSettings;
use novanet_model::rows::Vpn;
use novanet_model::{Micros, NetworkKind, VpnId};
use novanet_store::instances::State;
use novanet_store::vpns::Secrets;
use novanet_store::{
    PlanOwner, Tx, certificates, fixed_ips, groups, instances, members, plan, pool, vpns,
};

both! {
    a_vpn_keeps_its_addresses_from_instances_and_from_other_vpns,
    a_vpn_leads_to_its_cloudpipe_and_the_clients_to_the_groups_of_the_project,
    a_cloudpipe_counts_for_no_quota,
    in_a_vlan_network_the_way_in_follows_the_networks_row,
}

fn secrets() -> Secrets {
    Secrets {
        user: "alice".to_owned(),
        ssh_key: vec![1, 0, 2],
        certificate: "PEM".to_owned(),
        server_key: vec![3, 0, 4],
    }
}

async fn a_vpn(tx: &mut Tx, project: &str) -> Result<Vpn> {
    let network = with(a_network("10.0.0.0/28"), |n| n.host = Some("h1".to_owned()));
    let network = insert_network(tx, network).await?;
    let vpn = Vpn {
        id: VpnId(0),
        project: a_project(tx, project).await?,
        network: network.id,
        kind: NetworkKind::FlatDhcp,
        host: Some("h1".to_owned()),
        public_address: ip("203.0.113.2"),
        public_port: 1000,
        private_address: ip("10.0.0.2"),
        clients: AddressRange {
            first: ip("10.0.0.10"),
            last: ip("10.0.0.14"),
        },
        instance: None,
        deleting: false,
    };
    let id = vpns::insert(tx, &vpn, &secrets()).await?;
    Ok(Vpn { id, ..vpn })
}

async fn a_vpn_keeps_its_addresses_from_instances_and_from_other_vpns(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let vpn = a_vpn(&mut tx, "web").await?;
    let network = novanet_store::networks::by_id(&mut tx, vpn.network)
        .await?
        .expect("there");
    let free = vpns::free_addresses(&mut tx, &network, 5).await?;
    assert_eq!(free, Some((vpn.private_address, vpn.clients)));
    for client in vpn.clients.addresses().chain([vpn.private_address]) {
        assert!(pool::reserve(&mut tx, vpn.network, client).await?);
    }
    let free = vpns::free_addresses(&mut tx, &network, 5).await?;
    let next = AddressRange {
        first: ip("10.0.0.5"),
        last: ip("10.0.0.9"),
    };
    assert_eq!(free, Some((ip("10.0.0.3"), next)));
    assert_eq!(vpns::free_addresses(&mut tx, &network, 7).await?, None);
    for (address, keeper) in [
        ("10.0.0.2", true),
        ("10.0.0.3", false),
        ("10.0.0.9", false),
        ("10.0.0.10", true),
        ("10.0.0.14", true),
    ] {
        let found = vpns::keeper(&mut tx, vpn.network, ip(address)).await?;
        assert_eq!(found.is_some(), keeper, "{address}");
    }
    // Only a Cloudpipe gets the reserved address, one at a time, and it stays reserved.
    let taken = pool::take_reserved(&mut tx, vpn.network, vpn.private_address).await?;
    let id = taken.expect("reserved");
    let cloudpipe = insert_instance(&mut tx, &vpn.project, &[], Some("h1")).await?;
    let interface = super::seed::interface(cloudpipe, &network, 0, "02:16:3e:00:00:01".parse()?);
    super::seed::give(&mut tx, id, interface).await?;
    let again = pool::take_reserved(&mut tx, vpn.network, vpn.private_address).await?;
    assert_eq!(again, None);
    assert_eq!(
        pool::release_of(&mut tx, cloudpipe).await?,
        [vpn.private_address]
    );
    let row = fixed_ips::by_address(&mut tx, vpn.network, vpn.private_address).await?;
    assert!(row.expect("a row").reserved);
    assert_eq!(vpns::ports(&mut tx).await?, [1000].into());
    Ok(())
}

async fn a_vpn_leads_to_its_cloudpipe_and_the_clients_to_the_groups_of_the_project(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let settings = CloudSettings::default();
    let vpn = a_vpn(&mut tx, "web").await?;
    let found = vpns::by_id(&mut tx, vpn.id).await?;
    assert_eq!(found.as_ref(), Some(&vpn));
    assert_eq!(vpns::of_project(&mut tx, &vpn.project).await?, found);
    assert_eq!(vpns::list(&mut tx).await?, std::slice::from_ref(&vpn));
    assert_eq!(vpns::of_project(&mut tx, &name("shop")).await?, None);

    let objects = plan::objects_of(&mut tx, &settings, PlanOwner::Vpn(vpn.id)).await?;
    let [(host, HostObject::VpnForward(forward))] = objects.as_slice() else {
        panic!("{objects:?}");
    };
    assert_eq!(host, "h1");
    assert_eq!((forward.address, forward.port), (ip("203.0.113.2"), 1000));
    assert_eq!(
        (forward.to_address, forward.to_port),
        (ip("10.0.0.2"), 1194)
    );
    assert!(
        plan::all_owners(&mut tx)
            .await?
            .contains(&PlanOwner::Vpn(vpn.id))
    );

    let group = groups::insert(&mut tx, &vpn.project, "alice", "default", "").await?;
    let cloudpipe = insert_instance(&mut tx, &vpn.project, &[group], Some("h1")).await?;
    super::seed::place(&mut tx, cloudpipe, &vpn.project, &[group], "h1").await?;
    let objects = plan::objects_of(&mut tx, &settings, PlanOwner::Group(group)).await?;
    let [(_, HostObject::Group(of_group))] = objects.as_slice() else {
        panic!("{objects:?}");
    };
    assert_eq!(of_group.vpn_clients, Some(vpn.clients));

    let clients_of =
        |planned: Option<novanet_model::rows::Instance>| planned.expect("an instance").vpn_clients;
    let planned = novanet_store::views::instance(&mut tx, cloudpipe).await?;
    assert_eq!(clients_of(planned), None);
    vpns::set_instance(&mut tx, vpn.id, cloudpipe).await?;
    let planned = novanet_store::views::instance(&mut tx, cloudpipe).await?;
    assert_eq!(clients_of(planned), Some(vpn.clients));
    let of_instance = vpns::of_instance(&mut tx, cloudpipe).await?;
    assert_eq!(of_instance.map(|v| v.id), Some(vpn.id));

    assert!(vpns::secrets(&mut tx, vpn.id).await? == Some(secrets()));
    vpns::set_certificate(&mut tx, vpn.id, "newer", &[9]).await?;
    let newer = vpns::secrets(&mut tx, vpn.id).await?.expect("there");
    assert_eq!(
        (newer.certificate.as_str(), newer.server_key),
        ("newer", vec![9])
    );
    assert_eq!(vpns::deleting(&mut tx).await?, []);
    // No row of a certificate is the server's: it must be made anew.
    assert_eq!(vpns::stale(&mut tx, Micros::new(0), true).await?.len(), 1);
    let authority = certificates::Authority {
        project: "web".to_owned(),
        certificate: "CA".to_owned(),
        sealed_key: vec![5],
        not_after: Micros::new(2000),
    };
    certificates::insert_authority(&mut tx, &authority).await?;
    certificates::renew_authority(&mut tx, "web", "other", ("CA 1", Micros::new(3000))).await?;
    certificates::renew_authority(&mut tx, "web", "CA", ("CA 2", Micros::new(4000))).await?;
    let renewed = certificates::authority(&mut tx, "web")
        .await?
        .expect("there");
    assert_eq!(
        (renewed.certificate.as_str(), renewed.not_after),
        ("CA 2", Micros::new(4000))
    );
    let server = certificates::Certificate {
        serial: "40".to_owned(),
        authority: "web".to_owned(),
        project: "web".to_owned(),
        user: String::new(),
        certificate: "newer".to_owned(),
        not_before: Micros::new(0),
        not_after: Micros::new(1000),
        revoked_at: None,
    };
    certificates::insert(&mut tx, &server).await?;
    for (until, of_projects, stale) in [(1000, true, 0), (1001, true, 1), (1000, false, 1)] {
        let found = vpns::stale(&mut tx, Micros::new(until), of_projects).await?;
        assert_eq!(found.len(), stale, "{until} {of_projects}");
    }
    certificates::revoke_servers(&mut tx, &vpn.project).await?;
    assert_eq!(vpns::stale(&mut tx, Micros::new(0), true).await?.len(), 1);
    vpns::set_public_side(&mut tx, &vpn, ip("203.0.113.9"), 1009).await?;
    let moved = vpns::by_id(&mut tx, vpn.id).await?.expect("there");
    assert_eq!(
        (moved.public_address, moved.public_port),
        (ip("203.0.113.9"), 1009)
    );
    // A shared network has no public side of its own.
    assert_eq!(vpns::ports(&mut tx).await?, [1009].into());
    vpns::set_deleting(&mut tx, vpn.id).await?;
    assert!(vpns::by_id(&mut tx, vpn.id).await?.expect("there").deleting);
    assert_eq!(vpns::deleting(&mut tx).await?.len(), 1);
    let objects = plan::objects_of(&mut tx, &settings, PlanOwner::Vpn(vpn.id)).await?;
    assert_eq!(objects, []);
    let objects = plan::objects_of(&mut tx, &settings, PlanOwner::Group(group)).await?;
    assert!(matches!(&objects[0].1, HostObject::Group(g) if g.vpn_clients.is_none()));
    vpns::delete(&mut tx, vpn.id).await?;
    assert_eq!(vpns::by_id(&mut tx, vpn.id).await?, None);
    Ok(())
}

async fn a_cloudpipe_counts_for_no_quota(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let vpn = a_vpn(&mut tx, "web").await?;
    let used = async |tx: &mut Tx| -> Result<_> {
        let usage = members::usage(tx, &name("web")).await?.expect("a project");
        Ok([usage.instances.0, usage.cores.0, usage.ram.0])
    };
    let mut ids = Vec::new();
    for _ in 0..2 {
        let id = insert_instance(&mut tx, &vpn.project, &[], Some("h1")).await?;
        super::seed::place(&mut tx, id, &vpn.project, &[], "h1").await?;
        ids.push(id);
    }
    assert_eq!(used(&mut tx).await?, [2, 2, 1024]);
    vpns::set_instance(&mut tx, vpn.id, ids[0]).await?;
    assert_eq!(used(&mut tx).await?, [1, 1, 512]);
    members::remove_member(&mut tx, ids[0], &vpn.project, &[], "h1").await?;
    instances::set_state(&mut tx, ids[0], State::Deleting, None).await?;
    assert_eq!(used(&mut tx).await?, [1, 1, 512]);
    Ok(())
}

async fn in_a_vlan_network_the_way_in_follows_the_networks_row(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let network = with(a_network("10.1.0.0/28"), |n| {
        n.kind = NetworkKind::Vlan;
        n.bridge = "br171".parse().unwrap();
        n.vlan = Some(171);
        n.host = Some("h1".to_owned());
        n.vpn_public_port = Some(1007);
        n.vpn_private_address = Some(ip("10.1.0.2"));
        n.dhcp_start = ip("10.1.0.3");
        n.project = Some(project.clone());
    });
    let network = insert_network(&mut tx, network).await?;
    let settings = CloudSettings {
        vpn_ip: ip("203.0.113.2"),
        ..CloudSettings::default()
    };
    let owner = PlanOwner::Network(network.id);
    let objects = plan::objects_of(&mut tx, &settings, owner).await?;
    let forwards: Vec<_> = objects
        .iter()
        .filter_map(|(_, object)| match object {
            HostObject::VpnForward(forward) => Some(forward),
            _ => None,
        })
        .collect();
    let [forward] = forwards.as_slice() else {
        panic!("{objects:?}");
    };
    assert_eq!((forward.address, forward.port), (ip("203.0.113.2"), 1007));
    assert_eq!(forward.to_address, ip("10.1.0.2"));
    let vpn = Vpn {
        id: VpnId(0),
        project,
        network: network.id,
        kind: NetworkKind::Vlan,
        host: None,
        public_address: ip("203.0.113.9"),
        public_port: 1,
        private_address: ip("10.1.0.2"),
        clients: AddressRange {
            first: ip("10.1.0.14"),
            last: ip("10.1.0.14"),
        },
        instance: None,
        deleting: false,
    };
    // The project's first instance makes it lack a VPN, until a Cloudpipe was launched.
    assert_eq!(vpns::lacking(&mut tx).await?, []);
    let first = insert_instance(&mut tx, &vpn.project, &[], Some("h1")).await?;
    let row = novanet_store::networks::by_id(&mut tx, network.id).await?;
    let row = row.expect("there");
    let taken = pool::take(&mut tx, network.id, ip("10.1.0.3")).await?;
    let interface = super::seed::interface(first, &row, 0, "02:16:3e:00:00:01".parse()?);
    super::seed::give(&mut tx, taken.expect("free"), interface).await?;
    assert_eq!(vpns::lacking(&mut tx).await?, [name("web")]);
    let id = vpns::insert(&mut tx, &vpn, &secrets()).await?;
    assert_eq!(vpns::lacking(&mut tx).await?, [name("web")]);
    let objects = plan::objects_of(&mut tx, &settings, PlanOwner::Vpn(id)).await?;
    assert_eq!(objects, []);
    let found = vpns::by_id(&mut tx, id).await?.expect("there");
    assert_eq!(found.public_port, 1007);
    vpns::set_public_side(&mut tx, &found, ip("203.0.113.2"), 1017).await?;
    let found = vpns::by_id(&mut tx, id).await?.expect("there");
    assert_eq!(found.public_port, 1017);
    let row = novanet_store::networks::by_id(&mut tx, network.id).await?;
    assert_eq!(row.expect("there").vpn_public_port, Some(1017));
    vpns::set_instance(&mut tx, id, first).await?;
    assert_eq!(vpns::lacking(&mut tx).await?, []);
    Ok(())
}
