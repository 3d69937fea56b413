//! The end of a hundred instances: from the TerminateInstances call until all are reported gone,
//! which they are when nothing of them is left on the host.

use super::world::World;
use crate::Scale;
use crate::harness::{Row, Samples, Unit};
use anyhow::{Result, ensure};
use std::time::Duration;

pub(super) fn run(world: &mut World, scale: Scale) -> Result<Vec<Row>> {
    let count = scale.of(100, 5);
    world.ensure_running(count)?;
    let mut took = Samples::default();
    took.push(world.terminate(count)?);
    let ports = world.sandbox.cloud.sh("ip -o link show type veth")?.stdout;
    let left = ports.lines().filter(|line| line.contains(": nv")).count();
    ensure!(
        left == world.running.len(),
        "{left} ports for {} instances",
        world.running.len()
    );
    Ok(vec![
        Row::new(format!("removal of {count} instances"), Unit::Micros, &took)
            .at_most(Duration::from_secs(5)),
    ])
}
