//! The start of `novanet up`: impossible flags are refused before anything is made, and what is
//! made can run.

use super::{Cloud, LONG, STATE};
use novanet_lab::{eventually, have8021q};
use std::process::{Command, Stdio};

/// Refused with these words, and nothing is left behind.
fn refused(cloud: &Cloud, line: &str, expected: &[&str]) {
    let output = cloud.try_sh(line).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
    let errors: Vec<&str> = output
        .stderr
        .lines()
        .filter(|l| l.starts_with("error: "))
        .collect();
    let [error] = errors.as_slice() else {
        panic!("{line}: not one error line: {output:?}");
    };
    for word in expected {
        assert!(error.contains(word), "{line}: {word} is not in {error:?}");
    }
    assert_eq!(cloud.sh(&format!("ls -A {STATE}")).unwrap(), "", "{line}");
}

#[test]
fn what_cannot_be_is_said_before_anything_is_made() {
    let cloud = Cloud::without_up("").unwrap();
    let up = "timeout 30 novanet up --public_interface=eth0 --my_ip=203.0.113.2";
    refused(
        &cloud,
        &format!("{up} --floating_range=10.0.0.128/28"),
        &["floating_range 10.0.0.128/28", "10.0.0.0/24", "choose"],
    );
    refused(
        &cloud,
        &format!("{up} --fixed_range=10.0.0.0/31"),
        &["fixed_range 10.0.0.0/31"],
    );
    refused(
        &cloud,
        &format!("{up} --floating_range=68.0.0.0/8"),
        &["floating_range 68.0.0.0/8", "too large"],
    );
    let python = super::venv().unwrap().join("bin/python");
    for port in [8773, 8775] {
        // The line waits until the port is taken.
        let line = format!(
            "{} -m http.server --bind 0.0.0.0 {port} >/dev/null 2>&1 & \
             until ss -Hltn sport = {port} | grep -q .; do :; done; \
             {up}; code=$?; kill $!; exit $code",
            python.display()
        );
        refused(&cloud, &line, &[&port.to_string()]);
    }
    // What the first image is built from is a part of what the host lacks.
    refused(
        &cloud,
        &format!("unshare -m sh -c 'mount --bind /run/work /usr/sbin && {up}'"),
        &[
            "nft",
            "dropbear",
            "apt-get install nftables",
            "dropbear-bin",
        ],
    );
}

/// Starts `novanet up` with flags of the test's own; its words when they end with `until`.
fn words_until(cloud: &Cloud, flags: &str, until: &str) -> String {
    let line = format!(
        "PATH=/run/bin:$PATH; exec novanet up --public_interface=eth0 --my_ip=203.0.113.2 {flags} \
         >{STATE}/up.out 2>{STATE}/novanet.log"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &line]).stdin(Stdio::null());
    let process = cloud.sandbox.cloud.spawn(&mut command).unwrap();
    let said = eventually(LONG, || {
        assert!(process.ended().unwrap().is_none(), "{}", cloud.log());
        cloud.sh(&format!(
            "grep -q '{until}' {STATE}/up.out && cat {STATE}/up.out"
        ))
    })
    .unwrap();
    process.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    process.wait(LONG).unwrap();
    said
}

#[test]
fn the_manuals_nova_conf_gets_a_first_network_that_hosts_run() {
    let cloud = Cloud::without_up("").unwrap();
    cloud
        .sh("echo --network_manager=nova.network.manager.VlanManager >nova.conf")
        .unwrap();
    let said = words_until(&cloud, "--flagfile=/run/work/nova.conf", "the cloud is up");
    let kind = if have8021q().unwrap() {
        "vlan"
    } else {
        let why = "network_manager asks for vlan networks (/run/work/nova.conf:1), and this kernel \
                   has no 802.1Q (modprobe 8021q): the first network is flatdhcp";
        assert!(said.contains(why), "{said}");
        "flatdhcp"
    };
    let networks = cloud.sh("nova-manage network list --format json").unwrap();
    assert!(
        networks.contains(&format!("\"kind\": \"{kind}\"")),
        "{networks}"
    );
}

#[test]
fn another_bridge_for_a_network_that_is_there_is_refused_by_name() {
    let cloud = Cloud::without_up("").unwrap();
    cloud
        .sh("nova-manage network create 10.9.0.0/24 1 256 --kind flatdhcp --bridge br300")
        .unwrap();
    let up = "timeout 30 novanet up --public_interface=eth0 --my_ip=203.0.113.2";
    let output = cloud
        .try_sh(&format!("{up} --flat_network_bridge=br200"))
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = "error: flat_network_bridge br200 (command line): network 10.9.0.0/24 is on br300";
    assert!(output.stderr.starts_with(said), "{output:?}");
    let said = words_until(&cloud, "--flat_network_bridge=br300", "the cloud is up");
    assert!(!said.contains("in force"), "{said}");
}

#[test]
fn a_cloud_whose_networks_are_all_vlan_says_what_is_missing() {
    let cloud = Cloud::without_up("").unwrap();
    cloud
        .sh("nova-manage network create 10.9.0.0/24 1 256")
        .unwrap();
    if have8021q().unwrap() {
        words_until(&cloud, "", "the cloud is up");
        return;
    }
    let last = "network create RANGE --kind flatdhcp makes one";
    let said = words_until(&cloud, "", last);
    let why = "network 10.9.0.0/24 is vlan, which this host's kernel cannot run (modprobe 8021q)";
    assert!(said.contains(why), "{said}");
    assert!(
        said.contains("the cloud is not up: no network is in force"),
        "{said}"
    );
}
