//! A host whose kernel has the tables of the first builds: the new rules replace them at one
//! moment, and established flows go on. And the comments that the new rules carry.

use crate::firewall_objects::*;
use crate::firewall_repair::in_order;
use crate::firewall_world::*;
use anyhow::{Context, Result, ensure};
use novanet_agent::firewall::Key;
use novanet_lab::Host;
use novanet_model::object::Group;
use novanet_model::{GroupId, HostObject, ProjectNumber};
use proptest::prelude::*;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

const OLD_LAYOUT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/it/fixtures/old_layout.nft"
);

/// What such an agent recorded, with a fingerprint that no kernel has.
const OLD_RECORD: &str = r#"{
    "generation":7, "valid":7, "fingerprint":"ab",
    "text":[
        ["Skeleton",{"Skeleton":"cd"}], [{"Set":{"Members":1}},"Present"], [{"Chain":1},"Present"],
        [{"Group":1},{"Project":1}], [{"Combination":1},{"Groups":[1]}]
    ]
}"#;

/// Lists the tables of `cloud` all the time, and wants all of ours each time.
struct TableWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u32>>,
}

impl TableWatch {
    fn start(cloud: &Host) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let thread = cloud.exec_in(|| {
            std::thread::spawn(move || {
                let mut times = 0;
                while !until.load(Ordering::Relaxed) {
                    let listed = Command::new("nft").args(["list", "tables"]).output()?;
                    let text = String::from_utf8(listed.stdout)?;
                    let ours = text.lines().filter(|line| line.ends_with(" nova")).count();
                    ensure!(ours == 3, "{ours} tables of ours: {text}");
                    times += 1;
                }
                Ok(times)
            })
        })?;
        Ok(Self { stop, thread })
    }

    fn stop(self) -> Result<u32> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

#[test]
fn the_tables_of_the_first_builds_are_replaced_without_a_lost_packet() -> Result<()> {
    let world = World::new(&[3, 4])?;
    let (a, b, cloud) = (world.instance(3), world.instance(4), &world.cloud);
    world.route(13)?;
    let mut objects = two_projects();
    objects.push(float(13, 3));
    for record in [None, Some(OLD_RECORD)] {
        cloud.run(&["nft", "flush ruleset"])?;
        cloud.run(&["nft", "-f", OLD_LAYOUT])?;
        let path = world.state_path().join("firewall.json");
        match record {
            Some(text) => std::fs::write(&path, text)?,
            None => ensure!(!path.exists()),
        }
        let mut inside = TcpSession::start(a, b, fixed(4), 9000)?;
        let mut outside = TcpSession::start(&world.internet, a, public(13), 22)?;
        assert!(inside.goes_on() && outside.goes_on(), "with the old rules");
        let target = fixed(4).to_string();
        let mut ping = Command::new("ping");
        ping.args(["-n", "-q", "-c200", "-i0.005", "-W1", &target])
            .stdout(Stdio::piped());
        let ping = a.spawn(&mut ping)?;
        let watch = TableWatch::start(cloud)?;

        let mut agent = world.agent(&objects)?;
        let changes = agent.converge(cloud)?;
        let names: Vec<_> = changes.iter().map(|c| c.key.to_string()).collect();
        assert!(changes.iter().any(|change| change.key == Key::BaseRuleset));
        // The elements of the old sets were observed: none of them seems new.
        assert!(
            !names.iter().any(|n| n.starts_with("fixed_ips")),
            "{names:?}"
        );
        assert!(watch.stop()? > 0);
        let mut said = String::new();
        std::io::Read::read_to_string(&mut ping.stdout().context("its output")?, &mut said)?;
        assert!(said.contains("200 received"), "{said}");
        assert!(inside.goes_on() && outside.goes_on(), "with the new rules");
        // The old rules' generation was the valid one meanwhile, with and without a record.
        let recorded: serde_json::Value = serde_json::from_slice(&std::fs::read(&path)?)?;
        assert_eq!(recorded["valid"], 8, "{recorded}");

        let upgraded = in_order(&cloud.run(&["nft", "-s", "-nn", "list ruleset"])?.stdout);
        for old in ["fipin", "brs", "c_ours", "chain sg1", "chain k1", "set m1"] {
            assert!(!upgraded.contains(old), "{old}: {upgraded}");
        }
        cloud.run(&["nft", "flush ruleset"])?;
        agent.converge(cloud)?;
        let fresh = in_order(&cloud.run(&["nft", "-s", "-nn", "list ruleset"])?.stdout);
        assert_eq!(upgraded, fresh);
        drop((inside, outside));
        std::fs::remove_file(path)?;
    }
    Ok(())
}

