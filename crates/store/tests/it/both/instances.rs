//! Instances: rows, ports, states, and what is left when they are gone.

use super::seed::{
    a_network, a_project, allocate, an_instance, give, insert, insert_instance, insert_network,
    interface, ip, mac_of, name, plug, with,
};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::object::InjectedNetwork;
use novanet_model::rows::{Instance, InstancePort};
use novanet_model::{
    CombinationId, HostObject, InstanceId, NetworkKind, ProjectNumber, ReservationId,
};
use novanet_store::instances::{Row, State};
use novanet_store::user_data::{self, UserData};
use novanet_store::{StoreError, fixed_ips, groups, instances, interfaces, views};
use std::time::Duration;

fn is_conflict(error: &StoreError) -> bool {
    matches!(error, StoreError::Conflict(_))
}

both! {
    an_instance_comes_back_as_it_was_inserted,
    a_client_token_names_one_launch_of_one_project,
    the_plan_sees_an_instance_with_its_ports_and_groups,
    a_mac_is_one_interfaces_in_the_whole_cloud,
    lists_of_the_living_leave_out_who_goes,
    a_state_is_kept_with_its_reason_and_a_reboot_is_counted,
    user_data_of_an_earlier_version_is_read_and_can_be_sealed,
    when_an_instance_was_first_running_is_not_forgotten_by_a_reboot,
    a_forgotten_instance_leaves_its_address_and_nothing_else,
}

async fn user_data_of_an_earlier_version_is_read_and_can_be_sealed(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let mut row = an_instance(&mut tx, &project, &[]).await?;
    row.user_data = Some(UserData::Plain(b"#!/bin/sh".to_vec()));
    let other = an_instance(&mut tx, &project, &[]).await?;
    insert(&mut tx, &row, &[]).await?;
    insert(&mut tx, &other, &[]).await?;
    assert_eq!(instances::by_id(&mut tx, row.id).await?, Some(row.clone()));
    let plain = user_data::all_plain(&mut tx).await?;
    assert_eq!(plain, [(row.id, b"#!/bin/sh".to_vec())]);
    user_data::seal(&mut tx, row.id, vec![1, 0, 255]).await?;
    assert_eq!(user_data::all_plain(&mut tx).await?, []);
    row.user_data = Some(UserData::Sealed(vec![1, 0, 255]));
    assert_eq!(instances::by_id(&mut tx, row.id).await?, Some(row));
    Ok(())
}

async fn an_instance_comes_back_as_it_was_inserted(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let bare = an_instance(&mut tx, &project, &[]).await?;
    let full = Row {
        client_token: Some("token".to_owned()),
        launch_digest: Some("digest".to_owned()),
        launch_index: 3,
        key_name: Some("key".to_owned()),
        key_data: Some("ssh-ed25519 AAAA".to_owned()),
        user_data: Some(UserData::Sealed(vec![0, 255, b'\n', 0])),
        host: Some("h1".to_owned()),
        detail: Some("why".to_owned()),
        state: State::Error,
        memory_mb: u32::MAX,
        boot: 7,
        halted: true,
        ..an_instance(&mut tx, &project, &[]).await?
    };
    for row in [&bare, &full] {
        insert(&mut tx, row, &[]).await?;
        assert_eq!(instances::by_id(&mut tx, row.id).await?.as_ref(), Some(row));
    }
    let other = a_project(&mut tx, "other").await?;
    assert_eq!(
        instances::list(&mut tx, Some(&project)).await?,
        [bare.clone(), full.clone()]
    );
    assert_eq!(instances::list(&mut tx, None).await?, [bare, full]);
    assert_eq!(instances::list(&mut tx, Some(&other)).await?, []);
    assert_eq!(instances::by_id(&mut tx, InstanceId(99)).await?, None);
    Ok(())
}

