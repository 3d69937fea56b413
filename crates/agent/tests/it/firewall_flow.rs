//! Flows that are permitted before and after a change survive it, also when their packets meet the
//! change; flows that are no longer permitted end.

use crate::firewall_objects::*;
use crate::firewall_world::*;
use anyhow::{Context, Result};
use novanet_lab::{Host, Process, eventually};
use novanet_model::GroupId;
use novanet_model::rule::{Source, Traffic};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Marks a flow as the rules do with what they deny, behind them.
fn mark_dead(cloud: &Host, flow: &mut TcpSession) -> Result<()> {
    cloud.run(&[
        "nft",
        "table ip killer { chain c { type filter hook forward priority 10; \
         ct direction original ct mark set 0xdead0000; }; }",
    ])?;
    assert!(!flow.goes_on(), "replies are dropped unseen");
    cloud.run(&["nft", "delete table ip killer"])?;
    Ok(())
}

#[test]
pub(crate) fn a_flow_that_was_marked_dead_and_is_permitted_lives_and_one_that_is_not_stays_dead()
-> Result<()> {
    let world = World::new(&[3, 4])?;
    let (a, b, cloud) = (world.instance(3), world.instance(4), &world.cloud);
    let mut agent = world.agent(&two_projects())?;
    agent.converge(cloud)?;
    let mut flow = TcpSession::start(a, b, fixed(4), 9000)?;
    assert!(flow.goes_on());
    mark_dead(cloud, &mut flow)?;
    // Its next packet is judged by the rules; that is a retransmission.
    eventually(Duration::from_secs(10), || {
        flow.goes_on().then_some(()).ok_or("dead for ever")
    })?;
    // Revoked: what carries it is the rule that members may talk.
    let members = rule(1, 1, Traffic::Any, Source::Group(GroupId(1)));
    assert!(agent.unset(cloud, &members)?.is_empty());
    assert!(!flow.goes_on());
    assert!(!flow.goes_on(), "in both directions, for good");
    Ok(())
}

/// Echo requests all the time, each answered or counted as lost.
fn ping(from: &Host, to: &str) -> Result<Process> {
    let mut ping = Command::new("ping");
    ping.args(["-n", "-q", "-i0.002", "-W1", to])
        .stdout(Stdio::piped());
    from.spawn(&mut ping)
}

/// Lost packets, and sent ones.
fn lost(ping: &Process) -> Result<(u32, u32)> {
    ping.signal(nix::sys::signal::Signal::SIGINT)?;
    let mut said = String::new();
    ping.stdout()
        .context("its output")?
        .read_to_string(&mut said)?;
    let number = |after: &str| -> Result<u32> {
        let words: Vec<_> = said.split_whitespace().collect();
        let at = words.iter().position(|word| word.starts_with(after));
        let word = at.and_then(|at| words.get(at.checked_sub(1)?));
        Ok(word.with_context(|| said.clone())?.parse()?)
    };
    // "N packets transmitted, M received, …"
    let (sent, received) = (number("packets")?, number("received")?);
    Ok((sent - received, sent))
}

/// A transfer in both directions that never pauses; the received bytes are the sent ones.
struct Transfer {
    stop: Arc<AtomicBool>,
    ends: Vec<JoinHandle<Result<(u64, Duration)>>>,
}

impl Transfer {
    fn start(from: &Host, to: &Host, port: u16) -> Result<Self> {
        let listener = to.exec_in(|| TcpListener::bind(("0.0.0.0", port)))??;
        let target: SocketAddr = (fixed(4), port).into();
        let caller =
            from.exec_in(|| TcpStream::connect_timeout(&target, Duration::from_secs(2)))??;
        let (called, _) = listener.accept()?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut ends = Vec::new();
        for (stream, first) in [(caller, true), (called, false)] {
            let stop = Arc::clone(&stop);
            ends.push(std::thread::spawn(move || exchange(stream, first, &stop)));
        }
        Ok(Self { stop, ends })
    }

    /// How much went to and fro, and the longest pause.
    fn stop(self) -> Result<(u64, Duration)> {
        self.stop.store(true, Ordering::Relaxed);
        let (mut least, mut pause) = (u64::MAX, Duration::ZERO);
        for end in self.ends {
            let (words, longest) = end.join().expect("no panic")?;
            least = least.min(words);
            pause = pause.max(longest);
        }
        Ok((least, pause))
    }
}

/// One word after another, each answered by its successor.
fn exchange(mut stream: TcpStream, first: bool, stop: &AtomicBool) -> Result<(u64, Duration)> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let (mut words, mut longest) = (0, Duration::ZERO);
    let mut next = u64::from(first);
    if first {
        stream.write_all(&0_u64.to_be_bytes())?;
    }
    loop {
        let began = Instant::now();
        let mut word = [0; 8];
        match stream.read_exact(&mut word) {
            Err(_) if stop.load(Ordering::Relaxed) => return Ok((words, longest)),
            other => other.with_context(|| format!("after {words} words"))?,
        }
        longest = longest.max(began.elapsed());
        anyhow::ensure!(u64::from_be_bytes(word) == next, "not the next word");
        words += 1;
        if stop.load(Ordering::Relaxed) {
            return Ok((words, longest));
        }
        stream.write_all(&(next + 1).to_be_bytes())?;
        next += 2;
    }
}

#[test]
fn flows_live_through_many_rewritings_and_revocations_of_others_without_a_loss() -> Result<()> {
    let world = World::new(&[3, 4])?;
    let (a, b, cloud) = (world.instance(3), world.instance(4), &world.cloud);
    let mut agent = world.agent(&two_projects())?;
    agent.converge(cloud)?;
    let pinged = ping(a, &fixed(4).to_string())?;
    let transfer = Transfer::start(a, b, 9000)?;
    for round in 0..24 {
        match round % 4 {
            // All rules again: one of the tables was removed, or the record is lost.
            0 => {
                cloud.run(&["nft", "delete table ip6 nova"])?;
                agent.converge(cloud)?;
            }
            1 => {
                std::fs::remove_file(world.state_path().join("firewall.json"))?;
                agent = world.agent(&two_projects())?;
                agent.converge(cloud)?;
            }
            // A rule comes and is revoked: another generation, every flow is looked at again.
            2 => {
                let other = rule(40, 1, tcp(7777, 7777), anywhere());
                assert!(agent.set(cloud, &other)?.is_empty());
                assert!(agent.unset(cloud, &other)?.is_empty());
            }
            // The instance that is talked to gets other groups and its own again.
            _ => {
                assert!(agent.set(cloud, &port(4, 9, &[1, 2]))?.is_empty());
                assert!(agent.set(cloud, &port(4, 2, &[1, 2]))?.is_empty());
            }
        }
    }
    let (words, pause) = transfer.stop()?;
    let (lost, sent) = lost(&pinged)?;
    assert!(sent > 100 && words > 100, "{sent} pings, {words} words");
    assert_eq!(lost, 0, "of {sent} pings");
    assert!(pause < Duration::from_secs(5), "{pause:?}");
    Ok(())
}
