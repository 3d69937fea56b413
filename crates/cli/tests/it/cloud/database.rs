//! The database fails under a cloud that runs: the disk of its folder is full, it is damaged, it is
//! away. Writes work again as soon as the cause has gone, and the agent does not need it.

use super::{Cloud, LONG, STATE};
use anyhow::{Context as _, ensure};
use nix::sys::signal::Signal;
use novanet_lab::eventually;

/// Makes groups until one is refused, then removes the fill and makes one more; prints what came of
/// it.
const GROUPS: &str = r#"
import boto3, botocore.config, botocore.exceptions, os, sys
config = botocore.config.Config(retries={"total_max_attempts": 1})
ec2 = boto3.client("ec2", config=config)
round, state = sys.argv[1:]

def create(name):
    try:
        ec2.create_security_group(GroupName=name, Description=name + "x" * 200)
        return "done"
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]

refused = []
for number in range(2000):
    answer = create(f"full-{round}-{number}")
    if answer != "done":
        refused.append(answer)
    if len(refused) == 5:
        break
print(*refused)
print(len(ec2.describe_security_groups()["SecurityGroups"]) > 0)
for name in ("fill", "fill2"):
    os.remove(f"{state}/{name}")
print(create(f"room-{round}"))
names = [group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]]
print(f"room-{round}" in names)
"#;

#[test]
fn a_full_disk_refuses_writes_and_they_work_at_once_when_there_is_room_again() {
    let cloud = Cloud::without_up("--quota_security_groups=10000 --state_reserve_mb=0").unwrap();
    let tmpfs = format!("mount -t tmpfs -o size=200m,mode=700 tmpfs {STATE}");
    cloud.sh(&tmpfs).unwrap();
    cloud.start().unwrap();
    cloud.settled().unwrap();
    let python = super::venv().unwrap().join("bin/python");
    for round in 1..=2 {
        // All free space, also what whole blocks leave over.
        let fill = format!(
            "dd if=/dev/zero of={STATE}/fill bs=64k 2>/dev/null; \
             dd if=/dev/zero of={STATE}/fill2 bs=4k 2>/dev/null; df {STATE} | grep -q 100%"
        );
        cloud.sh(&fill).unwrap();
        let said = cloud
            .sh(&format!(
                "{} -c '{GROUPS}' {round} {STATE}",
                python.display()
            ))
            .with_context(|| cloud.log())
            .unwrap();
        let refused = ["Unavailable"; 5].join(" ");
        assert_eq!(
            said,
            format!("{refused}\nTrue\ndone\nTrue\n"),
            "{}",
            cloud.log()
        );
    }
    // The agent's heartbeats are written again, too.
    eventually(LONG, || -> anyhow::Result<()> {
        let services = cloud.sh("nova-manage service list")?;
        ensure!(
            services.contains(":-)") && !services.contains("XXX"),
            "{services}"
        );
        Ok(())
    })
    .unwrap();
}

/// How a database becomes useless, and what the log says of that.
const FAULTS: [(&str, &str, &str); 3] = [
    (
        "missing",
        "true",
        "/var/lib/nova/nova.sqlite is empty or missing",
    ),
    (
        "damaged",
        "{ head -c 4096 saved/nova.sqlite; head -c 400000 /dev/zero | tr '\\0' '\\377'; } > nova.sqlite",
        "is damaged",
    ),
    (
        "foreign",
        "python3 -c 'import sqlite3; sqlite3.connect(\"nova.sqlite\").execute(\"CREATE TABLE other (a)\")'",
        "has tables that novanet did not make",
    ),
];

