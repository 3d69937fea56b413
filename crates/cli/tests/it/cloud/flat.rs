//! Flat networks on the administrator's bridge, beside networks of other kinds: what instances find
//! on their disks, and how they are reached.

use super::{Cloud, LONG, STATE};
use anyhow::{Context as _, Result, ensure};
use novanet_lab::{Host, connect, eventually};

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
fn flat_and_other_networks_live_side_by_side_and_instances_are_reached_on_each() {
    let cloud = Cloud::without_up("").unwrap();
    cloud.sh(BRIDGE).unwrap();
    let picture = "cd /sys/class/net/br200; cat address mtu bridge/stp_state bridge/forward_delay \
                   bridge/vlan_filtering; ip -4 -o address show dev br200";
    let before = cloud.sh(picture).unwrap();
    cloud.start().unwrap();
    flat(&cloud).with_context(|| cloud.log()).unwrap();
    assert_eq!(cloud.sh(picture).unwrap(), before, "the bridge was changed");
    external(&cloud).with_context(|| cloud.log()).unwrap();
    several(&cloud).with_context(|| cloud.log()).unwrap();
    rebuilt(&cloud).with_context(|| cloud.log()).unwrap();
}

/// An instance of a flat network that has its name, keys and user-data on its disk.
fn flat(cloud: &Cloud) -> Result<()> {
    cloud.sh(
        "nova-manage network create lan 10.8.0.0/24 1 256 --kind flat --bridge br200 \
         --dns1 10.8.0.9",
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

/// A flat-DHCP network whose gateway is another machine on the wire.
fn external(cloud: &Cloud) -> Result<()> {
    let router = Host::new("router")?;
    connect(&cloud.sandbox.cloud, "eth2", &router, "lan0")?;
    router.sh("ip address add 10.6.0.254/24 dev lan0; ip link set dev lan0 up")?;
    cloud.sh("ip link set dev eth2 up")?;
    let made = cloud.try_sh(
        "nova-manage network create wire 10.6.0.0/24 1 256 --kind flatdhcp --bridge br300 \
         --bridge_interface eth2 --gateway 10.6.0.254",
    )?;
    ensure!(made.success(), "{}", made.stderr);
    ensure!(
        made.stderr.contains("serves DHCP at 10.6.0.1"),
        "{}",
        made.stderr
    );
    cloud.sh("nova-manage vm run ami-00000001 admin --network wire --wait")?;
    eventually(LONG, || router.sh("ping -c1 -W1 10.6.0.2"))?;
    let routes = inside(cloud, 2, "ip route")?;
    ensure!(routes.contains("default via 10.6.0.254"), "{routes}");
    ensure!(routes.contains("169.254.169.254 via 10.6.0.1"), "{routes}");
    let id = "wget -q -O - http://169.254.169.254/latest/meta-data/instance-id";
    eventually(LONG, || -> Result<()> {
        let said = inside(cloud, 2, id)?;
        ensure!(said == "i-00000002", "{said}");
        Ok(())
    })?;
    // As in nova: the process and its helper, and files where the manual looks for them.
    let files = "cd /var/lib/nova/networks; cat nova-br300.conf; kill -0 $(cat nova-br300.pid); \
                 pgrep -c -f [d]hcp-hostsfile=/var/lib/nova/networks/nova-br300.conf";
    let said = cloud.sh(files)?;
    ensure!(
        said.contains(",10.6.0.2\n") && said.ends_with("\n2\n"),
        "{said}"
    );

    // The host does not route for it, not even for an instance that asks it to.
    inside(cloud, 2, "ip route add 203.0.113.0/24 via 10.6.0.1")?;
    let lost = inside(cloud, 2, "ping -c2 -W1 203.0.113.1");
    ensure!(lost.is_err(), "the host routed: {lost:?}");
    ensure!(
        inside(cloud, 2, "ping -c1 -W2 10.6.0.1").is_ok(),
        "the host answers for itself"
    );
    let rules =
        cloud.sh("nft list set ip nova networks; nft list chain ip nova nat_postrouting")?;
    ensure!(!rules.contains("10.6.0."), "{rules}");
    let float = cloud.aws("allocate-address --query PublicIp")?;
    let refused = cloud.try_sh(&format!(
        "aws ec2 associate-address --instance-id i-00000002 --public-ip {float}"
    ))?;
    let why = "the gateway 10.6.0.254 of flatdhcp network 10.6.0.0/24 is another machine";
    ensure!(refused.stderr.contains(why), "{}", refused.stderr);
    cloud.aws(&format!("release-address --public-ip {float}"))?;
    cloud.aws("terminate-instances --instance-ids i-00000002")?;
    Ok(())
}

/// Two flat networks on one bridge and the first, flat-DHCP one: an instance in all three.
fn several(cloud: &Cloud) -> Result<()> {
    cloud.sh("ip address add 10.7.0.254/24 dev br200; \
         nova-manage network create lan2 10.7.0.0/24 1 256 --kind flat --bridge br200")?;
    cloud.sh(
        "nova-manage vm run ami-00000001 admin --network lan --network subnet-00000004 \
              --network 10.0.0.0/24 --wait",
    )?;
    for (index, address) in ["10.8.0.3", "10.7.0.2", "10.0.0.2"].iter().enumerate() {
        let card = inside(cloud, 3, &format!("ip -4 -o address show dev eth{index}"));
        eventually(LONG, || cloud.sh(&format!("ping -c1 -W1 {address}")))
            .with_context(|| format!("{address}: {card:?}"))?;
    }
    // The gateway of the second network is no address of this host.
    let float = cloud.aws("allocate-address --query PublicIp")?;
    let output = cloud.try_sh(&format!(
        "aws ec2 associate-address --instance-id i-00000003 --public-ip {float} \
         --private-ip-address 10.7.0.2"
    ))?;
    ensure!(
        output.stderr.contains("Gateway.NotAttached"),
        "{}",
        output.stderr
    );
    let output = cloud.try_sh("nova-manage vm run ami-00000001 admin --network nowhere")?;
    ensure!(output.status.code() == Some(1) && output.stderr.contains("network nowhere not found"));
    Ok(())
}

/// The administrator restarts networking, which makes the bridge again.
fn rebuilt(cloud: &Cloud) -> Result<()> {
    cloud.sh("ip link delete dev br200")?;
    cloud.sh("ip link show dev nv1 | grep -qv master")?;
    cloud.sh(BRIDGE)?;
    eventually(std::time::Duration::from_secs(5), || {
        cloud.sh("ip link show dev nv1 | grep -q 'master br200'")
    })?;
    eventually(LONG, || cloud.sh("ping -c1 -W1 10.8.0.2"))?;
    Ok(())
}
