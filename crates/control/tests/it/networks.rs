//! Networks and the operator's reservations of fixed IPs.

use crate::fake_host::FakeHost;
use crate::world::{World, assert_refused, both, both_with, ip, launch, name, refused};
use anyhow::Result;
use novanet_control::ControlError;
use novanet_model::carve::Request;
use novanet_model::{ImageId, NetworkKind};

fn request(kind: NetworkKind, range: &str, count: u32, size: u64) -> Request {
    Request {
        num_networks: count,
        network_size: Some(size),
        ..Request::new(kind, "net", range.parse().unwrap())
    }
}

const DHCP: NetworkKind = NetworkKind::FlatDhcp;

#[test]
fn networks_are_carved_side_by_side_and_around_what_exists() {
    both(async |w: &World| -> Result<()> {
        w.network("10.0.1.0/24").await;
        let made = w
            .create_networks(&request(DHCP, "10.0.0.0/16", 3, 256))
            .await?;
        let ranges: Vec<String> = made.networks.iter().map(|n| n.cidr.to_string()).collect();
        assert_eq!(ranges, ["10.0.0.0/24", "10.0.2.0/24", "10.0.3.0/24"]);
        assert_eq!(w.networks().await?.len(), 4);
        assert_eq!(w.network_use(made.networks[0].id).await?.0, 0);
        Ok(())
    });
}

#[test]
fn networks_that_cannot_be_are_refused_and_none_is_made() {
    both(async |w: &World| -> Result<()> {
        w.network("10.0.0.0/24").await;
        for wrong in [
            request(DHCP, "10.0.0.0/24", 1, 256),
            request(DHCP, "10.0.0.0/25", 1, 128),
            request(DHCP, "10.1.0.0/24", 3, 128),
        ] {
            assert_refused!(w.create_networks(&wrong).await, ControlError::Carve(_), "");
        }
        let mut foreign = request(DHCP, "10.2.0.0/24", 1, 256);
        foreign.project = Some(name("nobody"));
        assert_refused!(
            w.create_networks(&foreign).await,
            ControlError::NotFound { .. },
            "project nobody not found"
        );
        assert_eq!(w.networks().await?.len(), 1);
        Ok(())
    });
}

#[test]
fn vlan_networks_take_the_next_tags_bridges_and_vpn_ports() {
    both(async |w: &World| -> Result<()> {
        for expected in [100, 102] {
            let made = w
                .create_networks(&request(NetworkKind::Vlan, "10.0.0.0/16", 2, 256))
                .await?;
            let first = &made.networks[0];
            assert_eq!(first.vlan, Some(expected));
            assert_eq!(first.bridge.as_str(), format!("br{expected}"));
            assert_eq!(first.vpn_public_port, Some(900 + expected));
        }
        Ok(())
    });
}

#[test]
fn a_network_without_a_gateway_is_taken_by_the_first_host_that_says_hello() {
    both(async |w: &World| -> Result<()> {
        let net = w.network("10.0.0.0/24").await;
        assert_eq!(net.host, None);
        let mut host = w.host("h1").await;
        host.round().await;
        assert_eq!(host.keys("bridge"), [format!("bridge/{}", net.id)]);
        assert_eq!(host.keys("dhcp").len(), 1);
        assert_eq!(w.network("10.0.1.0/24").await.host.as_deref(), Some("h1"));
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn a_network_is_deleted_when_its_host_has_let_go_of_it() {
    both(async |w: &World| -> Result<()> {
        let mut host = w.host("h1").await;
        let net = w.network("10.0.0.0/24").await;
        host.round().await;
        w.delete_network("10.0.0.0/24").await?;
        assert!(w.networks().await?.is_empty());
        // The range is not free while a host may still have the bridge.
        let again = request(DHCP, "10.0.0.0/24", 1, 256);
        assert_refused!(
            w.create_networks(&again).await,
            ControlError::InUse { .. },
            "network 10.0.0.0/24: is being deleted; host h1 has not let go of it yet"
        );
        host.follow().await;
        assert!(host.objects.is_empty());
        host.report().await;
        w.create_networks(&again).await?;
        assert_refused!(
            w.delete_network(&net.id.to_string()).await,
            ControlError::NotFound { .. },
            "not found"
        );
        Ok(())
    });
}

#[test]
fn a_range_is_not_free_while_a_host_that_is_down_has_an_instance_of_it() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut gateway = w.host("h1").await;
        let net = w.network("10.0.0.0/24").await;
        assert_eq!(net.host.as_deref(), Some("h1"));
        let mut down = w.host("h2").await;
        let ids = w.run(&web, 2).await;
        gateway.round().await;
        down.round().await;
        let on_h2 = w.instance(&web, ids[1]).await?;
        assert_eq!(on_h2.row.host.as_deref(), Some("h2"));
        // h2 hears of nothing from now on.
        w.terminate(&web, &ids).await?;
        gateway.round().await;
        w.delete_network("10.0.0.0/24").await?;
        gateway.round().await;
        let held = "network 10.0.0.0/24: is being deleted; host h2 has not let go of it yet";
        for (range, size) in [
            ("10.0.0.0/24", 256),
            ("10.0.0.0/25", 128),
            ("10.0.0.0/16", 65_536),
        ] {
            let made = w.create_networks(&request(DHCP, range, 1, size)).await;
            assert_refused!(made, ControlError::InUse { .. }, held);
        }
        // Beside it there is room.
        let made = w
            .create_networks(&request(DHCP, "10.0.0.0/16", 1, 256))
            .await?;
        assert_eq!(made.networks[0].cidr.to_string(), "10.0.1.0/24");
        assert_eq!(w.fixed_ip(&web, ids[1]).await, on_h2.ports[0].address);
        down.round().await;
        w.create_networks(&request(DHCP, "10.0.0.0/24", 1, 256))
            .await?;
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn a_network_in_use_is_not_deleted() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let _host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let id = w.run(&web, 1).await[0];
        assert_refused!(
            w.delete_network("10.0.0.0/24").await,
            ControlError::InUse { .. },
            &format!("network 10.0.0.0/24: instance {id} is in it (terminate it first)")
        );
        let mut owned = request(DHCP, "10.1.0.0/24", 1, 256);
        owned.project = Some(name("web"));
        w.create_networks(&owned).await?;
        assert_refused!(
            w.delete_network("10.1.0.0/24").await,
            ControlError::InUse { .. },
            "network 10.1.0.0/24: project web owns it (scrub it first"
        );
        assert_eq!(w.networks().await?.len(), 2);
        Ok(())
    });
}