#[test]
fn a_removal_while_the_old_tables_are_there_replaces_them_too() -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    cloud.run(&["nft", "-f", OLD_LAYOUT])?;
    let mut agent = Agent::start(&cloud, state.path(), &two_projects())?;
    // The floating IP alone, as when the tables had failed and wait.
    let mut changes = agent.differences(&cloud)?;
    changes.retain(|change| matches!(change.key, Key::Element(..)));
    assert!(
        changes
            .iter()
            .any(|c| c.key.to_string() == "floating_to_fixed 203.0.113.13")
    );
    assert!(agent.apply(&cloud, &changes)?.is_empty());
    assert!(agent.differences(&cloud)?.is_empty(), "all of it is new");
    Ok(())
}

fn named(group: i64, name: &str) -> HostObject {
    HostObject::Group(Group {
        vpn_clients: None,
        group: GroupId(group),
        project: ProjectNumber(1),
        name: Some(name.to_owned()),
    })
}

#[test]
fn rules_and_chains_name_their_group_also_when_its_name_comes_later() -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    let mut agent = Agent::start(&cloud, state.path(), &two_projects())?;
    agent.converge(&cloud)?;
    let list = |chain: &str| -> Result<String> {
        let text = cloud.run(&["nft", &format!("list chain ip nova {chain}")])?;
        Ok(text.stdout)
    };
    let rule = "tcp dport 22 counter packets 0 bytes 0 goto accepted comment \"sg-00000001: tcp 22 from 0.0.0.0/0\"";
    assert!(list("sg_00000001")?.contains(rule));

    assert!(agent.set(&cloud, &named(1, "web"))?.is_empty());
    let text = list("sg_00000001")?;
    assert!(text.contains("comment \"sg-00000001 web\""), "{text}");
    assert!(
        text.contains("comment \"sg-00000001 web: tcp 22 from 0.0.0.0/0\""),
        "{text}"
    );
    assert!(
        text.contains("comment \"sg-00000001 web: all from sg-00000001\""),
        "{text}"
    );
    let text = list("groups_2")?;
    assert!(
        text.contains("comment \"groups sg-00000001 sg-00000002\""),
        "{text}"
    );
    assert!(
        text.contains("jump sg_00000001 comment \"sg-00000001 web\""),
        "{text}"
    );
    assert!(agent.differences(&cloud)?.is_empty());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        max_shrink_iters: 60,
        ..ProptestConfig::default()
    })]

    /// nft and the kernel take the comment whatever the name is, and it adds no rule.
    #[test]
    fn whatever_a_group_is_called_its_comment_is_only_a_comment(
        name in prop_oneof![
            any::<String>(),
            "[\"\\\\\n;{}# a-z]{1,40}",
            "[a-z\"]{120,255}",
            Just("x\"; } ; flush ruleset; #".to_owned()),
        ],
    ) {
        let cloud = cloud().unwrap();
        let state = tempfile::tempdir().unwrap();
        let mut agent = Agent::start(&cloud, state.path(), &two_projects()).unwrap();
        let object = named(1, &name);
        let items = novanet_reconcile::Subsystem::items(&agent.firewall, &object);
        agent.desired.set_object(&object.key(), items);
        agent.converge(&cloud).unwrap();
        let text = cloud.run(&["nft", "list chain ip nova sg_00000001"]).unwrap().stdout;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || " ._:/-".contains(c);
        let plain = |c| if is_plain(c) { c } else { '?' };
        let shown: String = format!("sg-00000001 {}", name.chars().map(plain).collect::<String>());
        let shown: String = shown.chars().take(128).collect();
        prop_assert!(text.contains(&format!("comment \"{shown}\"")), "{text}");
        prop_assert_eq!(text.matches("goto accepted comment").count(), 3, "{}", text);
    }
}
