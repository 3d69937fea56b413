//! By example: the manual's commands, and every refusal with its words.

use super::{made, request};
use crate::IfName;
use crate::NetworkKind::{Flat, FlatDhcp, Vlan};
use crate::carve::{Defaults, Request, carve, parse_range};
use crate::rows::Network;

/// One line per network, or the error.
fn check(request: &Request, existing: &[Network]) -> String {
    match carve(request, existing, &Defaults::default()) {
        Err(error) => format!("{error}"),
        Ok(carved) => carved
            .notes
            .iter()
            .map(|n| format!("note: {n}"))
            .chain(carved.networks.iter().map(|n| {
                let reserved: Vec<String> =
                    n.reserved.iter().map(|(a, b)| format!("{a}-{b}")).collect();
                format!(
                    "{} {} gw {} start {} last {} {} vlan {:?} vpn {:?}:{:?} reserved {}",
                    n.label,
                    n.cidr,
                    n.gateway,
                    n.dhcp_start,
                    n.last,
                    n.bridge,
                    n.vlan,
                    n.vpn_private_address,
                    n.vpn_public_port,
                    reserved.join(" ")
                )
            }))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

#[test]
fn a_flat_network_reserves_network_gateway_and_broadcast() {
    insta::assert_snapshot!(check(&request(FlatDhcp, "10.0.0.0/24", 1, 256), &[]), @"private 10.0.0.0/24 gw 10.0.0.1 start 10.0.0.2 last 10.0.0.254 br100 vlan None vpn None:None reserved 10.0.0.0-10.0.0.1 10.0.0.255-10.0.0.255");
}

#[test]
fn the_manuals_four_vlan_networks_get_four_vlans_bridges_and_ports() {
    let rows = made(&[
        request(Vlan, "10.1.171.0/24", 1, 256),
        request(Vlan, "10.1.172.0/24", 1, 256),
        request(Vlan, "10.1.173.0/24", 1, 256),
    ]);
    insta::assert_snapshot!(check(&request(Vlan, "10.1.174.0/24", 1, 256), &rows), @"private 10.1.174.0/24 gw 10.1.174.1 start 10.1.174.3 last 10.1.174.254 br103 vlan Some(103) vpn Some(10.1.174.2):Some(1003) reserved 10.1.174.0-10.1.174.2 10.1.174.255-10.1.174.255");
}

#[test]
fn vpn_clients_and_broadcast_are_reserved_at_the_top() {
    let defaults = Defaults {
        cnt_vpn_clients: 5,
        ..Defaults::default()
    };
    let carved = carve(&request(Vlan, "10.0.0.0/24", 1, 256), &[], &defaults).unwrap();
    let text = format!("{:?}", carved.networks[0].reserved);
    assert_eq!(text, "[(10.0.0.0, 10.0.0.2), (10.0.0.250, 10.0.0.255)]");
}

#[test]
fn a_second_call_slides_past_what_exists() {
    let rows = made(&[request(FlatDhcp, "192.168.0.0/24", 2, 32)]);
    insta::assert_snapshot!(check(&request(FlatDhcp, "192.168.0.0/24", 2, 32), &rows), @r"
    private_0 192.168.0.64/27 gw 192.168.0.65 start 192.168.0.66 last 192.168.0.94 br100 vlan None vpn None:None reserved 192.168.0.64-192.168.0.65 192.168.0.95-192.168.0.95
    private_1 192.168.0.96/27 gw 192.168.0.97 start 192.168.0.98 last 192.168.0.126 br100 vlan None vpn None:None reserved 192.168.0.96-192.168.0.97 192.168.0.127-192.168.0.127
    ");
}

#[test]
fn a_bridge_cannot_have_the_name_of_an_interface_of_the_hosts() {
    let name = |text: &str| IfName::new(text).unwrap();
    let defaults = Defaults {
        interfaces: vec![
            ("public_interface", name("pub")),
            ("flat_interface", name("eth1")),
            ("vlan_interface", name("eth2")),
        ],
        ..Defaults::default()
    };
    let said = |kind, bridge: &str| {
        let mut request = request(kind, "10.0.0.0/24", 1, 256);
        request.bridge = Some(name(bridge));
        request.bridge_interface = Some(name("eth3"));
        match carve(&request, &[], &defaults) {
            Ok(_) => "made".to_owned(),
            Err(e) => e.to_string(),
        }
    };
    insta::assert_snapshot!(said(FlatDhcp, "pub"), @r#"bridge "pub": is the interface of the flag public_interface, and the bridge is made by the hosts: choose another name, such as br100"#);
    insta::assert_snapshot!(said(FlatDhcp, "eth1"), @r#"bridge "eth1": is the interface of the flag flat_interface, and the bridge is made by the hosts: choose another name, such as br100"#);
    insta::assert_snapshot!(said(Vlan, "eth2"), @r#"bridge "eth2": is the interface of the flag vlan_interface, and the bridge is made by the hosts: choose another name, such as br100"#);
    insta::assert_snapshot!(said(FlatDhcp, "eth3"), @r#"bridge "eth3": is the interface to put into it: choose another name"#);
    insta::assert_snapshot!(said(FlatDhcp, "nv1"), @r#"bridge "nv1": begins as the instances' cables do (nv): choose another name, such as br100"#);
    insta::assert_snapshot!(said(Flat, "lo"), @r#"bridge "lo": is the loopback: choose another name, such as br100"#);
    assert_eq!(said(Flat, "pub"), "made", "the administrator made it");
    assert_eq!(said(FlatDhcp, "br100"), "made");
}

#[test]
fn a_bridge_of_the_administrator_is_none_of_ours() {
    let on = |kind, range: &str, bridge: &str| Request {
        bridge: Some(IfName::new(bridge).unwrap()),
        ..request(kind, range, 1, 256)
    };
    for (first, second) in [(Flat, FlatDhcp), (FlatDhcp, Flat)] {
        let rows = made(&[on(first, "10.0.0.0/24", "br100")]);
        let said = check(&on(second, "10.1.0.0/24", "br100"), &rows);
        let expected = format!("bridge \"br100\": is the bridge of {first} network 1 (private); ");
        assert!(said.starts_with(&expected), "{said}");
        let elsewhere = check(&on(second, "10.1.0.0/24", "br101"), &rows);
        assert!(!elsewhere.contains("bridge"), "{elsewhere}");
        let same = check(&on(first, "10.1.0.0/24", "br100"), &rows);
        assert!(!same.contains("bridge"), "{same}");
    }
}

#[test]
fn what_is_in_the_way_is_named() {
    let rows = made(&[request(FlatDhcp, "10.0.0.0/24", 1, 256)]);
    insta::assert_snapshot!(check(&request(FlatDhcp, "10.0.0.0/24", 1, 256), &rows), @r#"fixed_range_v4 "10.0.0.0/24": cidr already in use: 10.0.0.0/24 is network 1 (private); 0 of the 1 /24 asked for are free here: choose another range"#);
    insta::assert_snapshot!(check(&request(FlatDhcp, "10.0.0.0/8", 1, 1 << 24), &rows), @r#"fixed_range_v4 "10.0.0.0/8": requested cidr (10.0.0.0/8) conflicts with existing smaller cidr (10.0.0.0/24), network 1 (private); 0 of the 1 /8 asked for are free here: choose another range"#);
    insta::assert_snapshot!(check(&request(FlatDhcp, "10.0.0.0/24", 2, 32), &rows), @r#"fixed_range_v4 "10.0.0.0/24": requested cidr (10.0.0.0/27) conflicts with existing supernet (10.0.0.0/24), network 1 (private): choose a range outside it"#);
}

#[test]
fn networks_on_one_bridge_of_ours_have_one_mtu() {
    let with = |kind, range, mtu, bridge: &str| Request {
        mtu,
        bridge: Some(IfName::new(bridge).unwrap()),
        ..request(kind, range, 1, 256)
    };
    let rows = made(&[with(FlatDhcp, "10.0.0.0/24", Some(1400), "br100")]);
    let said = |kind, mtu, bridge| check(&with(kind, "10.1.0.0/24", mtu, bridge), &rows);
    insta::assert_snapshot!(said(FlatDhcp, Some(9000), "br100"), @r#"mtu "9000": network 1 (private) has 1400 on bridge br100, which is one device: give the same mtu, or choose another bridge with --bridge"#);
    insta::assert_snapshot!(said(FlatDhcp, None, "br100"), @r#"mtu "the hosts' own": network 1 (private) has 1400 on bridge br100, which is one device: give the same mtu, or choose another bridge with --bridge"#);
    for (kind, mtu, bridge) in [
        (FlatDhcp, Some(1400), "br100"),
        (FlatDhcp, Some(9000), "br101"),
    ] {
        let said = said(kind, mtu, bridge);
        assert!(!said.contains("mtu"), "{said}");
    }
    let unset = made(&[with(FlatDhcp, "10.0.0.0/24", None, "br100")]);
    insta::assert_snapshot!(check(&with(FlatDhcp, "10.1.0.0/24", Some(1400), "br100"), &unset), @r#"mtu "1400": network 1 (private) has the hosts' own on bridge br100, which is one device: give the same mtu, or choose another bridge with --bridge"#);
}

#[test]
fn a_range_that_cannot_be_is_refused_with_the_remedy() {
    let refused = |text: &str| parse_range(text).unwrap_err().to_string();
    insta::assert_snapshot!(refused("10.0.0"), @r#"fixed_range_v4 "10.0.0": must look like 10.0.0.0/24"#);
    insta::assert_snapshot!(refused("10.0.0.5/24"), @r#"fixed_range_v4 "10.0.0.5/24": has host bits set: did you mean 10.0.0.0/24?"#);
    insta::assert_snapshot!(refused("10.0.0.0/33"), @r#"fixed_range_v4 "10.0.0.0/33": must look like 10.0.0.0/24"#);
    insta::assert_snapshot!(refused("10.0.0.0/31"), @r#"fixed_range_v4 "10.0.0.0/31": is too small: a network needs 4 addresses (/30) or more, this has 2"#);
    insta::assert_snapshot!(refused("169.254.0.0/16"), @r#"fixed_range_v4 "169.254.0.0/16": overlaps 169.254.0.0/16 (link-local, where the metadata service is): use private addresses, e.g. from 10.0.0.0/8"#);
    insta::assert_snapshot!(refused("0.0.0.0/0"), @r#"fixed_range_v4 "0.0.0.0/0": overlaps 0.0.0.0/8 ("this network"): use private addresses, e.g. from 10.0.0.0/8"#);
}

#[test]
fn sizes_that_cannot_be_are_refused_with_the_remedy() {
    insta::assert_snapshot!(check(&request(FlatDhcp, "10.0.0.0/24", 1, 100), &[]), @r#"network_size "100": must be a power of two, e.g. 64 or 128"#);
    insta::assert_snapshot!(check(&request(FlatDhcp, "10.0.0.0/24", 1, 0), &[]), @r#"network_size "0": must be a power of two, e.g. 1 or 2"#);
    insta::assert_snapshot!(check(&request(FlatDhcp, "10.0.0.0/24", 1, 2), &[]), @r#"network_size "2": is too small: a flatdhcp network keeps 3 addresses for itself, so 4 is the least"#);
    insta::assert_snapshot!(check(&request(Vlan, "10.0.0.0/24", 1, 4), &[]), @r#"network_size "4": is too small: a vlan network keeps 4 addresses for itself, so 8 is the least"#);
    insta::assert_snapshot!(check(&request(FlatDhcp, "10.0.0.0/24", 9, 32), &[]), @r#"fixed_range_v4 "10.0.0.0/24": network range is not big enough to fit 9 networks. Network size is 32: the range has 256 addresses, so at most 8 of them"#);
    insta::assert_snapshot!(check(&request(FlatDhcp, "10.0.0.0/24", 0, 32), &[]), @r#"num_networks "0": must be 1 to 65536"#);
}

#[test]
fn vlans_and_ports_that_cannot_be_are_refused_with_the_remedy() {
    let rows = made(&[request(Vlan, "10.0.0.0/24", 1, 256)]);
    let with = |vlan, vpn_port, bridge: Option<&str>| Request {
        vlan,
        vpn_port,
        bridge: bridge.map(|b| b.parse().unwrap()),
        ..request(Vlan, "10.0.1.0/24", 1, 256)
    };
    insta::assert_snapshot!(check(&with(Some(100), None, None), &rows), @r#"vlan "100": is already in use by network 1 (private): choose another, or leave it out for the next free one"#);
    insta::assert_snapshot!(check(&with(Some(0), None, None), &rows), @r#"vlan "0": must be 1 to 4094"#);
    insta::assert_snapshot!(check(&with(Some(4095), None, None), &rows), @r#"vlan "4095": must be 1 to 4094"#);
    insta::assert_snapshot!(check(&with(None, Some(1000), None), &rows), @r#"vpn "1000": is the port of another VPN: choose another, or leave it out for the next free one"#);
    insta::assert_snapshot!(check(&with(None, None, Some("br100")), &rows), @r#"bridge "br100": is the bridge of network 1 (private): a VLAN network needs its own"#);
    insta::assert_snapshot!(check(&Request { vlan: Some(4094), ..request(Vlan, "10.0.0.0/16", 2, 256) }, &[]), @r#"vlan "4094": 2 networks from here would pass VLAN id 4094, the last"#);
    insta::assert_snapshot!(check(&request(FlatDhcp, "10.0.1.0/24", 1, 256), &rows), @r#"bridge "br100": is the bridge of VLAN network 1 (private): choose another with --bridge"#);
    insta::assert_snapshot!(check(&Request { vlan: Some(7), ..request(Flat, "10.0.1.0/24", 1, 256) }, &rows), @r#"vlan "7": a flat network has no VLAN: leave it out or choose VlanManager"#);
}

#[test]
fn one_vlan_network_may_choose_its_bridge_as_the_manual_did_by_sql() {
    let asked = Request {
        vlan: Some(171),
        bridge: Some("br_171".parse().unwrap()),
        gateway: Some("10.1.171.7".parse().unwrap()),
        ..request(Vlan, "10.1.171.0/24", 1, 256)
    };
    insta::assert_snapshot!(check(&asked, &[]), @"private 10.1.171.0/24 gw 10.1.171.7 start 10.1.171.3 last 10.1.171.254 br_171 vlan Some(171) vpn Some(10.1.171.2):Some(1000) reserved 10.1.171.0-10.1.171.2 10.1.171.7-10.1.171.7 10.1.171.255-10.1.171.255");
    let several = Request {
        bridge: asked.bridge,
        ..request(Vlan, "10.0.0.0/16", 2, 256)
    };
    insta::assert_snapshot!(check(&several, &[]), @r"
    note: bridge br_171 not used: each of several VLAN networks gets its own, br<vlan>
    private_0 10.0.0.0/24 gw 10.0.0.1 start 10.0.0.3 last 10.0.0.254 br100 vlan Some(100) vpn Some(10.0.0.2):Some(1000) reserved 10.0.0.0-10.0.0.2 10.0.0.255-10.0.0.255
    private_1 10.0.1.0/24 gw 10.0.1.1 start 10.0.1.3 last 10.0.1.254 br101 vlan Some(101) vpn Some(10.0.1.2):Some(1001) reserved 10.0.1.0-10.0.1.2 10.0.1.255-10.0.1.255
    ");
}

#[test]
fn a_vlan_id_is_one_network_of_the_cloud_on_whatever_wire() {
    let rows = made(&[Request {
        vlan: Some(7),
        ..request(Vlan, "10.0.0.0/24", 1, 256)
    }]);
    let other = Request {
        vlan: Some(7),
        bridge: Some("br7b".parse().unwrap()),
        bridge_interface: Some("eth1".parse().unwrap()),
        ..request(Vlan, "10.0.1.0/24", 1, 256)
    };
    insta::assert_snapshot!(check(&other, &rows), @r#"vlan "7": is already in use by network 1 (private): choose another, or leave it out for the next free one"#);
}

#[test]
fn only_a_network_that_its_host_routes_may_leave_untranslated() {
    let with = |kind, gateway: Option<&str>| Request {
        no_snat: true,
        gateway: gateway.map(|a| a.parse().unwrap()),
        ..request(kind, "10.0.0.0/24", 1, 256)
    };
    let why = r#"snat "F": another machine routes for this network: translate there, or not"#;
    assert_eq!(check(&with(Flat, None), &[]), why);
    assert_eq!(check(&with(FlatDhcp, Some("10.0.0.254")), &[]), why);
    assert!(!check(&with(FlatDhcp, None), &[]).contains("snat"));
}

#[test]
fn gateway_and_dhcp_start_must_be_usable() {
    let with = |gateway: Option<&str>, start: Option<&str>, num| Request {
        gateway: gateway.map(|a| a.parse().unwrap()),
        dhcp_start: start.map(|a| a.parse().unwrap()),
        ..request(FlatDhcp, "10.0.0.0/24", num, 64)
    };
    insta::assert_snapshot!(check(&with(Some("10.0.0.63"), None, 1), &[]), @r#"gateway "10.0.0.63": must be an address from 10.0.0.1 to 10.0.0.62 in 10.0.0.0/26"#);
    insta::assert_snapshot!(check(&with(Some("10.0.0.9"), Some("10.0.0.9"), 1), &[]), @r#"dhcp_start "10.0.0.9": is the gateway: choose the address after it, or another gateway"#);
    insta::assert_snapshot!(check(&with(None, Some("10.0.0.1"), 1), &[]), @r#"dhcp_start "10.0.0.1": must be an address from 10.0.0.2 to 10.0.0.62 in 10.0.0.0/26"#);
    insta::assert_snapshot!(check(&with(Some("10.0.0.9"), None, 2), &[]), @r#"gateway "10.0.0.9": fits one network only, and num_networks is 2"#);
    insta::assert_snapshot!(check(&with(Some("10.0.0.62"), None, 1), &[]), @r"
    note: gateway 10.0.0.62 is another machine: the host serves DHCP at 10.0.0.1 (--dhcp_server=ADDRESS) and does not route for the network
    private 10.0.0.0/26 gw 10.0.0.62 start 10.0.0.2 last 10.0.0.61 br100 vlan None vpn None:None reserved 10.0.0.0-10.0.0.1 10.0.0.62-10.0.0.63
    ");
}

#[test]
fn without_a_size_the_range_is_shared_out_up_to_the_flag() {
    let open = |range: &str, num| Request {
        network_size: None,
        ..request(FlatDhcp, range, num, 1)
    };
    insta::assert_snapshot!(check(&open("10.0.0.0/26", 2), &[]), @r"
    private_0 10.0.0.0/27 gw 10.0.0.1 start 10.0.0.2 last 10.0.0.30 br100 vlan None vpn None:None reserved 10.0.0.0-10.0.0.1 10.0.0.31-10.0.0.31
    private_1 10.0.0.32/27 gw 10.0.0.33 start 10.0.0.34 last 10.0.0.62 br100 vlan None vpn None:None reserved 10.0.0.32-10.0.0.33 10.0.0.63-10.0.0.63
    ");
    insta::assert_snapshot!(check(&open("10.0.0.0/8", 1), &[]), @r"
    note: Subnet(s) too large, defaulting to /24.  To override, specify network_size flag.
    private 10.0.0.0/24 gw 10.0.0.1 start 10.0.0.2 last 10.0.0.254 br100 vlan None vpn None:None reserved 10.0.0.0-10.0.0.1 10.0.0.255-10.0.0.255
    ");
}

#[test]
fn a_slash_8_with_one_network_is_one_row_and_two_ranges() {
    let carved = carve(
        &request(FlatDhcp, "10.0.0.0/8", 1, 1 << 24),
        &[],
        &Defaults::default(),
    )
    .unwrap();
    assert_eq!(carved.networks.len(), 1);
    assert_eq!(carved.networks[0].reserved.len(), 2);
}

#[test]
fn the_given_gateway_of_a_flat_dhcp_network_is_another_machine() {
    let with = |gateway: &str, server: Option<&str>| Request {
        gateway: gateway.parse().ok(),
        dhcp_server: server.map(|a| a.parse().unwrap()),
        ..request(FlatDhcp, "10.0.0.0/24", 1, 256)
    };
    let carved = |request: &Request| {
        let carved = carve(request, &[], &Defaults::default()).unwrap();
        let new = carved.networks.into_iter().next().unwrap();
        let ip = |ip: std::net::Ipv4Addr| ip.octets()[3];
        let reserved = new.reserved.iter().map(|(a, b)| (ip(*a), ip(*b)));
        let server = new.dhcp_server.map(ip);
        (
            ip(new.gateway),
            server,
            ip(new.dhcp_start),
            reserved.collect::<Vec<_>>(),
        )
    };
    let outer = vec![(0, 1), (255, 255)];
    assert_eq!(
        carved(&with("10.0.0.254", None)),
        (254, Some(1), 2, vec![(0, 1), (254, 255)])
    );
    assert_eq!(
        carved(&with("10.0.0.1", None)),
        (1, Some(2), 3, vec![(0, 2), (255, 255)])
    );
    assert_eq!(
        carved(&with("10.0.0.1", Some("10.0.0.9"))),
        (1, Some(9), 2, vec![(0, 1), (9, 9), (255, 255)])
    );
    assert_eq!(
        carved(&with("10.0.0.1", Some("10.0.0.1"))),
        (1, None, 2, outer)
    );
    let own = Request {
        kind: Vlan,
        ..with("10.0.0.9", None)
    };
    assert_eq!(carved(&own).1, None, "the host is a VLAN network's gateway");
    for (request, words) in [
        (
            with("10.0.0.1", Some("10.0.1.9")),
            "must be an address for hosts",
        ),
        (
            Request {
                gateway: None,
                ..with("10.0.0.1", Some("10.0.0.9"))
            },
            "needs the gateway",
        ),
        (
            Request {
                kind: Flat,
                ..with("10.0.0.1", Some("10.0.0.9"))
            },
            "is for flatdhcp networks",
        ),
    ] {
        let text = check(&request, &[]);
        assert!(text.contains(words), "{text}");
    }
}
