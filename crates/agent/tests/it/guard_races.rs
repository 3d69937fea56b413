//! Other programs change our tables at the very moment when the agent writes them: no agent takes
//! their changes for ours, neither this one nor the next.

use crate::firewall_objects::*;
use crate::firewall_repair::listing;
use crate::firewall_world::*;
use anyhow::{Result, ensure};
use novanet_lab::{Host, Process};
use std::process::Command;
use std::time::Duration;

/// What opens the host to its instances.
const OPEN: &str = "insert rule ip nova host_services accept";
/// How long one writing takes at the most, with its two runs of nft; and the steps in which a
/// stranger's change is laid over it.
const WRITING_MS: u64 = 48;
const STEP_MS: usize = 3;

/// A foreign change, so many milliseconds from now.
fn soon(cloud: &Host, delay: u64, change: &str) -> Result<Process> {
    let line = format!("sleep 0.{delay:03}; exec nft '{change}'");
    cloud.spawn(Command::new("sh").args(["-c", &line]))
}

/// Rounds until one finds nothing to do.
fn settle(agent: &mut Agent, cloud: &Host) -> Result<()> {
    for _ in 0..10 {
        let changes = agent.differences(cloud)?;
        if changes.is_empty() {
            return Ok(());
        }
        agent.apply(cloud, &changes)?;
    }
    anyhow::bail!("ten rounds, and still: {:?}", agent.differences(cloud)?)
}

/// Lays `theirs` over `ours`, at every moment of it; in the end only ours may be there.
fn at_every_moment(theirs: &str, ours: impl Fn(&mut Agent, &Host) -> Result<()>) -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    let mut agent = Agent::start(&cloud, state.path(), &two_projects())?;
    agent.converge(&cloud)?;
    let right = listing(&cloud)?;
    for delay in (0..WRITING_MS).step_by(STEP_MS) {
        let stranger = soon(&cloud, delay, theirs)?;
        ours(&mut agent, &cloud)?;
        stranger.wait(Duration::from_secs(5))?;
        settle(&mut agent, &cloud)?;
        ensure!(listing(&cloud)? == right, "after {delay} ms: {theirs}");
    }
    drop(agent);
    let mut next = Agent::start(&cloud, state.path(), &two_projects())?;
    ensure!(next.differences(&cloud)?.is_empty(), "written again");
    assert_eq!(listing(&cloud)?, right);
    Ok(())
}

/// The rules are gone, and are written again.
fn repair(agent: &mut Agent, cloud: &Host) -> Result<()> {
    // The stranger may have been quicker, on a busy machine: then there is no such chain.
    cloud.try_run(&["nft", "flush chain ip nova host_services"])?;
    let changes = agent.differences(cloud)?;
    agent.apply(cloud, &changes).map(drop) // what a stranger made fail is the next round's
}

#[test]
fn a_rule_put_in_while_ours_are_written_anew_is_never_taken_as_ours() -> Result<()> {
    at_every_moment(OPEN, repair)
}

#[test]
fn tables_emptied_while_ours_are_written_anew_do_not_stay_empty() -> Result<()> {
    at_every_moment("flush table ip nova", repair)
}

#[test]
fn rules_flushed_while_ours_are_written_anew_come_back() -> Result<()> {
    at_every_moment("flush ruleset", repair)
}

#[test]
fn a_rule_put_in_while_a_group_is_changed_is_never_taken_as_ours() -> Result<()> {
    at_every_moment(OPEN, |agent, cloud| {
        // Revoking is the longer one; both run nft once.
        let rule = rule(20, 1, PING, anywhere());
        agent.set(cloud, &rule)?;
        agent.unset(cloud, &rule)?;
        Ok(())
    })
}
