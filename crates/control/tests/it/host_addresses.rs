//! What hosts have of their own is not the cloud's: networks, floating IPs and fixed IPs.

use crate::world::{World, assert_refused, both, ip};
use anyhow::Result;
use novanet_control::ControlError;
use novanet_control::floating_ips::Association;
use novanet_model::carve::Request;
use novanet_model::host_addresses::{HostAddress, HostAddresses, HostRoute};
use novanet_model::{HostObject, IfName, NetworkKind};

fn lives(addresses: &[(&str, &str)], router: Option<&str>) -> HostAddresses {
    let addresses = addresses.iter().map(|(address, interface)| HostAddress {
        address: address.parse().unwrap(),
        interface: (*interface).to_owned(),
    });
    let routes = router.map(|via| HostRoute {
        destination: "0.0.0.0/0".parse().unwrap(),
        via: via.parse().ok(),
        interface: "eth0".to_owned(),
    });
    HostAddresses {
        addresses: addresses.collect(),
        routes: routes.into_iter().collect(),
        flat_interface: None,
        vlans: std::collections::BTreeSet::new(),
    }
}

fn request(kind: NetworkKind, cidr: &str, bridge: &str) -> Request {
    let mut request = Request::new(kind, "lan", cidr.parse().unwrap());
    request.network_size = Some(1 << (32 - request.range.prefix_len()));
    request.bridge = Some(IfName::new(bridge).unwrap());
    request
}

#[test]
fn a_network_that_overlaps_what_a_host_has_is_refused_by_name_either_way_round() {
    both(async |w: &World| -> Result<()> {
        let _host = w.host("cloud1").await;
        let lan = lives(
            &[("203.0.113.2/24", "eth0"), ("192.0.2.9/24", "br200")],
            None,
        );
        w.report_addresses("cloud1", &lan).await?;
        for cidr in ["203.0.113.0/25", "203.0.113.0/24", "203.0.112.0/23"] {
            assert_refused!(
                w.create_networks(&request(NetworkKind::FlatDhcp, cidr, "br300"))
                    .await,
                ControlError::InUse { .. },
                &format!(
                    "network {cidr}: host cloud1 has 203.0.113.2/24 on eth0: choose another range"
                )
            );
        }
        assert!(w.networks().await?.is_empty(), "all or nothing");
        w.create_networks(&request(NetworkKind::FlatDhcp, "10.0.0.0/24", "br300"))
            .await?;
        // The host may report what it had before, and an unknown host nothing.
        w.report_addresses("cloud1", &lan).await?;
        assert_refused!(
            w.report_addresses("cloud9", &lan).await,
            ControlError::NotFound { .. },
            "host cloud9 not found"
        );
        Ok(())
    });
}

#[test]
fn a_flat_network_may_be_the_lan_of_its_bridge_where_the_hosts_addresses_are_nobodys() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("cloud1").await;
        let lan = lives(&[("192.0.2.3/29", "br200")], Some("192.0.2.4"));
        w.report_addresses("cloud1", &lan).await?;
        w.create_networks(&request(NetworkKind::Flat, "192.0.2.0/29", "br200"))
            .await?;
        let ids = w.run(&web, 2).await;
        let mut got = Vec::new();
        for id in &ids {
            got.push(w.fixed_ip(&web, *id).await);
        }
        assert_eq!(got, [ip("192.0.2.2"), ip("192.0.2.5")]);
        // An address that is the host's from now on does not come back from the pool.
        let more = lives(&[("192.0.2.3/29", "br200"), ("192.0.2.2/32", "eth7")], None);
        w.report_addresses("cloud1", &more).await?;
        host.round().await;
        w.terminate(&web, &ids).await?;
        host.round().await;
        host.round().await;
        let ids = w.run(&web, 3).await;
        let mut got = Vec::new();
        for id in &ids {
            got.push(w.fixed_ip(&web, *id).await);
        }
        got.sort();
        // 192.0.2.4 was the router's, and is not any more.
        assert_eq!(got, [ip("192.0.2.4"), ip("192.0.2.5"), ip("192.0.2.6")]);
        // Given up by the host, it is given to an instance.
        w.report_addresses("cloud1", &lives(&[("192.0.2.3/29", "br200")], None))
            .await?;
        let id = w.run(&web, 1).await[0];
        assert_eq!(w.fixed_ip(&web, id).await, ip("192.0.2.2"));
        Ok(())
    });
}

