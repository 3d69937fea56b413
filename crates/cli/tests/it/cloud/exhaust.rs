//! A peer on the network that opens connections and does not go on: the API, metadata and repair
//! keep working, and the process neither spins nor floods its log.

use super::{Cloud, LONG, STATE, venv};
use anyhow::{Context as _, Result, ensure};
use novanet_lab::{Process, Sandbox, eventually};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Keeps 1,200 connections in one state: makes those again that the server ends, 100 in a second.
const PEER: &str = r#"
import resource, select, socket, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
address, port, kind, ready = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
SAYS = {
    "half": b"POST /services/Cloud HTTP/1.1\r\nHost: cloud\r\nX-Fill",
    "silent": b"",
    "body": b"POST /services/Cloud HTTP/1.1\r\nHost: cloud\r\nContent-Length: 1000\r\n\r\nAction=",
}[kind]
poll, held, ended, seen = select.poll(), {}, 0, 0
def connect():
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex((address, port))
    held[s.fileno()] = s
    poll.register(s, select.POLLOUT)
for _ in range(1200):
    connect()
began = time.monotonic()
while True:
    for fd, event in poll.poll(100):
        seen += 1
        if event != select.POLLOUT:
            poll.unregister(fd)
            held.pop(fd).close()
            ended += 1
            continue
        poll.modify(fd, select.POLLIN)
        try:
            held[fd].send(SAYS)
        except OSError:
            pass  # ended in this moment
    if ready and (seen >= 1200 or time.monotonic() > began + 20):
        open(ready, "w").close()
        ready = None
    for _ in range(0 if ready else min(ended, 10)):
        ended -= 1
        connect()
    time.sleep(0.1)
"#;

