//! Instances' ports in their bridge: the bridge learns nothing from an instance's frames, novanet
//! undoes changes by hand, and ports of an older agent become as they must be while in use.

use crate::link::{State, inside, noticed, quiet, sh};
use crate::subsystem::{Driven, bridge, gateway, name, port};
use novanet_agent::link::{Links, attach};
use novanet_lab::packet::ethernet;
use novanet_lab::{Host, Mac, Wire, eventually_async};
use novanet_model::NetworkId;
use novanet_model::object::{Bridge, HostObject};
use novanet_reconcile::Subsystem;
use std::process::Command;
use std::time::Duration;

/// A link-local group: the bridge forwards no such frames, and looks at their source before any
/// filter does.
const LINK_LOCAL: Mac = [0x01, 0x80, 0xc2, 0, 0, 0x0e];
const ROUTER: Mac = [0x52, 0x54, 0, 0xaa, 0xbb, 0xcc];

fn mac(number: u8) -> Mac {
    [2, 0x16, 0x3e, 0, 0, number]
}

/// An instance on br100, up, with the address 10.0.0.`number`.
async fn instance(links: &mut Driven<Links>, number: u8) -> Host {
    let port = port(i64::from(number), "br100");
    links.want(&HostObject::Port(port.clone()));
    let vm = Host::new(&format!("port{number}")).unwrap();
    let pid = i32::try_from(vm.pid()).unwrap();
    attach(&port, pid, "eth0").await.unwrap();
    address(&vm, number);
    vm
}

fn address(vm: &Host, number: u8) {
    vm.sh(&format!(
        "ip address add 10.0.0.{number}/24 dev eth0; ip link set dev eth0 up"
    ))
    .unwrap();
}

async fn reaches(from: &Host, address: &str) {
    let ping = format!("ping -c1 -W1 {address}");
    eventually_async(Duration::from_secs(20), || async {
        from.sh(&ping).map(drop)
    })
    .await
    .unwrap();
}

/// The bridge's entries with their ports, without those of the ports' own MACs, to which no frames
/// go.
fn entries() -> String {
    sh("bridge fdb show br br100 | grep -v -e self -e '^fe:ff:' | sort")
}

async fn network(state: &State) -> Driven<Links> {
    let mut links = state.links();
    links.want(&bridge(1, "br100"));
    links.want(&gateway(1, "br100", "10.0.0.1/24"));
    links.converge().await;
    links
}

#[test]
fn a_frame_with_the_mac_of_another_moves_nothing_and_no_forged_mac_is_learned() {
    inside(|| async {
        let state = State::new();
        let mut links = network(&state).await;
        let attacker = instance(&mut links, 2).await;
        let victim = instance(&mut links, 3).await;
        links.settled().await;
        // A router behind an uplink, on which the bridge learns.
        sh(
            "ip link add dev up0 type veth peer name far0; ip link set dev up0 master br100 up; \
            ip link set dev far0 address 52:54:00:aa:bb:cc up",
        );
        let far = Wire::tap_here("far0").unwrap();
        eventually_async(Duration::from_secs(20), || async {
            far.send(&ethernet(ROUTER, [0xff; 6], 0x88b5, &[0; 46]))?;
            let found = entries();
            let learned = found.contains("52:54:00:aa:bb:cc dev up0");
            learned.then_some(()).ok_or_else(|| anyhow::anyhow!(found))
        })
        .await
        .unwrap();
        reaches(&attacker, "10.0.0.3").await;
        reaches(&victim, "10.0.0.1").await;
        let before = entries();
        assert!(
            before.contains("02:16:3e:00:00:03 dev nv3 sticky master br100 static"),
            "{before}"
        );

        let wire = Wire::tap(&attacker, "eth0").unwrap();
        let broadcast = [0xff; 6];
        for to in [LINK_LOCAL, broadcast, [0x01, 0, 0x5e, 0, 0, 5]] {
            for ethertype in [0x0800, 0x0806, 0x88cc] {
                for from in [mac(3), ROUTER, [2, 0x16, 0x3d, 9, 9, 9]] {
                    wire.send(&ethernet(from, to, ethertype, &[0; 46])).unwrap();
                }
            }
        }
        for forged in 0..5000_u16 {
            let [a, b] = forged.to_be_bytes();
            let from = [0x06, 0, 0, 0, a, b];
            let to = if forged % 2 == 0 {
                LINK_LOCAL
            } else {
                broadcast
            };
            wire.send(&ethernet(from, to, 0x88b5, &[0; 46])).unwrap();
        }
        // A later frame on the same wire has arrived, so the earlier ones have too.
        reaches(&attacker, "10.0.0.1").await;
        assert_eq!(entries(), before);
        reaches(&victim, "10.0.0.1").await;
        // Frames from outside do not move the instance's entry either.
        far.send(&ethernet(mac(3), LINK_LOCAL, 0x88cc, &[0; 46]))
            .unwrap();
        far.send(&ethernet(mac(3), broadcast, 0x88b5, &[0; 46]))
            .unwrap();
        reaches(&attacker, "10.0.0.3").await;
        assert_eq!(entries(), before);
        links.settled().await;
    });
}

