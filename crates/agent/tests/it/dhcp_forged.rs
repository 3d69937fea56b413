//! Root in an instance cannot forge DHCP messages of another instance. Raw frames leave
//! one instance's interface; the bridge shows which of them came through its port, and the other
//! instance's lease shows what they did.

use crate::dhcp_support::{Cloud, LIMIT, lease, mac_of};
use crate::link::inside;
use dhcproto::Encodable;
use dhcproto::v4::{DhcpOption, HType, Message, MessageType, Opcode};
use novanet_lab::packet::{self, Ends};
use novanet_lab::{DhcpClient, Host, Wire};
use novanet_model::wire::LeaseChange;
use std::net::Ipv4Addr;

const ATTACKER: u8 = 3;
const VICTIM: u8 = 4;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, number)
}

/// A message about the lease of `number`, with the client address of `chaddr`.
fn message(kind: MessageType, chaddr: u8, number: u8) -> Message {
    let mut message = Message::default();
    message.set_chaddr(&mac_of(chaddr).0);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(SERVER));
    if kind == MessageType::Release {
        message.set_ciaddr(address(number));
    } else {
        options.insert(DhcpOption::RequestedIpAddress(address(number)));
    }
    message
}

fn udp(message: &Message, from_port: u16, broadcast: bool) -> Vec<u8> {
    let bridge = novanet_agent::settings::Settings::bridge_mac(&crate::subsystem::name("br100"));
    let ends = if broadcast {
        Ends {
            from_mac: mac_of(ATTACKER).0,
            to_mac: packet::BROADCAST,
            from: Ipv4Addr::UNSPECIFIED,
            to: Ipv4Addr::BROADCAST,
        }
    } else {
        Ends {
            from_mac: mac_of(ATTACKER).0,
            to_mac: bridge.0,
            from: address(ATTACKER),
            to: SERVER,
        }
    };
    ends.udp(from_port, 67, &message.to_vec().unwrap())
}

/// A frame with another IP header in front of the same Ethernet addresses.
fn rebuilt(frame: &[u8], options: &[u8], flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut head = [&frame[14..34], options].concat();
    head[0] = 0x40 | u8::try_from(head.len() / 4).unwrap();
    let length = u16::try_from(head.len() + payload.len()).unwrap();
    head[2..4].copy_from_slice(&length.to_be_bytes());
    head[6..8].copy_from_slice(&flags.to_be_bytes());
    head[10..12].copy_from_slice(&[0, 0]);
    let sum = packet::checksum(&head);
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    [&frame[..14], &head, payload].concat()
}

/// The frame in two fragments, cut so many bytes behind its IP header.
fn fragments(frame: &[u8], at: usize) -> [Vec<u8>; 2] {
    const MORE: u16 = 0x2000;
    let payload = &frame[34..];
    [
        rebuilt(frame, &[], MORE, &payload[..at]),
        rebuilt(frame, &[], u16::try_from(at / 8).unwrap(), &payload[at..]),
    ]
}

/// Frames that must not come through the port, by their fault.
fn forged() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    use MessageType::{Decline, Release, Request};
    let release = udp(&message(Release, VICTIM, VICTIM), 68, false);
    let own = || message(Request, ATTACKER, ATTACKER);
    let mut relay = own();
    relay.set_giaddr(address(ATTACKER));
    let mut wireless = own();
    wireless.set_htype(HType::IEEE802);
    let mut long = own();
    long.set_chaddr(&[&mac_of(ATTACKER).0[..], &[0; 10]].concat());
    let mut reply = own();
    reply.set_opcode(Opcode::BootReply);
    vec![
        (
            "a decline",
            vec![udp(&message(Decline, VICTIM, VICTIM), 68, true)],
        ),
        ("a release", vec![release.clone()]),
        (
            "a request",
            vec![udp(&message(Request, VICTIM, VICTIM), 68, true)],
        ),
        ("a relay's address", vec![udp(&relay, 68, true)]),
        ("cut behind the ports", fragments(&release, 8).to_vec()),
        (
            "cut behind the client's address",
            fragments(&release, 248).to_vec(),
        ),
        (
            "IP options",
            vec![rebuilt(&release, &[1; 4], 0, &release[34..])],
        ),
        ("another kind of hardware", vec![udp(&wireless, 68, true)]),
        ("a longer hardware address", vec![udp(&long, 68, true)]),
        ("another source port", vec![udp(&own(), 4000, true)]),
        ("an answer", vec![udp(&reply, 68, true)]),
    ]
}

