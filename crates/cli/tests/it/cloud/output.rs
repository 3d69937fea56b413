//! Faults of stdout and stderr do not reach the cloud, and a terminal is not flooded.

use super::{Cloud, LONG};
use anyhow::{Context as _, Result, ensure};
use novanet_lab::{Process, eventually};
use std::process::{Command, Stdio};

/// `novanet up`, which leaves its pid behind.
const UP: &str =
    "sh -c 'echo $$ >/run/work/pid; exec novanet up --public_interface=eth0 --my_ip=203.0.113.2'";

/// A terminal that a test reads, and that goes away with its program.
const TERMINAL: &str = "echo $$ >/run/work/script; exec script -q -f -c \"$UP\" /run/work/tty";

/// Ways to end badly for what is written, and what to see to before the calls.
const WAYS: [(&str, &str); 5] = [
    (
        "sh -c \"$TERMINAL\"",
        "kill -9 $(cat /run/work/script); while [ -e /proc/$(cat /run/work/script) ]; do sleep 0.05; done",
    ),
    ("eval \"$UP\" 2>&1 | head -n 3", ":"),
    // The pipe is full within a moment, and its reader is there and never reads.
    ("RUST_LOG=trace eval \"$UP\" 2>&1 | exec sleep 600", ":"),
    ("eval \"$UP\" >&- 2>&-", ":"),
    ("eval \"$UP\" >/run/work/small/log 2>&1", ":"),
];

fn start(cloud: &Cloud, way: &str) -> Result<Process> {
    let script = format!("export PATH=/run/bin:$PATH TMPDIR={}; {way}", super::TMP);
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .env("UP", UP)
        .env("TERMINAL", TERMINAL)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    cloud.sh("rm -f /run/work/pid")?;
    cloud.sandbox.cloud.spawn(&mut command)
}

/// The process is there, the API answers, and the agent repairs a port that was unplugged.
fn works(cloud: &Cloud) -> Result<()> {
    let calls = "for n in 1 2 3 4 5; do novanet euca describe-instances || exit 1; done";
    eventually(LONG, || cloud.sh(calls))?;
    cloud.sh("ip link set nv1 nomaster")?;
    eventually(LONG, || {
        cloud.sh("ip -o link show dev nv1 | grep -q 'master br100'")
    })?;
    cloud.sh("kill -0 $(cat /run/work/pid)")?;
    cloud.sh(calls)?;
    Ok(())
}

fn stop(cloud: &Cloud) -> Result<()> {
    cloud.sh("kill $(cat /run/work/pid)")?;
    eventually(LONG, || cloud.sh("! kill -0 $(cat /run/work/pid) 2>&1"))?;
    Ok(())
}

/// What a person at the terminal saw, without the lines that say what to type next.
fn seen(cloud: &Cloud) -> Result<Vec<String>> {
    let text = cloud.sh("cat /run/work/tty")?;
    let lines = text.lines().map(|line| line.trim_end().to_owned());
    Ok(lines
        .filter(|line| !line.is_empty() && !line.starts_with("    ") && !line.starts_with("Script"))
        .collect())
}

#[test]
fn the_cloud_outlives_its_terminal_its_pipes_and_a_full_disk_and_is_quiet_at_a_terminal() {
    let cloud = Cloud::without_up("").unwrap();
    cloud
        .sh("mkdir small && mount -t tmpfs -o size=64k none small && ! head -c 1M /dev/zero >small/fill 2>/dev/null")
        .unwrap();
    for (number, (way, then)) in WAYS.into_iter().enumerate() {
        let _process = start(&cloud, way).unwrap();
        if number == 0 {
            eventually(LONG, || cloud.sh("grep -q 'cloud is up' /run/work/tty")).unwrap();
            let before = seen(&cloud).unwrap();
            assert!(before.len() < 10, "{before:#?}");
            cloud
                .aws("run-instances --image-id ami-00000001 --instance-type m1.tiny")
                .unwrap();
            let running = "novanet euca describe-instances | grep running";
            eventually(LONG, || cloud.sh(running)).unwrap();
            assert_eq!(seen(&cloud).unwrap(), before);
        }
        let worked = eventually(LONG, || cloud.sh("test -s /run/work/pid"))
            .and_then(|_| cloud.sh(then))
            .and_then(|_| works(&cloud));
        worked.with_context(|| way.to_owned()).unwrap();
        if way.contains("small") {
            said_what_was_lost(&cloud).unwrap();
        }
        stop(&cloud).with_context(|| way.to_owned()).unwrap();
    }
}

/// When there is space again, the log says how many lines it lost.
fn said_what_was_lost(cloud: &Cloud) -> Result<()> {
    cloud.sh("rm small/fill && novanet euca describe-instances")?;
    eventually(LONG, || -> Result<()> {
        let log = cloud.sh("cat small/log")?;
        let line = log.lines().find(|line| line.contains("lines were lost"));
        let line = line.with_context(|| format!("{log:?}"))?;
        let said = " lines were lost here: No space left on device";
        ensure!(line.ends_with(said) && line.contains(" WARN "), "{log}");
        Ok(())
    })
}
