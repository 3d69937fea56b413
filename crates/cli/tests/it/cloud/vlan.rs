//! VLAN networks: two projects over one trunk, and the manual's page. The kernel must have 802.1Q;
//! where this machine's has none, the test runs itself in a virtual machine.

use super::{Cloud, long};
use crate::manual::{self, lab::Lab};
use anyhow::{Context as _, Result, ensure};
use novanet_lab::{Host, Vm, connect, eventually, have8021q, this_test};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Says that this process runs in the virtual machine.
const IN_VM: &str = "NOVANET_IN_VM";
/// For the boot and the whole scenario, with each instruction translated on a busy machine.
const VM_LIMIT: Duration = Duration::from_mins(15);

/// Whether this process runs in the virtual machine.
pub(super) fn is_in_vm() -> bool {
    std::env::var_os(IN_VM).is_some()
}

#[test]
fn two_projects_do_not_reach_each_other_and_the_manuals_page_works() {
    if is_in_vm() || have8021q().unwrap() {
        two_projects().unwrap();
        return manual::run_page("6.3.3-vlan.md", &Lab::with_switch(&["other"]).unwrap());
    }
    let this = std::env::current_exe().unwrap();
    let venv = super::venv().unwrap();
    let mut variables = vec![(IN_VM, "1"), ("NOVANET_VENV", venv.to_str().unwrap())];
    let draft = std::env::var_os(manual::DRAFT);
    variables.extend(draft.iter().map(|_| (manual::DRAFT, "1")));
    let done = Vm::new()
        .unwrap()
        .run(
            &[
                this.to_str().unwrap(),
                "--exact",
                &this_test().unwrap(),
                "--nocapture",
            ],
            &variables,
            VM_LIMIT,
        )
        .unwrap();
    if draft.is_some() {
        manual::say(&done.text);
    }
    assert_eq!(done.status, 0, "{}", done.text);
    assert!(done.text.contains("1 passed"), "{}", done.text);
}

/// Beyond the cloud host's trunk: a switch, and another host with an address in each VLAN.
struct Beyond {
    switch: Host,
    other: Host,
}

impl Beyond {
    fn of(cloud: &Host) -> Result<Self> {
        let switch = Host::new("switch")?;
        let other = Host::new("other")?;
        connect(cloud, "eth1", &switch, "port1")?;
        connect(&other, "eth1", &switch, "port2")?;
        switch.sh(
            "ip link add dev sw type bridge && ip link set dev sw up && \
             ip link set dev port1 master sw && ip link set dev port2 master sw",
        )?;
        for (vlan, address) in [(100, "10.0.0.200/24"), (171, "10.1.171.200/24")] {
            other.sh(&format!(
                "ip link add link eth1 name v{vlan} type vlan id {vlan} && \
                 ip address add {address} dev v{vlan} && ip link set dev v{vlan} up"
            ))?;
        }
        Ok(Self { switch, other })
    }
}

fn two_projects() -> Result<()> {
    let cloud = Cloud::without_up("--network_manager=VlanManager --vlan_interface=eth1")?;
    let beyond = Beyond::of(&cloud.sandbox.cloud)?;
    let mut tcpdump = Command::new("tcpdump");
    tcpdump
        .args(["-l", "-n", "-e", "-i", "eth1", "icmp"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let capture = beyond.other.spawn(&mut tcpdump)?;
    cloud.start()?;
    cloud.sh("nova-manage project create web admin")?;
    cloud.sh("nova-manage network create 10.1.171.0/24 1 256 --vlan 171")?;
    for project in ["admin", "web"] {
        cloud.sh(&format!("nova-manage vm run ami-00000001 {project} --wait"))?;
    }

    // The manual's names.
    for (vlan, bridge, gateway) in [(100, "br100", "10.0.0.1/"), (171, "br171", "10.1.171.1/")] {
        let device = cloud.sh(&format!("ip -d link show dev vlan{vlan}"))?;
        ensure!(device.contains(&format!("vlan{vlan}@eth1")), "{device}");
        ensure!(device.contains(&format!("802.1Q id {vlan}")), "{device}");
        ensure!(device.contains(&format!("master {bridge}")), "{device}");
        let addresses = cloud.sh(&format!("ip -brief address show dev {bridge}"))?;
        ensure!(addresses.contains(gateway), "{addresses}");
    }
    // .1 is the gateway, .2 the Cloudpipe's.
    ping(&cloud, 1, "10.0.0.200")?;
    ping(&cloud, 2, "10.1.171.200")?;
    let addresses = cloud.sh("nova-manage fixed list")?;
    for first in ["10.0.0.3", "10.1.171.3"] {
        ensure!(addresses.contains(first), "{addresses}");
    }

    // Not by the wire, and not by the gateway.
    let refused = inside(&cloud, 1, "ping -c2 -W1 10.1.171.3")?;
    ensure!(refused.is_err(), "an instance reached another project's");
    capture.signal(nix::sys::signal::Signal::SIGTERM)?;
    let mut frames = String::new();
    let mut out = capture.stdout().context("tcpdump's output")?;
    std::io::Read::read_to_string(&mut out, &mut frames)?;
    for (vlan, address) in [
        (100, "10.0.0.3 > 10.0.0.200"),
        (171, "10.1.171.3 > 10.1.171.200"),
    ] {
        let tagged = |line: &str| line.contains(&format!("vlan {vlan},")) && line.contains(address);
        ensure!(
            frames.lines().any(tagged),
            "no frame of VLAN {vlan}:\n{frames}"
        );
    }
    ensure!(!frames.contains("10.0.0.3 > 10.1.171"), "{frames}");

    // The manual's commands for left-over devices, on a network in use.
    // The agent may take the bridge up again between the two.
    cloud.sh("vconfig rem vlan100; \
         timeout 300 sh -c 'until ifconfig br100 down && brctl delbr br100; do :; done'")?;
    is_device(&cloud, 100, "br100")?;
    ping(&cloud, 1, "10.0.0.200")?;
    super::vlan_life::of_two_networks(&cloud, &beyond.other, &beyond.switch)?;
    cloud.settled()
}

/// Waits until the VLAN device of an id is a port of a bridge.
pub(super) fn is_device(cloud: &Cloud, vlan: u16, bridge: &str) -> Result<()> {
    eventually(long(), || {
        cloud.sh(&format!(
            "ip -d link show dev vlan{vlan} | grep -q 'master {bridge} '"
        ))
    })
    .with_context(|| cloud.log())?;
    Ok(())
}

pub(super) fn ping(cloud: &Cloud, instance: u8, address: &str) -> Result<()> {
    eventually(long(), || {
        inside(cloud, instance, &format!("ping -c1 -W1 {address}"))?
    })
    .with_context(|| cloud.log())?;
    Ok(())
}

/// A command in an instance's network.
fn inside(cloud: &Cloud, instance: u8, line: &str) -> Result<Result<String>> {
    let state = format!("/var/lib/nova/instances/i-0000000{instance}/state.json");
    let pid = cloud.sh(&format!(
        "sed -n 's/.*\"pid\":\\([0-9]*\\).*/\\1/p' {state}"
    ))?;
    Ok(cloud.sh(&format!("nsenter -t {} -n {line}", pid.trim())))
}
