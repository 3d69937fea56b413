//! After every foreign change of our tables and every kill of the agent the state is the same, and
//! foreign tables are untouched.

use crate::firewall_objects::*;
use crate::firewall_world::*;
use anyhow::Result;
use novanet_agent::firewall::Key;
use novanet_lab::{Host, Quickest};
use novanet_reconcile::{Desired, Subsystem};
use std::time::{Duration, Instant};

const FOREIGN: &str = "table inet foreign {
	set friends { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 } }
	chain in { type filter hook input priority 10; ip saddr @friends accept; }
	chain nova { comment \"named like us\"; }
}
table ip novanet { chain to_instances { accept; }; }
table arp nova { chain to_instances { accept; }; }";

/// Everything that the kernel has, as lines in one order, as `nft` has none for elements. Without
/// the generation: it counts revocations, so it differs on two ways to one state.
pub(crate) fn listing(cloud: &Host) -> Result<String> {
    let text = cloud.run(&["nft", "-nn", "list ruleset"])?.stdout;
    Ok(in_order(&text))
}

pub(crate) fn in_order(text: &str) -> String {
    let mut lines: Vec<_> = text
        .split(['\n', ',', '{', '}'])
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("ct mark"))
        .collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn foreign(cloud: &Host) -> Result<String> {
    let mut text = String::new();
    for table in ["inet foreign", "ip novanet", "arp nova"] {
        text += &cloud
            .run(&["nft", "-a", &format!("list table {table}")])?
            .stdout;
    }
    Ok(text)
}

#[test]
fn a_flush_by_somebody_else_is_repaired_within_200_ms() -> Result<()> {
    let world = World::new(&[3])?;
    let (a, net, cloud) = (world.instance(3), &world.internet, &world.cloud);
    world.route(13)?;
    let mut objects = two_projects();
    objects.push(float(13, 3));
    let mut agent = world.agent(&objects)?;
    agent.converge(cloud)?;
    let mut flow = TcpSession::start(net, a, public(13), 22)?;
    assert!(flow.goes_on());

    let changed_externally = agent.firewall.changed_externally();
    let quiet = !notified(cloud, &changed_externally, Duration::from_millis(100))?;
    assert!(quiet, "our own change disturbs nobody");
    let mut quickest = Quickest::within(Duration::from_millis(200));
    while quickest.again()? {
        cloud.run(&["nft", "flush ruleset"])?;
        let began = Instant::now();
        assert!(notified(
            cloud,
            &changed_externally,
            Duration::from_secs(5)
        )?);
        let changes = agent.differences(cloud)?;
        assert!(agent.apply(cloud, &changes)?.is_empty());
        quickest.took(began.elapsed());
    }

    assert!(agent.differences(cloud)?.is_empty());
    assert!(flow.goes_on(), "a flow from before the flush");
    assert_eq!(connects(net, a, public(13), 22)?, Some(OUTSIDE.into()));
    assert_eq!(connects(net, a, public(13), 23)?, None);
    Ok(())
}

fn notified(
    cloud: &Host,
    changed_externally: &tokio::sync::Notify,
    limit: Duration,
) -> Result<bool> {
    let wait = async { tokio::time::timeout(limit, changed_externally.notified()).await };
    Ok(cloud.exec_in(|| block_on(wait))?.is_ok())
}

#[test]
fn our_own_changes_of_every_kind_disturb_nobody_and_those_of_others_do() -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    let mut agent = Agent::start(&cloud, state.path(), &two_projects())?;
    let changed_externally = agent.firewall.changed_externally();
    agent.converge(&cloud)?;
    for object in [
        float(13, 3),
        rule(20, 1, PING, anywhere()),
        group(9, 9),
        member(2, 77),
    ] {
        assert!(agent.set(&cloud, &object)?.is_empty());
        assert!(agent.unset(&cloud, &object)?.is_empty());
    }
    assert!(!notified(
        &cloud,
        &changed_externally,
        Duration::from_millis(200)
    )?);

    cloud.run(&["nft", "add table inet foreign"])?;
    assert!(
        !notified(&cloud, &changed_externally, Duration::from_millis(100))?,
        "not our tables"
    );
    for change in [
        "add element ip nova floating_to_fixed { 192.0.2.9 : 10.0.0.3 }",
        "add rule ip nova to_instances accept",
        "delete table bridge nova",
        "add set ip6 nova mine { type ipv6_addr; }",
    ] {
        cloud.run(&["nft", change])?;
        assert!(
            notified(&cloud, &changed_externally, Duration::from_secs(1))?,
            "{change}"
        );
    }
    Ok(())
}