#[test]
fn a_floating_ip_that_a_host_has_is_neither_made_nor_given_nor_led_anywhere() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("cloud1").await;
        w.network("10.0.0.0/24").await;
        // Rows from before the host reported anything.
        w.floats("203.0.113.0/29").await;
        let id = w.run(&web, 1).await[0];
        let to = Association::to(id);
        let held = w.allocate_address(&web, None).await?.address;
        assert_eq!(held, ip("203.0.113.1"));
        w.associate_address(&web, held.into(), &to).await?;
        let lan = lives(&[("203.0.113.2/29", "eth0")], Some("203.0.113.1"));
        w.report_addresses("cloud1", &lan).await?;

        for (range, why) in [
            (
                "203.0.113.1/32",
                "host cloud1 has a default route via 203.0.113.1 on eth0",
            ),
            ("203.0.113.2/32", "host cloud1 has 203.0.113.2/29 on eth0"),
            (
                "203.0.113.7/32",
                "host cloud1 has 203.0.113.2/29 on eth0, whose broadcast address it is",
            ),
        ] {
            let ip = range.split('/').next().unwrap();
            assert_refused!(
                w.create_floating_ips(range.parse()?, None, None).await,
                ControlError::InUse { .. },
                &format!("floating IP {ip}: {why}")
            );
        }
        assert_refused!(
            w.create_floating_ips("203.0.113.0/24".parse()?, None, None)
                .await,
            ControlError::InUse { .. },
            "floating IP 203.0.113.1: host cloud1 has a default route via 203.0.113.1 on eth0: \
             choose a range without this address"
        );
        let here = ("cloud1", &lan);
        let (new, left) = w
            .create_floating_ips_around("203.0.113.0/28".parse()?, here)
            .await?;
        let left: Vec<_> = left.into_keys().collect();
        assert_eq!(
            left,
            [ip("203.0.113.1"), ip("203.0.113.2"), ip("203.0.113.7")]
        );
        assert_eq!(new, 7, "203.0.113.8 to .14");

        // Passed over, and not to be had by name.
        let next = w.allocate_address(&web, None).await?.address;
        assert_eq!(next, ip("203.0.113.3"));
        let by_name = w.allocate_this_address(&web, ip("203.0.113.2"), None).await;
        assert!(by_name.is_err());
        // The operator ends the old association; no caller can make it again.
        assert!(w.end_association(held).await?);
        assert!(!w.end_association(held).await?);
        host.round().await;
        assert_eq!(host.keys("float"), Vec::<String>::new());
        assert_refused!(
            w.associate_address(&web, held.into(), &to).await,
            ControlError::InUse { .. },
            "floating IP 203.0.113.1: it is an address of the cloud's own: release it"
        );
        let actions = w.actions().await;
        assert_eq!(actions.last().unwrap(), "floating_ip.disassociate");
        let mut rows = w.floating_ips().await?.into_iter();
        let row = rows.find(|row| row.address == held).unwrap();
        let why = "host cloud1 has a default route via 203.0.113.1 on eth0";
        assert_eq!(row.conflict.as_deref(), Some(why));

        // The router moves.
        w.report_addresses("cloud1", &lives(&[("203.0.113.2/29", "eth0")], None))
            .await?;
        w.associate_address(&web, held.into(), &to).await?;
        host.round().await;
        let HostObject::FloatingIp(float) = host.get("float/203.0.113.1") else {
            panic!("another kind");
        };
        assert_eq!(float.fixed, w.fixed_ip(&web, id).await);
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn a_vlan_id_whose_device_a_host_has_itself_is_given_to_no_network() {
    both(async |w: &World| -> Result<()> {
        let _host = w.host("cloud1").await;
        let mut report = lives(&[], None);
        report.vlans = [100, 102].into();
        w.report_addresses("cloud1", &report).await?;
        let mut next = Request::new(NetworkKind::Vlan, "v", "10.0.0.0/16".parse()?);
        next.num_networks = 2;
        next.network_size = Some(256);
        let made = w.create_networks(&next).await?.networks;
        let ids: Vec<_> = made.iter().map(|n| n.vlan).collect();
        assert_eq!(ids, [Some(101), Some(103)]);
        let words = "host cloud1 has a device vlan102 that novanet did not make: choose another id, \
                     or, on cloud1, remove it (vconfig rem vlan102) or: nova-manage host adopt vlan102";
        next.vlan = Some(102);
        next.num_networks = 1;
        assert_refused!(
            w.create_networks(&next).await,
            ControlError::Carve(_),
            words
        );
        let modify = novanet_control::Modify {
            settings: novanet_model::carve::Change {
                vlan: Some(102),
                ..Default::default()
            },
            ..Default::default()
        };
        let refused = w.modify_network(made[0].id, &modify).await;
        assert_refused!(refused, ControlError::Carve(_), words);
        // It went away, or novanet has it now.
        w.report_addresses("cloud1", &lives(&[], None)).await?;
        w.modify_network(made[0].id, &modify).await?;
        Ok(())
    });
}

