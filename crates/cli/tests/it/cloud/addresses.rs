//! Addresses change owners, on a network with one address to give.

use super::{Cloud, LONG, STATE};
use novanet_lab::eventually;

#[test]
fn another_instance_gets_a_just_released_address_at_once() {
    let cloud = Cloud::up("--fixed_range=10.0.0.0/30").unwrap();
    cloud
        .aws("run-instances --image-id ami-00000001 --instance-type m1.tiny")
        .unwrap();
    eventually(LONG, || cloud.sh("ping -c1 -W1 10.0.0.2")).unwrap();
    let first = mac(&cloud);

    // The pool is empty: a clear refusal, and nothing half-done.
    let refused = cloud
        .try_sh("aws ec2 run-instances --image-id ami-00000001 --instance-type m1.tiny")
        .unwrap();
    assert!(
        refused.stderr.contains("InsufficientFreeAddressesInSubnet"),
        "{}",
        refused.stderr
    );
    assert!(
        refused.stderr.contains("network 10.0.0.0/30"),
        "{}",
        refused.stderr
    );
    let log = cloud
        .sh(&format!(
            "grep 'a launch finds no free fixed IP' {STATE}/novanet.log"
        ))
        .unwrap();
    assert!(log.contains("10.0.0.0/30"), "{log}");
    let listed = cloud.try_sh("nova-manage network list").unwrap();
    let note = "network 1 (10.0.0.0/30) has no free address: make another network";
    assert!(listed.stderr.contains(note), "{}", listed.stderr);
    let ids = cloud
        .aws("describe-instances --query Reservations[].Instances[].InstanceId")
        .unwrap();
    assert_eq!(ids, "i-00000001");

    cloud
        .aws("terminate-instances --instance-ids i-00000001")
        .unwrap();
    cloud
        .aws("wait instance-terminated --instance-ids i-00000001")
        .unwrap();
    let second = cloud
        .aws("run-instances --image-id ami-00000001 --instance-type m1.tiny --query Instances[0].[InstanceId,PrivateIpAddress]")
        .unwrap();
    assert!(second.ends_with("10.0.0.2"), "{second}");
    eventually(LONG, || cloud.sh("ping -c1 -W1 10.0.0.2"))
        .unwrap_or_else(|e| panic!("{e:#}\n{}", cloud.log()));
    assert_ne!(mac(&cloud), first);
}

fn mac(cloud: &Cloud) -> String {
    let said = cloud.sh("nova-manage fixed list --format json").unwrap();
    let at = said.find("02:16:3e").expect("a MAC");
    said[at..at + 17].to_owned()
}
