//! The address pool, promise by promise. `pool_model` tries it against a model.

use super::seed::{
    a_network, a_project, allocate, insert_instance, insert_network, ip, join, mac_of, plug,
    release,
};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::rows::Network;
use novanet_model::wire::ObjectError;
use novanet_model::{FixedIpId, InstanceId, Micros, NetworkId, ObjectKey};
use novanet_store::instances::State;
use novanet_store::networks::Reserved;
use novanet_store::{Tx, fixed_ips, hosts, instances, networks, pool};
use std::net::Ipv4Addr;
use std::time::Duration;

/// The next address, for any instance.
async fn next(tx: &mut Tx, network: &Network) -> Result<Option<Ipv4Addr>> {
    Ok(allocate(tx, network).await?.map(|(_, address)| address))
}

async fn small(tx: &mut Tx) -> Result<Network> {
    insert_network(tx, a_network("10.0.0.0/29")).await
}

/// The row id of an address.
async fn id_of(tx: &mut Tx, network: NetworkId, address: &str) -> Result<FixedIpId> {
    Ok(fixed_ips::by_address(tx, network, ip(address))
        .await?
        .expect("it has a row")
        .id)
}

async fn an_owner(tx: &mut Tx) -> Result<InstanceId> {
    let project = a_project(tx, "web").await?;
    insert_instance(tx, &project, &[], Some("h1")).await
}

both! {
    fresh_addresses_come_in_order_and_leave_out_what_is_reserved,
    when_nothing_is_fresh_the_address_that_is_free_for_longest_comes_back,
    a_freed_address_waits_until_every_fresh_one_is_gone,
    a_reserved_address_is_not_handed_out_until_it_is_unreserved,
    an_address_that_is_free_again_can_be_reserved_and_one_in_use_cannot,
    an_address_shows_who_has_it_until_it_is_released,
    addresses_are_listed_by_network_and_number_and_by_host,
    a_certain_address_can_be_taken_once_even_from_a_reserved_range,
    a_network_of_sixteen_million_addresses_has_no_row_until_one_is_given,
    the_highest_addresses_that_there_are_can_be_handed_out,
    a_projects_addresses_are_those_that_its_instances_have,
    many_addresses_at_once_are_those_that_one_by_one_would_be,
}

async fn fresh_addresses_come_in_order_and_leave_out_what_is_reserved(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let mut network = a_network("10.0.0.0/28");
    let range = |first, last| Reserved {
        first: ip(first),
        last: ip(last),
        reason: "test".to_owned(),
    };
    // Ranges that touch and lie within each other.
    let reserved = [
        range("10.0.0.0", "10.0.0.3"),
        range("10.0.0.4", "10.0.0.4"),
        range("10.0.0.7", "10.0.0.9"),
        range("10.0.0.8", "10.0.0.8"),
        range("10.0.0.13", "10.0.0.15"),
    ];
    network.id = networks::insert(&mut tx, &network, &reserved).await?;
    let mut given = vec![];
    while let Some(address) = next(&mut tx, &network).await? {
        given.push(address.octets()[3]);
    }
    assert_eq!(given, [5, 6, 10, 11, 12]);
    assert_eq!(next(&mut tx, &network).await?, None, "and stays empty");
    let found = fixed_ips::reserved_ranges(&mut tx, network.id).await?;
    assert_eq!(found, reserved);
    Ok(())
}

async fn when_nothing_is_fresh_the_address_that_is_free_for_longest_comes_back(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let network = small(&mut tx).await?;
    let mut ids = vec![];
    while let Some((id, _)) = allocate(&mut tx, &network).await? {
        ids.push(id);
    }
    assert_eq!(ids.len(), 5, "2 to 6");
    for (step, index) in [(1, 3), (2, 0), (3, 4)] {
        tx.now += Duration::from_micros(step);
        release(&mut tx, ids[index]).await?;
    }
    for last in [5, 2, 6] {
        assert_eq!(
            next(&mut tx, &network).await?,
            Some(Ipv4Addr::new(10, 0, 0, last))
        );
    }
    assert_eq!(next(&mut tx, &network).await?, None);
    Ok(())
}

