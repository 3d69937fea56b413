//! The cloud's own processes come and go; instances, rules and addresses stay.

use super::{Cloud, STATE};
use nix::sys::signal::Signal;
use std::process::{Command, Stdio};

#[test]
fn a_killed_cloud_comes_back_to_the_same_state_and_no_packet_is_lost() {
    let cloud = Cloud::up("").unwrap();
    let float = cloud.with_instance().unwrap();
    let state = "nft list tables; ip -brief address show br100; ip -brief link show nv1; cat /var/lib/nova/networks/nova-br100.pid";
    let before = cloud.sh(state).unwrap();
    let instance = cloud
        .sh(&format!(
            "curl -s -m 2 http://{float}/; pgrep -o -f /sbin/init"
        ))
        .unwrap();

    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let mut ping = Command::new("ping");
        ping.args(["-q", "-i", "0.02", "-W", "2", "-w", "60", &float])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let ping = cloud.sandbox.internet.spawn(&mut ping).unwrap();
        cloud.stop(signal).unwrap();
        assert_eq!(cloud.sh(state).unwrap(), before, "after {signal}");
        cloud.start().unwrap();
        cloud.settled().unwrap();
        ping.signal(Signal::SIGINT).unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut ping.stdout().unwrap(), &mut said).unwrap();
        assert!(said.contains(" 0% packet loss"), "after {signal}: {said}");
        assert_eq!(
            cloud.sh(state).unwrap(),
            before,
            "after {signal} and a start"
        );
    }
    let after = cloud
        .sh(&format!(
            "curl -s -m 2 http://{float}/; pgrep -o -f /sbin/init"
        ))
        .unwrap();
    assert_eq!(after, instance, "the instance is the same process");
    let state = cloud
        .aws("describe-instances --query Reservations[].Instances[].State.Name")
        .unwrap();
    assert_eq!(state, "running");

    // A second one beside it is refused, and the first goes on.
    let second = cloud
        .try_sh("timeout 20 novanet up --public_interface=eth0 --my_ip=203.0.113.2 --ec2_listen_port=8774")
        .unwrap();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    assert!(
        second
            .stderr
            .contains("another agent works in this network namespace"),
        "{}",
        second.stderr
    );
    // As an operator of nova would, with nova-compute beside nova-network.
    let compute = cloud
        .try_sh("ln -s /run/bin/novanet /run/bin/nova-compute; timeout 20 nova-compute --public_interface=eth0 --my_ip=203.0.113.2")
        .unwrap();
    assert_eq!(compute.status.code(), Some(1), "{compute:?}");
    let said = compute.stderr;
    assert!(
        said.contains("one agent is both nova-network and nova-compute"),
        "{said}"
    );
    cloud.reachable(&float).unwrap();
}

#[test]
fn a_host_comes_up_from_its_ledger_without_a_server() {
    let cloud = Cloud::up("").unwrap();
    let float = cloud.with_instance().unwrap();
    cloud.stop(Signal::SIGKILL).unwrap();
    cloud
        .sh("nft flush ruleset; ip link set br100 down")
        .unwrap();
    // An agent alone, without a server.
    let mut agent = Command::new("sh");
    agent.args([
        "-c",
        &format!("exec {} agent --public_interface=eth0 --my_ip=203.0.113.2 --server_socket=/run/nobody.sock 2>>{STATE}/novanet.log", env!("CARGO_BIN_EXE_novanet")),
    ]);
    let agent = cloud.sandbox.cloud.spawn(&mut agent).unwrap();
    cloud.reachable(&float).unwrap();
    assert!(agent.ended().unwrap().is_none());
}
