//! What a host reports about its own addresses: when they change, and to each server anew.

use crate::engine_support as cloud;
use crate::engine_support::eventually;
use crate::protocol::{Agent, socket};
use crate::protocol_server::Cloud;
use novanet_model::HostAddresses;
use novanet_model::host_addresses::HostAddress;
use novanet_reconcile::fake::FakeHost;

fn at(address: &str) -> HostAddresses {
    let address = HostAddress {
        address: address.parse().unwrap(),
        interface: "eth0".to_owned(),
    };
    HostAddresses {
        addresses: [address].into(),
        ..HostAddresses::default()
    }
}

async fn reported(cloud: &Cloud, expected: &[HostAddresses]) {
    eventually("the reports", || {
        let reports = cloud.state().addresses.clone();
        if reports == expected {
            Ok(())
        } else {
            Err(reports)
        }
    })
    .await;
}

#[tokio::test]
async fn addresses_are_reported_when_they_change_and_to_a_server_that_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (host, cloud) = (FakeHost::new(), Cloud::new());
    host.lives_at(at("203.0.113.2/24"));
    cloud.change(&cloud::small_cloud(), &[]);
    let serving = cloud.serve(&socket(dir.path()));
    let agent = Agent::start(&host, dir.path(), None);
    reported(&cloud, &[at("203.0.113.2/24")]).await;

    // Heartbeats and rounds with changes report nothing; the next address is the next report.
    for version in 2..6 {
        let change = cloud.change(&[cloud::float(version, version)], &[]);
        eventually("the status", || {
            let last = cloud.state().statuses.last().map(|s| s.version);
            if last == Some(change) {
                Ok(())
            } else {
                Err(last)
            }
        })
        .await;
    }
    host.lives_at(at("203.0.113.3/24"));
    host.change_externally("links");
    let both = [at("203.0.113.2/24"), at("203.0.113.3/24")];
    reported(&cloud, &both).await;

    // Another server may have another database.
    drop(serving);
    let cloud = Cloud::new();
    cloud.change(&cloud::small_cloud(), &[]);
    let _serving = cloud.serve(&socket(dir.path()));
    reported(&cloud, &both[1..]).await;
    agent.stop().await;
}

#[tokio::test]
async fn my_ip_follows_the_address_that_the_host_leaves_with() {
    let dir = tempfile::tempdir().unwrap();
    let (host, cloud) = (FakeHost::new(), Cloud::new());
    cloud.change(&cloud::small_cloud(), &[]);
    let _serving = cloud.serve(&socket(dir.path()));
    let agent = Agent::start(&host, dir.path(), None);
    for address in ["203.0.113.2", "203.0.113.3"] {
        let address = address.parse().unwrap();
        host.leaves_with(address);
        host.change_externally("links");
        eventually("a hello from there", || {
            let last = cloud.state().hellos.last().map(|hello| hello.my_ip);
            if last == Some(address) {
                Ok(())
            } else {
                Err(last)
            }
        })
        .await;
    }
    agent.stop().await;
}