async fn a_freed_address_waits_until_every_fresh_one_is_gone(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let network = small(&mut tx).await?;
    let (id, first) = allocate(&mut tx, &network).await?.unwrap();
    release(&mut tx, id).await?;
    for last in [3, 4, 5, 6] {
        assert_eq!(
            next(&mut tx, &network).await?,
            Some(Ipv4Addr::new(10, 0, 0, last))
        );
    }
    assert_eq!(next(&mut tx, &network).await?, Some(first));
    Ok(())
}

async fn a_reserved_address_is_not_handed_out_until_it_is_unreserved(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let network = small(&mut tx).await?;
    let other = insert_network(&mut tx, a_network("10.0.1.0/29")).await?;
    assert!(pool::reserve(&mut tx, network.id, ip("10.0.0.3")).await?);
    assert!(
        pool::reserve(&mut tx, network.id, ip("10.0.0.3")).await?,
        "twice is once"
    );
    let row = fixed_ips::by_address(&mut tx, network.id, ip("10.0.0.3"))
        .await?
        .unwrap();
    assert!(row.reserved && row.instance.is_none());
    let mut given = vec![];
    while let Some(address) = next(&mut tx, &network).await? {
        given.push(address.octets()[3]);
    }
    assert_eq!(given, [2, 4, 5, 6]);
    assert!(
        !pool::unreserve(&mut tx, other.id, ip("10.0.0.3")).await?,
        "another network's"
    );
    assert!(
        !pool::unreserve(&mut tx, network.id, ip("10.0.0.4")).await?,
        "not reserved"
    );
    assert!(pool::unreserve(&mut tx, network.id, ip("10.0.0.3")).await?);
    assert_eq!(next(&mut tx, &network).await?, Some(ip("10.0.0.3")));
    Ok(())
}

async fn an_address_that_is_free_again_can_be_reserved_and_one_in_use_cannot(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let network = small(&mut tx).await?;
    let owner = an_owner(&mut tx).await?;
    let (id, address) = plug(&mut tx, owner, &network).await?;
    assert!(!pool::reserve(&mut tx, network.id, address).await?);
    let held = allocate(&mut tx, &network).await?.unwrap();
    assert!(
        !pool::reserve(&mut tx, network.id, held.1).await?,
        "allocated, not yet given"
    );
    release(&mut tx, id).await?;
    assert!(pool::reserve(&mut tx, network.id, address).await?);
    while let Some(given) = next(&mut tx, &network).await? {
        assert_ne!(given, address);
    }
    Ok(())
}

