//! Faults of a host: each is named in one line that says what to do.

use super::Cloud;

fn refused(cloud: &Cloud, line: &str, expected: &[&str]) {
    let output = cloud.try_sh(&format!("timeout 30 {line}")).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
    let error = output
        .stderr
        .lines()
        .find(|l| l.starts_with("error: "))
        .unwrap_or_else(|| panic!("{line}: no error line in {:?}", output.stderr));
    for word in expected {
        assert!(error.contains(word), "{line}: {word} is not in {error:?}");
    }
}

#[test]
fn what_a_host_lacks_is_said_at_start_in_one_line() {
    let cloud = Cloud::without_up("").unwrap();
    let up = "novanet up --my_ip=203.0.113.2";
    // Without its programs: the packages to install.
    refused(
        &cloud,
        "unshare -m sh -c 'mount --bind /run/work /usr/sbin && exec /run/bin/novanet agent --public_interface=eth0 --my_ip=203.0.113.2'",
        &["nft", "install"],
    );
    refused(
        &cloud,
        &format!(
            "unshare -m sh -c 'mount --bind /run/work /usr/sbin && exec /run/bin/{up} --public_interface=eth0'"
        ),
        &["nft", "install"],
    );
    // Not root.
    refused(
        &cloud,
        "setpriv --reuid=65534 --clear-groups /run/bin/novanet agent --state_path=/tmp --public_interface=eth0",
        &["root"],
    );
}

/// Runs a line while another program has a port, on every address.
fn while_taken(protocol: &str, port: u16, line: &str) -> String {
    let python = super::venv().unwrap().join("bin/python");
    let kind = if protocol == "tcp" { "STREAM" } else { "DGRAM" };
    let hold = format!(
        "from socket import *; import time; s = socket(AF_INET, SOCK_{kind}); s.bind((\"0.0.0.0\", {port})); \
         {}; open(\"/run/work/held\", \"w\"); time.sleep(90)",
        if protocol == "tcp" { "s.listen()" } else { "0" }
    );
    format!(
        "rm -f /run/work/held; {} -c '{hold}' & holder=$!; until [ -e /run/work/held ]; do sleep 0.05; done; \
         {line}; code=$?; kill $holder; exit $code",
        python.display()
    )
}

#[test]
fn a_port_that_is_taken_is_named_before_anything_is_made() {
    let cloud = Cloud::without_up("").unwrap();
    let there = "find /var/lib/nova | sort; nft list ruleset; ip -brief address";
    let before = cloud.sh(there).unwrap();
    let up = "timeout 30 novanet up --my_ip=203.0.113.2 --public_interface=eth0";
    let api = "cannot listen on 0.0.0.0:8773: Address already in use (os error 98) (another program has \
               the port, or the address is not on this host: see ec2_listen and ec2_listen_port)";
    let metadata = "metadata_port 8775: Address already in use (os error 98) (choose another one, or \
                    stop what uses it)";
    let server = |port: u16, protocol: &str, service: &str| {
        format!(
            "port {port} ({protocol}) is taken by another {service} server: stop it, or give it \
             addresses of its own to listen on (ss -ln{}p 'sport = :{port}' names it)",
            &protocol[..1]
        )
    };
    for (protocol, port, error) in [
        ("tcp", 8773, api.to_owned()),
        ("tcp", 8775, metadata.to_owned()),
        ("udp", 67, server(67, "udp", "DHCP")),
        ("udp", 53, server(53, "udp", "DNS")),
        ("tcp", 53, server(53, "tcp", "DNS")),
    ] {
        let output = cloud.try_sh(&while_taken(protocol, port, up)).unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(
            output.stderr,
            format!("error: {error}\n"),
            "{protocol} {port}"
        );
        assert_eq!(output.stdout, "", "{protocol} {port}");
        assert_eq!(cloud.sh(there).unwrap(), before, "{protocol} {port}");
    }

    // One that needs no DHCP server does not care.
    let flat = "--network_manager=nova.network.manager.FlatManager";
    let line = format!(
        "ip link add dev br100 type bridge && ip link set dev br100 up; \
         {{ {up} {flat} >/run/work/out & }}; up=$!; \
         timeout 20 sh -c 'until grep -q \"the cloud is\" /run/work/out; do sleep 0.05; done'; \
         found=$?; kill $up; [ $found = 0 ]"
    );
    cloud.sh(&while_taken("udp", 67, &line)).unwrap();
}