#[test]
fn somebody_who_changes_tables_of_his_own_all_the_time_is_in_nobodys_way() -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    let mut agent = Agent::start(&cloud, state.path(), &two_projects())?;
    agent.converge(&cloud)?;
    let mut busy = std::process::Command::new("sh");
    busy.args([
        "-c",
        "while :; do nft add table inet foreign; nft delete table inet foreign; done",
    ]);
    let busy = cloud.spawn(&mut busy)?;
    let changed_externally = agent.firewall.changed_externally();
    for number in 20..30 {
        assert!(
            agent
                .set(&cloud, &rule(number, 1, PING, anywhere()))?
                .is_empty()
        );
        let left = agent.differences(&cloud)?;
        assert!(left.is_empty(), "{left:?}");
    }
    assert!(!notified(
        &cloud,
        &changed_externally,
        Duration::from_millis(100)
    )?);
    assert!(busy.ended()?.is_none());
    busy.kill();
    Ok(())
}

#[test]
fn whatever_somebody_does_to_our_tables_is_found_and_repaired() -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    let mut objects = two_projects();
    objects.extend([float(13, 3), float(14, 4)]);
    let mut agent = Agent::start(&cloud, state.path(), &objects)?;
    agent.converge(&cloud)?;
    let right = listing(&cloud)?;
    for damage in [
        "delete element ip nova floating_to_fixed { 203.0.113.13 }",
        "add element ip nova fixed_to_floating { 10.0.0.99 : 203.0.113.99 }",
        "delete element ip nova port_groups { 10.0.0.3 }; \
         add element ip nova port_groups { 10.0.0.3 : 3 }",
        "delete element ip nova group_chains { 1 }",
        "add element ip nova networks { 172.16.0.0/12 }",
        "delete element ip nova networks { 10.0.0.0/24 }",
        "flush set bridge nova port_mac_ip",
        "add element bridge nova port_mac { \"any thing\" . 02:00:00:00:00:01 }",
        "add element ip nova bridges { \"eth 0\" }",
        "add element ip nova members_sg_00000001 { 192.0.2.1 }",
        "insert rule ip nova sg_00000001 accept",
        "flush chain ip nova groups_1",
        "flush chain ip nova forward",
        "add chain ip nova forward { policy drop; }",
        "add chain ip nova extra { type filter hook forward priority -1; policy drop; }",
        "add set ip nova extra { type ipv4_addr; }",
        "add chain ip6 nova input; flush chain ip6 nova input",
        "delete table ip6 nova",
        "delete table ip nova",
        "flush table bridge nova",
        "add table ip nova { flags dormant; }",
    ] {
        cloud.run(&["nft", damage])?;
        let found = agent.differences(&cloud)?;
        assert!(!found.is_empty(), "not found: {damage}");
        agent.converge(&cloud)?;
        assert_eq!(listing(&cloud)?, right, "after: {damage}");
    }
    Ok(())
}

#[test]
fn foreign_tables_are_the_same_byte_for_byte_whatever_we_do() -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    cloud.sh(&format!("nft -f - <<'EOF'\n{FOREIGN}\nEOF"))?;
    let before = foreign(&cloud)?;
    let mut agent = Agent::start(&cloud, state.path(), &two_projects())?;
    agent.converge(&cloud)?;
    cloud.run(&["nft", "flush table ip nova"])?;
    agent.converge(&cloud)?;
    assert!(
        agent
            .set(&cloud, &rule(20, 1, PING, anywhere()))?
            .is_empty()
    );
    assert_eq!(foreign(&cloud)?, before);
    agent.desired = Desired::new(Vec::new());
    agent.converge(&cloud)?;
    assert_eq!(foreign(&cloud)?, before);
    Ok(())
}

#[test]
fn cleaning_up_leaves_nothing_of_ours() -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    let mut agent = Agent::start(&cloud, state.path(), &two_projects())?;
    agent.converge(&cloud)?;
    let shown = cloud.exec_in(|| block_on(agent.firewall.show()))??;
    assert!(
        shown.contains("chain sg_00000001 {") && shown.contains("table bridge nova"),
        "{shown}"
    );
    agent.desired = Desired::new(Vec::new());
    agent.converge(&cloud)?;
    assert_eq!(cloud.run(&["nft", "list ruleset"])?.stdout, "");
    assert_eq!(std::fs::read_dir(state.path())?.count(), 0);
    assert_eq!(cloud.exec_in(|| block_on(agent.firewall.show()))??, "");
    Ok(())
}

/// With handles: rules that are written again have other ones.
fn handles(cloud: &Host) -> Result<String> {
    Ok(cloud.run(&["nft", "-a", "list ruleset"])?.stdout)
}

#[test]
fn a_restarted_agent_finds_its_rules_and_leaves_them_alone() -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    Agent::start(&cloud, state.path(), &two_projects())?.converge(&cloud)?;
    let before = handles(&cloud)?;
    let mut agent = Agent::start(&cloud, state.path(), &two_projects())?;
    assert!(agent.differences(&cloud)?.is_empty());
    assert_eq!(handles(&cloud)?, before);
    Ok(())
}