/// Changes by hand, and their words in the plan.
const DAMAGES: [(&str, &str); 16] = [
    (
        "bridge link set dev nv2 learning on",
        "port nv2: in bridge br100 up, changed: learning",
    ),
    (
        "bridge link set dev nv2 flood on mcast_flood on bcast_flood off guard on root_block on \
         hairpin off neigh_suppress on isolated on locked off",
        "changed: hairpin, guard, root_block, flood, mcast_flood, bcast_flood, neigh_suppress, \
         isolated, locked",
    ),
    (
        "ip link set dev nv2 type bridge_slave proxy_arp on",
        "changed: proxy_arp",
    ),
    ("bridge link set dev nv2 state 0", "changed: state"),
    (
        "ip link set dev nv2 address 02:00:00:00:00:01",
        "changed: address",
    ),
    (
        "ip link set dev nv2 alias ''",
        "port nv2: in bridge br100 up without novanet's mark",
    ),
    (
        "ip link set dev nv2 alias '' group default",
        "port nv2: in bridge br100 up out of its group without novanet's mark",
    ),
    ("ip link set dev nv2 down", "port nv2: in bridge br100 down"),
    (
        "ip link set dev nv2 nomaster; ip link set dev nv2 master br100",
        "mcast_flood, locked, fdb entry of the instance's MAC",
    ),
    (
        "bridge fdb del 02:16:3e:00:00:02 dev nv2 master",
        "port nv2: in bridge br100 up, changed: fdb entry of the instance's MAC",
    ),
    (
        "bridge fdb replace 02:16:3e:00:00:02 dev nv3 master static sticky",
        "port nv2: in bridge br100 up, changed: fdb entry of the instance's MAC",
    ),
    (
        "bridge fdb flush dev br100",
        "up, changed: fdb entry of its own MAC",
    ),
    (
        "ip link set dev br100 type bridge stp_state 1 forward_delay 1500",
        "up, changed: stp_state, forward_delay",
    ),
    (
        "ip link set dev br100 type bridge ageing_time 0 group_fwd_mask 8 no_linklocal_learn 0 \
         forward_delay 200",
        "up, changed: forward_delay, ageing_time, group_fwd_mask, no_linklocal_learn",
    ),
    ("ip link set dev br100 arp off", "up, changed: arp"),
    (
        "ip link set dev br100 address 02:00:00:00:00:02",
        "bridge br100: mac 02:00:00:00:00:02",
    ),
];