#[test]
fn a_floating_ip_leads_into_a_flat_network_only_where_the_host_is_its_gateway() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let _host = w.host("cloud1").await;
        w.floats("203.0.113.4/30").await;
        w.create_networks(&request(NetworkKind::Flat, "10.8.0.0/24", "br200"))
            .await?;
        let id = w.run(&web, 1).await[0];
        let float = w.allocate_address(&web, None).await?.address;
        let to = Association::to(id);
        let refused = "floating IP 203.0.113.5: the gateway 10.8.0.1 of flat network 10.8.0.0/24 is not an \
             address of the cloud's host on br200, so that host cannot translate it: use an instance in \
             another network, or give br200 the address 10.8.0.1";
        // The host has not reported, has another address there, has it elsewhere.
        for elsewhere in [
            None,
            Some(("10.8.0.9/24", "br200")),
            Some(("10.8.0.1/32", "eth0")),
        ] {
            if let Some(address) = elsewhere {
                w.report_addresses("cloud1", &lives(&[address], None))
                    .await?;
            }
            assert_refused!(
                w.associate_address(&web, float.into(), &to).await,
                ControlError::NoGateway { .. },
                refused
            );
        }
        w.report_addresses("cloud1", &lives(&[("10.8.0.1/24", "br200")], None))
            .await?;
        w.associate_address(&web, float.into(), &to).await?;
        assert_eq!(w.instance(&web, id).await?.public_address, Some(float));

        // Of several addresses the first that it can lead to.
        w.report_addresses("cloud1", &lives(&[], None)).await?;
        w.network("10.9.0.0/24").await;
        let two = w.run(&web, 1).await[0];
        w.associate_address(&web, float.into(), &Association::to(two))
            .await?;
        let ports = w.instance(&web, two).await?.ports;
        let fixed = w.floating_ips().await?.into_iter().find_map(|f| f.fixed);
        assert_eq!(fixed.map(|f| f.address), Some(ports[1].address));
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn the_gateway_of_a_flat_dhcp_network_may_be_another_machine() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("cloud1").await;
        w.floats("203.0.113.4/30").await;
        // The LAN of the interface in the bridge: its router is the instances' too.
        let mut lan = lives(&[("10.6.0.10/24", "eth1")], Some("10.6.0.254"));
        lan.flat_interface = Some(IfName::new("eth1")?);
        w.report_addresses("cloud1", &lan).await?;
        let mut wire = request(NetworkKind::FlatDhcp, "10.6.0.0/24", "br300");
        wire.gateway = Some(ip("10.6.0.254"));
        let mut taken = wire.clone();
        taken.dhcp_server = Some(ip("10.6.0.10"));
        assert_refused!(
            w.create_networks(&taken).await,
            ControlError::InUse { .. },
            "its DHCP server cannot have 10.6.0.10 (host cloud1 has 10.6.0.10/24 on eth1): name a \
             free address of the network (--dhcp_server=ADDRESS)"
        );
        let mut second = wire.clone();
        second.dhcp_server = Some(ip("10.6.0.3"));
        w.create_networks(&second).await?;
        assert_eq!(w.networks().await?[0].dhcp_server, Some(ip("10.6.0.3")));
        let ids = w.run(&web, 2).await;
        host.round().await;
        assert!(host.keys("gateway").is_empty());
        let HostObject::Dhcp(dhcp) = host.get("dhcp/1") else {
            panic!("another kind");
        };
        assert_eq!(
            (dhcp.server, dhcp.router),
            (ip("10.6.0.3"), Some(ip("10.6.0.254")))
        );
        let mut fixed = Vec::new();
        for id in &ids {
            fixed.push(w.fixed_ip(&web, *id).await);
        }
        assert_eq!(
            fixed,
            [ip("10.6.0.2"), ip("10.6.0.4")],
            "past the DHCP server"
        );
        let float = w.allocate_address(&web, None).await?.address;
        assert_refused!(
            w.associate_address(&web, float.into(), &Association::to(ids[0]))
                .await,
            ControlError::NoGateway { .. },
            "floating IP 203.0.113.5: the gateway 10.6.0.254 of flatdhcp network 10.6.0.0/24 is \
             another machine, and no host routes for the network"
        );
        w.assert_planned().await;
        Ok(())
    });
}
