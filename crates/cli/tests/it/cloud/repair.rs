//! `host plan --diff` names what was removed by hand, and the agent repairs it in time; foreign
//! objects stay as they are, byte for byte.

use super::{Cloud, LONG, STATE};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use novanet_lab::{Quickest, eventually};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Links, addresses, routes and policies of an administrator.
const FOREIGN_LINKS: &str = "
    ip link add fbr0 type bridge forward_delay 0 && ip link set fbr0 up && ip address add 172.30.0.1/24 dev fbr0
    ip link add fveth0 type veth peer name fveth1 && ip link set fveth0 master fbr0 up && ip link set fveth1 up
    ip link add fdum0 type dummy && ip link set fdum0 alias 'of the administrator' up
    ip address add 192.168.66.1/24 dev eth0 && ip address add 192.168.67.1/32 dev lo
    ip route add 172.31.0.0/24 via 172.30.0.9 && ip route add blackhole 198.18.1.0/24 table 7
    ip route add local 198.18.0.7 dev lo table local
    ip rule add pref 99 to 172.31.0.0/24 table main
    timeout 10 sh -c 'while ip address | grep -q tentative; do sleep 0.1; done'";

/// Rules of an administrator, by both tools, with chains of their own and at hooks that we have,
/// too.
const FOREIGN_RULES: &str = "
    iptables -N MINE && iptables -A MINE -p icmp -j RETURN && iptables -A INPUT -j MINE && iptables -A INPUT -p tcp --dport 9 -j DROP
    iptables -t nat -A POSTROUTING -s 172.30.0.0/24 -o eth0 -j MASQUERADE
    nft 'add table inet foreign; add set inet foreign s { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 }; };
         add chain inet foreign c { type filter hook forward priority 10; }; add rule inet foreign c ip saddr @s counter accept'
    nft 'add table bridge foreign; add chain bridge foreign c { type filter hook forward priority 0; }; add rule bridge foreign c vlan id 7 drop'";

/// All there is on the host, without what counts by itself; `others` leaves out what is not to be
/// seen.
const DUMP: &str = r"
    others nft -s list ruleset
    iptables-save | grep -v '^#' | sed 's/\[[0-9:]*\]//'
    others ip -d -o link | sed -E 's/[a-z_]+_timer +[0-9.]+|fdb_n_learned [0-9]+//g'
    others ip -o address; others ip route show table all; others ip -6 route show table all
    others ip rule; others ip -6 rule";

/// Leaves out what is ours: our tables, and lines that name a device or an address of ours.
const NOT_OURS: &str = r#"others() {
    "$@" | awk '/^table/ { ours = $3 == "nova" } !ours' |
        grep -v -e br100 -e '[ ]nv[0-9]' -e '203\.0\.113\.129' -e '169\.254\.169\.254'; }"#;

/// Our rules, as they must be. The numbers in which each rebuild differs are left out.
const OUR_RULES: &str = "
    for table in ip ip6 bridge; do nft -s list table $table nova; done 2>&1 |
        sed -E 's/0x[0-9a-f]{4}(ffff|0000)/MARK/g'";

/// The rest of ours.
const OUR_LINKS: &str = r"
    ip -4 -brief address show dev br100
    ip -o link show dev br100 | grep -o '<[A-Z,_]*> mtu [0-9]*'
    ip -o link show master br100 | grep -o 'nv[0-9]*@.*<[A-Z,_]*> mtu [0-9]*' | sed 's/@if[0-9]*//'
    bridge -d link show dev nv1 | grep hairpin; cat /sys/class/net/nv1/ifalias
    bridge fdb show br br100 | grep -e static -e 'dev br100 master' | sort; ip link show dev nv1 | grep -o 'fe:[0-9a-f:]*'
    ip -d -o link show dev br100 | grep -o -e 'stp_state [0-9]*' -e 'forward_delay [0-9]*'
    ip -4 route show table all | grep -e br100 -e '203\.0\.113\.129' | sort
    cd /var/lib/nova/networks && cat nova-br100.conf nova-br100.hosts
    kill -0 $(cat nova-br100.pid) && ! grep 'State:.T' /proc/$(cat nova-br100.pid)/status && echo dnsmasq
    cat /sys/class/net/br100/ifalias
    ss -Hlnu | awk '{ print $4 }' | grep -e ':67$' -e '^10.0.0.1.*:53$' | sort
    sysctl net.ipv4.ip_forward; sysctl net.bridge.bridge-nf-call-iptables";

