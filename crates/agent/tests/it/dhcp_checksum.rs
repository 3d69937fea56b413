//! DHCP answers have a right UDP checksum or none: clients that check it read frames as they are on
//! the wire, where the kernel has not filled in what a card would.

use crate::dhcp_support::{Cloud, LIMIT, lease};
use crate::link::{inside, sh};
use novanet_lab::{DhcpClient, Wire, packet};

/// The checksum field of a DHCP answer, and the one that it should have; `None`: no such frame.
fn checksums(frame: &[u8]) -> Option<(u16, u16)> {
    let (head, ip) = frame.split_at_checked(14)?;
    if head[12..] != [8, 0] || ip.get(9) != Some(&17) {
        return None;
    }
    let length = usize::from(u16::from_be_bytes(*ip[2..].first_chunk()?));
    let mut udp = ip.get(20..length)?.to_vec();
    if udp[..4] != [0, 67, 0, 68] {
        return None;
    }
    let there = u16::from_be_bytes([udp[6], udp[7]]);
    udp[6..8].copy_from_slice(&[0, 0]);
    let pseudo = [&ip[12..20], &[0, 17], &udp[4..6], &udp].concat();
    Some((there, packet::checksum(&pseudo)))
}

#[test]
fn dhcp_answers_to_instances_have_no_wrong_udp_checksum_and_others_copies_keep_theirs() {
    inside(|| async {
        let (_cloud, hosts) = Cloud::guarded(&[3]).await;
        // A machine on the same wire that is not ours, as behind an enslaved uplink.
        sh("ip link add out0 type veth peer name out1 && \
            ip link set out0 up && ip link set out1 up && ip link set out0 master br100");
        let uplink = Wire::tap_here("out1").unwrap();
        let instance = Wire::tap(&hosts[0], "eth0").unwrap();

        // One answer to all, one to the instance alone, and a client of another make.
        let client = DhcpClient::on(&hosts[0], "eth0").unwrap();
        let own = client.obtain().unwrap();
        client.renew(&own).unwrap();
        lease(&hosts[0]).unwrap();

        let mut to_all = 0;
        let mut to_one = 0;
        let done = instance.find(LIMIT, |frame| {
            if let Some((there, right)) = checksums(frame) {
                assert!(
                    there == 0 || there == right,
                    "bad udp cksum {there:#06x}, not {right:#06x}"
                );
                if frame[..6] == packet::BROADCAST {
                    to_all += 1;
                } else {
                    to_one += 1;
                }
            }
            // The client by raw frames: an offer and an answer to all, a renewal; udhcpc: two to
            // it.
            (to_all >= 2 && to_one >= 3).then_some(())
        });
        assert_eq!(done.unwrap(), Some(()), "{to_all} to all, {to_one} to one");
        let copy = uplink.find(LIMIT, checksums).unwrap();
        let (there, _) = copy.expect("an answer to all reaches the uplink too");
        assert_ne!(there, 0);
    });
}
