//! From any state to any other: applied once, it is the desired one, and a second round does
//! nothing; by whole rounds and by single changes alike. The kernel judges every script and batch.

use crate::firewall_objects::*;
use crate::firewall_world::*;
use novanet_model::rule::{Source, Traffic};
use novanet_model::{GroupId, HostObject, ObjectKey};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Every kind of object and of rule, several of them in two versions under one key.
fn universe() -> Vec<HostObject> {
    let icmp = |icmp_type, code| Traffic::Icmp { icmp_type, code };
    let net = |text: &str| Source::Cidr(text.parse().unwrap());
    let mut objects = two_projects();
    objects.extend([
        rule(1, 1, icmp(None, None), Source::Group(GroupId(2))),
        rule(2, 1, tcp(0, 65_535), anywhere()),
        rule(3, 1, icmp(Some(3), Some(4)), net("192.0.2.7/24")),
        rule(4, 2, udp(0, 65_535), net("192.0.2.1/32")),
        rule(9, 4, tcp(1, 65_535), net("128.0.0.0/1")),
        rule(10, 4, Traffic::Any, anywhere()),
        rule(11, 2, Traffic::Any, Source::Group(GroupId(4))),
        group(4, 2),
        group(2, 3),
        port(3, 2, &[1, 2]),
        port(4, 9, &[]),
        port(6, 4, &[1, 2, 3, 4]),
        member(4, 6),
        project(2, 6),
        project(7, 7),
        float(13, 3),
        float(13, 4),
        float(14, 4),
        float(15, 6),
    ]);
    objects
}

#[derive(Debug, Clone)]
enum Step {
    /// A whole round towards the objects that are picked, by a new agent or the old one.
    Round(Vec<bool>, bool),
    /// One object comes.
    Set(usize),
    /// One object goes.
    Unset(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let count = universe().len();
    prop_oneof![
        1 => (prop::collection::vec(any::<bool>(), count), any::<bool>())
            .prop_map(|(picked, restart)| Step::Round(picked, restart)),
        3 => (0..count).prop_map(Step::Set),
        2 => (0..count).prop_map(Step::Unset),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_state_is_reached_from_any_other(steps in prop::collection::vec(step(), 1..12)) {
        walk(&steps).map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
    }
}

fn walk(steps: &[Step]) -> anyhow::Result<()> {
    let universe = universe();
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    let mut agent = Agent::start(&cloud, state.path(), &[])?;
    agent.converge(&cloud)?;
    let mut objects: BTreeMap<ObjectKey, HostObject> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Round(picked, restart) => {
                let picked = universe.iter().zip(picked).filter(|(_, picked)| **picked);
                objects = picked.map(|(o, _)| (o.key(), o.clone())).collect();
                let all: Vec<_> = objects.values().cloned().collect();
                let next = Agent::start(&cloud, state.path(), &all)?;
                if *restart {
                    agent = next;
                } else {
                    agent.desired = next.desired;
                }
                agent.converge(&cloud)?;
            }
            Step::Set(index) => {
                let object = &universe[*index];
                objects.insert(object.key(), object.clone());
                let failed = agent.set(&cloud, object)?;
                anyhow::ensure!(failed.is_empty(), "{step:?}: {failed:?}");
            }
            Step::Unset(index) => {
                let object = &universe[*index];
                objects.remove(&object.key());
                let failed = agent.unset(&cloud, object)?;
                anyhow::ensure!(failed.is_empty(), "{step:?}: {failed:?}");
            }
        }
        let left = agent.differences(&cloud)?;
        anyhow::ensure!(left.is_empty(), "after {step:?} there is left: {left:?}");
    }
    Ok(())
}

#[test]
fn a_change_that_finds_nothing_to_do_leaves_the_rules_known() -> anyhow::Result<()> {
    // The port has brought the group's chain and the project's set: whose group it is adds no rule.
    let objects = [port(6, 4, &[3]), project(2, 6)];
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    let mut agent = Agent::start(&cloud, state.path(), &objects)?;
    agent.converge(&cloud)?;
    let failed = agent.set(&cloud, &group(3, 2))?;
    anyhow::ensure!(failed.is_empty(), "{failed:?}");
    let left = agent.differences(&cloud)?;
    anyhow::ensure!(left.is_empty(), "{left:?}");
    Ok(())
}
