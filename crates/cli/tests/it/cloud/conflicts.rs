//! Conflicts between the host's own addresses and the cloud's: the cloud takes no address that the
//! host has, whichever came first.

use super::{Cloud, LONG, STATE};
use anyhow::{Result, ensure};
use novanet_lab::eventually;

fn refused(cloud: &Cloud, line: &str, why: &str) {
    let output = cloud.try_sh(line).unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
    assert!(output.stderr.contains(why), "{line}: {}", output.stderr);
}

/// Waits until `nova-manage host list` says this beside the list.
fn said(cloud: &Cloud, why: &str) {
    eventually(LONG, || -> Result<()> {
        let said = cloud.try_sh("nova-manage host list")?.stderr;
        ensure!(said.contains(why), "{said}");
        Ok(())
    })
    .unwrap_or_else(|e| panic!("{e:#}\n{}", cloud.log()));
}

#[test]
fn what_the_host_has_is_in_no_pool_and_no_network_and_what_it_gets_later_is_held_back() {
    // U1: the host's address and the router's are left out.
    let cloud = Cloud::up("--floating_range=203.0.113.0/24").unwrap();
    let words = cloud.sh(&format!("cat {STATE}/up.out")).unwrap();
    for why in [
        "leaving 203.0.113.1 out of the floating addresses: host cloud has a default route via 203.0.113.1 on eth0",
        "leaving 203.0.113.2 out of the floating addresses: host cloud has 203.0.113.2/24 on eth0",
        "making 252 floating addresses of 203.0.113.0/24",
    ] {
        assert!(words.contains(why), "{why}: {words}");
    }
    // F4, F5: refused by name, either way round.
    let lan = "host cloud has 203.0.113.2/24 on eth0";
    for (range, size) in [("203.0.113.0/25", 128), ("203.0.112.0/23", 512)] {
        let line = format!(
            "nova-manage network create lan {range} 1 {size} --bridge br300 --network_manager=FlatDHCPManager"
        );
        refused(&cloud, &line, lan);
    }
    refused(&cloud, "nova-manage floating create 203.0.113.2", lan);
    let router = "host cloud has a default route via 203.0.113.1 on eth0";
    refused(&cloud, "nova-manage floating create 203.0.113.1", router);

    // The host gets a floating IP's address while it leads to an instance: it is the host's.
    let float = cloud.with_instance().unwrap();
    assert_eq!(float, "203.0.113.3");
    cloud.sh("ip address add 203.0.113.3/32 dev eth0").unwrap();
    let own = "float/203.0.113.3 is not in force: floating address 203.0.113.3: the host has 203.0.113.3/32 on eth0";
    said(&cloud, own);
    eventually(LONG, || -> Result<()> {
        let rules = cloud.sh("nft list ruleset; ip route show table local proto 78")?;
        ensure!(!rules.contains(&float), "{rules}");
        cloud.internet("curl -s -m 2 -o /dev/null http://203.0.113.3:8773/")?;
        Ok(())
    })
    .unwrap_or_else(|e| panic!("{e:#}\n{}", cloud.log()));
    cloud
        .sh("nova-manage floating disassociate 203.0.113.3")
        .unwrap();
    let associate = "aws ec2 associate-address --instance-id i-00000001 --public-ip 203.0.113.3";
    let output = cloud.try_sh(associate).unwrap();
    assert!(output.stderr.contains("203.0.113.3"), "{output:?}");
    assert!(!output.success(), "{output:?}");
    cloud.sh("ip address del 203.0.113.3/32 dev eth0").unwrap();
    eventually(LONG, || cloud.sh(associate)).unwrap();
    cloud.reachable(&float).unwrap();

    // The host gets an address in a network that is in use.
    cloud
        .sh(
            "ip link add eth5 type veth peer name eth6; ip link set eth5 up; ip link set eth6 up; \
             ip address add 10.0.0.200/25 dev eth5",
        )
        .unwrap();
    said(
        &cloud,
        "network/1 is not in force: bridge br100 of network 1: its range 10.0.0.0/24 is in use by \
         the host, which has 10.0.0.200/25 on eth5",
    );
    eventually(LONG, || cloud.sh("! ip link show br100 2>/dev/null")).unwrap();
    cloud.sh("ip link delete eth5").unwrap();
    cloud.reachable(&float).unwrap();
    cloud.settled().unwrap();
}

#[test]
fn a_first_network_in_which_the_host_lives_is_refused_before_anything_is_made() {
    let cloud = Cloud::without_up("").unwrap();
    cloud.sh("ip address add 10.0.0.9/16 dev lo").unwrap();
    refused(
        &cloud,
        "timeout 30 novanet up --public_interface=eth0",
        "fixed_range 10.0.0.0/24: this host has 10.0.0.9/16 on lo: choose another range",
    );
    assert_eq!(cloud.sh(&format!("ls -A {STATE}")).unwrap(), "");
}
