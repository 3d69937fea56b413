//! The host's own addresses and routes, as the links subsystem observes them: the cloud's ranges
//! must not conflict with them.

use crate::engine_support as cloud;
use crate::link::{State, inside, noticed, quiet, sh};
use crate::subsystem::{Driven, bridge, gateway, name};
use novanet_agent::link::{Links, host_addresses};
use novanet_agent::settings::Settings;
use novanet_lab::Host;
use novanet_model::HostAddresses;
use novanet_reconcile::Subsystem;

/// Every address and route, a line each.
fn lines(addresses: &HostAddresses) -> Vec<String> {
    let routes = addresses.routes.iter().map(ToString::to_string);
    let addresses = addresses.addresses.iter().map(ToString::to_string);
    addresses.chain(routes).collect()
}

#[test]
fn the_hosts_addresses_and_next_hops_are_seen_and_ours_are_not() {
    inside(|| async {
        let lan = Host::new("lan").unwrap();
        for nic in ["eth0", "eth1"] {
            sh(&format!(
                "ip link add dev {nic} type veth peer name lan{nic} netns {}; ip link set dev {nic} up",
                lan.pid()
            ));
            lan.sh(&format!("ip link set dev lan{nic} up")).unwrap();
        }
        sh("ip link set dev lo up; ip address add 203.0.113.2/24 dev eth0
            ip address add 203.0.113.77/32 dev lo; ip address add 192.0.2.10/24 dev eth1
            ip route add default via 203.0.113.1 dev eth0
            ip route add 10.77.0.0/16 via 192.0.2.1 dev eth1
            ip route add 10.78.0.0/16 nexthop via 203.0.113.8 dev eth0 nexthop via 203.0.113.9 dev eth0
            ip route add 172.31.0.0/16 dev eth0; ip route add blackhole 172.30.0.0/16");
        let expected = [
            "192.0.2.10/24 on eth1",
            "203.0.113.2/24 on eth0",
            "203.0.113.77/32 on lo",
            "a default route via 203.0.113.1 on eth0",
            "a route to 10.77.0.0/16 via 192.0.2.1 on eth1",
            "a route to 10.78.0.0/16 via 203.0.113.8 on eth0",
            "a route to 10.78.0.0/16 via 203.0.113.9 on eth0",
            "a route to 172.31.0.0/16 on eth0",
        ];
        let state = State::new();
        let settings = Settings {
            flat_interface: Some(name("eth1")),
            vlan_interface: name("eth0"),
            ..state.settings()
        };
        let seen = host_addresses(&settings).unwrap();
        assert_eq!(lines(&seen), expected);
        assert_eq!(seen.flat_interface, Some(name("eth1")));
        assert!(seen.vlans.is_empty());
        // A device of another kind has the name as well.
        sh(
            "for name in vlan171 vlan9999 vlan07; do ip link add dev $name type veth peer name p$name; done",
        );
        let seen = host_addresses(&settings).unwrap();
        assert_eq!(seen.vlans, [171].into());
        sh("ip link delete vlan171; ip link delete vlan9999; ip link delete vlan07");

        // A network with eth1 under its bridge, and a floating IP: neither is the host's own, and
        // the addresses that moved to the bridge are still eth1's.
        let mut links = Driven::new(Links::new(&settings).unwrap());
        links.want(&bridge(1, "br100"));
        links.want(&gateway(1, "br100", "10.0.0.1/24"));
        links.want(&cloud::float(7, 7));
        links.converge().await;
        assert!(sh("ip address show dev br100").contains("192.0.2.10/24"));
        let seen = links.subsystem.foreign_devices().unwrap().addresses.clone();
        assert_eq!(lines(&seen), expected);

        let changed_externally = links.subsystem.changed_externally();
        quiet(&changed_externally).await;
        sh("ip address add 10.0.0.9/24 dev br100");
        noticed(&changed_externally, "the host has another address").await;
        links.round().await;
        let seen = links.subsystem.foreign_devices().unwrap().addresses.clone();
        assert!(
            lines(&seen).contains(&"10.0.0.9/24 on br100".to_owned()),
            "{seen:?}"
        );
        quiet(&changed_externally).await;
        sh("ip address del 10.0.0.9/24 dev br100");
        noticed(&changed_externally, "the host has an address less").await;
        links.round().await;
        let seen = links.subsystem.foreign_devices().unwrap().addresses.clone();
        assert_eq!(lines(&seen), expected);
    });
}
