//! DHCP and DNS with a real dnsmasq, a real client and real packets.

use crate::dhcp_support::{Cloud, LIMIT, WEB, ask, lease, mac_of, servers};
use crate::link::{inside, sh};
use crate::subsystem::{binding, dhcp, gateway};
use dhcproto::v4::{DhcpOption, Message, MessageType};
use dhcproto::{Decodable, Decoder, Encodable};
use novanet_model::HostObject;
use novanet_model::object::NO_INSTANCE;
use novanet_model::wire::LeaseChange;
use std::net::{Ipv4Addr, UdpSocket};

#[test]
fn an_instance_gets_its_address_and_its_name_and_a_stranger_gets_nothing() {
    inside(|| async {
        let mut cloud = Cloud::new().await;
        let pid = cloud.pid();
        let vm = cloud.instance(1).await;
        let stranger = cloud.instance(2).await;
        cloud.dhcp.want(&binding(1, "br100", 1, WEB, "web"));
        cloud.bind(9, [10, 0, 0, 9], "db").await;
        assert_eq!(
            pid,
            cloud.pid(),
            "a new binding does not restart the server"
        );
        assert_eq!(
            lease(&vm).unwrap(),
            "10.0.0.3 10.0.0.1 10.0.0.1 novalocal web"
        );
        cloud.told(LeaseChange::Leased, WEB, 1).await;
        vm.sh("ping -c1 -W2 10.0.0.1").unwrap();
        // Names answer, of instances that run and of those that do not yet.
        for (name, address) in [
            ("web.novalocal", "10.0.0.3"),
            ("db.novalocal", "10.0.0.9"),
            ("db", "10.0.0.9"),
        ] {
            let said = vm
                .sh(&format!("busybox nslookup {name} 10.0.0.1"))
                .unwrap()
                .stdout;
            assert!(said.contains(address), "{name}: {said}");
        }
        assert!(ask(&stranger, 1).is_err());
        cloud.dhcp.settled().await;
    });
}

#[test]
fn another_mac_gets_a_just_released_address_at_once() {
    inside(|| async {
        let mut cloud = Cloud::new().await;
        let first = cloud.instance(1).await;
        let second = cloud.instance(2).await;
        let third = cloud.instance(3).await;
        cloud.bind(1, WEB, "one").await;
        cloud.leased(&first, 1).await;

        // The owner changes in one step …
        cloud.bind(2, WEB, "two").await;
        // Long before a lease runs out (120 s).
        assert!(lease(&second).unwrap().starts_with("10.0.0.3 "));
        cloud.told(LeaseChange::Released, WEB, 1).await;
        cloud.told(LeaseChange::Leased, WEB, 2).await;

        // … or goes and another comes.
        cloud.unbind(2, WEB, "two").await;
        cloud.told(LeaseChange::Released, WEB, 2).await;
        cloud.bind(3, WEB, "three").await;
        assert!(lease(&third).unwrap().starts_with("10.0.0.3 "));
    });
}

#[test]
fn an_owner_that_changed_while_no_server_ran_does_not_keep_the_address() {
    inside(|| async {
        let mut cloud = Cloud::new().await;
        let first = cloud.instance(1).await;
        let second = cloud.instance(2).await;
        cloud.bind(1, WEB, "one").await;
        cloud.leased(&first, 1).await;
        cloud.end("KILL").await;
        cloud.bind(2, WEB, "two").await;
        assert!(lease(&second).unwrap().starts_with("10.0.0.3 "));
        cloud.told(LeaseChange::Released, WEB, 1).await;
    });
}

#[test]
fn networks_of_one_bridge_share_a_server() {
    inside(|| async {
        let mut cloud = Cloud::new().await;
        let second = dhcp(2, "br100", "10.9.0.0/16", [10, 9, 0, 1]);
        let vm = cloud.instance(7).await;
        cloud.links.want(&gateway(2, "br100", "10.9.0.1/16"));
        cloud.dhcp.want(&second);
        cloud
            .dhcp
            .want(&binding(2, "br100", 7, [10, 9, 3, 3], "far"));
        // The address first: the server would not answer DNS there.
        let failed = cloud.dhcp.round().await;
        assert!(
            failed[0]
                .1
                .to_string()
                .contains("does not have the server's address 10.9.0.1 yet"),
            "{}",
            failed[0].1
        );
        cloud.links.converge().await;
        cloud.dhcp.converge().await;
        assert_eq!(
            lease(&vm).unwrap(),
            "10.9.3.3 10.9.0.1 10.9.0.1 novalocal far"
        );
        assert_eq!(servers(), 1);
        cloud.dhcp.drop_object(&second);
        cloud
            .dhcp
            .drop_object(&binding(2, "br100", 7, [10, 9, 3, 3], "far"));
        cloud.dhcp.converge().await;
        assert_eq!(servers(), 1);
        let line = sh(&format!("tr '\\0' ' ' < /proc/{}/cmdline", cloud.pid()));
        assert!(!line.contains("10.9.0"), "{line}");
    });
}

#[test]
fn a_reserved_address_outside_of_the_range_is_leased_and_stays_when_the_server_is_another() {
    inside(|| async {
        let mut cloud = Cloud::new().await;
        let printer = cloud.instance(7).await;
        let mut high = dhcp(2, "br100", "10.9.0.0/16", [10, 9, 0, 1]);
        if let HostObject::Dhcp(range) = &mut high {
            range.start = [10, 9, 0, 100].into();
        }
        let mut reserved = binding(2, "br100", 7, [10, 9, 0, 9], "");
        if let HostObject::Binding(binding) = &mut reserved {
            binding.instance = NO_INSTANCE;
        }
        cloud.links.want(&gateway(2, "br100", "10.9.0.1/16"));
        cloud.links.converge().await;
        cloud.dhcp.want(&high);
        cloud.dhcp.want(&reserved);
        cloud.dhcp.converge().await;
        for _ in 0..2 {
            let got = lease(&printer).unwrap();
            assert!(got.starts_with("10.9.0.9 10.9.0.1 "), "{got}");
            cloud.told(LeaseChange::Leased, [10, 9, 0, 9], 7).await;
            cloud.end("KILL").await;
            cloud.dhcp.converge().await;
        }
    });
}

#[test]
fn a_renewal_sent_to_the_server_alone_is_answered() {
    inside(|| async {
        let (cloud, vm) = Cloud::with_web().await;
        lease(&vm).unwrap();
        let answer = vm.exec_in(renew).unwrap();
        assert_eq!(answer.opts().msg_type(), Some(MessageType::Ack));
        assert_eq!(answer.yiaddr(), Ipv4Addr::from(WEB));
        // A renewal is no news to the server of the cloud.
        cloud.told(LeaseChange::Leased, WEB, 1).await;
        assert_eq!(cloud.dhcp.subsystem.journal().pending().unwrap().len(), 1);
    });
}

/// RENEWING (RFC 2131 §4.3.2): a unicast REQUEST with the address in `ciaddr`, from the address.
fn renew() -> Message {
    let mut request = Message::default();
    request
        .set_chaddr(&mac_of(1).0)
        .set_ciaddr(WEB)
        .opts_mut()
        .insert(DhcpOption::MessageType(MessageType::Request));
    let socket = UdpSocket::bind("10.0.0.3:68").unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket
        .send_to(&request.to_vec().unwrap(), "10.0.0.1:67")
        .unwrap();
    let mut buffer = [0; 1500];
    let (length, _) = socket.recv_from(&mut buffer).unwrap();
    Message::decode(&mut Decoder::new(&buffer[..length])).unwrap()
}
