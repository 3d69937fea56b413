//! Floating IPs.

use super::seed::{
    a_network, a_project, allocate, give, insert_instance, insert_network, interface, ip, mac_of,
    name, plug,
};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::FloatingIpId;
use novanet_model::rows::{FloatTarget, FloatingIp};
use novanet_store::{StoreError, Tx, floating_ips, instances, networks, pool};
use std::net::Ipv4Addr;
use std::time::Duration;

fn pool(last: std::ops::RangeInclusive<u8>) -> Vec<Ipv4Addr> {
    last.map(|n| Ipv4Addr::new(203, 0, 113, n)).collect()
}

async fn id_of(tx: &mut Tx, address: Ipv4Addr) -> Result<FloatingIpId> {
    Ok(floating_ips::by_address(tx, address)
        .await?
        .expect("it is there")
        .id)
}

both! {
    addresses_are_added_once_and_listed_by_number,
    the_first_address_within_a_range_is_found,
    a_project_gets_the_address_of_the_pool_that_is_free_for_longest,
    an_address_leads_to_the_instance_it_points_at,
    an_instance_with_two_addresses_tells_what_leads_to_them,
    a_released_address_forgets_everything,
    an_address_of_nobody_leads_nowhere_and_is_not_handed_out_without_the_clock,
    a_chosen_address_is_given_to_one_project_only,
    an_address_with_a_spoiled_interface_is_passed_over_named_and_given_back,
}

async fn addresses_are_added_once_and_listed_by_number(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    assert_eq!(floating_ips::insert(&mut tx, &[], "nova", None).await?, 0);
    let eth1 = "eth1".parse()?;
    assert_eq!(
        floating_ips::insert(&mut tx, &pool(100..=101), "nova", Some(&eth1)).await?,
        2
    );
    assert_eq!(
        floating_ips::insert(&mut tx, &pool(20..=101), "other", None).await?,
        80
    );
    let all = floating_ips::list(&mut tx).await?;
    assert_eq!(
        all.iter().map(|f| f.address).collect::<Vec<_>>(),
        pool(20..=101)
    );
    let kept = &all[80];
    let wanted = FloatingIp {
        id: kept.id,
        address: ip("203.0.113.100"),
        pool: "nova".to_owned(),
        interface: Some(eth1),
        bad_interface: None,
        project: None,
        conflict: None,
        fixed: None,
    };
    assert_eq!(*kept, wanted);
    assert_eq!(
        floating_ips::by_id(&mut tx, kept.id).await?,
        Some(wanted.clone())
    );
    assert_eq!(
        floating_ips::by_address(&mut tx, kept.address).await?,
        Some(wanted)
    );
    assert_eq!(
        floating_ips::by_address(&mut tx, ip("203.0.113.1")).await?,
        None
    );
    Ok(())
}

async fn a_project_gets_the_address_of_the_pool_that_is_free_for_longest(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    floating_ips::insert(&mut tx, &pool(1..=3), "nova", None).await?;
    floating_ips::insert(&mut tx, &pool(9..=9), "other", None).await?;
    for wanted in pool(1..=3) {
        assert_eq!(
            floating_ips::allocate(&mut tx, "nova", &project).await?,
            Some(wanted)
        );
    }
    assert_eq!(
        floating_ips::allocate(&mut tx, "nova", &project).await?,
        None
    );
    assert_eq!(floating_ips::count_of(&mut tx, &project).await?, 3);
    for address in [ip("203.0.113.3"), ip("203.0.113.1")] {
        tx.now += Duration::from_micros(1);
        let id = id_of(&mut tx, address).await?;
        floating_ips::release(&mut tx, id).await?;
    }
    let mine: Vec<_> = floating_ips::of_project(&mut tx, &project)
        .await?
        .iter()
        .map(|f| f.address)
        .collect();
    assert_eq!(mine, pool(2..=2));
    assert_eq!(
        floating_ips::allocate(&mut tx, "nova", &project).await?,
        Some(ip("203.0.113.3"))
    );
    assert_eq!(floating_ips::count_of(&mut tx, &name("nobody")).await?, 0);
    Ok(())
}