async fn a_client_token_names_one_launch_of_one_project(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let (web, other) = (
        a_project(&mut tx, "web").await?,
        a_project(&mut tx, "other").await?,
    );
    let launch = async |tx: &mut novanet_store::Tx, project, index| {
        let mut row = an_instance(tx, project, &[]).await?;
        row.client_token = Some("same".to_owned());
        row.launch_index = index;
        insert(tx, &row, &[]).await?;
        anyhow::Ok(row.id)
    };
    let second = launch(&mut tx, &web, 1).await?;
    let first = launch(&mut tx, &web, 0).await?;
    let elsewhere = launch(&mut tx, &other, 0).await?;
    // Instances without a token are no launch of that kind.
    insert_instance(&mut tx, &web, &[], None).await?;
    insert_instance(&mut tx, &web, &[], None).await?;
    let ids = |rows: Vec<Row>| rows.into_iter().map(|r| r.id).collect::<Vec<_>>();
    assert_eq!(
        ids(instances::by_client_token(&mut tx, &web, "same").await?),
        [first, second]
    );
    assert_eq!(
        ids(instances::by_client_token(&mut tx, &other, "same").await?),
        [elsewhere]
    );
    assert_eq!(
        ids(instances::by_client_token(&mut tx, &web, "new").await?),
        []
    );
    // Two servers that both found nothing: the second one loses.
    let error = launch(&mut tx, &web, 0).await.unwrap_err();
    assert!(is_conflict(error.downcast_ref().unwrap()), "{error:?}");
    Ok(())
}

async fn the_plan_sees_an_instance_with_its_ports_and_groups(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let front = groups::insert(&mut tx, &project, "alice", "front", "").await?;
    let dhcp = insert_network(
        &mut tx,
        with(a_network("10.0.0.0/24"), |n| {
            n.host = Some("gw".to_owned());
        }),
    )
    .await?;
    let flat = with(a_network("10.0.1.0/24"), |n| {
        n.kind = NetworkKind::Flat;
        n.injected = true;
        n.dns = vec![ip("192.0.2.53")];
        n.bridge = "br7".parse().unwrap();
    });
    let flat = insert_network(&mut tx, flat).await?;
    let id = insert_instance(&mut tx, &project, &[front], Some("h1")).await?;
    let (_, address) = plug(&mut tx, id, &dhcp).await?;
    let (second, flat_address) = allocate(&mut tx, &flat).await?.unwrap();
    give(
        &mut tx,
        second,
        interface(id, &flat, 1, mac_of(flat_address)),
    )
    .await?;
    let ports = vec![
        InstancePort {
            index: 0,
            network: dhcp.id,
            bridge: "br100".parse()?,
            network_host: Some("gw".to_owned()),
            kind: NetworkKind::FlatDhcp,
            mac: mac_of(address),
            address,
            injected: None,
        },
        InstancePort {
            index: 1,
            network: flat.id,
            bridge: "br7".parse()?,
            network_host: None,
            kind: NetworkKind::Flat,
            mac: mac_of(flat_address),
            address: flat_address,
            injected: Some(InjectedNetwork {
                port: 1,
                address: "10.0.1.2/24".parse()?,
                gateway: Some(ip("10.0.1.1")),
                dns: vec![ip("192.0.2.53")],
            }),
        },
    ];
    assert_eq!(interfaces::ports(&mut tx, id).await?, ports);
    let row = instances::by_id(&mut tx, id).await?.unwrap();
    let wanted = Instance {
        vpn_clients: None,
        id,
        reservation: ReservationId(id.0),
        project: name("web"),
        project_number: ProjectNumber(1),
        host: Some("h1".to_owned()),
        hostname: row.hostname,
        image: row.image,
        image_digest: row.image_digest,
        memory_mb: 512,
        vcpus: 1,
        disk_gb: 0,
        boot: 1,
        halted: false,
        deleting: false,
        ports,
        groups: vec![front],
        combination: CombinationId(1),
    };
    assert_eq!(views::instance(&mut tx, id).await?, Some(wanted.clone()));
    let objects = novanet_model::plan::objects_of_instance(&wanted);
    let mut siblings = Vec::new();
    for (_, object) in &objects {
        match object {
            HostObject::Port(port) => siblings.push((port.index, port.siblings.clone())),
            HostObject::Instance(one) => {
                assert_eq!(one.injected, wanted.ports[1].injected);
                assert_eq!(one.more_injected, []);
            }
            _ => {}
        }
    }
    assert_eq!(siblings, [(0, vec![flat_address]), (1, vec![address])]);
    instances::set_state(&mut tx, id, State::Deleting, None).await?;
    assert!(views::instance(&mut tx, id).await?.unwrap().deleting);
    instances::set_state(&mut tx, id, State::Terminated, None).await?;
    assert_eq!(views::instance(&mut tx, id).await?, None);
    Ok(())
}

async fn a_mac_is_one_interfaces_in_the_whole_cloud(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    let id = insert_instance(&mut tx, &project, &[], None).await?;
    let mac = mac_of(ip("10.0.0.2"));
    interfaces::insert(&mut tx, &[interface(id, &network, 0, mac)]).await?;
    tx.commit().await?;
    for (index, mac) in [(1, mac), (0, mac_of(ip("10.0.0.3")))] {
        let mut tx = t.begin_planned().await?;
        let twin = interface(id, &network, index, mac);
        let error = interfaces::insert(&mut tx, &[twin]).await.unwrap_err();
        assert!(is_conflict(&error), "{error:?}");
    }
    Ok(())
}

