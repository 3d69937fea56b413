//! The state of a machine, and that the laboratory does not change this one's.

use novanet_lab::{Host, HostOptions, MachineState, have8021q, inside_host};

#[test]
fn every_change_to_a_host_shows_and_going_back_does_not() {
    let host = Host::new("watched").unwrap();
    // The first listing may create iptables' own tables.
    host.sh("iptables -t nat -N mine; nft add table inet mine")
        .unwrap();
    let before = MachineState::of_host(&host).unwrap();
    let changes = [
        (
            "nft",
            "nft add chain inet mine c",
            "nft delete chain inet mine c",
        ),
        (
            "iptables",
            "iptables -t nat -A mine -j RETURN",
            "iptables -t nat -D mine -j RETURN",
        ),
        (
            "links",
            "ip link add dev br7 type bridge",
            "ip link del dev br7",
        ),
        (
            "addresses",
            "ip address add 192.0.2.9/32 dev lo",
            "ip address del 192.0.2.9/32 dev lo",
        ),
        (
            "routes",
            "ip route add blackhole 192.0.2.0/24",
            "ip route del blackhole 192.0.2.0/24",
        ),
        (
            "rules",
            "ip rule add pref 77 table 77",
            "ip rule del pref 77",
        ),
        ("mounts", "mount -t tmpfs mark /mnt", "umount /mnt"),
        (
            "sysctls",
            "echo 0 >/proc/sys/net/ipv4/ip_forward",
            "echo 1 >/proc/sys/net/ipv4/ip_forward",
        ),
    ];
    for (view, change, back) in changes {
        host.sh(change).unwrap();
        let diff = before.diff(&MachineState::of_host(&host).unwrap());
        assert!(diff.contains(&format!("{view}:\n")), "{change}: {diff}");
        host.sh(back).unwrap();
        assert_eq!(
            before.diff(&MachineState::of_host(&host).unwrap()),
            "",
            "{back}"
        );
    }
}

#[test]
fn packets_that_pass_are_no_change() {
    let host = Host::new("busy").unwrap();
    host.sh("nft 'add table inet mine; add chain inet mine c { type filter hook input priority 0; }; add rule inet mine c counter accept'").unwrap();
    let before = MachineState::of_host(&host).unwrap();
    host.sh("ping -c1 -W2 127.0.0.1").unwrap();
    assert!(
        host.sh("nft list ruleset")
            .unwrap()
            .stdout
            .contains("packets 2")
    );
    assert_eq!(before.diff(&MachineState::of_host(&host).unwrap()), "");
}

#[test]
fn the_machine_keeps_its_network_while_hosts_come_and_go() {
    on_a_machine_of_its_own(|| {
        let host = Host::new("passing").unwrap();
        host.sh("iptables -A INPUT -j ACCEPT; ip link add dev br100 type bridge; mount -t tmpfs mark /mnt")
                .unwrap();
        host
    });
}

/// Makes something and lets it go, on a machine that is a host here: on the real one other tests
/// are at work at the same time. Nothing but that there are more namespaces may show there, and
/// afterwards not even that.
pub(crate) fn on_a_machine_of_its_own<T>(make: impl FnOnce() -> T) {
    const NETWORK: [&str; 8] = [
        "nft",
        "iptables",
        "links",
        "addresses",
        "routes",
        "rules",
        "mounts",
        "sysctls",
    ];
    const SHARED: [&str; 3] = ["named namespaces", "namespaces", "cgroups"];
    let same = |before: &MachineState, views: &[&str]| {
        let now = MachineState::of_machine().unwrap();
        for view in views {
            assert_eq!(before.view(view), now.view(view), "{view}");
        }
    };
    inside_host(&HostOptions::default().own_cgroups(), || {
        let before = MachineState::of_machine().unwrap();
        let made = make();
        same(&before, &NETWORK);
        drop(made);
        same(&before, &[&NETWORK[..], &SHARED].concat());
    })
    .unwrap();
}

#[test]
fn whether_vlans_can_be_made_agrees_with_trying() {
    let host = Host::new("vlan").unwrap();
    let tried = host.sh("ip link add dev p0 type veth peer name p1; ip link add link p0 name vlan5 type vlan id 5").is_ok();
    assert_eq!(have8021q().unwrap(), tried);
}
