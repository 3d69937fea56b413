//! What hosts report about their addresses, and what follows in other tables.

use super::seed::{a_network, insert_network, join};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::host_addresses::{HostAddress, HostAddresses};
use novanet_store::{fixed_ips, floating_ips, host_addresses};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

both! {
    a_report_is_kept_and_replaced,
    a_floating_ip_that_a_host_has_is_marked_until_the_host_lets_go_of_it,
    an_address_of_a_network_that_a_host_has_is_out_of_the_pool_until_it_is_free,
}

fn lan(address: &str) -> HostAddresses {
    HostAddresses {
        addresses: BTreeSet::from([HostAddress {
            address: address.parse().unwrap(),
            interface: "eth0".to_owned(),
        }]),
        ..HostAddresses::default()
    }
}

fn has(address: Ipv4Addr) -> host_addresses::HostReserved {
    BTreeMap::from([(address, format!("host h1 has {address}"))])
}

async fn a_report_is_kept_and_replaced(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    join(&mut tx, "h1").await?;
    join(&mut tx, "h2").await?;
    assert!(host_addresses::all(&mut tx).await?.is_empty());
    for address in ["192.0.2.2/24", "192.0.2.3/24"] {
        let report = lan(address);
        assert!(host_addresses::set(&mut tx, "h1", &report).await?);
        let expected = BTreeMap::from([("h1".to_owned(), report)]);
        assert_eq!(host_addresses::all(&mut tx).await?, expected);
    }
    assert!(!host_addresses::set(&mut tx, "h9", &lan("192.0.2.4/24")).await?);
    Ok(())
}

async fn a_floating_ip_that_a_host_has_is_marked_until_the_host_lets_go_of_it(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let address = Ipv4Addr::new(203, 0, 113, 2);
    floating_ips::insert(&mut tx, &[address], "nova", None).await?;
    host_addresses::mark_floating_ips(&mut tx, &has(address)).await?;
    let marked = floating_ips::by_address(&mut tx, address).await?.unwrap();
    assert_eq!(marked.conflict.as_deref(), Some("host h1 has 203.0.113.2"));
    host_addresses::mark_floating_ips(&mut tx, &BTreeMap::new()).await?;
    let free = floating_ips::by_address(&mut tx, address).await?.unwrap();
    assert_eq!(free.conflict, None);
    Ok(())
}

async fn an_address_of_a_network_that_a_host_has_is_out_of_the_pool_until_it_is_free(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    let address = Ipv4Addr::new(10, 0, 0, 9);
    host_addresses::reserve(&mut tx, &network, &has(address)).await?;
    let reserved = fixed_ips::reserved_ranges(&mut tx, network.id).await?;
    let of_host = |r: &&novanet_store::networks::Reserved| r.reason.starts_with("host ");
    let [range] = reserved.iter().filter(of_host).collect::<Vec<_>>()[..] else {
        panic!("{reserved:?}");
    };
    assert_eq!((range.first, range.last), (address, address));
    host_addresses::reserve(&mut tx, &network, &BTreeMap::new()).await?;
    let reserved = fixed_ips::reserved_ranges(&mut tx, network.id).await?;
    assert_eq!(reserved.iter().filter(of_host).count(), 0);
    let row = fixed_ips::by_address(&mut tx, network.id, address).await?;
    assert!(
        row.is_some_and(|f| !f.reserved),
        "only a row brings it back"
    );
    Ok(())
}
