//! dnsmasq answers private names itself: no DNS server upstream gets a question about them.

use crate::dhcp_support::{Cloud, LIMIT};
use crate::link::{inside, sh};
use crate::subsystem::gateway;
use novanet_lab::Host;
use novanet_model::HostObject;
use novanet_model::object::Dhcp;
use std::net::UdpSocket;

/// The DNS server upstream.
const UPSTREAM: [u8; 4] = [192, 0, 2, 53];

fn ask(vm: &Host, name: &str) -> String {
    let said = vm
        .try_run(&["busybox", "nslookup", name, "10.0.0.1"])
        .unwrap();
    said.stdout + &said.stderr
}

#[test]
fn private_names_and_reverse_zones_are_answered_here_and_leak_to_no_server_outside() {
    inside(|| async {
        let mut cloud = Cloud::new().await;
        sh("ip addr add 192.0.2.53/32 dev lo");
        let upstream = UdpSocket::bind((std::net::Ipv4Addr::from(UPSTREAM), 53)).unwrap();
        upstream.set_read_timeout(Some(LIMIT)).unwrap();
        // A network of addresses that are not private, half of a zone.
        let HostObject::Dhcp(range) = crate::dhcp_support::range() else {
            unreachable!("a range");
        };
        let public = HostObject::Dhcp(Dhcp {
            network: novanet_model::NetworkId(2),
            server: [8, 8, 4, 1].into(),
            cidr: "8.8.4.0/25".parse().unwrap(),
            start: [8, 8, 4, 2].into(),
            dns: vec![UPSTREAM.into()],
            ..range
        });
        cloud.links.want(&gateway(2, "br100", "8.8.4.1/25"));
        cloud.links.converge().await;
        cloud.dhcp.want(&public);
        let vm = cloud.instance(1).await;
        cloud.bind(3, [10, 0, 0, 3], "web").await;
        vm.sh("ip addr add 10.0.0.9/24 dev eth0").unwrap();

        let known = ask(&vm, "10.0.0.3");
        assert!(known.contains("web.novalocal"), "{known}");
        for name in [
            "10.0.0.77",
            "10.255.1.1",
            "172.16.0.1",
            "172.31.255.254",
            "192.168.4.4",
            "169.254.169.254",
            "127.3.2.1",
            "8.8.4.77",
            "fd00:ec2::254",
            "fe80::1",
            "nobody.novalocal",
            "nobody",
        ] {
            let said = ask(&vm, name);
            assert!(said.contains("NXDOMAIN"), "{name}: {said}");
        }

        // The first question that the upstream server gets is this one, the last of the test.
        vm.sh("busybox nslookup 8.8.4.177 10.0.0.1 >/dev/null 2>&1 &")
            .unwrap();
        let mut query = [0; 512];
        let (length, _) = upstream.recv_from(&mut query).unwrap();
        let heard = String::from_utf8_lossy(&query[12..length]).into_owned();
        assert!(
            heard.starts_with("\u{3}177\u{1}4\u{1}8\u{1}8\u{7}in-addr"),
            "{heard:?}"
        );
    });
}
