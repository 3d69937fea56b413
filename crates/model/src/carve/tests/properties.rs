//! Random requests: carved networks fit between all existing ones.

use super::{request, row};
use crate::NetworkKind;
use crate::carve::{CarveError, Defaults, carve};
use crate::rows::Network;
use ipnet::Ipv4Net;
use proptest::prelude::*;
use std::net::Ipv4Addr;

fn kind() -> impl Strategy<Value = NetworkKind> {
    prop_oneof![
        Just(NetworkKind::Flat),
        Just(NetworkKind::FlatDhcp),
        Just(NetworkKind::Vlan)
    ]
}

/// Ranges in 10.0.0.0/20, so that they meet.
fn range() -> impl Strategy<Value = Ipv4Net> {
    (20_u8..=28, any::<u32>()).prop_map(|(prefix, bits)| {
        let at = Ipv4Addr::from(0x0a00_0000 | (bits & 0xfff));
        Ipv4Net::new(at, prefix).unwrap().trunc()
    })
}

fn calls() -> impl Strategy<Value = Vec<(NetworkKind, Ipv4Net, u32, u32)>> {
    proptest::collection::vec((kind(), range(), 1_u32..6, 3_u32..9), 1..12)
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// What must hold of one call's networks.
fn check_made(rows: &[Network], made: &[crate::carve::NewNetwork], range: Ipv4Net, size: u64) {
    for (i, net) in made.iter().enumerate() {
        assert!(range.contains(&net.cidr), "{} outside {range}", net.cidr);
        assert_eq!(1_u64 << (32 - net.cidr.prefix_len()), size);
        assert!(
            !rows.iter().any(|r| overlap(r.cidr, net.cidr)),
            "{} overlaps",
            net.cidr
        );
        assert!(
            !made[..i].iter().any(|m| overlap(m.cidr, net.cidr)),
            "{} twice",
            net.cidr
        );
        check_addresses(net);
        if net.kind == NetworkKind::Vlan {
            let same = |r: &&Network| {
                r.vlan == net.vlan
                    || r.bridge == net.bridge
                    || r.vpn_public_port == net.vpn_public_port
            };
            assert!(
                rows.iter().find(same).is_none(),
                "{:?} is not its own",
                net.vlan
            );
            assert_eq!(net.bridge.as_str(), format!("br{}", net.vlan.unwrap()));
        }
    }
}

/// Reserved ranges and the usable range make up the subnet, without a gap and without overlap.
fn check_addresses(net: &crate::carve::NewNetwork) {
    let mut reserved: u64 = 0;
    for (from, to) in &net.reserved {
        assert!(from <= to);
        reserved += u64::from(u32::from(*to) - u32::from(*from)) + 1;
    }
    let is_reserved = |a: Ipv4Addr| net.reserved.iter().any(|(from, to)| *from <= a && a <= *to);
    for special in [net.cidr.network(), net.cidr.broadcast(), net.gateway] {
        assert!(is_reserved(special), "{special} could be handed out");
    }
    assert!(net.vpn_private_address.is_none_or(is_reserved));
    assert!(!is_reserved(net.dhcp_start) && !is_reserved(net.last));
    let usable = (u32::from(net.dhcp_start)..=u32::from(net.last))
        .filter(|a| !is_reserved((*a).into()))
        .count() as u64;
    assert!(usable >= 1);
    assert_eq!(usable + reserved, 1 << (32 - net.cidr.prefix_len()));
}

proptest! {
    #[test]
    fn networks_never_overlap_lie_in_their_range_and_are_as_many_as_asked(calls in calls(), clients in 0_u32..4) {
        let defaults = Defaults { cnt_vpn_clients: clients, ..Defaults::default() };
        let mut rows: Vec<Network> = Vec::new();
        for (kind, range, num, bits) in calls {
            let size = 1_u64 << bits;
            let mut asked = request(kind, &range.to_string(), num, size);
            asked.bridge = match kind {
                NetworkKind::Vlan => None,
                other => Some(format!("br{other}").parse().unwrap()),
            };
            match carve(&asked, &rows, &defaults) {
                Ok(carved) => {
                    assert_eq!(carved.networks.len(), num as usize);
                    check_made(&rows, &carved.networks, range, size);
                    for new in &carved.networks {
                        rows.push(row(i64::try_from(rows.len()).unwrap() + 1, new));
                    }
                }
                // Without an existing network every request fits.
                Err(CarveError::Conflict(e)) => assert!(rows.iter().any(|r| overlap(r.cidr, range)), "{e}"),
                Err(CarveError::Invalid(_)) => {
                    let least = if kind == NetworkKind::Vlan { 5 + u64::from(clients) } else { 4 };
                    let total = 1_u64 << (32 - range.prefix_len());
                    assert!(size < least || size * u64::from(num) > total);
                }
            }
        }
    }
}
