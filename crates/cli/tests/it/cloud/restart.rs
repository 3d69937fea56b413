//! The cloud's own processes come and go; instances, rules and addresses stay.

use super::{Cloud, LONG, STATE};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use novanet_lab::eventually;
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

/// The next start of the kernel, as far as a namespace can have one: no process, device, rule or
/// flow is left, and all files are of another boot.
const POWER_CUT: &str = "
    for pid in $(pgrep -x dnsmasq) $(pgrep -f '[/]sbin/init'); do kill -9 $pid; done
    nft flush ruleset; conntrack -F 2>/dev/null
    for link in $(ls /sys/class/net); do
        case $link in nv*|br*) ip link delete dev $link;; esac
    done
    ip rule flush; ip rule add pref 32766 table main; ip rule add pref 32767 table default
    ip route flush table 8775; ip route flush table local proto 78
    sysctl -q net.ipv4.ip_forward=0
    boot=$(cat /proc/sys/kernel/random/boot_id)
    for file in $(find /var/lib/nova -maxdepth 3 -type f -size -100k -exec grep -lF $boot {} +); do
        sed -i s/$boot/00000000-0000-0000-0000-000000000000/ $file
    done";

#[test]
fn addresses_and_leases_survive_a_restart_of_everything_and_of_the_host() {
    let cloud = Cloud::up("").unwrap();
    let float = cloud.with_instance().unwrap();
    let owners = || cloud.sh("nova-manage fixed list --format table");
    let leased = |before: Option<&str>| {
        eventually(LONG, || -> Result<String> {
            let now = owners()?;
            ensure!(now.contains("leased"), "{now}");
            ensure!(before.is_none_or(|before| before == now), "{now}");
            Ok(now)
        })
        .with_context(|| cloud.log())
        .unwrap()
    };
    let before = leased(None);

    // Server, agent and DHCP server at once; the instance goes on.
    let init = cloud.sh("pgrep -o -f /sbin/init").unwrap();
    cloud.stop(Signal::SIGKILL).unwrap();
    let pids = "for pid in $(pgrep -x dnsmasq); do kill -9 $pid; done";
    cloud.sh(pids).unwrap();
    cloud.start().unwrap();
    cloud.settled().unwrap();
    renew(&cloud, &init).unwrap();
    cloud.reachable(&float).unwrap();
    assert_eq!(leased(Some(&before)), before);
    assert_eq!(cloud.sh("pgrep -o -f /sbin/init").unwrap(), init);

    // The host: its agent comes up alone, from the ledger.
    cloud.stop(Signal::SIGKILL).unwrap();
    cloud.sh(POWER_CUT).unwrap();
    let mut agent = Command::new("sh");
    agent.args([
        "-c",
        &format!("exec {} agent --public_interface=eth0 --my_ip=203.0.113.2 --server_socket=/run/nobody.sock 2>>{STATE}/novanet.log", env!("CARGO_BIN_EXE_novanet")),
    ]);
    let agent = cloud.sandbox.cloud.spawn(&mut agent).unwrap();
    cloud.reachable(&float).unwrap();
    assert!(agent.ended().unwrap().is_none());
    assert_ne!(cloud.sh("pgrep -o -f /sbin/init").unwrap(), init);
    agent.signal(Signal::SIGTERM).unwrap();
    agent.wait(LONG).unwrap();

    // The server had heard nothing of it.
    cloud.start().unwrap();
    cloud.settled().unwrap();
    assert_eq!(leased(Some(&before)), before);
    let state = "describe-instances --query Reservations[].Instances[].State.Name";
    eventually(LONG, || -> Result<()> {
        ensure!(cloud.aws(state)? == "running");
        Ok(())
    })
    .unwrap();
    cloud.reachable(&float).unwrap();
}

/// The instance renews its lease, and the DHCP server says yes.
fn renew(cloud: &Cloud, init: &str) -> Result<()> {
    let init = init.trim();
    let said = cloud.sh(&format!(
        "nsenter -t {init} -n timeout 60 tcpdump -lvni eth0 -c1 udp src port 67 >ack 2>ready & \
         until grep -q listening ready; do sleep 0.05; done; \
         nsenter -t {init} -m -p sh -c 'kill -USR1 $(cat /run/tiny/eth0.pid)'; wait; cat ack"
    ))?;
    ensure!(said.contains("length 1: ACK"), "{said}");
    Ok(())
}
