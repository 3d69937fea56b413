//! A network whose router is another machine, with a domain and options of its own.

use crate::dhcp_support::Cloud;
use crate::link::{inside, sh};
use crate::subsystem::{binding, dhcp};
use novanet_model::HostObject;
use novanet_model::object::Dhcp;

#[test]
fn instances_learn_another_router_and_the_networks_own_domain_and_options() {
    inside(|| async {
        let mut cloud = Cloud::new().await;
        let HostObject::Dhcp(range) = dhcp(2, "br100", "10.6.0.0/24", [10, 6, 0, 1]) else {
            unreachable!("a range");
        };
        let range = HostObject::Dhcp(Dhcp {
            router: Some([10, 6, 0, 254].into()),
            domain: "wire.example".to_owned(),
            options: vec!["ntp-server,10.6.0.9".parse().unwrap()],
            ..range
        });
        // The host's address comes with the range, as there is no gateway of ours.
        cloud.links.want(&range);
        cloud.links.converge().await;
        assert!(sh("ip -4 address show dev br100").contains("10.6.0.1/24"));
        assert!(!sh("ip address").contains("10.6.0.254"));
        cloud.dhcp.want(&range);
        let vm = cloud.instance(7).await;
        cloud
            .dhcp
            .want(&binding(2, "br100", 7, [10, 6, 0, 3], "far"));
        cloud.dhcp.converge().await;

        let script = "printf '#!/bin/sh\\n[ \"$1\" = bound ] && echo \"$ip $router $dns $domain \
                      $ntpsrv $staticroutes\"\\nexit 0\\n' >/run/script; chmod 755 /run/script";
        vm.sh(script).unwrap();
        let said = vm
            .sh("busybox udhcpc -i eth0 -f -n -q -t 20 -T 1 -O ntpsrv -O staticroutes -s /run/script 2>&1")
            .unwrap()
            .stdout;
        let expected = "10.6.0.3 10.6.0.254 10.6.0.1 wire.example 10.6.0.9 \
                        169.254.169.254/32 10.6.0.1 0.0.0.0/0 10.6.0.254";
        assert!(said.contains(expected), "{said}");

        // What comes with the range goes with it.
        cloud.dhcp.drop_object(&range);
        cloud
            .dhcp
            .drop_object(&binding(2, "br100", 7, [10, 6, 0, 3], "far"));
        cloud.dhcp.converge().await;
        cloud.links.drop_object(&range);
        cloud.links.converge().await;
        assert!(!sh("ip address").contains("10.6.0.1/24"));
    });
}