/// Which of these frames come through the port. A genuine request, sent last, marks the end.
fn passed(instance: &Wire, bridge: &Wire, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut last = message(MessageType::Request, ATTACKER, ATTACKER);
    last.set_secs(4711);
    let last = udp(&last, 68, true);
    for frame in frames.iter().chain([&last]) {
        instance.send(frame).unwrap();
    }
    let mut passed = Vec::new();
    let seen = bridge.find(LIMIT, |frame| {
        if *frame == *last {
            return Some(());
        }
        // A second fragment is harmless alone.
        let first = frame
            .get(20..22)
            .is_some_and(|flags| flags[1] == 0 && flags[0].trailing_zeros() >= 5);
        if frame.get(6..12) == Some(&mac_of(ATTACKER).0) && first {
            passed.push(frame.to_vec());
        }
        None
    });
    seen.unwrap().expect("a genuine request passes the port");
    passed
}

#[test]
fn an_instance_tells_the_dhcp_server_nothing_about_another_one() {
    inside(|| async {
        let (cloud, hosts) = Cloud::guarded(&[ATTACKER, VICTIM]).await;
        let [attacker, victim]: [Host; 2] = hosts.try_into().unwrap();

        // The server still answers genuine requests, also one with a client id.
        assert!(lease(&victim).unwrap().starts_with("10.0.0.4 "));
        cloud.told(LeaseChange::Leased, [10, 0, 0, 4], VICTIM).await;
        let client = DhcpClient::on(&attacker, "eth0").unwrap();
        let own = client.obtain().unwrap();
        assert_eq!(client.renew(&own).unwrap().address, address(ATTACKER));
        assert_eq!(own.address, address(ATTACKER));

        let bridge = Wire::tap_here("br100").unwrap();
        for (what, frames) in forged() {
            let passed = passed(client.wire(), &bridge, &frames);
            assert!(passed.is_empty(), "{what}: {passed:x?}");
        }

        // A genuine request but for the client id, which is the other instance's.
        for kind in [MessageType::Release, MessageType::Decline] {
            let mut named = message(kind, ATTACKER, VICTIM);
            let id = [&[1][..], &mac_of(VICTIM).0].concat();
            named.opts_mut().insert(DhcpOption::ClientIdentifier(id));
            client.wire().send(&udp(&named, 68, false)).unwrap();
        }

        // When the server has this request, it has all earlier ones, and the journal has its events
        // in their order: the other lease has not ended, and goes on.
        client.release(&own).unwrap();
        cloud
            .told(LeaseChange::Released, [10, 0, 0, 3], ATTACKER)
            .await;
        let events = cloud.dhcp.subsystem.journal().pending().unwrap();
        let lost = |event: &&novanet_model::wire::LeaseEvent| {
            event.event == LeaseChange::Released && event.address == address(VICTIM)
        };
        assert_eq!(events.iter().find(lost), None);
        let client = DhcpClient::on(&victim, "eth0").unwrap();
        let again = client.request_again(address(VICTIM)).unwrap();
        assert_eq!(again.address, address(VICTIM));
    });
}

#[test]
fn a_bridge_in_promiscuous_mode_gives_leases_as_before() {
    inside(|| async {
        let (_cloud, hosts) = Cloud::guarded(&[VICTIM]).await;
        // As tcpdump does it.
        crate::link::sh("ip link set dev br100 promisc on");
        assert!(lease(&hosts[0]).unwrap().starts_with("10.0.0.4 "));
    });
}
