//! Flat networks on the administrator's bridge: what instances find on their disks, and how they
//! are reached.

use super::{Cloud, LONG, STATE};
use anyhow::{Context as _, Result, ensure};
use novanet_lab::eventually;

const BRIDGE: &str = "ip link add dev br200 address 02:00:00:00:02:00 type bridge; \
                      ip link set dev br200 up; ip address add 10.8.0.1/24 dev br200";

/// A line of shell in an instance.
fn inside(cloud: &Cloud, instance: u8, line: &str) -> Result<String> {
    let state = format!("{STATE}/instances/i-0000000{instance}/state.json");
    let pid = cloud.sh(&format!(
        "sed -n 's/.*\"pid\":\\([0-9]*\\).*/\\1/p' {state}"
    ))?;
    cloud.sh(&format!("nsenter -t {} -a sh -c '{line}'", pid.trim()))
}

#[test]
fn an_instance_of_a_flat_network_finds_all_it_needs_on_its_disk() {
    let cloud = Cloud::without_up("").unwrap();
    cloud.sh(BRIDGE).unwrap();
    let picture = "cd /sys/class/net/br200; cat address mtu bridge/stp_state bridge/forward_delay \
                   bridge/vlan_filtering; ip -4 -o address show dev br200";
    let before = cloud.sh(picture).unwrap();
    cloud.start().unwrap();
    flat(&cloud).with_context(|| cloud.log()).unwrap();
    assert_eq!(cloud.sh(picture).unwrap(), before, "the bridge was changed");
}

/// An instance of a flat network that has its name, keys and user-data on its disk.
fn flat(cloud: &Cloud) -> Result<()> {
    cloud.sh(
        "nova-manage network create lan 10.8.0.0/24 1 256 --kind flat --bridge br200 --dns1 10.8.0.9",
    )?;
    let shown = cloud.sh("nova-manage network show 2")?;
    for line in [
        "injected:            true",
        "subnet:              subnet-00000002",
    ] {
        ensure!(shown.contains(line), "{shown}");
    }
    cloud.sh(
        "ssh-keygen -q -t ed25519 -N \"\" -f key; aws ec2 import-key-pair --key-name key \
              --public-key-material fileb://key.pub; \
              printf '#!/bin/sh\\necho done >~root/done\\n' >data",
    )?;
    cloud.aws(
        "run-instances --image-id ami-00000001 --instance-type m1.tiny --key-name key \
         --user-data file://data --subnet-id subnet-00000002",
    )?;
    for door in ["tcp --port 22", "tcp --port 80", "icmp --port -1"] {
        cloud.aws(&format!(
            "authorize-security-group-ingress --group-name default --protocol {door} \
             --cidr 0.0.0.0/0"
        ))?;
    }
    eventually(LONG, || inside(cloud, 1, "cat ~root/done"))?;
    ensure!(inside(cloud, 1, "hostname; cat /etc/hostname")? == "i-00000001\ni-00000001\n");
    let key = cloud.sh("cut -d\" \" -f2 key.pub")?;
    ensure!(inside(cloud, 1, "cat ~root/.ssh/authorized_keys")?.contains(key.trim()));
    ensure!(inside(cloud, 1, "stat -c %a /etc/novanet/user-data")?.trim() == "600");
    ensure!(inside(cloud, 1, "cat /etc/resolv.conf")? == "nameserver 10.8.0.9\n");
    ensure!(inside(cloud, 1, "ip route")?.contains("default via 10.8.0.1"));
    eventually(LONG, || cloud.sh("curl -sf -m 2 http://10.8.0.2/"))?;
    let servers = cloud.sh("pgrep -a dnsmasq")?;
    ensure!(!servers.contains("br200"), "{servers}");

    // The host is its gateway here, so a floating IP leads to it.
    let float = cloud.aws("allocate-address --query PublicIp")?;
    let associate = format!("associate-address --instance-id i-00000001 --public-ip {float}");
    cloud.aws(&associate)?;
    cloud.reachable(&float)?;
    cloud.aws(&format!("disassociate-address --public-ip {float}"))?;
    Ok(())
}
