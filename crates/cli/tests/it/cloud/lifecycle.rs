//! A network under a running instance: modified, edited with the sqlite3 client, taken apart by
//! hand, scrubbed and deleted.

use super::{Cloud, LONG, STATE};
use anyhow::{Context as _, Result, ensure};
use novanet_lab::{Quickest, eventually};
use std::time::{Duration, Instant};

/// How soon the host has what an operator typed with SQL, or took away by hand.
const SOON: Duration = Duration::from_secs(5);

const EDIT: &str = "update networks set bridge='br_171' where id=1";

#[test]
fn a_network_is_modified_under_a_running_instance_and_leaves_nothing_when_it_is_scrubbed() {
    let cloud = Cloud::up("").unwrap();
    let before = links(&cloud).unwrap();
    let float = cloud.with_instance().unwrap();
    let pid = pid(&cloud).unwrap();

    cloud
        .sh("nova-manage network modify 10.0.0.0/24 --bridge=br200")
        .unwrap();
    is_on(&cloud, "br200", "br100").unwrap();
    cloud.reachable(&float).unwrap();
    for gateway in ["10.0.0.254", "10.0.0.1"] {
        renewed(&cloud, &pid, gateway).unwrap();
        cloud.reachable(&float).unwrap();
    }

    // The manual's way, with the client's own connection.
    let mut quickest = Quickest::within(SOON);
    let names = ["br_171", "br_172"];
    let mut turn = 0;
    while quickest.again().unwrap() {
        let (to, from) = match turn {
            0 => (names[0], "br200"),
            n => (names[n % 2], names[(n + 1) % 2]),
        };
        let edit = EDIT.replace(names[0], to);
        let typed = Instant::now();
        cloud
            .sh(&format!(
                "sqlite3 -cmd '.timeout 5000' {STATE}/nova.sqlite \"{edit}\""
            ))
            .unwrap();
        is_on(&cloud, to, from).unwrap();
        quickest.took(typed.elapsed());
        turn += 1;
    }
    let bridge = names[(turn + 1) % 2];
    cloud.reachable(&float).unwrap();

    // The manual's commands, on a bridge in use.
    let mut quickest = Quickest::within(SOON);
    while quickest.again().unwrap() {
        // The agent may take it up again between the two.
        cloud
            .sh(&format!(
                "timeout 60 sh -c 'until ifconfig {bridge} down && brctl delbr {bridge}; do :; done'"
            ))
            .unwrap();
        let broken = Instant::now();
        is_on(&cloud, bridge, "br100").unwrap();
        eventually(LONG, || {
            cloud.sh(&format!("ip address show dev {bridge} | grep 10.0.0.1/"))
        })
        .unwrap();
        quickest.took(broken.elapsed());
    }
    cloud.reachable(&float).unwrap();
    assert_eq!(
        self::pid(&cloud).unwrap(),
        pid,
        "the instance never stopped"
    );

    // The end: the project first, then the network. Without another one, which has nothing on
    // hosts, the next start would make a first network again.
    cloud
        .sh("nova-manage network create 10.5.0.0/24 1 256 --kind=vlan --label=spare")
        .unwrap();
    cloud
        .sh("nova-manage network modify 1 --project=admin")
        .unwrap();
    let refused = cloud.try_sh("nova-manage project scrub admin").unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused
            .stderr
            .contains("instance i-00000001 is in network 10.0.0.0/24"),
        "{}",
        refused.stderr
    );
    let dry = cloud
        .sh("nova-manage project scrub admin --terminate-instances --dry-run")
        .unwrap();
    assert!(
        dry.contains("instance/1") && !dry.contains("blocks"),
        "{dry}"
    );
    cloud.reachable(&float).unwrap();
    cloud
        .sh("nova-manage project scrub admin --terminate-instances")
        .unwrap();
    let dry = cloud.sh("nova-manage network delete 1 --dry-run").unwrap();
    let words: Vec<&str> = dry
        .lines()
        .skip(1)
        .filter_map(|l| l.split(' ').next())
        .collect();
    assert_eq!(words, ["1", "2", "3"], "{dry}");
    cloud.sh("nova-manage network delete 1").unwrap();
    nothing_is_left(&cloud, &before).unwrap();
    // What an operator types after that finds nothing, and nothing comes back.
    let late = cloud.try_sh(&format!("ifconfig {bridge} down; brctl delbr {bridge}"));
    assert!(!late.unwrap().success());
    // A device of ours from a killed run, of which neither ledger nor server knows.
    cloud.stop(nix::sys::signal::Signal::SIGKILL).unwrap();
    cloud
        .sh(&format!(
            "ip link add {bridge} type bridge; ip link set {bridge} alias novanet:bridge:{bridge}; \
             rm {STATE}/agent/ledger*"
        ))
        .unwrap();
    cloud.start_waiting_for("true").unwrap();
    nothing_is_left(&cloud, &before).unwrap();
}