async fn an_address_leads_to_the_instance_it_points_at(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    networks::set_host(&mut tx, network.id, "gateway").await?;
    let instance = insert_instance(&mut tx, &project, &[], Some("h1")).await?;
    let (fixed_id, fixed) = plug(&mut tx, instance, &network).await?;
    floating_ips::insert(&mut tx, &pool(1..=2), "nova", None).await?;
    let address = floating_ips::allocate(&mut tx, "nova", &project)
        .await?
        .unwrap();
    let id = id_of(&mut tx, address).await?;
    let pointed = floating_ips::point(&mut tx, id, Some(fixed_id)).await?;
    let there = floating_ips::by_id(&mut tx, id).await?.unwrap();
    assert_eq!(pointed.as_ref(), Some(&there));
    let target = FloatTarget {
        address: fixed,
        instance,
        host: Some("gateway".to_owned()),
    };
    assert_eq!(there.fixed, Some(target));
    assert_eq!(
        floating_ips::of_instance(&mut tx, instance).await?,
        std::slice::from_ref(&there)
    );
    assert_eq!(
        floating_ips::of_network(&mut tx, network.id).await?,
        [there]
    );

    // The instance goes: the address still points at the row, which has no instance.
    pool::release_of(&mut tx, instance).await?;
    assert_eq!(floating_ips::by_id(&mut tx, id).await?.unwrap().fixed, None);
    let nowhere = floating_ips::point(&mut tx, id, None).await?;
    assert_eq!(nowhere, floating_ips::by_id(&mut tx, id).await?);
    assert_eq!(
        floating_ips::point(&mut tx, FloatingIpId(99), None).await?,
        None
    );
    assert_eq!(floating_ips::of_network(&mut tx, network.id).await?, []);
    Ok(())
}

async fn an_instance_with_two_addresses_tells_what_leads_to_them(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    let instance = insert_instance(&mut tx, &project, &[], Some("h1")).await?;
    let first = plug(&mut tx, instance, &network).await?;
    let second = allocate(&mut tx, &network).await?.unwrap();
    let port = interface(instance, &network, 1, mac_of(second.1));
    give(&mut tx, second.0, port).await?;
    let mut floats = Vec::new();
    for address in pool(1..=2) {
        floating_ips::insert(&mut tx, &[address], "nova", None).await?;
        floating_ips::allocate(&mut tx, "nova", &project).await?;
        let id = id_of(&mut tx, address).await?;
        floating_ips::point(&mut tx, id, Some(first.0)).await?;
        floats.push((id, address));
    }
    let target = instances::target(&mut tx, instance).await?.unwrap();
    assert_eq!(target.addresses, [first, second]);
    assert_eq!(target.floats, floats);
    Ok(())
}

async fn a_released_address_forgets_everything(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    let instance = insert_instance(&mut tx, &project, &[], None).await?;
    let (fixed_id, _) = plug(&mut tx, instance, &network).await?;
    floating_ips::insert(&mut tx, &pool(1..=1), "nova", None).await?;
    let address = floating_ips::allocate(&mut tx, "nova", &project)
        .await?
        .unwrap();
    let id = id_of(&mut tx, address).await?;
    assert!(!floating_ips::is_auto_assigned(&mut tx, id).await?);
    floating_ips::set_auto_assigned(&mut tx, id).await?;
    assert!(floating_ips::is_auto_assigned(&mut tx, id).await?);
    floating_ips::point(&mut tx, id, Some(fixed_id)).await?;
    assert!(!floating_ips::delete(&mut tx, id).await?, "somebody has it");
    floating_ips::release(&mut tx, id).await?;
    let free = floating_ips::by_id(&mut tx, id).await?.unwrap();
    assert_eq!((free.project, free.fixed), (None, None));
    assert!(!floating_ips::is_auto_assigned(&mut tx, id).await?);
    assert!(floating_ips::delete(&mut tx, id).await?);
    assert!(!floating_ips::delete(&mut tx, id).await?);
    assert!(!floating_ips::is_auto_assigned(&mut tx, id).await?, "gone");
    Ok(())
}