#[test]
fn a_port_that_is_taken_later_is_named_in_one_line_until_it_is_free() {
    let cloud = Cloud::up("").unwrap();
    cloud.settled().unwrap();
    cloud.stop(nix::sys::signal::Signal::SIGTERM).unwrap();
    cloud
        .sh("pid=$(cat /var/lib/nova/networks/nova-br100.pid); kill $pid; while kill -0 $pid; do sleep 0.05; done")
        .unwrap();
    let taken = "dnsmasq on br100: port 67 is taken by another DHCP server: stop it, or make it leave \
                 br100 alone (ss -lntup 'sport = :67' names it)";
    let (held, go) = ("/run/work/held", "/run/work/go");
    let line = while_taken(
        "udp",
        67,
        &format!("until [ -e {go} ]; do sleep 0.05; done"),
    );
    cloud
        .sh(&format!(
            "(rm -f {held}; {line}) >/dev/null 2>&1 & until [ -e {held} ]; do sleep 0.05; done"
        ))
        .unwrap();
    cloud
        .start_waiting_for("grep -q 'is taken by another' /var/lib/nova/novanet.log")
        .unwrap();
    let log = cloud.log();
    let warned: Vec<_> = log.lines().filter(|l| l.contains("is taken by")).collect();
    assert!(warned[0].contains(taken), "{log}");
    assert!(warned[0].len() < 400, "{log}");
    cloud.sh(&format!("touch {go}")).unwrap();
    cloud.settled().unwrap();
}

/// The foreign device's state on the host, without counters.
fn picture(cloud: &Cloud, device: &str) -> String {
    cloud
        .sh(&format!(
            "ip -d address show dev {device} | sed -E 's/[a-z_]+_timer +[0-9.]+//g; s/ tentative//'; \
             ip route show table all dev {device} | grep -v fe80; bridge link show dev {device} 2>/dev/null || true"
        ))
        .unwrap()
}

/// Waits until the host says exactly this error, and has nothing of ours with this name.
fn refused_by_name(cloud: &Cloud, device: &str, expected: &str) {
    novanet_lab::eventually(super::LONG, || -> anyhow::Result<()> {
        let plan = cloud.try_sh("nova-manage host plan --diff")?.stdout;
        let refused: Vec<_> = plan.lines().filter(|l| l.contains(device)).collect();
        anyhow::ensure!(refused == [format!("  refuse {expected}")], "{plan}");
        Ok(())
    })
    .unwrap();
    let rules = cloud.sh("nft list ruleset").unwrap();
    assert!(!rules.contains(&format!("\"{device}\" . ")), "{rules}");
    let bridges = cloud.sh("nft list set ip nova bridges").unwrap();
    assert!(!bridges.contains(&format!("\"{device}\"")), "{bridges}");
    let servers = cloud
        .sh("ps ax -o args | grep '[d]nsmasq' || true")
        .unwrap();
    assert!(!servers.contains(&format!("nova-{device}.")), "{servers}");
    let log = cloud.log();
    let warned = log
        .lines()
        .filter(|l| l.contains("WARN") && l.contains(device));
    assert_eq!(warned.count(), 1, "{log}");
}

pub(super) fn taken(device: &str, network: i64, what: &str) -> String {
    let remedy = match what {
        "a bridge" => format!(
            "remove it (ifconfig {device} down; brctl delbr {device}), give it to novanet \
             (nova-manage host adopt {device})"
        ),
        _ => "rename or remove that device".to_owned(),
    };
    format!(
        "bridge {device} of network {network}: the name is taken by {what} that novanet did not make, which is left alone: \
         {remedy}, or give the network another bridge (nova-manage network modify {network} --bridge=NAME)"
    )
}