#[test]
fn without_a_usable_database_the_agent_goes_on_from_its_ledger_and_the_server_comes_back() {
    let cloud = Cloud::up("").unwrap();
    let float = cloud.with_instance().unwrap();
    cloud.settled().unwrap();
    let pid = cloud.sh("pgrep -o -f /sbin/init").unwrap();
    let metadata = "nsenter -t $(pgrep -o -f /sbin/init) -n curl -sf -m 5 \
                    http://169.254.169.254/latest/meta-data/instance-id";
    assert_eq!(cloud.sh(metadata).unwrap(), "i-00000001");
    for (fault, spoil, why) in FAULTS {
        cloud.stop(Signal::SIGTERM).unwrap();
        cloud
            .sh(&format!(
                "set -e; cd {STATE}; mkdir saved; mv nova.sqlite* saved/; {spoil}; \
                 : > novanet.log; nft flush ruleset; ip link set nv1 nomaster; \
                 kill $(cat networks/nova-br100.pid)"
            ))
            .unwrap();
        let up = cloud.spawn_up().unwrap();
        // The host is repaired without a server: rules, ports, DHCP.
        cloud.reachable(&float).with_context(|| fault).unwrap();
        eventually(LONG, || {
            cloud.sh("kill -0 $(cat /var/lib/nova/networks/nova-br100.pid)")
        })
        .with_context(|| fault)
        .unwrap();
        eventually(LONG, || -> anyhow::Result<()> {
            let answer = cloud.sh(metadata)?;
            ensure!(answer == "i-00000001", "{answer}");
            Ok(())
        })
        .with_context(|| fault)
        .unwrap();
        let log = cloud.sh(&format!("cat {STATE}/novanet.log")).unwrap();
        let said = |line: &str| line.contains("the server does not run") && line.contains(why);
        assert!(log.lines().any(said), "{fault}: {log}");
        assert_eq!(log.matches("the server does not run").count(), 1, "{log}");
        assert!(up.ended().unwrap().is_none(), "{fault}");
        let api = cloud
            .try_sh("curl -s -m 5 http://203.0.113.2:8773/")
            .unwrap();
        assert!(!api.success(), "{fault}: {api:?}");
        // It is brought back, and the server with it.
        cloud
            .sh(&format!(
                "set -e; cd {STATE}; rm -f nova.sqlite*; mv saved/* .; rmdir saved"
            ))
            .unwrap();
        eventually(LONG, || {
            cloud.aws("describe-instances --query Reservations[].Instances[].State.Name")
        })
        .with_context(|| format!("{fault}: {}", cloud.log()))
        .unwrap();
        *cloud.up.lock().unwrap() = Some(up);
        cloud.settled().unwrap();
        assert_eq!(cloud.sh("pgrep -o -f /sbin/init").unwrap(), pid, "{fault}");
    }
}

#[test]
fn whatever_the_umask_is_nobody_else_can_open_a_file_of_the_state_folder_or_lock_it() {
    let cloud = Cloud::without_up("").unwrap();
    // As an earlier version left them.
    cloud
        .sh(&format!(
            "mkdir -p {STATE}/dhcp; cd {STATE}/dhcp; touch lock leases.journal; chmod 666 *"
        ))
        .unwrap();
    cloud
        .sh("ln -sf /run/bin/novanet /run/bin/novanet.real")
        .unwrap();
    cloud
        .sh(&format!(
            "rm /run/bin/novanet; printf '#!/bin/sh\\numask 0\\nexec {} \"$@\"\\n' > /run/bin/novanet; chmod 755 /run/bin/novanet",
            env!("CARGO_BIN_EXE_novanet")
        ))
        .unwrap();
    cloud.start().unwrap();
    cloud.with_instance().unwrap();
    cloud.settled().unwrap();
    // What dnsmasq reads as the user that it becomes is open; files in a closed folder are closed.
    let open = format!(
        "cd {STATE}; find . -mindepth 1 -path ./networks -prune -o -name up.out -o -name novanet.log \
         -o -type d ! -perm /077 -prune -o -perm /077 -print"
    );
    assert_eq!(cloud.sh(&open).unwrap(), "");
    let locks = format!(
        "find {STATE} -path {STATE}/images -prune -o -path {STATE}/instances -prune \
         -o -name '*lock*' -perm /077 -print"
    );
    assert_eq!(cloud.sh(&locks).unwrap(), "");
}
