//! A bridge of novanet's with foreign devices, addresses or routes on it is not removed.

use crate::link::{State, inside, sh};
use crate::subsystem::{bridge, gateway};
use novanet_reconcile::Desired;

#[test]
fn a_bridge_with_something_foreign_on_it_stays_and_the_error_has_the_reason() {
    inside(|| async {
        let state = State::new();
        let mut links = state.links();
        let ours = [bridge(1, "br100"), gateway(1, "br100", "10.0.0.1/24")];
        for object in &ours {
            links.want(object);
        }
        links.converge().await;
        sh(
            "ip link add dev fp0 type veth peer name far0; ip link set dev fp0 master br100; \
                ip address add 192.168.9.1/24 dev br100; ip address add 10.0.0.9/24 dev br100; \
                ip address add 2001:db8::1/64 dev br100 nodad; \
                ip route add 10.99.0.0/24 via 192.168.9.2 dev br100; \
                ip link set dev far0 up; ip link set dev fp0 up",
        );
        links.settled().await; // foreign parts are no difference while the bridge is wanted

        let why = "is kept, port fp0, address 192.168.9.1/24, address 10.0.0.9/24, \
                 address 2001:db8::1/64 and route 10.99.0.0/24 are on it and not novanet's: \
                 take them off (ip link set dev fp0 nomaster; \
                 ip address delete 192.168.9.1/24 dev br100; \
                 ip address delete 10.0.0.9/24 dev br100; \
                 ip address delete 2001:db8::1/64 dev br100; \
                 ip route delete 10.99.0.0/24 dev br100), the next try removes the bridge";
        for object in &ours {
            links.drop_object(object);
        }
        let planned = links.changes().await;
        let planned = planned.iter().find(|c| c.key.to_string() == "bridge br100");
        assert_eq!(planned.unwrap().from.as_ref().unwrap().to_string(), why);

        let failed = links.round().await;
        let failed: Vec<_> = failed.iter().map(|(k, e)| format!("{k}: {e}")).collect();
        assert_eq!(failed, [format!("bridge br100: bridge br100 {why}")]);
        // Novanet's address is removed; the foreign ones stay, also in the network of that address.
        let left = sh("ip address show dev br100; ip route; bridge link");
        assert!(!left.contains("10.0.0.1/24"), "{left}");
        for there in ["192.168.9.1/24", "10.0.0.9/24", "10.99.0.0/24 via", "fp0"] {
            assert!(left.contains(there), "{there} in {left}");
        }

        sh(
            "ip link set dev fp0 nomaster; ip address delete 192.168.9.1/24 dev br100; \
                ip address delete 10.0.0.9/24 dev br100; \
                ip address delete 2001:db8::1/64 dev br100",
        );
        links.converge().await;
        assert!(!sh("ip link").contains("br100"));
    });
}

#[test]
fn a_device_above_a_bridge_blocks_its_removal_too() {
    inside(|| async {
        let state = State::new();
        let mut links = state.links();
        links.want(&bridge(1, "br100"));
        links.converge().await;
        sh("ip link add link br100 name top0 type macvlan");
        links.desired = Desired::new(Vec::new());
        let failed = links.round().await;
        assert_eq!(
            failed[0].1.to_string(),
            "bridge br100 is kept, macvlan top0 is on it and not novanet's: \
                 take it off (ip link delete dev top0), the next try removes the bridge"
        );
        sh("ip link delete dev top0");
        links.converge().await;
    });
}