#[test]
fn a_foreign_bridge_of_our_name_is_left_alone_and_ours_is_made_when_it_is_gone() {
    let cloud = Cloud::without_up("").unwrap();
    cloud
        .sh("ip link add br100 type bridge && ip address add 192.168.77.1/24 dev br100 && ip link set br100 up")
        .unwrap();
    let before = picture(&cloud, "br100");
    cloud
        .start_waiting_for("grep -q 'did not make' /var/lib/nova/novanet.log")
        .unwrap();
    refused_by_name(&cloud, "br100", &taken("br100", 1, "a bridge"));
    // An instance waits, and the log does not say it again.
    cloud
        .sh("until [ -r /var/lib/nova/novarc ]; do sleep 0.1; done")
        .unwrap();
    cloud
        .aws("run-instances --image-id ami-00000001 --instance-type m1.tiny")
        .unwrap();
    novanet_lab::eventually(super::LONG, || -> anyhow::Result<()> {
        let plan = cloud.sh("nova-manage host plan")?;
        anyhow::ensure!(plan.contains("i-00000001"), "{plan}");
        Ok(())
    })
    .unwrap();
    refused_by_name(&cloud, "br100", &taken("br100", 1, "a bridge"));
    assert_eq!(picture(&cloud, "br100"), before);
    assert!(!cloud.sh("ip -brief link").unwrap().contains("nv1"));

    cloud.sh("ip link delete br100").unwrap();
    novanet_lab::eventually(super::LONG, || -> anyhow::Result<()> {
        cloud.sh("ip -brief address show br100 | grep -q 10.0.0.1/")?;
        let state =
            cloud.aws("describe-instances --query Reservations[].Instances[].State.Name")?;
        anyhow::ensure!(state == "running", "{state}");
        Ok(())
    })
    .unwrap();
    cloud.settled().unwrap();
}

#[test]
fn an_interface_and_a_vlan_networks_device_are_left_alone_while_others_work() {
    let cloud = Cloud::up("").unwrap();
    let float = cloud.with_instance().unwrap();
    cloud
        .sh("ip link add pub type veth peer name lan && ip address add 192.168.78.1/24 dev pub && ip link set pub up && ip link set lan up; \
             ip link add br101 type bridge && ip address add 192.168.79.1/24 dev br101 && ip link set br101 up")
        .unwrap();
    let before = (picture(&cloud, "pub"), picture(&cloud, "br101"));
    // The uplink itself is refused when the network is created.
    let output = cloud
        .try_sh("nova-manage --public_interface=eth0 network create 10.77.0.0/24 1 256 --kind flatdhcp --bridge eth0")
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        output
            .stderr
            .contains("is the interface of the flag public_interface"),
        "{output:?}"
    );
    cloud
        .sh("nova-manage network create 10.77.0.0/24 1 256 --kind flatdhcp --bridge pub")
        .unwrap();
    refused_by_name(&cloud, "pub", &taken("pub", 2, "a veth"));
    cloud.sh("nova-manage project create pv admin").unwrap();
    cloud
        .sh("nova-manage network create 10.8.0.0/24 1 256 --kind vlan --vlan 101 --project_id pv")
        .unwrap();
    let vlan = if novanet_lab::have8021q().unwrap() {
        taken("br101", 3, "a bridge")
    } else {
        "bridge br101: network 3 is a VLAN network (VLAN 101), and this host's kernel has no 802.1Q: \
         modprobe 8021q and restart the agent, or use a flatdhcp or flat network"
            .to_owned()
    };
    refused_by_name(&cloud, "br101", &vlan);
    let sets = cloud.sh("nft list set ip nova networks").unwrap();
    assert!(
        !sets.contains("10.8.0.") && !sets.contains("10.77.0."),
        "{sets}"
    );
    assert_eq!((picture(&cloud, "pub"), picture(&cloud, "br101")), before);

    // The rest of the host works, and what is deleted is forgotten.
    cloud.reachable(&float).unwrap();
    cloud.sh("nova-manage network delete 10.77.0.0/24").unwrap();
    cloud
        .sh("nova-manage project scrub pv; nova-manage network delete 10.8.0.0/24")
        .unwrap();
    cloud.settled().unwrap();
    assert_eq!((picture(&cloud, "pub"), picture(&cloud, "br101")), before);
}