/// The names of the host's links, without those of its first network.
fn links(cloud: &Cloud) -> Result<Vec<String>> {
    let names = cloud.sh("ls /sys/class/net")?;
    let names = names.split_whitespace().filter(|name| *name != "br100");
    Ok(names.map(str::to_owned).collect())
}

fn pid(cloud: &Cloud) -> Result<String> {
    let state = format!("{STATE}/instances/i-00000001/state.json");
    let pid = cloud.sh(&format!(
        "sed -n 's/.*\"pid\":\\([0-9]*\\).*/\\1/p' {state}"
    ))?;
    Ok(pid.trim().to_owned())
}

/// Gives the network another gateway, and the instance a lease with it: its client gives the lease
/// back and asks again at once.
fn renewed(cloud: &Cloud, pid: &str, gateway: &str) -> Result<()> {
    let modify = format!("nova-manage network modify 10.0.0.0/24 --gateway={gateway}");
    let told = cloud.try_sh(&modify)?;
    ensure!(told.success(), "{}", told.stderr);
    // A client that asks the former server would keep the former gateway for most of a lease.
    let serves = || {
        cloud.sh(&format!(
            "ip address show dev br200 | grep 'inet {gateway}/24 ' && \
             tr '\\0' '\\n' </proc/$(cat {STATE}/networks/nova-br200.pid)/cmdline | \
             grep 'option:router,{gateway}$'"
        ))
    };
    if told.stderr.contains("have not applied it yet") {
        eventually(LONG, serves)?;
    } else {
        serves().context("right after network modify")?;
    }
    let renew = "kill -USR2 $(cat /run/tiny/eth0.pid); kill -USR1 $(cat /run/tiny/eth0.pid)";
    cloud.sh(&format!("nsenter -t {pid} -m -p sh -c '{renew}'"))?;
    eventually(LONG, || {
        cloud.sh(&format!(
            "nsenter -t {pid} -n ip route | grep 'default via {gateway} '"
        ))
    })
    .with_context(|| cloud.log())?;
    Ok(())
}

/// Waits until the instance's port is in a bridge and another bridge is gone.
fn is_on(cloud: &Cloud, bridge: &str, gone: &str) -> Result<()> {
    eventually(LONG, || -> Result<()> {
        cloud.sh(&format!(
            "ip link show dev nv1 | grep -q 'master {bridge} '"
        ))?;
        let links = cloud.sh("ls /sys/class/net")?;
        let there = links.split_whitespace().any(|name| name == gone);
        ensure!(!there, "{gone} is still there");
        Ok(())
    })
    .with_context(|| cloud.log())
}

/// Waits until the host has its own links only, and no DHCP server of ours.
fn nothing_is_left(cloud: &Cloud, before: &[String]) -> Result<()> {
    eventually(LONG, || -> Result<()> {
        let links = links(cloud)?;
        ensure!(links == before, "{links:?}");
        let left = cloud.sh(&format!("ls {STATE}/networks"))?;
        ensure!(!left.contains("nova-br"), "{left}");
        Ok(())
    })
    .with_context(|| cloud.log())?;
    cloud.settled()
}
