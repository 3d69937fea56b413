//! Networks and addresses that a host cannot have: a foreign device has the bridge's name, hosts do
//! not run the kind, the host itself has the address or one in the range. No subsystem makes
//! anything of them, and one error names the cause.

use crate::engine_support as cloud;
use crate::engine_support::{delta, eventually, list, no_error, reached, running, start, started};
use novanet_agent::runtime::Engine;
use novanet_model::HostObject;
use novanet_model::host_addresses::{HostAddress, HostAddresses, HostRoute};
use novanet_reconcile::fake::FakeHost;
use std::time::Duration;

/// A network with all that stands on it, and one without.
fn two_networks() -> Vec<HostObject> {
    let mut objects = cloud::small_cloud();
    objects.extend([
        cloud::bridge(2, "br200"),
        cloud::gateway(2, "br200"),
        cloud::dhcp(2, "br200"),
    ]);
    objects
}

/// The items of the first network on the host.
fn of_the_first(host: &FakeHost) -> Vec<String> {
    let items = host.items().into_iter();
    let of_it = items.filter(|(key, value)| {
        [key, value].iter().any(|text| {
            ["br100", "10.0.1.", "nv1", "cable/"]
                .iter()
                .any(|word| text.contains(word))
        })
    });
    of_it.map(|(key, _)| key).collect()
}

fn vlan(network: i64, name: &str, tag: u16) -> HostObject {
    let HostObject::Bridge(mut bridge) = cloud::bridge(network, name) else {
        unreachable!("it makes a bridge");
    };
    bridge.vlan = Some(tag);
    HostObject::Bridge(bridge)
}

const TAKEN: &str = "bridge br100 of network 1: the name is taken by somebody's bridge, which is left alone: \
     remove it (ifconfig br100 down; brctl delbr br100), give it to novanet (nova-manage host adopt br100), \
     or give the network another bridge (nova-manage network modify 1 --bridge=NAME)";
const VLAN: &str = "bridge br100: network 1 is a VLAN network (VLAN 100), and this host's kernel has no 802.1Q: \
     modprobe 8021q and restart the agent, or use a flatdhcp or flat network";