async fn an_address_shows_who_has_it_until_it_is_released(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let network = small(&mut tx).await?;
    let owner = an_owner(&mut tx).await?;
    let (id, address) = plug(&mut tx, owner, &network).await?;
    assert!(fixed_ips::set_leased(&mut tx, address, &mac_of(address).to_string(), true).await?);
    let row = fixed_ips::by_address(&mut tx, network.id, address)
        .await?
        .unwrap();
    assert_eq!(
        (row.id, row.address, row.network),
        (id, address, network.id)
    );
    assert_eq!(row.instance, Some(owner));
    assert_eq!(row.hostname, Some(format!("i-{}", owner.0)));
    assert_eq!(
        (row.mac, row.host.as_deref()),
        (Some(mac_of(address).to_string()), Some("h1"))
    );
    assert_eq!((row.reserved, row.leased), (false, true));
    assert_eq!(fixed_ips::in_use(&mut tx, network.id).await?, 1);
    let before = fixed_ips::usage(&mut tx).await?[&network.id];
    assert_eq!(before.used, 1);
    assert!(pool::reserve(&mut tx, network.id, ip("10.0.0.6")).await?);
    let after = fixed_ips::usage(&mut tx).await?[&network.id];
    assert_eq!((after.used, after.kept), (1, before.kept + 1));
    let target = instances::target(&mut tx, owner).await?.unwrap();
    assert_eq!(target.project.as_str(), "web");
    assert_eq!(target.state, State::Pending);
    assert_eq!(target.addresses, [(id, address)]);
    assert_eq!(target.floats, []);
    assert_eq!(instances::target(&mut tx, InstanceId(99)).await?, None);

    let wrong = mac_of(ip("10.9.9.9")).to_string();
    assert!(
        !fixed_ips::set_leased(&mut tx, address, &wrong, false).await?,
        "another's news"
    );
    assert!(fixed_ips::set_leased(&mut tx, address, &mac_of(address).to_string(), false).await?);
    let without = async |tx: &mut Tx, since| {
        let web = "web".parse().unwrap();
        let of = fixed_ips::without_lease(tx, Some(&web), Some(owner), since).await?;
        assert_eq!(of, fixed_ips::without_lease(tx, None, None, since).await?);
        Ok::<_, anyhow::Error>(of.into_values().flatten().collect::<Vec<_>>())
    };
    let far = Micros::new(i64::MAX);
    let none: [Ipv4Addr; 0] = [];
    assert_eq!(without(&mut tx, far).await?, none, "it does not run");
    instances::set_state(&mut tx, owner, State::Running, None).await?;
    assert_eq!(without(&mut tx, far).await?, [address]);
    assert_eq!(
        without(&mut tx, Micros::new(0)).await?,
        none,
        "it runs since then only"
    );
    let error = ObjectError {
        key: ObjectKey(format!("port/{owner}/0", owner = owner.0)),
        message: "br100 is foreign".to_owned(),
    };
    join(&mut tx, "h1").await?;
    hosts::report(&mut tx, "h1", "epoch", 1, &[error]).await?;
    for asked in [None, Some(owner)] {
        let said = hosts::port_errors(&mut tx, asked).await?;
        assert_eq!(said[&owner], "br100 is foreign");
    }
    pool::release_of(&mut tx, owner).await?;
    assert_eq!(fixed_ips::in_use(&mut tx, network.id).await?, 0);
    let row = fixed_ips::by_address(&mut tx, network.id, address)
        .await?
        .unwrap();
    assert_eq!((row.instance, row.mac, row.leased), (None, None, false));
    assert_eq!(
        fixed_ips::by_address(&mut tx, network.id, ip("10.0.0.7")).await?,
        None
    );
    Ok(())
}

async fn addresses_are_listed_by_network_and_number_and_by_host(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let high = insert_network(&mut tx, a_network("10.0.9.0/24")).await?;
    let low = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    let owner = an_owner(&mut tx).await?;
    pool::reserve(&mut tx, low.id, ip("10.0.0.100")).await?;
    pool::reserve(&mut tx, low.id, ip("10.0.0.20")).await?;
    plug(&mut tx, owner, &high).await?;
    let all: Vec<String> = fixed_ips::list(&mut tx, "")
        .await?
        .iter()
        .map(|f| f.address.to_string())
        .collect();
    assert_eq!(
        all,
        ["10.0.9.2", "10.0.0.20", "10.0.0.100"],
        "numbers, not letters"
    );
    let on = fixed_ips::list(&mut tx, "h1").await?;
    assert_eq!(
        on.iter().map(|f| f.address).collect::<Vec<_>>(),
        [ip("10.0.9.2")]
    );
    assert_eq!(fixed_ips::list(&mut tx, "h2").await?, []);
    Ok(())
}

