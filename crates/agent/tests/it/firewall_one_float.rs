//! The cost of one more floating IP for the firewall, counted: its elements, and nothing else.
//! (`make bench` counts and times the same.)

use crate::firewall_objects::*;
use crate::firewall_world::*;
use anyhow::Result;
use novanet_agent::firewall::Firewall;
use novanet_lab::Host;
use novanet_reconcile::{Reconciler, Round};
use std::collections::BTreeSet;
use tokio::time::Instant;

/// Elements and rules of our tables, each a line; rules with their handles, which are others once a
/// rule is written again.
fn lines(cloud: &Host) -> Result<BTreeSet<String>> {
    let mut lines = BTreeSet::new();
    let listed = cloud.run(&["nft", "-a", "list ruleset"])?.stdout;
    let mut place = String::new();
    for line in listed.lines().map(str::trim) {
        for word in ["set ", "map ", "chain "] {
            if let Some(rest) = line.strip_prefix(word) {
                place = rest.split_whitespace().next().unwrap_or_default().into();
            }
        }
        let line = line.trim_start_matches("elements = {").trim_matches('}');
        for part in line.split(',') {
            lines.insert(format!("{place}: {}", part.trim()));
        }
    }
    Ok(lines)
}

#[test]
fn one_more_float_is_its_three_elements_and_nothing_else() -> Result<()> {
    let cloud = cloud()?;
    let state = tempfile::tempdir()?;
    let mut objects = two_projects();
    objects.push(float(13, 3));
    let mut firewall = cloud.exec_in(|| -> Result<_> {
        let mut firewall = Reconciler::new(Firewall::new(&settings(state.path()))?);
        firewall.set_objects(&objects);
        let first = block_on(firewall.round(Instant::now()));
        assert_eq!((first.failed, first.observed), (0, true));
        Ok(firewall)
    })??;
    let three = Round {
        applied: 3,
        failed: 0,
        observed: false,
    };
    let one = float(14, 4);
    let mut settle = |there: bool| {
        cloud.exec_in(|| {
            firewall.change(&one.key(), there.then_some(&one));
            block_on(firewall.settle(Instant::now()))
        })
    };
    let before = lines(&cloud)?;
    assert_eq!(settle(true)?, three);
    let after = lines(&cloud)?;
    let more: Vec<_> = after.difference(&before).cloned().collect();
    assert_eq!(
        more,
        [
            "fixed_to_floating: 10.0.0.4 counter packets 0 bytes 0 : 203.0.113.14",
            "floating_ips: 203.0.113.14",
            "floating_to_fixed: 203.0.113.14 counter packets 0 bytes 0 : 10.0.0.4",
        ]
    );
    assert_eq!(before.difference(&after).count(), 0);
    assert_eq!(settle(true)?, Round::default(), "the same again is nothing");
    assert_eq!(settle(false)?, three);
    assert_eq!(lines(&cloud)?, before);
    Ok(())
}