fn only_error(engine: &Engine, message: &str) {
    let expected = [("network/1".to_owned(), message.to_owned())];
    assert_eq!(cloud::errors(engine), expected);
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_network_is_made_whose_bridges_name_is_taken_and_one_error_says_so() {
    let host = FakeHost::new();
    host.occupy("links", "bridge/br100");
    let engine = started(&host, &two_networks()).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(of_the_first(&host), [""; 0]);
    let touched: Vec<_> = host.actions();
    assert!(
        !touched.iter().any(|action| action.contains("br100")),
        "it was touched for a moment: {touched:?}"
    );
    only_error(&engine, TAKEN);
    let items = host.items();
    for there in [
        "links bridge/br200",
        "firewall snat/10.0.2.0/24",
        "dhcp server/br200",
    ] {
        assert!(items.contains_key(there), "{there} is not in {items:?}");
    }
    let plan = engine.plan(true).await.unwrap();
    let expected = format!(
        "links\n  refuse {TAKEN}\nfirewall\n  nothing differs\ndhcp\n  nothing differs\ninstances\n  nothing differs\n"
    );
    assert_eq!(plan, expected);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_free_again_is_ours_with_the_next_round() {
    let host = FakeHost::new();
    host.occupy("links", "bridge/br100");
    let engine = started(&host, &two_networks()).await;
    host.vacate("links", "bridge/br100");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (other, _) = running().await;
    for (key, value) in other.items() {
        assert_eq!(host.items().get(&key), Some(&value), "{key}");
    }
    no_error(&engine).await;
    // Upwards: no subsystem stood on what was not there yet.
    let actions = host.actions();
    let place = |what: &str| actions.iter().position(|action| action == what).unwrap();
    assert!(place("links put bridge/br100") < place("firewall put snat/10.0.1.0/24"));
    assert!(place("links put bridge/br100") < place("dhcp put server/br100"));
}

#[tokio::test(start_paused = true)]
async fn a_network_loses_its_bridge_to_somebody_else_and_gets_it_back() {
    let (host, engine) = running().await;
    host.take_away("links", "bridge/br100");
    host.occupy("links", "bridge/br100");
    eventually("the network to go", || {
        let left = of_the_first(&host);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    only_error(&engine, TAKEN);
    assert!(host.items().contains_key("instances instance/i-00000001"));
    host.vacate("links", "bridge/br100");
    host.change_externally("links");
    no_error(&engine).await;
    let (other, _) = running().await;
    eventually("all of it", || {
        let (is, should) = (host.items(), other.items());
        if is == should { Ok(()) } else { Err(is) }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_network_that_comes_later_is_looked_at_before_anything_of_it_is_made() {
    let host = FakeHost::new();
    let engine = started(&host, &[]).await;
    host.occupy("links", "bridge/br100"); // and nobody says so
    engine.merge(delta(2, &two_networks(), &[]));
    reached(&engine, 2).await;
    let touched = host.actions();
    let touched: Vec<_> = touched.iter().filter(|a| a.contains("br100")).collect();
    assert!(touched.is_empty(), "{touched:?}");
    only_error(&engine, TAKEN);
    // The network goes, and with it the error.
    let objects = two_networks();
    let all: Vec<_> = objects.iter().collect();
    engine.merge(delta(3, &[], &all));
    no_error(&engine).await;
    assert_eq!(host.items().len(), 1, "{:?}", host.items());
}

#[tokio::test(start_paused = true)]
async fn nothing_of_a_vlan_network_is_made_and_one_error_says_so() {
    let host = FakeHost::new();
    let mut objects = two_networks();
    objects[0] = vlan(1, "br100", 100);
    let engine = started(&host, &objects).await;
    assert_eq!(of_the_first(&host), [""; 0]);
    only_error(&engine, VLAN);
    assert!(engine.plan(false).await.unwrap().contains(VLAN));
    // Also where a device of that name is: one error, not two.
    host.occupy("links", "bridge/br100");
    host.change_externally("links");
    tokio::time::sleep(Duration::from_secs(10)).await;
    only_error(&engine, VLAN);
    // It becomes a network that hosts can run.
    host.vacate("links", "bridge/br100");
    engine.merge(delta(2, &[cloud::bridge(1, "br100")], &[]));
    reached(&engine, 2).await;
    no_error(&engine).await;
    assert!(host.items().contains_key("dhcp server/br100"));
}

#[tokio::test(start_paused = true)]
async fn a_flat_network_takes_the_administrators_bridge() {
    let host = FakeHost::new();
    let HostObject::Bridge(mut bridge) = cloud::bridge(1, "br100") else {
        unreachable!("it makes a bridge");
    };
    bridge.foreign = true;
    let engine = start(&host);
    host.occupy("links", "bridge/br100");
    let objects = [HostObject::Bridge(bridge), cloud::port(1, "br100", 1)];
    engine.merge(list(1, &objects));
    reached(&engine, 1).await;
    assert!(host.items().contains_key("links port/nv1"));
    assert!(host.items().contains_key("firewall guard/nv1"));
}

/// The host's own addresses and routes: addresses as `address interface`, routes as
/// `destination next-hop interface`.
fn lives(addresses: &[&str], routes: &[&str]) -> HostAddresses {
    let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    let addresses = addresses.iter().map(|text| words(text));
    let routes = routes.iter().map(|text| words(text));
    HostAddresses {
        addresses: addresses
            .map(|words| HostAddress {
                address: words[0].parse().unwrap(),
                interface: words[1].clone(),
            })
            .collect(),
        routes: routes
            .map(|words| HostRoute {
                destination: words[0].parse().unwrap(),
                via: words[1].parse().ok(),
                interface: words[2].clone(),
            })
            .collect(),
        flat_interface: None,
        vlans: std::collections::BTreeSet::new(),
    }
}

const LIVED_IN: &str = "bridge br100 of network 1: its range 10.0.1.0/24 is in use by the host, which \
     has 10.0.1.77/25 on eth5: make the network with another range (network create), or take that \
     off the host";

#[tokio::test(start_paused = true)]
async fn a_network_in_whose_range_the_host_lives_is_held_back_in_every_subsystem_and_the_rest_works()
 {
    let host = FakeHost::new();
    host.lives_at(lives(&["10.0.1.77/25 eth5"], &[]));
    let engine = started(&host, &two_networks()).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(of_the_first(&host), [""; 0]);
    let touched = host.actions();
    assert!(!touched.iter().any(|a| a.contains("br100")), "{touched:?}");
    only_error(&engine, LIVED_IN);
    assert!(host.items().contains_key("dhcp server/br200"));
    assert!(engine.plan(true).await.unwrap().contains(LIVED_IN));
    // It moves away.
    host.lives_at(lives(&[], &[]));
    host.change_externally("links");
    no_error(&engine).await;
    let (other, _) = running().await;
    for (key, value) in other.items() {
        assert_eq!(host.items().get(&key), Some(&value), "{key}");
    }
    // And back, while the network is in use: what runs there stays.
    host.lives_at(lives(&["10.0.1.77/25 eth5"], &[]));
    host.change_externally("links");
    eventually("the network to go", || {
        let left = of_the_first(&host);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    only_error(&engine, LIVED_IN);
    assert!(host.items().contains_key("instances instance/i-00000001"));
}

#[tokio::test(start_paused = true)]
async fn a_wider_route_takes_no_network_down_and_a_narrower_one_does() {
    let (host, engine) = running().await;
    let before = host.items();
    host.lives_at(lives(
        &[],
        &["10.0.0.0/8 192.0.2.9 tun0", "0.0.0.0/1 192.0.2.9 tun0"],
    ));
    host.change_externally("links");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(host.items(), before);
    no_error(&engine).await;
    host.lives_at(lives(&[], &["10.0.1.128/25 192.0.2.9 tun0"]));
    host.change_externally("links");
    eventually("the network to go", || {
        let left = of_the_first(&host);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

/// The items of the floating IP 203.0.0.1 on the host.
fn of_the_float(host: &FakeHost) -> Vec<String> {
    let items = host.items().into_keys();
    items.filter(|key| key.contains("203.0.0.1")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_floating_ip_that_the_host_has_itself_is_in_force_in_no_subsystem() {
    let all = ["firewall float/203.0.0.1", "links route/203.0.0.1"];
    let host = FakeHost::new();
    for own in [
        lives(&["203.0.0.1/24 eth0"], &[]),
        lives(&["203.0.0.9/24 eth0"], &["0.0.0.0/0 203.0.0.1 eth0"]),
        lives(&["203.0.0.1/32 lo"], &[]),
    ] {
        host.lives_at(own);
        let engine = started(&host, &[cloud::float(1, 3), cloud::float(2, 4)]).await;
        assert_eq!(of_the_float(&host), [""; 0]);
        let made = host.actions();
        assert!(
            !made
                .iter()
                .any(|a| a.starts_with("firewall put float/203.0.0.1")),
            "{made:?}"
        );
        let errors = cloud::errors(&engine);
        let [(key, message)] = errors.as_slice() else {
            panic!("not one error: {errors:?}");
        };
        assert_eq!(key, "float/203.0.0.1");
        assert!(
            message.starts_with("floating address 203.0.0.1: the host has ")
                && message.ends_with("(nova-manage floating disassociate 203.0.0.1)"),
            "{message}"
        );
        assert!(host.items().contains_key("firewall float/203.0.0.2"));
        engine.stop();
        host.take_away("firewall", "float/203.0.0.2");
        host.take_away("links", "route/203.0.0.2");
    }
    // It comes and goes while the floating IP is in force.
    let host = FakeHost::new();
    let engine = started(&host, &[cloud::float(1, 3)]).await;
    assert_eq!(of_the_float(&host), all);
    host.lives_at(lives(&["203.0.0.1/24 eth0"], &[]));
    host.change_externally("links");
    eventually("the floating IP to go", || {
        let left = of_the_float(&host);
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    host.lives_at(lives(&[], &[]));
    host.change_externally("links");
    no_error(&engine).await;
    assert_eq!(of_the_float(&host), all);
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_address_the_host_has_waits_and_says_so() {
    let host = FakeHost::new();
    // On the network's own bridge: the network itself is not in question.
    host.lives_at(lives(&["10.0.0.3/24 br100"], &[]));
    let engine = started(&host, &cloud::small_cloud()).await;
    let items = host.items();
    assert!(items.contains_key("dhcp server/br100"), "{items:?}");
    for gone in ["links port/nv1", "firewall guard/nv1"] {
        assert!(!items.contains_key(gone), "{gone} is in {items:?}");
    }
    let errors = cloud::errors(&engine);
    let (_, message) = errors.iter().find(|(key, _)| key == "port/1/0").unwrap();
    assert!(
        message.starts_with("address 10.0.0.3 of i-00000001: the host has 10.0.0.3/24 on br100:"),
        "{message}"
    );
}