/// The instance asks the metadata service once a second, and shows how often it had an answer.
const USER_DATA: &str = r#"#!/bin/sh
(n=0; while :; do
  id=$(timeout 10 wget -q -O - http://169.254.169.254/latest/meta-data/instance-id) && n=$((n + 1)) &&
    echo "$id $n" >/var/www/asked.new && mv /var/www/asked.new /var/www/asked
  sleep 1
done) >/dev/null 2>&1 &
"#;

/// The instance's count, if it has one by now.
fn asked(cloud: &Cloud, float: &str) -> Result<u32> {
    let text = cloud.internet(&format!("curl -sf -m 2 http://{float}/asked"))?;
    let number = text.trim().strip_prefix("i-00000001 ");
    let number = number.with_context(|| format!("the instance heard {text:?}"))?;
    Ok(number.parse()?)
}

/// Processor time of `novanet up`, in ticks of 10 ms.
fn processor(cloud: &Cloud) -> Result<u64> {
    let line = cloud.sh("cut -d' ' -f14,15 /proc/$(pgrep -o -x novanet)/stat")?;
    line.split_whitespace()
        .map(|ticks| Ok(ticks.parse::<u64>()?))
        .sum()
}

fn log_lines(cloud: &Cloud) -> Result<usize> {
    let text = cloud.sh(&format!("wc -l <{STATE}/novanet.log"))?;
    Ok(text.trim().parse()?)
}

fn attack(cloud: &Cloud, kind: &str) -> Result<Process> {
    let ready = format!("/run/{kind}.ready");
    let mut peer = Command::new(venv()?.join("bin/python"));
    peer.args([
        "-c",
        PEER,
        &Sandbox::CLOUD.to_string(),
        "8773",
        kind,
        &ready,
    ])
    .stdin(Stdio::null())
    .stderr(Stdio::null());
    let peer = cloud.sandbox.internet.spawn(&mut peer)?;
    eventually(LONG, || -> Result<()> {
        ensure!(peer.ended()?.is_none(), "the peer ended");
        cloud.internet(&format!("test -e {ready}"))?;
        Ok(())
    })?;
    Ok(peer)
}

/// Everything that clients and the host's owner count on.
fn all_is_well(cloud: &Cloud, float: &str) -> Result<()> {
    let heard = asked(cloud, float)?;
    ensure!(cloud.aws("describe-addresses")?.contains(float));
    cloud.sh("ip link set nv1 nomaster")?;
    let before = cloud.sh(&format!("cat {STATE}/networks/nova-br100.pid"))?;
    cloud.sh(&format!("kill -9 {before}"))?;
    eventually(LONG, || -> Result<()> {
        let now = cloud.sh(&format!(
            "ip -o link show master br100 | grep -q 'nv1[@:]' && \
             pid=$(cat {STATE}/networks/nova-br100.pid) && kill -0 $pid && echo $pid"
        ))?;
        ensure!(now.trim() != before.trim(), "dnsmasq is dead");
        Ok(())
    })
    .context("repair")?;
    // An answer after the port was back, at the latest.
    eventually(LONG, || -> Result<()> {
        let now = asked(cloud, float)?;
        ensure!(
            now > heard + 1,
            "{now} answers of the metadata service, after {heard}"
        );
        Ok(())
    })
    .context("metadata")
}

/// The files of the metadata cache are pipes without a reader: as a disk that hangs. Two of
/// the agent's threads wait for them, as many as a runtime has.
fn a_hanging_disk_of_the_agent_delays_no_answer(cloud: &Cloud) -> Result<()> {
    let folder = format!("{STATE}/agent/metadata");
    cloud.sh(&format!(
        "cd {folder} && for i in 1 2; do mkfifo pipe && mv pipe i-0000000$i.json; done"
    ))?;
    // openat, on x86-64 or aarch64: nothing else takes long to open.
    let waiting = "grep -lE '^(257|56) ' /proc/$(pgrep -o -x novanet)/task/*/syscall | wc -l";
    eventually(LONG, || -> Result<()> {
        let threads = cloud.sh(waiting)?;
        ensure!(
            threads.trim().parse::<u32>()? >= 2,
            "{threads} threads wait"
        );
        Ok(())
    })?;
    for _ in 0..3 {
        cloud.sh("timeout 60 aws ec2 describe-addresses >/dev/null")?;
    }
    cloud.sh(&format!(
        "cd {folder} && for i in 1 2; do timeout 60 sh -c \": >i-0000000$i.json\" && rm i-0000000$i.json; done"
    ))?;
    Ok(())
}

#[test]
fn connections_that_do_not_go_on_take_neither_the_api_nor_metadata_nor_repair_away() {
    let cloud = Cloud::without_up("")
        .unwrap()
        .with_prelude("ulimit -n 1024;");
    cloud.start().unwrap();
    cloud
        .sh(&format!("cat >asks.sh <<'END'\n{USER_DATA}END"))
        .unwrap();
    let float = cloud
        .with_instance_like("--count 2 --user-data file://asks.sh")
        .unwrap();
    eventually(LONG, || asked(&cloud, &float)).unwrap();

    for kind in ["half", "silent", "body"] {
        let (began, ticks) = (Instant::now(), processor(&cloud).unwrap());
        let lines = log_lines(&cloud).unwrap();
        let peer = attack(&cloud, kind).unwrap();
        all_is_well(&cloud, &float)
            .with_context(|| format!("{kind}: {}", cloud.log()))
            .unwrap();
        let open = cloud
            .sh("ls /proc/$(pgrep -o -x novanet)/fd | wc -l")
            .unwrap();
        assert!(open.trim().parse::<u32>().unwrap() < 512, "{kind}: {open}");
        peer.kill();
        // 10 ms of processor time in each 10 ms is one processor that does nothing else.
        let ticks = processor(&cloud).unwrap() - ticks;
        let wall = began.elapsed().as_millis() / 10;
        assert!(
            u128::from(ticks) < wall * 6 / 10,
            "{kind}: {ticks} of {wall}"
        );
        let lines = log_lines(&cloud).unwrap() - lines;
        assert!(lines < 100, "{kind}: {lines} lines of log: {}", cloud.log());
    }
    a_hanging_disk_of_the_agent_delays_no_answer(&cloud).unwrap();
    let refusals = format!("grep -c 'connection refused' {STATE}/novanet.log");
    let refusals: u32 = cloud.sh(&refusals).unwrap().trim().parse().unwrap();
    assert!((1..30).contains(&refusals), "{refusals}");
}