/// How soon it is repaired.
const LINKS: Duration = Duration::from_secs(5);
const RULES: Duration = Duration::from_millis(200);

/// A way to break something of ours, and words by which the plan names it.
type Break = (&'static str, &'static str);

/// In an order in which none hides a later one while no agent repairs.
const LINK_BREAKS: [Break; 20] = [
    (
        "echo 02:00:00:00:00:99,x.novalocal,10.0.0.99 >>/var/lib/nova/networks/nova-br100.conf",
        "remove dhcp binding of 10.0.0.99",
    ),
    (
        "sed -i s/10.0.0.2/10.0.0.4/ /var/lib/nova/networks/nova-br100.hosts",
        "change dhcp binding of 10.0.0.2",
    ),
    (
        "rm /var/lib/nova/networks/nova-br100.conf",
        "create dhcp binding of 10.0.0.2",
    ),
    (
        "kill -STOP $(cat /var/lib/nova/networks/nova-br100.pid)",
        "is stopped (by a signal) and serves nobody",
    ),
    (
        "kill -9 $(cat /var/lib/nova/networks/nova-br100.pid)",
        "no dnsmasq runs",
    ),
    ("ip link set br100 mtu 1000", "mtu 1000 instead of 1500"),
    ("ip link set nv1 mtu 1200", "mtu 1200 instead of 1500"),
    (
        "ip route delete local 203.0.113.129 table local",
        "create floating address 203.0.113.129",
    ),
    ("bridge link set dev nv1 hairpin off", "changed: hairpin"),
    (
        "ip link set br100 type bridge stp_state 1 forward_delay 1500",
        "changed: stp_state, forward_delay",
    ),
    ("bridge fdb flush dev br100", "fdb entry of its own MAC"),
    ("ip link set nv1 alias ''", "without novanet's mark"),
    ("ip link set nv1 nomaster", "nv1: in bridge none up"),
    ("ip link delete nv1", "not plugged"),
    (
        "ip address delete 10.0.0.1/24 dev br100",
        "create address 10.0.0.1 on br100",
    ),
    (
        "sysctl -qw net.bridge.bridge-nf-call-iptables=0",
        "net.bridge.bridge-nf-call-iptables: 0 -> 1",
    ),
    (
        "sysctl -qw net.ipv4.ip_forward=0",
        "net.ipv4.ip_forward: 0 -> 1",
    ),
    ("ip link set br100 alias ''", "without novanet's mark"),
    ("ip link set br100 down", "change bridge br100"),
    ("ip link delete br100", "create bridge br100"),
];

const RULE_BREAKS: [Break; 5] = [
    (
        "nft insert rule ip nova host_services accept",
        "changed by somebody else",
    ),
    (
        "for family in ip ip6 bridge; do nft flush table $family nova; done",
        "changed by somebody else",
    ),
    ("nft delete table bridge nova", "create port_mac \"nv1\""),
    (
        "nft delete table ip nova",
        "create floating_to_fixed 203.0.113.129",
    ),
    ("nft flush ruleset", "create tables"),
];

/// The plan's lines that say that something differs.
fn differences(cloud: &Cloud) -> Result<BTreeSet<String>> {
    // Without the flags of `novanet up`: the agent keeps what they were.
    let plan = cloud.try_sh("nova-manage host plan --diff")?;
    ensure!(matches!(plan.status.code(), Some(0 | 2)), "{plan:?}");
    let plan = plan.stdout;
    let lines = plan.lines().filter(|line| line.starts_with(' '));
    let lines = lines.filter(|line| line.trim() != "nothing differs");
    Ok(lines.map(str::to_owned).collect())
}

/// Breaks it while no agent runs; the plan has a line more, which names it.
fn is_named(cloud: &Cloud, (how, words): Break) -> Result<()> {
    let before = differences(cloud)?;
    cloud.sh(how)?;
    // A stopped process stops when it is scheduled.
    eventually(LONG, || -> Result<()> {
        let after = differences(cloud)?;
        let named = after.difference(&before).any(|line| line.contains(words));
        ensure!(named, "{how}: {words:?} is not in {after:#?}");
        Ok(())
    })
}

