//! `novanet up` is killed at random moments: in its first start, idle and at work, while a client
//! goes on calling. At the end every acknowledged change is there, and nothing is there twice or
//! left over.

mod client;

use super::{Cloud, LONG};
use anyhow::{Context as _, Result, ensure};
use client::{Book, Calls, Client};
use nix::sys::signal::Signal;
use novanet_lab::eventually;
use std::collections::BTreeMap;
use std::time::Duration;

/// When the first starts are killed (milliseconds). Each goes on where the one before was, so
/// together they are killed while every part of the first start is made.
const FIRST_STARTS: [u64; 8] = [12, 40, 90, 140, 190, 260, 330, 420];

/// Seeds of the later kills.
const SEEDS: [u64; 10] = [1, 2, 3, 5, 8, 13, 21, 34, 55, 89];

/// The earliest and the latest of every second one, after a start (milliseconds).
const STARTING: (u64, u64) = (150, 2_000);

/// The latest of the others, after the first call that is answered (milliseconds).
const AT_WORK: u64 = 1_000;

/// What every instance lets in.
const LET_IN: [&str; 2] = ["-P tcp -p 80 default", "-P icmp -t -1:-1 default"];

/// What happens next, the same in every run.
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

#[test]
fn what_was_answered_outlives_every_kill_and_nothing_is_left_over() {
    let cloud = Cloud::without_up("").unwrap();
    for after in FIRST_STARTS {
        killed_after(&cloud, || Ok(()), after).unwrap();
    }
    // Up once, whatever the machine has to do beside: the client needs its credentials.
    cloud.start().unwrap();
    for rule in LET_IN {
        cloud.sh(&format!("novanet euca authorize {rule}")).unwrap();
    }
    cloud.stop(Signal::SIGKILL).unwrap();
    let calls = Calls::default();
    let book = std::thread::scope(|scope| {
        let client = scope.spawn(|| Client::new(&cloud, &calls, Rng(4)).work());
        let kills = || -> Result<()> {
            for (n, seed) in SEEDS.into_iter().enumerate() {
                let mut rng = Rng(seed);
                if n % 2 == 0 {
                    killed_after(&cloud, || calls.another_answer(), rng.below(AT_WORK))?;
                } else {
                    let (least, most) = STARTING;
                    killed_after(&cloud, || Ok(()), least + rng.below(most - least))?;
                }
            }
            // On a busy machine all kills may have come between two calls; the next one cannot.
            calls.one_cut_off()?;
            cloud.start()
        };
        let killed = kills();
        calls.finish();
        let book = client.join().unwrap();
        killed.map(|()| book)
    });
    let book = book.unwrap();
    assert!(book.worked(), "the client did not get to work: {book:#?}");
    everything_answered_is_there(&cloud, &book).unwrap_or_else(|e| panic!("{e:#}\n{book:#?}"));
    nothing_else_is_there(&cloud).unwrap();
    everything_works(&cloud).unwrap();
    everything_can_be_ended(&cloud).unwrap();
}

/// Starts it, waits until `ready`, and kills it so many milliseconds later; one that ended by itself
/// is an error.
fn killed_after(
    cloud: &Cloud,
    ready: impl FnOnce() -> Result<()>,
    milliseconds: u64,
) -> Result<()> {
    let up = cloud.spawn_up()?;
    ready().with_context(|| cloud.log())?;
    std::thread::sleep(Duration::from_millis(milliseconds));
    let ended = up.ended()?;
    ensure!(ended.is_none(), "ended with {ended:?}:\n{}", cloud.log());
    up.kill();
    Ok(())
}

/// A row of what a `euca-…` command prints, without its first word.
fn rows(said: &str, first: &str) -> Vec<Vec<String>> {
    let lines = said.lines().filter_map(|line| line.strip_prefix(first));
    let cells = |line: &str| line.split('\t').skip(1).map(str::to_owned).collect();
    lines.map(cells).collect()
}

/// State of every instance by its id.
fn states(cloud: &Cloud) -> Result<BTreeMap<String, String>> {
    let said = cloud.sh("novanet euca describe-instances")?;
    let all = rows(&said, "INSTANCE").into_iter();
    Ok(all.map(|row| (row[0].clone(), row[4].clone())).collect())
}

/// Those that are not ended.
fn living(cloud: &Cloud) -> Result<Vec<String>> {
    let all = states(cloud)?.into_iter();
    let living = all.filter(|(_, state)| state != "terminated");
    Ok(living.map(|(id, _)| id).collect())
}

/// Floating addresses and where they lead.
fn leads(cloud: &Cloud) -> Result<BTreeMap<String, String>> {
    let said = cloud.sh("novanet euca describe-addresses")?;
    let all = rows(&said, "ADDRESS").into_iter();
    Ok(all.map(|row| (row[0].clone(), row[1].clone())).collect())
}

/// The port of every rule, as often as it is there.
fn open_doors(cloud: &Cloud) -> Result<Vec<String>> {
    let said = cloud.sh("novanet euca describe-groups")?;
    let rules = rows(&said, "PERMISSION").into_iter();
    Ok(rules.map(|row| row[4].clone()).collect())
}