async fn lists_of_the_living_leave_out_who_goes(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let (web, other) = (
        a_project(&mut tx, "web").await?,
        a_project(&mut tx, "other").await?,
    );
    let network = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    let mut ids = vec![];
    for (project, state) in [
        (&web, State::Pending),
        (&web, State::Running),
        (&web, State::Stopped),
        (&web, State::Error),
        (&web, State::Deleting),
        (&web, State::Terminated),
        (&other, State::Running),
    ] {
        let id = insert_instance(&mut tx, project, &[], None).await?;
        plug(&mut tx, id, &network).await?;
        instances::set_state(&mut tx, id, state, None).await?;
        ids.push(id);
    }
    let alive = [ids[0], ids[1], ids[2], ids[3], ids[6]];
    assert_eq!(instances::living(&mut tx).await?, alive);
    assert_eq!(
        instances::living_in_network(&mut tx, network.id).await?,
        alive
    );
    assert_eq!(
        instances::living_of_project(&mut tx, &web).await?,
        alive[..4]
    );
    assert_eq!(instances::deleting(&mut tx).await?, [ids[4]]);
    Ok(())
}

async fn a_state_is_kept_with_its_reason_and_a_reboot_is_counted(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let id = insert_instance(&mut tx, &project, &[], None).await?;
    instances::set_state(&mut tx, id, State::Error, Some("no image")).await?;
    let row = instances::by_id(&mut tx, id).await?.unwrap();
    assert_eq!(
        (row.state, row.detail.as_deref()),
        (State::Error, Some("no image"))
    );
    instances::set_state(&mut tx, id, State::Running, None).await?;
    instances::count_boot(&mut tx, id).await?;
    let row = instances::by_id(&mut tx, id).await?.unwrap();
    assert_eq!(
        (row.state, row.detail, row.boot, row.terminated_at),
        (State::Pending, None, 2, None)
    );
    for halted in [true, false] {
        instances::set_halted(&mut tx, id, halted).await?;
        let row = instances::by_id(&mut tx, id).await?.unwrap();
        assert_eq!((row.halted, row.is_stopping()), (halted, halted));
        let planned = views::instance(&mut tx, id).await?.unwrap();
        assert_eq!(planned.halted, halted);
    }
    instances::set_state(&mut tx, id, State::Terminated, None).await?;
    let row = instances::by_id(&mut tx, id).await?.unwrap();
    assert_eq!(row.terminated_at, Some(tx.now));
    Ok(())
}

async fn when_an_instance_was_first_running_is_not_forgotten_by_a_reboot(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let id = insert_instance(&mut tx, &project, &[], None).await?;
    instances::set_state(&mut tx, id, State::Running, None).await?;
    tx.now += Duration::from_secs(1);
    instances::set_state(&mut tx, id, State::Stopped, None).await?;
    instances::set_state(&mut tx, id, State::Running, None).await?;
    tx.commit().await?;
    assert_eq!(
        t.by_hand("UPDATE instances SET boot = 9 WHERE launched_at >= created_at + 1000000")
            .await?,
        0
    );
    assert_eq!(
        t.by_hand("UPDATE instances SET boot = 9 WHERE launched_at >= created_at")
            .await?,
        1
    );
    Ok(())
}

async fn a_forgotten_instance_leaves_its_address_and_nothing_else(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let front = groups::insert(&mut tx, &project, "alice", "front", "").await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    let id = insert_instance(&mut tx, &project, &[front], None).await?;
    plug(&mut tx, id, &network).await?;
    instances::forget(&mut tx, id).await?;
    assert_eq!(
        instances::by_id(&mut tx, id).await?.unwrap().state,
        State::Terminated
    );
    assert_eq!(interfaces::ports(&mut tx, id).await?, []);
    assert_eq!(groups::members(&mut tx, front).await?, []);
    assert_eq!(fixed_ips::in_use(&mut tx, network.id).await?, 0);
    let now = tx.now;
    assert_eq!(instances::purge(&mut tx, now).await?, 0, "it went just now");
    assert_eq!(
        instances::purge(&mut tx, now + Duration::from_micros(1)).await?,
        1
    );
    assert_eq!(instances::by_id(&mut tx, id).await?, None);
    Ok(())
}