/// Breaks it while the agent runs; `dump` is soon as before.
fn comes_back(cloud: &Cloud, how: &str, dump: &str, limit: Duration) -> Result<()> {
    let whole = cloud.sh(dump)?;
    let mut quickest = Quickest::within(limit);
    while quickest.again().with_context(|| how.to_owned())? {
        cloud.sh(how)?;
        let broken = Instant::now();
        eventually(LONG, || -> Result<()> {
            let now = cloud.try_sh(dump)?.stdout;
            ensure!(now == whole, "{now}\nwanted: {whole}");
            Ok(())
        })
        .with_context(|| format!("after {how}: {}", cloud.log()))?;
        quickest.took(broken.elapsed());
        if how == "nft flush ruleset" {
            cloud.sh(&format!("set -e; {FOREIGN_RULES}"))?;
        }
    }
    Ok(())
}

#[test]
fn everything_of_ours_that_is_broken_is_named_and_comes_back_and_nothing_foreign_changes() {
    let cloud = Cloud::without_up("--metadata_port=8780").unwrap();
    cloud
        .sh(&format!("set -e; {FOREIGN_LINKS}; {FOREIGN_RULES}"))
        .unwrap();
    let foreign = |cloud: &Cloud| cloud.sh(&format!("{NOT_OURS}; {DUMP}")).unwrap();
    let all = |cloud: &Cloud| {
        cloud
            .sh(&format!("others() {{ \"$@\"; }}; {DUMP}"))
            .unwrap()
    };
    let (before, all_before) = (foreign(&cloud), all(&cloud));
    cloud.start().unwrap();
    let float = cloud.with_instance().unwrap();
    cloud.settled().unwrap();
    assert_eq!(foreign(&cloud), before);

    for (how, _) in LINK_BREAKS {
        comes_back(&cloud, how, OUR_LINKS, LINKS).unwrap();
    }
    cloud.reachable(&float).unwrap();
    for (how, _) in RULE_BREAKS {
        comes_back(&cloud, how, OUR_RULES, RULES).unwrap();
        cloud.settled().unwrap();
    }
    cloud.reachable(&float).unwrap();
    assert_eq!(foreign(&cloud), before);

    // While no agent repairs it, the plan names the fault.
    cloud.stop(Signal::SIGTERM).unwrap();
    assert_eq!(differences(&cloud).unwrap(), BTreeSet::new());
    for one in LINK_BREAKS {
        is_named(&cloud, one).unwrap();
    }
    for one in RULE_BREAKS {
        cloud.start().unwrap();
        cloud.settled().unwrap();
        cloud.stop(Signal::SIGTERM).unwrap();
        is_named(&cloud, one).unwrap();
    }
    cloud.sh(&format!("set -e; {FOREIGN_RULES}")).unwrap();
    cloud.start().unwrap();
    cloud.settled().unwrap();
    cloud.reachable(&float).unwrap();
    assert_eq!(foreign(&cloud), before);

    // Cleanup takes away what is ours, and says before what that is.
    cloud.stop(Signal::SIGTERM).unwrap();
    let dry = cloud.try_sh("nova-manage host cleanup --dry-run").unwrap();
    let kept = "note: no agent runs here: metadata_port as ";
    assert!(dry.stderr.starts_with(kept), "{}", dry.stderr);
    assert_eq!(dry.stderr.lines().count(), 1, "{}", dry.stderr);
    for part in [
        "br100",
        "remove sysctl net.ipv4.ip_forward: 1, goes back to 0",
    ] {
        assert!(dry.stdout.contains(part), "{}", dry.stdout);
    }
    assert_eq!(differences(&cloud).unwrap(), BTreeSet::new(), "a dry run");
    cloud.sh("nova-manage host cleanup --force").unwrap();
    assert_eq!(all(&cloud), all_before);
    let left = cloud
        .sh(&format!(
            "pgrep -a dnsmasq; mount | grep {STATE}/instances || true"
        ))
        .unwrap();
    assert_eq!(left, "");
}