async fn an_address_of_nobody_leads_nowhere_and_is_not_handed_out_without_the_clock(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    let (fixed_id, _) = allocate(&mut tx, &network).await?.unwrap();
    floating_ips::insert(&mut tx, &pool(1..=1), "nova", None).await?;
    let id = id_of(&mut tx, ip("203.0.113.1")).await?;
    tx.commit().await?;
    let mut tx = t.begin_planned().await?;
    floating_ips::point(&mut tx, id, Some(fixed_id))
        .await
        .unwrap_err();
    drop(tx);
    let mut tx = t.begin_unplanned().await?;
    let error = floating_ips::allocate(&mut tx, "nova", &project)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    let error = pool::allocate(&mut tx, &network, 1).await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    Ok(())
}

async fn the_first_address_within_a_range_is_found(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    floating_ips::insert(&mut tx, &pool(20..=30), "nova", None).await?;
    for (range, first) in [
        ("203.0.113.0/24", Some("203.0.113.20")),
        ("203.0.113.24/29", Some("203.0.113.24")),
        ("203.0.113.30/32", Some("203.0.113.30")),
        ("203.0.113.16/30", None),
        ("203.0.113.32/27", None),
    ] {
        let found = floating_ips::first_within(&mut tx, range.parse()?).await?;
        assert_eq!(found, first.map(ip), "{range}");
    }
    Ok(())
}

async fn a_chosen_address_is_given_to_one_project_only(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let (web, other) = (
        a_project(&mut tx, "web").await?,
        a_project(&mut tx, "other").await?,
    );
    floating_ips::insert(&mut tx, &pool(1..=2), "nova", None).await?;
    let chosen = ip("203.0.113.2");
    assert!(!floating_ips::take(&mut tx, chosen, "elsewhere", &web).await?);
    assert!(floating_ips::take(&mut tx, chosen, "nova", &web).await?);
    assert!(!floating_ips::take(&mut tx, chosen, "", &other).await?);
    assert!(!floating_ips::take(&mut tx, ip("192.0.2.1"), "", &web).await?);
    assert_eq!(floating_ips::count_of(&mut tx, &web).await?, 1);
    Ok(())
}

async fn an_address_with_a_spoiled_interface_is_passed_over_named_and_given_back(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let web = a_project(&mut tx, "web").await?;
    floating_ips::insert(&mut tx, &pool(1..=3), "nova", None).await?;
    tx.commit().await?;
    t.by_hand("UPDATE floating_ips SET interface = 'a b' WHERE address <> '203.0.113.3'")
        .await?;
    let mut tx = t.begin_planned().await?;
    let third = floating_ips::allocate(&mut tx, "nova", &web).await?;
    assert_eq!(third, Some(ip("203.0.113.3")));
    assert_eq!(floating_ips::allocate(&mut tx, "nova", &web).await?, None);
    assert_eq!(floating_ips::count_of(&mut tx, &web).await?, 1);
    // It is listed like the others, and taken by who asks for it.
    let all = floating_ips::list(&mut tx).await?;
    assert_eq!(all.len(), 3);
    assert!(floating_ips::check(&all[2]).is_ok());
    let first = ip("203.0.113.1");
    assert!(floating_ips::take(&mut tx, first, "nova", &web).await?);
    let float = floating_ips::by_address(&mut tx, first).await?.unwrap();
    assert_eq!(float.bad_interface.as_deref(), Some("a b"));
    let error = floating_ips::check(&float).unwrap_err();
    assert!(error.remedy().unwrap().contains("db check"), "{error}");
    assert_eq!(
        error.to_string(),
        "floating_ip 1 (203.0.113.1): interface \"a b\": may have letters, digits, '.', '_', '-' and \
         ':' only, and not start with '-'"
    );
    floating_ips::release(&mut tx, float.id).await?;
    Ok(())
}
