//! The MTU of bridges and ports: novanet undoes a change by hand, but not the kernel's choice by
//! the ports.

use crate::link::{State, inside, noticed, quiet, sh};
use crate::subsystem::{Driven, bridge, name, port};
use novanet_agent::link::{LinkValue, Links, attach};
use novanet_lab::Host;
use novanet_model::object::HostObject;
use novanet_reconcile::{Change, Subsystem};

fn mtu(device: &str) -> u32 {
    let path = format!("/sys/class/net/{device}/mtu");
    let text = std::fs::read_to_string(path).unwrap();
    text.trim().parse().unwrap()
}

fn set(device: &str, mtu: u32) {
    sh(&format!("ip link set dev {device} mtu {mtu}"));
}

/// An instance whose port is attached.
async fn attached(links: &mut Driven<Links>, number: u8) -> Host {
    let port = port(i64::from(number), "br100");
    links.want(&HostObject::Port(port.clone()));
    let vm = Host::new(&format!("mtu{number}")).unwrap();
    let pid = i32::try_from(vm.pid()).unwrap();
    attach(&port, pid, "eth0").await.unwrap();
    links.settled().await;
    vm
}

/// The lines of the plan about MTUs.
async fn shown(links: &mut Driven<Links>) -> Vec<String> {
    let changes = links.changes().await;
    let line = |c: &Change<_, LinkValue>| {
        let from = c.from.as_ref().unwrap().to_string();
        let at = from.find("mtu").unwrap_or_else(|| panic!("{from}"));
        format!("{}: {}", c.key, from[at..].trim_end_matches(" up"))
    };
    changes.iter().map(line).collect()
}

#[test]
fn an_mtu_set_by_hand_is_noticed_shown_and_restored() {
    inside(|| async {
        let state = State::new();
        let mut links = state.links();
        links.want(&bridge(1, "br100"));
        links.converge().await;
        let changed_externally = links.subsystem.changed_externally();
        quiet(&changed_externally).await;
        set("br100", 1000);
        noticed(&changed_externally, "a bridge's MTU").await;
        let wrong = "bridge br100: mtu 1000 instead of 1500";
        assert_eq!(shown(&mut links).await, [wrong]);
        links.converge().await;
        assert_eq!(mtu("br100"), 1500);

        // The kernel does not maintain this bridge's MTU any more: novanet does.
        let _vm = attached(&mut links, 1).await;
        quiet(&changed_externally).await;
        set("nv1", 1000);
        noticed(&changed_externally, "a port's MTU").await;
        let wrong = "port nv1: mtu 1000 instead of 1500";
        assert_eq!(shown(&mut links).await, [wrong]);
        links.converge().await;
        assert_eq!((mtu("nv1"), mtu("br100")), (1500, 1500));
        sh("ip link add dev fp0 mtu 1400 type veth peer name far0; ip link set fp0 master br100");
        links.converge().await;
        assert_eq!((mtu("nv1"), mtu("br100")), (1500, 1400));
    });
}

#[test]
fn an_mtu_that_the_kernel_makes_of_a_smaller_port_is_left_to_it() {
    inside(|| async {
        let state = State::new();
        let mut links = state.links();
        links.want(&bridge(1, "br100"));
        links.converge().await;
        let _vm = attached(&mut links, 1).await;
        sh("ip link add dev fp0 mtu 1400 type veth peer name far0; ip link set fp0 master br100");
        assert_eq!(mtu("br100"), 1400);
        links.settled().await;
        // A port keeps the MTU that it was made with, like its inside end.
        let inside = attached(&mut links, 2).await;
        assert!(inside.sh("ip link").unwrap().stdout.contains("mtu 1400"));
        set("fp0", 1300);
        links.settled().await;
        sh("ip link delete dev fp0");
        links.settled().await;
        assert_eq!((mtu("nv1"), mtu("nv2"), mtu("br100")), (1500, 1400, 1400));
        // A port's MTU changes that of its bridge; both are restored.
        set("nv2", 1000);
        assert_eq!(mtu("br100"), 1000);
        let wrong = [
            "bridge br100: mtu 1000 instead of 1400",
            "port nv2: mtu 1000 instead of 1400",
        ];
        assert_eq!(shown(&mut links).await, wrong);
        links.converge().await;
        assert_eq!((mtu("nv1"), mtu("nv2"), mtu("br100")), (1500, 1400, 1400));
    });
}

#[test]
fn a_bridge_has_what_its_uplink_has_or_what_the_flag_says() {
    inside(|| async {
        sh("ip link add dev eth1 mtu 9000 type veth peer name far1 mtu 9000");
        let state = State::new();
        let mut settings = state.settings();
        settings.flat_interface = Some(name("eth1"));
        let mut links = Driven::new(Links::new(&settings).unwrap());
        links.want(&bridge(1, "br100"));
        links.round().await;
        links.converge().await;
        assert_eq!(mtu("br100"), 9000);
        set("br100", 1500);
        links.converge().await;
        assert_eq!(mtu("br100"), 9000);

        settings.network_device_mtu = Some(1450);
        let mut links = Driven::new(Links::new(&settings).unwrap());
        links.want(&bridge(1, "br100"));
        links.converge().await;
        assert_eq!(mtu("br100"), 1450);
        let _vm = attached(&mut links, 1).await;
        assert_eq!(mtu("nv1"), 1450);
    });
}

#[test]
fn a_new_port_has_the_mtu_that_its_bridge_must_have_and_not_the_one_just_set_by_hand() {
    inside(|| async {
        let state = State::new();
        for flag in [None, Some(1450)] {
            let mut settings = state.settings();
            settings.network_device_mtu = flag;
            let mut links = Driven::new(Links::new(&settings).unwrap());
            links.want(&bridge(1, "br100"));
            links.converge().await;
            set("br100", 1000);
            let port = port(1, "br100");
            links.want(&HostObject::Port(port.clone()));
            let vm = Host::new("new").unwrap();
            let pid = i32::try_from(vm.pid()).unwrap();
            links
                .subsystem
                .veth_attacher()
                .attach(&port, pid, "eth0")
                .await
                .unwrap();
            links.converge().await;
            let right = flag.unwrap_or(1500);
            assert_eq!((mtu("nv1"), mtu("br100")), (right, right));
            let inside = vm.sh("cat /sys/class/net/eth0/mtu").unwrap().stdout;
            assert_eq!(inside.trim(), right.to_string());
            links.drop_object(&HostObject::Port(port));
            links.converge().await;
        }
    });
}
