//! What is removed by hand comes back; what is foreign stays as it is, byte for byte.

use super::{Cloud, STATE};
use nix::sys::signal::Signal;

/// Things of an administrator, of every kind that we have, too.
const FOREIGN: &str = "
    ip link add fbr0 type bridge && ip link set fbr0 up && ip address add 172.30.0.1/24 dev fbr0
    ip link add fveth0 type veth peer name fveth1 && ip link set fveth0 master fbr0 up
    ip route add 172.31.0.0/24 via 172.30.0.9
    nft 'add table inet foreign; add chain inet foreign c { type filter hook forward priority 10; }; add rule inet foreign c counter accept'
    iptables -A INPUT -p tcp --dport 9 -j DROP
    ip rule add pref 99 to 172.31.0.0/24 table main";

const FOREIGN_DUMP: &str = "
    ip -d link show fbr0 | sed -e 's/^[0-9]*: //' -e 's/[a-z_]*timer *[0-9.]*//g'; ip address show fbr0 | grep 'inet '; ip link show fveth0 | grep -o 'master fbr0'
    ip route show 172.31.0.0/24; ip rule show pref 99
    nft list table inet foreign | sed 's/packets.*accept/accept/'; iptables-save -t filter | grep -e '-A INPUT'";

/// A way to break something of ours.
const BREAKS: [&str; 10] = [
    "ip link delete br100",
    "ip address delete 10.0.0.1/24 dev br100",
    "ip link set br100 down",
    "ip link set nv1 nomaster",
    "ip link delete nv1",
    "ip route flush table local 203.0.113.129 || ip route delete local 203.0.113.129 table local",
    "sysctl -qw net.bridge.bridge-nf-call-iptables=0",
    "sysctl -qw net.ipv4.ip_forward=0",
    "nft delete table ip nova",
    "nft delete table bridge nova",
];

#[test]
fn everything_of_ours_that_is_removed_by_hand_comes_back_and_nothing_foreign_changes() {
    let cloud = Cloud::without_up("").unwrap();
    cloud.sh(&format!("set -e; {FOREIGN}")).unwrap();
    let foreign = cloud.sh(FOREIGN_DUMP).unwrap();
    cloud.start().unwrap();
    let float = cloud.with_instance().unwrap();

    for how in BREAKS {
        cloud.sh(how).unwrap_or_else(|e| panic!("{how}: {e}"));
        cloud
            .settled()
            .and_then(|()| cloud.reachable(&float))
            .unwrap_or_else(|e| panic!("after {how}: {e:#}"));
    }
    assert_eq!(cloud.sh(FOREIGN_DUMP).unwrap(), foreign);

    // With nobody there to repair it, the plan names what is wrong, and cleanup takes away what is ours.
    cloud.stop(Signal::SIGTERM).unwrap();
    cloud.sh("ip address delete 10.0.0.1/24 dev br100").unwrap();
    let plan = cloud.sh("nova-manage host plan --diff").unwrap();
    assert!(plan.contains("10.0.0.1"), "{plan}");
    let dry = cloud.sh("nova-manage host cleanup --dry-run").unwrap();
    assert!(dry.contains("br100"), "{dry}");
    assert!(
        cloud.sh("ip link show br100").is_ok(),
        "a dry run removed it"
    );
    cloud.sh("nova-manage host cleanup").unwrap();
    let left = cloud
        .sh(&format!(
            "ip -brief link; nft list tables; ip route show table all; pgrep -a dnsmasq || true; mount | grep {STATE}/instances || true"
        ))
        .unwrap();
    for ours in [
        "br100",
        "nv1",
        " nova",
        "dnsmasq",
        "203.0.113.129",
        "overlay",
    ] {
        assert!(!left.contains(ours), "{ours} is left:\n{left}");
    }
    assert_eq!(cloud.sh(FOREIGN_DUMP).unwrap(), foreign);
}