#[test]
fn a_change_of_a_port_an_entry_or_the_bridge_is_noticed_named_and_undone() {
    inside(|| async {
        let state = State::new();
        let mut links = network(&state).await;
        let vm = instance(&mut links, 2).await;
        let other = instance(&mut links, 3).await;
        links.settled().await;
        reaches(&vm, "10.0.0.1").await;
        reaches(&vm, "10.0.0.3").await;
        let picture = || {
            sh(
                "ip -d link show dev br100 | sed -E 's/[a-z_]+_timer +[0-9.]+//g'; \
                ip -d link show dev nv2 | sed -E 's/[a-z_]+_timer +[0-9.]+//g'",
            ) + &entries()
        };
        let before = picture();
        let changed_externally = links.subsystem.changed_externally();
        for (damage, words) in DAMAGES {
            quiet(&changed_externally).await;
            sh(damage);
            noticed(&changed_externally, damage).await;
            let changes = links.changes().await;
            let shown: Vec<_> = changes
                .iter()
                .map(|c| format!("{}: {}", c.key, c.from.as_ref().unwrap()))
                .collect();
            assert!(
                shown.iter().any(|line| line.contains(words)),
                "{damage}: {shown:?}"
            );
            links.converge().await;
            // Carrier and addresses change for a moment after it.
            eventually_async(Duration::from_secs(10), || async {
                let now = picture();
                let same = now == before;
                same.then_some(())
                    .ok_or_else(|| anyhow::anyhow!("{damage}: {now}, before {before}"))
            })
            .await
            .unwrap();
            reaches(&vm, "10.0.0.1").await;
            reaches(&other, "10.0.0.2").await;
        }
    });
}

#[test]
fn a_port_with_another_alias_is_foreign_and_the_error_has_the_command_that_gives_it_back() {
    inside(|| async {
        let state = State::new();
        let mut links = network(&state).await;
        let _vm = instance(&mut links, 2).await;
        links.settled().await;
        sh("ip link set dev nv2 alias mine");
        let failed = links.round().await;
        let failed: Vec<_> = failed.iter().map(|(k, e)| format!("{k}: {e}")).collect();
        let give_back = "ip link set dev nv2 alias ''";
        assert_eq!(
            failed,
            [format!(
                "port nv2: port nv2: the name is taken by a veth with alias \"mine\" in the place of \
                 novanet's mark (give it back: {give_back}); remove or rename it (ip link set nv2 name …)"
            )]
        );
        assert_eq!(sh("cat /sys/class/net/nv2/ifalias"), "mine\n");
        sh(give_back);
        links.converge().await;
        let mark = "novanet:port:i-00000002.0 mtu 1500\n";
        assert_eq!(sh("cat /sys/class/net/nv2/ifalias"), mark);
        // Without an alias novanet still removes it.
        sh(give_back);
        links.drop_object(&HostObject::Port(port(2, "br100")));
        links.converge().await;
        assert!(!sh("ip link").contains("nv2"));
    });
}

/// Bridge and port as commit a0b7f97 made them.
fn port_of_an_older_agent(bridge: &str, number: u8, mac_of_host_end: &str) -> Host {
    let vm = Host::new(&format!("old{number}")).unwrap();
    let inside = vm.pid();
    sh(&format!(
        "ip link add dev nv{number} {mac_of_host_end} group 0x4e000000 type veth \
             peer name eth0 address 02:16:3e:00:00:{number:02x} netns {inside}; \
         ip link set dev nv{number} alias 'novanet:port:i-{number:08x}.0 mtu 1500' master {bridge} up; \
         bridge link set dev nv{number} hairpin on isolated off"
    ));
    address(&vm, number);
    vm
}