fn everything_answered_is_there(cloud: &Cloud, book: &Book) -> Result<()> {
    eventually(LONG, || {
        let states = states(cloud)?;
        let busy = |state: &&String| *state != "running" && *state != "terminated";
        ensure!(states.values().find(busy).is_none(), "{states:?}");
        anyhow::Ok(())
    })
    .with_context(|| cloud.log())?;
    let states = states(cloud)?;
    for (id, lives) in book.instances() {
        let state = states.get(id).map_or("terminated", String::as_str);
        let expected = if lives { "running" } else { "terminated" };
        ensure!(state == expected, "{id} is {state}, not {expected}");
    }
    let leads = leads(cloud)?;
    for (float, to) in book.floats() {
        let found = leads.get(float).map(String::as_str);
        ensure!(found == to, "{float} leads to {found:?}, not to {to:?}");
    }
    let doors = open_doors(cloud)?;
    for (door, open) in book.doors() {
        let found = doors.iter().filter(|d| **d == door.to_string()).count();
        ensure!(found == usize::from(open), "{door} is in {found} rules");
    }
    Ok(())
}

/// No more than what the living instances need: in the database, on the host, and among its
/// processes.
fn nothing_else_is_there(cloud: &Cloud) -> Result<()> {
    cloud.settled()?;
    let checked = cloud.sh("nova-manage db check")?;
    ensure!(checked.contains(", 0 host objects repaired"), "{checked}");
    let living = living(cloud)?;
    let addresses = cloud.sh("nova-manage fixed list")?;
    let mut owners: Vec<&str> = addresses
        .split_whitespace()
        .filter(|word| word.starts_with("i-"))
        .collect();
    owners.sort_unstable();
    ensure!(owners == living, "{living:?} have {addresses}");
    // An instance that is ended is taken down in the background.
    eventually(LONG, || {
        for (what, line) in ONE_EACH {
            let said = cloud.sh(line)?;
            let found: Vec<&str> = said.split_whitespace().collect();
            ensure!(found == living, "{what}: {found:?} for {living:?}");
        }
        let left = cloud.sh(NONE)?;
        ensure!(left.is_empty(), "left over:\n{left}");
        Ok(())
    })
    .with_context(|| cloud.log())
}

/// Things that exist once for every living instance: their names, and the commands that list them.
const ONE_EACH: [(&str, &str); 5] = [
    (
        "first processes",
        "for s in /proc/[0-9]*/status; do awk '/^NSpid/ && NF == 3 && $3 == 1 { print $2 }' $s; done 2>/dev/null | \
         while read pid; do nsenter -t $pid -u hostname; done | sort",
    ),
    ("folders", "ls -A /var/lib/nova/instances"),
    ("the runtime's notes", "ls -A /var/lib/nova/runtime/state"),
    (
        "cgroups",
        "find /sys/fs/cgroup -type d -name 'i-0*' | sed 's#.*/##' | sort -u",
    ),
    (
        "ports",
        "ip -o link | sed -n 's/.* nv\\([0-9a-f]*\\)@.*/\\1/p' | while read n; do printf 'i-%08x\\n' 0x$n; done | sort",
    ),
];

/// Things without an owner: links, names and numbers of network namespaces,
/// mounts, programs that an agent ran, a second DHCP server (one is two processes), temporary
/// files.
const NONE: &str = r"
    ip -o link | sed 's/^[0-9]*: //; s/[:@].*//' | grep -v -x -e lo -e eth0 -e br100 -e 'nv[0-9a-f]*'
    ip netns list
    networks=$(readlink /proc/[0-9]*/ns/net | sort -u | wc -l)
    [ $networks = $(($(ls /var/lib/nova/instances | wc -l) + 1)) ] || echo $networks networks
    grep /var/lib/nova/ /proc/mounts
    pgrep -a -x -e 'nft|runc.*|crun|conntrack'
    [ $(pgrep -c dnsmasq) = 2 ] || pgrep -a dnsmasq
    ls -A /run/tmp
    ls -A /var/lib/nova/runtime | grep -v -x state
    find /var/lib/nova -name .tmp\* -o -name \*.new\* -o -name .removed-\* -o -name .making-\* -o -name .unfinished-\*
    true";

/// Every instance answers, and one with a floating address answers there.
fn everything_works(cloud: &Cloud) -> Result<()> {
    if leads(cloud)?.values().all(String::is_empty) {
        let float = cloud.aws("allocate-address --query PublicIp")?;
        let id = living(cloud)?.pop().context("nothing lives")?;
        cloud.sh(&format!("novanet euca associate-address -i {id} {float}"))?;
    }
    for row in rows(&cloud.sh("novanet euca describe-instances")?, "INSTANCE") {
        if row[4] != "running" {
            continue;
        }
        eventually(LONG, || cloud.sh(&format!("ping -c1 -W1 {}", row[3])))?;
    }
    for (float, id) in leads(cloud)?.iter().filter(|(_, id)| !id.is_empty()) {
        eventually(LONG, || {
            cloud.internet(&format!("curl -sf -m 2 http://{float}/ | grep -q {id}"))
        })?;
        cloud.internet(&format!("ping -c1 -W2 {float}"))?;
    }
    Ok(())
}

fn everything_can_be_ended(cloud: &Cloud) -> Result<()> {
    for (float, id) in leads(cloud)? {
        if !id.is_empty() {
            cloud.sh(&format!("novanet euca disassociate-address {float}"))?;
        }
        cloud.sh(&format!("novanet euca release-address {float}"))?;
    }
    let ids = living(cloud)?.join(" ");
    cloud.sh(&format!("novanet euca terminate-instances {ids}"))?;
    eventually(LONG, || {
        let living = living(cloud)?;
        ensure!(living.is_empty(), "{living:?}");
        anyhow::Ok(())
    })?;
    nothing_else_is_there(cloud)
}
