//! Changes of networks' rows, and what follows from edited ones.

use super::seed::{
    self, a_network, a_project, allocate, insert_instance, insert_network, ip, with,
};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::NetworkKind;
use novanet_model::plan::CloudSettings;
use novanet_store::{
    PlanOwner, fixed_ips, host_addresses, network_change, networks, objects, plan, pool,
};
use std::collections::BTreeSet;

both! {
    a_changed_network_is_read_as_it_was_written,
    an_edited_range_takes_its_pool_with_it,
    a_reservation_has_one_address_and_one_mac_in_its_network,
    an_upgrade_keeps_networks_that_share_a_vlan_id_and_refuses_another,
}

async fn a_changed_network_is_read_as_it_was_written(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    let changed = with(network, |n| {
        "other".clone_into(&mut n.label);
        n.gateway = ip("10.0.0.9");
        n.dhcp_start = ip("10.0.0.20");
        n.dns = vec![ip("192.0.2.1")];
        n.bridge = "br7".parse().unwrap();
        n.bridge_interface = Some("eth7".parse().unwrap());
        n.vlan = Some(7);
        n.project = Some(project);
        n.host = Some("h1".to_owned());
    });
    network_change::update(&mut tx, &changed).await?;
    let there = networks::by_id(&mut tx, changed.id).await?;
    assert_eq!(there.as_ref(), Some(&changed));
    assert!(network_change::refit(&mut tx, &changed).await?);
    assert!(!network_change::refit(&mut tx, &changed).await?);
    let ranges = fixed_ips::reserved_ranges(&mut tx, changed.id).await?;
    let ends: Vec<_> = ranges.iter().map(|r| (r.first, r.last)).collect();
    let below = (ip("10.0.0.0"), ip("10.0.0.19"));
    assert_eq!(ends, [below, (ip("10.0.0.255"), ip("10.0.0.255"))]);
    let first = pool::allocate(&mut tx, &changed, 1).await?;
    assert_eq!(first[0].address, ip("10.0.0.20"));

    let owner = PlanOwner::Network(changed.id);
    let owners = BTreeSet::from([owner]);
    assert!(objects::of_owners(&mut tx, &owners).await?.is_empty());
    plan::replan(&mut tx, &CloudSettings::default(), [owner]).await?;
    let all = objects::of_owners(&mut tx, &owners).await?;
    let keys: Vec<&str> = all.keys().map(|(_, key)| key.0.as_str()).collect();
    assert_eq!(keys, ["bridge/1", "dhcp/1", "gateway/1"]);
    Ok(())
}

async fn an_edited_range_takes_its_pool_with_it(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    let one = insert_instance(&mut tx, &project, &[], None).await?;
    let (id, address) = allocate(&mut tx, &network).await?.expect("an address");
    let given = pool::Given {
        id,
        instance: one,
        interface: 1,
    };
    pool::give(&mut tx, &[given]).await?;
    assert_eq!(network_change::settle(&mut tx, network.id).await?, None);
    let user = network_change::user_of(&mut tx, network.id, address).await?;
    assert_eq!(user, Some(one));
    tx.commit().await?;
    t.by_hand(
        "UPDATE networks SET cidr = '10.7.0.0/24', gateway = '10.7.0.1', dhcp_start = '10.7.0.2'",
    )
    .await?;
    let mut tx = t.begin_planned().await?;
    // The instance keeps the network as it was last good.
    assert_eq!(network_change::settle(&mut tx, network.id).await?, None);
    pool::release_of(&mut tx, one).await?;
    let settled = network_change::settle(&mut tx, network.id).await?;
    let settled = settled.expect("its range is another");
    let next = pool::allocate(&mut tx, &settled, 1).await?;
    assert_eq!(next[0].address, ip("10.7.0.2"));
    Ok(())
}

async fn an_upgrade_keeps_networks_that_share_a_vlan_id_and_refuses_another(
    t: Fresh,
) -> Result<()> {
    let vlan = |cidr: &str, bridge: &str, id| {
        with(a_network(cidr), |n| {
            n.kind = NetworkKind::Vlan;
            n.bridge = bridge.parse().unwrap();
            n.vlan = Some(id);
            n.dhcp_start = u32::from(n.dhcp_start).saturating_add(1).into();
        })
    };
    let mut tx = t.begin_planned().await?;
    insert_network(&mut tx, vlan("10.0.0.0/24", "br1", 100)).await?;
    insert_network(&mut tx, vlan("10.1.0.0/24", "br2", 101)).await?;
    tx.commit().await?;
    // As an earlier release left it.
    t.by_hand("DROP INDEX networks_vlan").await?;
    t.by_hand("DROP INDEX networks_by_bridge").await?;
    t.by_hand("UPDATE networks SET vlan = 100").await?;
    t.by_hand("ALTER TABLE networks DROP COLUMN vlan_shared")
        .await?;
    t.by_hand("CREATE UNIQUE INDEX networks_vlan ON networks (id)")
        .await?;
    t.by_hand("DELETE FROM dirty").await?;
    t.by_hand("DELETE FROM _sqlx_migrations WHERE description = 'one vlan id'")
        .await?;
    t.migrate().await?;
    let mut tx = t.begin_planned().await?;
    let ids: Vec<_> = networks::list(&mut tx)
        .await?
        .iter()
        .map(|n| n.vlan)
        .collect();
    assert_eq!(ids, [Some(100), Some(100)]);
    let unowned = plan::take_dirty(&mut tx).await?;
    assert_eq!(unowned.len(), 2, "they have no host objects any more");
    tx.commit().await?;
    t.by_hand("UPDATE networks SET vlan = 102 WHERE id = 2")
        .await?;
    let mut tx = t.begin_planned().await?;
    let third = insert_network(&mut tx, vlan("10.2.0.0/24", "br3", 100)).await;
    assert!(third.is_err());
    Ok(())
}

async fn a_reservation_has_one_address_and_one_mac_in_its_network(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/29")).await?;
    let other = insert_network(&mut tx, a_network("10.0.1.0/29")).await?;
    let (here, there) = (ip("10.0.0.4"), ip("10.0.0.5"));
    let mac = seed::mac_of(here);
    assert!(pool::reserve(&mut tx, network.id, here).await?);
    assert!(fixed_ips::reserve_for(&mut tx, network.id, here, &mac).await?);
    assert!(fixed_ips::reserve_for(&mut tx, network.id, here, &mac).await?);
    let second = seed::mac_of(there);
    assert!(!fixed_ips::reserve_for(&mut tx, network.id, here, &second).await?);
    assert_eq!(
        fixed_ips::of_mac(&mut tx, network.id, &mac).await?,
        Some(here)
    );
    assert_eq!(fixed_ips::of_mac(&mut tx, other.id, &mac).await?, None);
    let all = fixed_ips::reservations(&mut tx, network.id).await?;
    assert_eq!((all.len(), all[0].mac, all[0].address), (1, mac, here));
    assert!(fixed_ips::set_leased(&mut tx, here, &mac.to_string(), true).await?);
    let row = fixed_ips::by_address(&mut tx, network.id, here).await?;
    let row = row.expect("reserved");
    assert_eq!((row.mac, row.leased), (Some(mac.to_string()), true));
    let ranges = fixed_ips::reserved_ranges(&mut tx, network.id).await?;
    assert_eq!(host_addresses::is_hosts(&ranges, ip("10.0.0.1")), None);
    assert!(pool::unreserve(&mut tx, network.id, here).await?);
    assert!(
        fixed_ips::reservations(&mut tx, network.id)
            .await?
            .is_empty()
    );
    Ok(())
}