async fn a_certain_address_can_be_taken_once_even_from_a_reserved_range(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let network = small(&mut tx).await?;
    let (first, _) = allocate(&mut tx, &network).await?.unwrap();
    assert_eq!(
        pool::take(&mut tx, network.id, ip("10.0.0.2")).await?,
        None,
        "somebody has it"
    );
    let gateway = pool::take(&mut tx, network.id, ip("10.0.0.1")).await?;
    assert_eq!(gateway, Some(id_of(&mut tx, network.id, "10.0.0.1").await?));
    assert_eq!(pool::take(&mut tx, network.id, ip("10.0.0.1")).await?, None);
    assert!(
        pool::take(&mut tx, network.id, ip("10.0.0.4"))
            .await?
            .is_some()
    );
    release(&mut tx, first).await?;
    assert_eq!(
        pool::take(&mut tx, network.id, ip("10.0.0.2")).await?,
        Some(first)
    );
    pool::reserve(&mut tx, network.id, ip("10.0.0.3")).await?;
    assert_eq!(
        pool::take(&mut tx, network.id, ip("10.0.0.3")).await?,
        None,
        "kept out"
    );
    let mut given = vec![];
    while let Some(address) = next(&mut tx, &network).await? {
        given.push(address.octets()[3]);
    }
    assert_eq!(given, [5, 6]);
    Ok(())
}

async fn a_network_of_sixteen_million_addresses_has_no_row_until_one_is_given(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/8")).await?;
    assert_eq!(fixed_ips::list(&mut tx, "").await?, []);
    assert_eq!(next(&mut tx, &network).await?, Some(ip("10.0.0.2")));
    assert_eq!(fixed_ips::list(&mut tx, "").await?.len(), 1);
    Ok(())
}

async fn the_highest_addresses_that_there_are_can_be_handed_out(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let network = insert_network(&mut tx, a_network("255.255.255.248/29")).await?;
    let mut given = vec![];
    while let Some((id, address)) = allocate(&mut tx, &network).await? {
        assert_eq!(id_of(&mut tx, network.id, &address.to_string()).await?, id);
        given.push(address.octets()[3]);
    }
    assert_eq!(given, [250, 251, 252, 253, 254]);
    Ok(())
}

async fn a_projects_addresses_are_those_that_its_instances_have(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let network = small(&mut tx).await?;
    let owner = an_owner(&mut tx).await?;
    let web = "web".parse()?;
    assert_eq!(fixed_ips::count_of(&mut tx, &web).await?, 0);
    plug(&mut tx, owner, &network).await?;
    assert_eq!(fixed_ips::count_of(&mut tx, &web).await?, 1);
    pool::release_of(&mut tx, owner).await?;
    assert_eq!(fixed_ips::count_of(&mut tx, &web).await?, 0);
    Ok(())
}

async fn many_addresses_at_once_are_those_that_one_by_one_would_be(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    // One in the way of the cursor, taken by hand.
    assert!(pool::reserve(&mut tx, network.id, ip("10.0.0.5")).await?);
    let first = pool::allocate(&mut tx, &network, 100).await?;
    let numbers: Vec<u8> = first.iter().map(|a| a.address.octets()[3]).collect();
    let wanted: Vec<u8> = (2..103).filter(|n| *n != 5).collect();
    assert_eq!(numbers, wanted);
    // The rest of the fresh ones, then those that have been free for longest, then nothing.
    tx.now += Duration::from_micros(1);
    pool::release(&mut tx, &[first[7].id]).await?;
    tx.now += Duration::from_micros(1);
    pool::release(&mut tx, &[first[3].id, first[1].id]).await?;
    let rest = pool::allocate(&mut tx, &network, 153).await?;
    assert_eq!(rest.len(), 153);
    let end: Vec<Ipv4Addr> = rest[151..].iter().map(|a| a.address).collect();
    assert_eq!(end, [ip("10.0.0.254"), first[7].address]);
    let last = pool::allocate(&mut tx, &network, 5).await?;
    assert_eq!(last, [first[1], first[3]]);
    assert_eq!(pool::allocate(&mut tx, &network, 1).await?, []);
    Ok(())
}
