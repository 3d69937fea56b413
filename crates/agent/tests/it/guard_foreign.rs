//! Foreign rules that drop our packets: a warning names each of them with the remedy, and names no
//! rule that lets them pass.

use crate::firewall_objects::*;
use crate::firewall_world::*;
use anyhow::Result;
use novanet_agent::link::PORTS;
use novanet_lab::{Host, connect};
use std::net::Ipv4Addr;

/// The warnings about these foreign rules.
fn told(cloud: &Host, agent: &Agent, rules: &str) -> Result<Vec<String>> {
    cloud.run(&["nft", rules])?;
    let shown = cloud.exec_in(|| block_on(agent.firewall.show()))??;
    cloud.run(&["nft", "delete table inet other; delete table bridge other"])?;
    let troubles = shown.lines().filter_map(|line| line.strip_prefix("# "));
    Ok(troubles.map(str::to_owned).collect())
}

/// A foreign table with this chain at this hook.
fn chain(hook: &str, policy: &str, rules: &str) -> String {
    format!(
        "add table inet other; add table bridge other; add chain inet other zone; \
         add chain inet other deny; add chain inet other base {{ type filter hook {hook} priority 0; policy {policy}; }}; {rules}"
    )
}

#[test]
fn a_chain_that_drops_by_policy_or_by_its_last_rule_is_named_at_every_hook() -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    let mut agent = Agent::start(&cloud, state.path(), &two_projects())?;
    agent.converge(&cloud)?;
    for hook in ["prerouting", "input", "forward", "output", "postrouting"] {
        for (policy, rules) in [
            ("drop", ""),
            ("accept", "add rule inet other base counter drop"),
            (
                "accept",
                "add rule inet other base tcp dport 22 accept; add rule inet other base log drop",
            ),
        ] {
            let troubles = told(&cloud, &agent, &chain(hook, policy, rules))?;
            assert_eq!(troubles.len(), 1, "{hook} {policy} {rules}: {troubles:?}");
            let start = format!("the chain inet other base (hook {hook}, ");
            assert!(troubles[0].starts_with(&start), "{troubles:?}");
        }
    }
    Ok(())
}

#[test]
fn a_drop_behind_jumps_and_a_reject_count_and_what_asks_for_something_does_not() -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    let mut agent = Agent::start(&cloud, state.path(), &two_projects())?;
    agent.converge(&cloud)?;
    for (rules, named) in [
        (
            "add rule inet other base reject with icmpx admin-prohibited",
            1,
        ),
        (
            "add rule inet other base jump zone; add rule inet other zone goto deny; add rule inet other deny drop",
            1,
        ),
        (
            "add rule inet other base jump zone; add rule inet other base drop",
            1,
        ),
        (
            "add rule inet other base iifname \"eth7\" jump zone; add rule inet other zone drop",
            0,
        ),
        ("add rule inet other base ip saddr 192.0.2.1 drop", 0),
        (
            "add rule inet other base accept; add rule inet other base drop",
            0,
        ),
        (
            "add rule inet other base goto zone; add rule inet other base drop",
            0,
        ),
        ("add rule inet other deny drop", 0),
        (
            "add chain bridge other b { type filter hook forward priority 0; }; add rule bridge other b drop",
            1,
        ),
    ] {
        let troubles = told(&cloud, &agent, &chain("forward", "accept", rules))?;
        assert_eq!(troubles.len(), named, "{rules}: {troubles:?}");
    }
    Ok(())
}

#[test]
fn what_is_told_is_true_and_its_remedy_helps() -> Result<()> {
    let world = World::new(&[3, 4])?;
    let (a, cloud) = (world.instance(3), &world.cloud);
    let mut agent = world.agent(&two_projects())?;
    agent.converge(cloud)?;
    assert!(pings(a, fixed(4))?);
    let bad = "add rule inet other base ct state established accept; add rule inet other base drop";
    cloud.run(&["nft", &chain("forward", "accept", bad)])?;
    assert!(!pings(a, fixed(4))?);
    let shown = cloud.exec_in(|| block_on(agent.firewall.show()))??;
    assert!(
        shown.starts_with(
            "# the chain inet other base (hook forward, its last rule drops) is not ours and drops \
             traffic of instances unless a rule of it accepts them: allow them there (by interface: \
             the networks' bridges) before that rule\n"
        ),
        "{shown}"
    );
    cloud.run(&[
        "nft",
        "insert rule inet other base iifname br100 oifname br100 accept",
    ])?;
    assert!(pings(a, fixed(4))?);
    Ok(())
}

#[test]
fn what_is_only_named_like_a_port_goes_on_as_if_we_were_not_there() -> Result<()> {
    let world = World::new(&[3])?;
    let cloud = &world.cloud;
    // Two machines on a foreign bridge, and one by itself.
    let machines = ["nv77", "nv78", "nv79"].map(|end| -> Result<Host> {
        let machine = Host::new(end)?;
        connect(cloud, end, &machine, "eth0")?;
        let last = &end[2..];
        machine.sh(&format!("ip address add 172.30.0.{last}/24 dev eth0"))?;
        Ok(machine)
    });
    let [one, other, alone] = machines;
    let (one, _other, alone) = (one?, other?, alone?);
    cloud.sh(
        "ip link add fbr0 type bridge forward_delay 0 && ip link set fbr0 up && \
         ip link set nv77 master fbr0 && ip link set nv78 master fbr0 && \
         ip address add 172.30.0.1/32 dev nv79 && ip route add 172.30.0.79 dev nv79",
    )?;
    let answered = || -> Result<[bool; 2]> {
        let (across, to_host) = (Ipv4Addr::new(172, 30, 0, 78), Ipv4Addr::new(172, 30, 0, 1));
        Ok([pings(&one, across)?, pings(&alone, to_host)?])
    };
    assert_eq!(answered()?, [true, true]);
    let mut agent = world.agent(&two_projects())?;
    agent.converge(cloud)?;
    assert_eq!(answered()?, [true, true]);
    // A device in our group is an unknown port, whatever its name.
    for end in ["nv77", "nv79"] {
        cloud.sh(&format!("ip link set dev {end} name x{end} group {PORTS}"))?;
    }
    assert_eq!(answered()?, [false, false]);
    Ok(())
}