#[test]
fn rules_written_again_lose_no_packet() -> Result<()> {
    let world = World::new(&[3, 4])?;
    let (a, b, cloud) = (world.instance(3), world.instance(4), &world.cloud);
    world.agent(&two_projects())?.converge(cloud)?;
    let mut flow = TcpSession::start(a, b, fixed(4), 9000)?;
    assert!(flow.goes_on());
    let mut ping = std::process::Command::new("ping");
    let target = fixed(4).to_string();
    ping.args(["-n", "-q", "-c200", "-i0.002", "-W1", &target])
        .stdout(std::process::Stdio::piped());
    let ping = a.spawn(&mut ping)?;
    for _ in 0..5 {
        std::fs::remove_file(world.state_path().join("firewall.json"))?;
        let mut agent = world.agent(&two_projects())?;
        let changes = agent.converge(cloud)?;
        assert!(changes.iter().any(|change| change.key == Key::BaseRuleset));
    }
    let mut said = String::new();
    std::io::Read::read_to_string(&mut ping.stdout().unwrap(), &mut said)?;
    assert!(said.contains("200 received"), "{said}");
    assert!(flow.goes_on());
    Ok(())
}

#[test]
fn killed_after_any_step_the_next_agent_ends_in_the_same_state() -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    let (before, mut after) = (two_projects(), two_projects());
    // A rule less, an instance in another combination, a float, a new group, a member gone.
    after.retain(|object| {
        *object != member(3, 5) && *object != rule(4, 2, udp(5000, 5000), anywhere())
    });
    after.retain(|object| *object != port(3, 1, &[1]));
    after.extend([
        port(3, 8, &[1, 4]),
        group(4, 1),
        rule(30, 4, tcp(443, 443), anywhere()),
        float(13, 3),
    ]);
    Agent::start(&cloud, state.path(), &after)?.converge(&cloud)?;
    let right = listing(&cloud)?;
    let mut steps = usize::MAX;
    let mut step = 0;
    while step <= steps {
        Agent::start(&cloud, state.path(), &before)?.converge(&cloud)?;
        let record = std::fs::read(state.path().join("firewall.json"))?;
        let mut killed = Agent::start(&cloud, state.path(), &after)?;
        let changes = killed.differences(&cloud)?;
        steps = changes.len();
        let done: Changes = changes[..step].to_vec();
        let failed = killed.apply(&cloud, &done)?;
        // Text that needs its neighbours may be refused half-way; that is a failed round, no more.
        drop((killed, failed));
        if step % 2 == 1 {
            // Killed before the record was written.
            std::fs::write(state.path().join("firewall.json"), &record)?;
        }
        let mut next = Agent::start(&cloud, state.path(), &after)?;
        next.converge(&cloud)?;
        assert_eq!(listing(&cloud)?, right, "step {step} of {steps}");
        step += 1;
    }
    assert!(steps > 10, "{steps} steps prove little");
    Ok(())
}

#[test]
fn networks_that_overlap_are_refused_by_name_and_the_rest_is_in_force() -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    let mut objects = two_projects();
    objects.push(wide_gateway());
    let mut agent = Agent::start(&cloud, state.path(), &objects)?;
    let changes = agent.differences(&cloud)?;
    let failed: Vec<_> = agent.apply(&cloud, &changes)?;
    let texts: Vec<_> = failed.iter().map(|(_, error)| error.to_string()).collect();
    assert_eq!(
        texts,
        ["networks 10.0.0.0/16 overlaps networks 10.0.0.0/24, which this host has too"]
    );
    let left = agent.differences(&cloud)?;
    assert_eq!(left.len(), 1, "{left:?}");
    // The same for a change of elements alone.
    let failed = agent.apply(&cloud, &left)?;
    assert_eq!(failed.len(), 1, "{failed:?}");
    Ok(())
}

fn wide_gateway() -> novanet_model::HostObject {
    novanet_model::HostObject::Gateway(novanet_model::object::Gateway {
        no_snat: false,
        network: novanet_model::NetworkId(2),
        bridge: name("br100"),
        address: "10.0.0.1/16".parse().unwrap(),
    })
}

#[test]
fn one_element_that_the_kernel_refuses_does_not_stop_the_others() -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    let mut agent = Agent::start(&cloud, state.path(), &two_projects())?;
    agent.converge(&cloud)?;
    cloud.run(&[
        "nft",
        "add element ip nova floating_to_fixed { 203.0.113.20 : 10.0.0.99 }",
    ])?;
    for last in 15..25 {
        let items = agent.firewall.items(&float(last, last));
        agent.desired.set_object(&float(last, last).key(), items);
    }
    // As an engine that has not looked since: it believes that nothing is there.
    let mut changes = agent.differences(&cloud)?;
    for change in &mut changes {
        change.from = None;
    }
    let failed = agent.apply(&cloud, &changes)?;
    let keys: Vec<_> = failed.iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(keys, ["floating_to_fixed 203.0.113.20"]);
    let changes = agent.converge(&cloud)?;
    assert_eq!(changes.len(), 1, "only that one was left to do");
    Ok(())
}