#[test]
fn a_reserved_address_is_given_to_nobody_until_it_is_unreserved() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let _host = w.host("h1").await;
        // Of eight: network, gateway and broadcast are kept; .2 to .6 are for instances.
        w.network("10.0.0.0/29").await;
        w.reserve_fixed_ips(&[ip("10.0.0.3")]).await?;
        w.reserve_fixed_ips(&[ip("10.0.0.3")]).await?;
        let ids = w.run(&web, 4).await;
        for id in &ids {
            assert_ne!(w.fixed_ip(&web, *id).await, ip("10.0.0.3"));
        }
        let more = w.run_instances(&web, &launch(ImageId(1))).await;
        assert_refused!(
            more,
            ControlError::Exhausted { .. },
            "no free fixed IP in network 10.0.0.0/29"
        );
        w.unreserve_fixed_ips(&[ip("10.0.0.3")]).await?;
        let last = w.run(&web, 1).await[0];
        assert_eq!(w.fixed_ip(&web, last).await, ip("10.0.0.3"));
        assert_eq!(w.fixed_ips(None).await?.len(), 5);
        assert_eq!(w.fixed_ips(Some("elsewhere")).await?.len(), 0);
        Ok(())
    });
}

#[test]
fn what_cannot_be_reserved_is_refused_by_name() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let _host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let id = w.run(&web, 1).await[0];
        let taken = w.fixed_ip(&web, id).await;
        let text = refused(w.reserve_fixed_ips(&[taken]).await);
        assert_eq!(
            text,
            format!("fixed IP {taken}: instance {id} has it (terminate it first)")
        );
        let text = refused(w.reserve_fixed_ips(&[ip("10.0.0.1")]).await);
        assert!(text.contains("is kept by the network itself"), "{text}");
        let text = refused(w.reserve_fixed_ips(&[ip("192.0.2.1")]).await);
        assert!(text.contains("is in none of the networks"), "{text}");
        let text = refused(w.unreserve_fixed_ips(&[ip("10.0.0.9")]).await);
        assert!(text.contains("is not reserved by hand"), "{text}");
        // Of several, one that cannot be refuses all.
        let (good, bad) = (ip("10.0.0.20"), ip("192.0.2.1"));
        assert!(w.reserve_fixed_ips(&[good, bad]).await.is_err());
        assert!(w.unreserve_fixed_ips(&[good]).await.is_err());
        w.reserve_fixed_ips(&[good]).await?;
        assert!(w.unreserve_fixed_ips(&[good, bad]).await.is_err());
        w.unreserve_fixed_ips(&[good]).await?;
        Ok(())
    });
}

