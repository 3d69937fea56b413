//! Parents that cannot carry a VLAN, each named with the remedy. The kernel is asked for a device
//! last, so most of it holds without 802.1Q.

use crate::link::{State, inside, sh};
use crate::subsystem::name;
use novanet_lab::have8021q;
use novanet_model::HostObject;
use novanet_model::object::Bridge;

fn vlan(parent: &str, mtu: Option<u32>) -> HostObject {
    let HostObject::Bridge(bridge) = crate::subsystem::bridge(1, "br100") else {
        unreachable!("it makes a bridge");
    };
    HostObject::Bridge(Bridge {
        interface: Some(name(parent)),
        vlan: Some(100),
        mtu,
        ..bridge
    })
}

#[test]
fn a_parent_that_cannot_carry_a_vlan_is_named_with_the_remedy_and_left_as_it_is() {
    inside(|| async {
        sh(
            "ip link add eth1 type veth peer name far1; ip link add eth2 type veth peer name far2
            ip link add brx type bridge; ip link set dev eth2 master brx",
        );
        let cases = [
            (
                "eth9",
                None,
                "interface eth9 is not there, so VLAN 100 has no wire",
            ),
            (
                "brx",
                None,
                "interface brx is a bridge: VLAN 100 needs the interface of the trunk",
            ),
            ("eth2", None, "interface eth2 is a port of a bridge or bond"),
            (
                "eth1",
                Some(9000),
                "interface eth1 has MTU 1500, and the network of VLAN 100 has 9000: raise it \
                 (ip link set dev eth1 mtu 9000; on the switch too), or lower the network's",
            ),
        ];
        let parents = "ip -o link show dev eth2; ip -o link show dev brx; ip -o link show dev eth1";
        for (parent, mtu, words) in cases {
            let before = sh(parents);
            let state = State::new();
            let mut links = state.links();
            links.want(&vlan(parent, mtu));
            let failed = links.round().await;
            let said: Vec<_> = failed.iter().map(|(k, e)| format!("{k}: {e}")).collect();
            let named = said.iter().any(|line| line.contains(words));
            assert!(named, "{words}: {said:#?}");
            assert_eq!(sh(parents), before);
            assert!(!sh("ip link").contains("vlan100"));
            sh("ip link delete dev br100 2>/dev/null || true");
        }
        // One that is down is taken up: the kernel is the next to be asked.
        let state = State::new();
        let mut links = state.links();
        links.want(&vlan("eth1", Some(1500)));
        let failed = links.round().await;
        assert!(sh("ip -o link show dev eth1").contains(",UP"));
        if have8021q().unwrap() {
            links.converge().await;
        } else {
            let said = failed
                .iter()
                .map(|(_, e)| e.to_string())
                .collect::<String>();
            assert!(
                said.contains("this kernel has no 802.1Q (modprobe 8021q)"),
                "{said}"
            );
        }
    });
}