#[test]
fn ports_of_an_older_agent_get_flags_entries_and_macs_without_losing_a_packet() {
    inside(|| async {
        let state = State::new();
        let mac = novanet_agent::settings::Settings::bridge_mac(&name("br100"));
        sh(&format!(
            "ip link add dev br100 address {mac} type bridge stp_state 0 forward_delay 0; \
             ip link set dev br100 alias novanet:bridge:br100 up; \
             ip address add 10.0.0.1/24 dev br100"
        ));
        let vms = [2, 3].map(|number| port_of_an_older_agent("br100", number, ""));
        reaches(&vms[0], "10.0.0.1").await;
        reaches(&vms[0], "10.0.0.3").await;
        let pings = ["10.0.0.1", "10.0.0.3"].map(|to| {
            let mut ping = Command::new("ping");
            ping.args(["-i", "0.01", "-c", "150", "-q", to]);
            (ping, to)
        });
        let pings: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = pings
                .into_iter()
                .map(|(mut ping, to)| {
                    let vm = &vms[0];
                    scope.spawn(move || (to, vm.output(&mut ping).unwrap()))
                })
                .collect();
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    let mut links = state.links();
                    links.want(&bridge(1, "br100"));
                    links.want(&gateway(1, "br100", "10.0.0.1/24"));
                    for number in [2, 3] {
                        links.want(&HostObject::Port(port(number, "br100")));
                    }
                    let changes = links.changes().await;
                    let ports = changes
                        .iter()
                        .filter(|c| c.key.to_string().starts_with("port"));
                    assert_eq!(ports.count(), 2, "{changes:?}");
                    links.converge().await;
                });
            });
            running
                .into_iter()
                .map(|ping| ping.join().unwrap())
                .collect()
        });
        for (to, output) in pings {
            assert!(
                output.stdout.contains(" 0% packet loss"),
                "{to}: {}",
                output.stdout
            );
        }
        let options = sh("bridge -d link show dev nv2");
        for option in [
            "learning off",
            " flood off",
            "mcast_flood off",
            "bcast_flood on",
            "locked on",
        ] {
            assert!(options.contains(option), "{option} in {options}");
        }
        assert!(entries().contains("02:16:3e:00:00:02 dev nv2 sticky master br100 static"));
    });
}

#[test]
fn an_administrators_bridge_keeps_its_mac_when_instances_come_and_go() {
    inside(|| async {
        // A MAC that the kernel gives a port is hardly ever higher.
        const UPLINK: &str = "fe:fe:ff:ff:ff:ff";
        sh(
            "ip link add dev up0 address fe:fe:ff:ff:ff:ff type veth peer name far0; \
            ip link add dev br200 type bridge; ip link set dev up0 master br200 up; \
            ip link set dev br200 up; ip address add 10.0.0.1/24 dev br200",
        );
        let mac = || sh("cat /sys/class/net/br200/address").trim().to_owned();
        assert_eq!(mac(), UPLINK);
        let state = State::new();
        let mut links = state.links();
        links.want(&HostObject::Bridge(Bridge {
            network: NetworkId(1),
            bridge: name("br200"),
            interface: None,
            vlan: None,
            mtu: None,
            foreign: true,
            cidr: None,
        }));
        // A port of an older agent changed the bridge's MAC; novanet restores it while it is in
        // use.
        let old = port_of_an_older_agent("br200", 2, "address 02:00:00:00:00:01");
        assert_eq!(mac(), "02:00:00:00:00:01");
        links.want(&HostObject::Port(port(2, "br200")));
        links.converge().await;
        assert_eq!(mac(), UPLINK);
        reaches(&old, "10.0.0.1").await;

        let new = port(3, "br200");
        links.want(&HostObject::Port(new.clone()));
        let vm = Host::new("flat3").unwrap();
        let pid = i32::try_from(vm.pid()).unwrap();
        attach(&new, pid, "eth0").await.unwrap();
        address(&vm, 3);
        assert_eq!(mac(), UPLINK);
        assert!(sh("ip link show dev nv3").contains("link/ether fe:ff:"));
        links.settled().await;
        reaches(&vm, "10.0.0.1").await;
        reaches(&vm, "10.0.0.2").await;
        links.drop_object(&HostObject::Port(new));
        links.drop_object(&HostObject::Port(port(2, "br200")));
        links.converge().await;
        assert_eq!(mac(), UPLINK);
    });
}
