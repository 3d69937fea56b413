//! A tenant fills the disk of an instance; the host and the other instances go on.

use super::{Cloud, LONG, STATE};
use novanet_lab::eventually;

/// Runs a command line as root of an instance.
fn inside(cloud: &Cloud, instance: &str, line: &str) -> String {
    let pid = format!("jq .process.pid {STATE}/instances/{instance}/state.json");
    let output = cloud.try_sh(&format!(
        "nsenter -t $({pid}) -a /bin/busybox sh -c '{line}' 2>&1"
    ));
    output.unwrap().stdout
}

#[test]
fn a_tenant_that_fills_its_disk_stops_neither_the_cloud_nor_another_tenant() {
    let cloud = Cloud::up("--tiny_disk_mb=24 --state_reserve_mb=8").unwrap();
    cloud
        .aws("run-instances --image-id ami-00000001 --instance-type m1.tiny --count 2")
        .unwrap();
    for address in ["10.0.0.2", "10.0.0.3"] {
        eventually(LONG, || cloud.sh(&format!("ping -c1 -W1 {address}"))).unwrap();
    }
    let said = inside(&cloud, "i-00000001", "dd if=/dev/zero of=/fill bs=1M");
    assert!(said.contains("No space left on device"), "{said}");
    let said = inside(&cloud, "i-00000001", "df -m / | tail -n 1");
    let mib: u32 = said.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!((20..=32).contains(&mib), "{said}");

    let said = inside(
        &cloud,
        "i-00000002",
        "dd if=/dev/zero of=/fill bs=1M count=8 && echo ok",
    );
    assert!(said.ends_with("ok\n"), "{said}");
    cloud.aws("allocate-address").unwrap();
    let reserve = cloud.sh(&format!("stat -c %s {STATE}/.reserve")).unwrap();
    assert_eq!(reserve.trim(), (8 << 20).to_string());

    cloud
        .aws("terminate-instances --instance-ids i-00000001 i-00000002")
        .unwrap();
    cloud
        .aws("wait instance-terminated --instance-ids i-00000001 i-00000002")
        .unwrap();
    assert_eq!(cloud.sh(&format!("ls -A {STATE}/instances")).unwrap(), "");
}