/// Edits a row as an operator would.
async fn by_hand(w: &World, sql: &'static str) -> Result<()> {
    let mut tx = w.db().begin_unplanned().await?;
    sqlx::query(sql).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

#[test]
fn a_network_whose_row_was_spoiled_hinders_no_other_and_is_deleted_by_its_number() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        let spoiled = w.network("10.0.1.0/24").await;
        host.round().await;
        let bridges = host.keys("bridge");
        by_hand(w, "UPDATE networks SET gateway = 'foo' WHERE id = 2").await?;
        let mut controllers = novanet_control::Controllers::new("s1");
        controllers.round(w).await?;
        host.round().await;
        assert_eq!(host.keys("bridge"), bridges, "as it was last good");
        assert_eq!(w.networks().await?.len(), 1);
        let bad = w.bad_networks().await?;
        assert_eq!(bad[0].brief.id, spoiled.id);
        let again = w
            .create_networks(&request(DHCP, "10.0.1.0/25", 1, 128))
            .await;
        assert_refused!(again, ControlError::Carve(_), "10.0.1.0/24");
        let floats = w
            .create_floating_ips("10.0.1.0/30".parse()?, None, None)
            .await;
        assert_refused!(
            floats,
            ControlError::InUse { .. },
            "overlaps network 10.0.1.0/24"
        );
        let id = w.run(&web, 1).await[0];
        assert_eq!(w.fixed_ip(&web, id).await, ip("10.0.0.2"));
        w.delete_network("2").await?;
        host.round().await;
        assert_eq!(host.keys("bridge"), ["bridge/1"]);
        assert!(w.bad_networks().await?.is_empty());
        w.network("10.0.1.0/24").await;
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn a_mac_gets_its_reserved_address_from_the_networks_dhcp_server() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = w.host("h1").await;
        let mut high = request(DHCP, "10.0.0.0/24", 1, 256);
        high.dhcp_start = Some(ip("10.0.0.100"));
        let net = w.create_networks(&high).await?.networks.remove(0);
        let id = w.run(&web, 1).await[0];
        let used = w.fixed_ip(&web, id).await;
        let (printer, scanner) = ("52:54:00:00:00:01".parse()?, "52:54:00:00:00:02".parse()?);
        // Inside and outside of what instances get.
        w.reserve_for_mac(ip("10.0.0.9"), printer).await?;
        w.reserve_for_mac(ip("10.0.0.200"), scanner).await?;
        w.reserve_for_mac(ip("10.0.0.9"), printer).await?;
        host.round().await;
        assert!(host.has("binding/1/10.0.0.9") && host.has("binding/1/10.0.0.200"));
        let third = "52:54:00:00:00:03".parse()?;
        let group = "01:00:5e:00:00:01".parse()?;
        let own = w.instance(&web, id).await?.ports[0].mac;
        for (address, mac, why) in [
            (ip("10.0.0.10"), printer, "has 10.0.0.9 in this network"),
            (ip("10.0.0.9"), third, "is reserved for another MAC"),
            (used, third, "has it (terminate it first)"),
            (
                ip("10.0.0.1"),
                third,
                "is the gateway of network 10.0.0.0/24",
            ),
            (ip("10.0.0.255"), third, "is the broadcast address"),
            (ip("10.0.9.1"), third, "is in none of the networks"),
            (ip("10.0.0.11"), group, "is no machine's MAC"),
            (ip("10.0.0.11"), own, "in this network"),
        ] {
            let text = refused(w.reserve_for_mac(address, mac).await);
            assert!(text.contains(why), "{text}");
        }
        // It goes where its network goes, and the pool never has it.
        let lease = novanet_model::wire::LeaseEvent {
            event: novanet_model::wire::LeaseChange::Leased,
            mac: printer,
            address: ip("10.0.0.9"),
        };
        w.leases("h1", &[lease]).await?;
        let rows = w.fixed_ips(None).await?;
        let row = rows.iter().find(|row| row.address == ip("10.0.0.9"));
        let row = row.map(|row| (row.leased, row.mac.clone()));
        assert_eq!(row, Some((true, Some(printer.to_string()))));
        w.unreserve_fixed_ips(&[ip("10.0.0.200")]).await?;
        host.round().await;
        assert!(!host.has("binding/1/10.0.0.200"));
        w.terminate(&web, &[id]).await?;
        host.round().await;
        w.delete_network(&net.id.to_string()).await?;
        host.round().await;
        assert!(host.objects.is_empty(), "{:?}", host.objects);
        w.assert_planned().await;
        Ok(())
    });
}

#[test]
fn a_vlan_network_gives_what_lies_between_the_cloudpipe_and_the_vpn_clients_to_instances() {
    let five = |config: &mut novanet_control::CloudConfig| {
        config.network_defaults.cnt_vpn_clients = 5;
    };
    both_with(five, async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let mut host = FakeHost::new(w.cloud.clone(), "h1");
        host.kinds.push(NetworkKind::Vlan);
        host.hello().await;
        // .0 network, .1 gateway, .2 Cloudpipe, .10 to .14 VPN clients, .15 broadcast.
        w.create_networks(&request(NetworkKind::Vlan, "10.0.0.0/28", 1, 16))
            .await?;
        let mut got = vec![];
        for id in w.run(&web, 7).await {
            got.push(w.fixed_ip(&web, id).await.octets()[3]);
        }
        assert_eq!(got, [3, 4, 5, 6, 7, 8, 9]);
        let more = refused(w.run_instances(&web, &launch(ImageId(1))).await);
        assert!(more.contains("no free fixed IP"), "{more}");
        Ok(())
    });
}
