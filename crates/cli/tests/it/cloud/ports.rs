//! Instances with a port in each of two networks: reachable by both addresses, as the image routes
//! what it sends from each by its own card.

use super::{Cloud, LONG};
use novanet_lab::eventually;

#[test]
fn an_instance_on_two_networks_is_reached_by_its_second_address() {
    let cloud = Cloud::up("").unwrap();
    cloud
        .sh("nova-manage network create 10.1.0.0/24 1 256 --kind flatdhcp --bridge br101")
        .unwrap();
    eventually(LONG, || {
        cloud.sh("ip -brief address show br101 | grep -q 10.1.0.1/")
    })
    .unwrap();
    for door in ["tcp --port 80", "icmp --port -1"] {
        let words = "authorize-security-group-ingress --group-name default --protocol";
        cloud
            .aws(&format!("{words} {door} --cidr 0.0.0.0/0"))
            .unwrap();
    }
    cloud
        .aws("run-instances --image-id ami-00000001 --instance-type m1.tiny --count 2")
        .unwrap();
    let float = cloud.aws("allocate-address --query PublicIp").unwrap();
    cloud
        .aws(&format!(
            "associate-address --instance-id i-00000001 --public-ip {float} --private-ip-address 10.1.0.2"
        ))
        .unwrap();
    cloud.reachable(&float).unwrap();

    // Inside an instance.
    let inside = |instance: u8, line: &str| {
        let state = format!("/var/lib/nova/instances/i-0000000{instance}/state.json");
        let pid = format!("sed -n 's/.*\"pid\":\\([0-9]*\\).*/\\1/p' {state}");
        cloud.sh(&format!("nsenter -t $({pid}) -n {line}"))
    };
    for address in ["10.0.0.2", "10.1.0.2"] {
        eventually(LONG, || inside(2, &format!("ping -c1 -W1 {address}")))
            .unwrap_or_else(|e| panic!("{e:#}\n{}", cloud.log()));
    }
    // From the second card's address to the first network's peer and back.
    eventually(LONG, || inside(2, "ping -c1 -W1 -I 10.1.0.3 10.0.0.2")).unwrap();
    let rules = inside(1, "ip rule show").unwrap();
    for rule in ["from 10.0.0.2 lookup 100", "from 10.1.0.2 lookup 101"] {
        assert!(rules.contains(rule), "{rules}");
    }
    cloud.settled().unwrap();
}
