//! The rest of the life of two VLAN networks, in the virtual machine that `vlan` boots: SQL, MTU, a
//! parent that goes and comes, foreign VLANs beside, a killed run, scrub.

use super::vlan::{is_device, ping};
use super::{Cloud, STATE, long};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use novanet_lab::{Host, connect, eventually};

/// Networks 1 (VLAN 100, project admin, instance 1) and 2 (VLAN 171, project web, instance 2) run;
/// `other` is beyond the `switch` at the end of the trunk.
pub(super) fn of_two_networks(cloud: &Cloud, other: &Host, switch: &Host) -> Result<()> {
    edited_with_sql(cloud, other)?;
    parent(cloud, switch)?;
    foreign_devices(cloud)?;
    long_parent(cloud)?;
    killed_run(cloud)?;
    scrubbed(cloud)
}

/// The manual's SQL moves network 2 to VLAN 172.
fn edited_with_sql(cloud: &Cloud, other: &Host) -> Result<()> {
    other.sh(
        "ip link delete dev v171 && ip link add link eth1 name v172 type vlan id 172 && \
         ip address add 10.1.171.200/24 dev v172 && ip link set dev v172 up",
    )?;
    cloud.sh(&format!(
        "sqlite3 -cmd '.timeout 5000' {STATE}/nova.sqlite \
         \"update networks set vlan=172, bridge='br_172' where id=2\""
    ))?;
    is_device(cloud, 172, "br_172")?;
    is_gone(cloud, &["vlan171", "br171"])?;
    ping(cloud, 2, "10.1.171.200")
}

/// V2 and V3: the device follows its parent's MTU, and comes back with its parent.
fn parent(cloud: &Cloud, switch: &Host) -> Result<()> {
    for mtu in [1400, 1500] {
        cloud.sh(&format!("ip link set dev eth1 mtu {mtu}"))?;
        eventually(long(), || {
            cloud.sh(&format!(
                "test $(cat /sys/class/net/vlan100/mtu) = {mtu} && \
                 test $(cat /sys/class/net/vlan172/mtu) = {mtu}"
            ))
        })
        .with_context(|| cloud.log())?;
    }
    cloud.sh("ip link delete dev eth1")?;
    is_gone(cloud, &["vlan100", "vlan172"])?;
    connect(&cloud.sandbox.cloud, "eth1", switch, "port1")?;
    switch.sh("ip link set dev port1 master sw")?;
    is_device(cloud, 100, "br100")?;
    is_device(cloud, 172, "br_172")?;
    ping(cloud, 1, "10.0.0.200")
}

/// A foreign VLAN device is left alone, its id is given to no network, and it is adopted by command
/// only.
fn foreign_devices(cloud: &Cloud) -> Result<()> {
    cloud.sh("for id in 101 300; do ip link add link eth1 name vlan$id type vlan id $id; done")?;
    // Until the host has reported them.
    eventually(long(), || -> Result<()> {
        let made = cloud.try_sh("nova-manage network create 10.3.0.0/24 1 256 --vlan 300")?;
        if made.success() {
            cloud.sh("nova-manage network delete 10.3.0.0/24")?;
        }
        ensure!(
            made.stderr.contains("nova-manage host adopt vlan300"),
            "{made:?}"
        );
        Ok(())
    })?;
    let made = cloud.sh("nova-manage network create 10.3.0.0/24 1 256 --format json")?;
    ensure!(made.contains("\"vlan\": 102"), "{made}");
    cloud.sh("nova-manage network delete 10.3.0.0/24")?;
    let adopted = cloud.try_sh("nova-manage host adopt vlan300")?;
    ensure!(
        adopted.stderr.contains("the agent removes it"),
        "{adopted:?}"
    );
    is_gone(cloud, &["vlan300"])
}

/// V1: names of devices come from the id alone, however long the parent's name is.
fn long_parent(cloud: &Cloud) -> Result<()> {
    let parent = "enx0a1b2c3d4e5f";
    cloud.sh(&format!(
        "ip link add dev {parent} type veth peer name peer; ip link set dev peer up; \
         ip link set dev {parent} up; \
         nova-manage network create 10.3.0.0/24 1 256 --vlan 4094 --bridge_interface {parent} \
         --project web"
    ))?;
    is_device(cloud, 4094, "br4094")?;
    let device = cloud.sh("ip -d link show dev vlan4094")?;
    ensure!(device.contains(&format!("vlan4094@{parent}")), "{device}");
    ensure!(device.contains("802.1Q id 4094"), "{device}");
    cloud.sh("nova-manage network modify 10.3.0.0/24 --disassociate_project")?;
    cloud.sh("nova-manage network delete 10.3.0.0/24")?;
    is_gone(cloud, &["vlan4094", "br4094"])?;
    cloud.sh(&format!("ip link delete dev {parent}"))?;
    Ok(())
}

/// Devices of a killed run, without a ledger: those of network 1 are adopted as they are.
fn killed_run(cloud: &Cloud) -> Result<()> {
    cloud.stop(Signal::SIGKILL)?;
    let index = "cat /sys/class/net/vlan100/ifindex /sys/class/net/br100/ifindex";
    let before = cloud.sh(index)?;
    cloud.sh(&format!("rm {STATE}/agent/ledger*"))?;
    cloud.start()?;
    cloud.settled()?;
    ensure!(cloud.sh(index)? == before, "the devices were made again");
    ping(cloud, 1, "10.0.0.200")
}

/// V5: all of network 2 goes, and nothing else.
fn scrubbed(cloud: &Cloud) -> Result<()> {
    let refused = cloud.try_sh("nova-manage project scrub web")?;
    ensure!(
        refused.stderr.contains("instance i-00000002 is in"),
        "{refused:?}"
    );
    cloud.sh("nova-manage project scrub web --terminate-instances")?;
    is_gone(cloud, &["vlan172", "br_172"])?;
    let rules = cloud.sh("nft list ruleset")?;
    ensure!(
        !rules.contains("10.1.171.") && !rules.contains("br_172"),
        "{rules}"
    );
    let files = cloud.sh(&format!("ls {STATE}/networks"))?;
    ensure!(!files.contains("br_172"), "{files}");
    cloud.sh("nova-manage network delete 10.1.171.0/24")?;
    // The manual's commands find nothing more, and nothing comes back.
    ensure!(
        !cloud.try_sh("vconfig rem vlan172")?.success(),
        "it was there"
    );
    cloud.settled()?;
    is_gone(cloud, &["vlan172", "br_172"])?;
    is_device(cloud, 100, "br100")?;
    cloud.sh("ip -d link show dev vlan101 | grep 'vlan protocol 802.1Q id 101'")?;
    ping(cloud, 1, "10.0.0.200")
}

fn is_gone(cloud: &Cloud, devices: &[&str]) -> Result<()> {
    eventually(long(), || -> Result<()> {
        let links = cloud.sh("ls /sys/class/net")?;
        let left = links.split_whitespace().find(|name| devices.contains(name));
        ensure!(left.is_none(), "{left:?} is still there");
        Ok(())
    })
    .with_context(|| cloud.log())
}
