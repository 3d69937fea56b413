//! Raw frames.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use novanet_lab::packet::{Arp, BROADCAST, Ends, Seen};
use novanet_lab::{Host, Wire, connect, in_network_of};

const LIMIT: Duration = Duration::from_secs(20);
const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const B: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// Two hosts on a cable; only `b` has an address, `a` speaks in raw frames.
fn pair() -> (Host, Host, Wire) {
    let (a, b) = (Host::new("a").unwrap(), Host::new("b").unwrap());
    connect(&a, "eth0", &b, "eth0").unwrap();
    b.run(&["ip", "address", "add", "192.0.2.2/24", "dev", "eth0"])
        .unwrap();
    let wire = Wire::tap(&a, "eth0").unwrap();
    (a, b, wire)
}

fn mac_of_b(wire: &Wire) -> [u8; 6] {
    wire.send(&Arp::question(wire.mac(), A, B).frame(wire.mac(), BROADCAST))
        .unwrap();
    let answer = wire.find(LIMIT, |frame| match Seen::parse(frame)? {
        Seen::Arp { arp, .. } if arp.answer && arp.sender == B => Some(arp.sender_mac),
        _ => None,
    });
    answer.unwrap().expect("an answer to ARP")
}

#[test]
fn a_kernel_answers_arp_and_ping_and_takes_datagrams_from_raw_frames() {
    let (_a, b, wire) = pair();
    let ends = Ends {
        from_mac: wire.mac(),
        to_mac: mac_of_b(&wire),
        from: A,
        to: B,
    };
    wire.send(&ends.ping(7, 1)).unwrap();
    let mut asked = false;
    let echo = wire.find(LIMIT, |frame| match Seen::parse(frame)? {
        // The kernel asks where the answer goes to.
        Seen::Arp { arp, from_mac, .. } if !arp.answer && arp.target == A => {
            asked = true;
            wire.send(&Arp::answer(wire.mac(), A, from_mac, B).frame(wire.mac(), from_mac))
                .unwrap();
            None
        }
        Seen::Ipv4 {
            ends,
            protocol: 1,
            payload,
        } => Some((ends.from, ends.to, payload[0])),
        _ => None,
    });
    assert_eq!(echo.unwrap(), Some((B, A, 0)), "asked: {asked}");

    let socket = b.exec_in(|| UdpSocket::bind((B, 9)).unwrap()).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    for payload in [&b"even"[..], b"odd"] {
        wire.send(&ends.udp(5, 9, payload)).unwrap();
        let mut buffer = [0; 100];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(
            (&buffer[..length], from.to_string()),
            (payload, "192.0.2.1:5".to_owned()),
            "with a checksum that holds"
        );
    }
}

#[test]
fn forged_addresses_are_sent_as_they_are_and_seen_on_the_other_side() {
    let (_a, b, wire) = pair();
    let other = Wire::tap(&b, "eth0").unwrap();
    let forged = [2, 0, 0, 0, 0, 0x66];
    let arp = Arp::answer(forged, B, BROADCAST, B);
    wire.send(&arp.frame(forged, BROADCAST)).unwrap();
    let seen = other.find(LIMIT, |frame| {
        Seen::parse(frame).filter(|seen| matches!(seen, Seen::Arp { .. }))
    });
    assert_eq!(
        seen.unwrap(),
        Some(Seen::Arp {
            from_mac: forged,
            to_mac: BROADCAST,
            arp
        })
    );
    let ends = Ends {
        from_mac: forged,
        to_mac: other.mac(),
        from: Ipv4Addr::new(198, 51, 100, 66),
        to: B,
    };
    wire.send(&ends.udp(1, 2, b"forged")).unwrap();
    let seen = other.find(LIMIT, |frame| {
        Seen::parse(frame).filter(|seen| matches!(seen, Seen::Udp { .. }))
    });
    assert_eq!(
        seen.unwrap(),
        Some(Seen::Udp {
            ends,
            from_port: 1,
            to_port: 2,
            payload: b"forged".to_vec()
        })
    );
}

#[test]
fn what_was_sent_from_here_is_not_heard_here_and_quiet_is_nothing() {
    let (_a, _b, wire) = pair();
    let mine = wire.mac();
    wire.send(&Arp::question(mine, A, Ipv4Addr::new(192, 0, 2, 99)).frame(mine, BROADCAST))
        .unwrap();
    let frames = wire.sniff(Duration::from_millis(50)).unwrap();
    assert!(
        frames.iter().all(|frame| frame[6..12] != mine),
        "{frames:?}"
    );
    assert!(
        Wire::tap_here("not-there")
            .unwrap_err()
            .to_string()
            .contains("not-there")
    );
}

#[test]
fn a_frame_that_is_cut_short_is_nothing() {
    let whole = Ends {
        from_mac: [1; 6],
        to_mac: [2; 6],
        from: A,
        to: B,
    }
    .udp(1, 2, &[7; 100]);
    assert!(Seen::parse(&whole).is_some());
    for length in 0..100 {
        assert_eq!(Seen::parse(&whole[..length]), None, "{length}");
    }
}

#[test]
fn the_network_of_any_process_can_be_entered() {
    let host = Host::new("other").unwrap();
    host.run(&["ip", "link", "add", "dev", "mark0", "type", "bridge"])
        .unwrap();
    assert!(in_network_of(host.pid(), || Wire::tap_here("mark0").is_ok()).unwrap());
    assert!(Wire::tap_here("mark0").is_err());
}
