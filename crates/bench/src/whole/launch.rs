//! From the RunInstances call to the first answered ping: the call, the host, the boot, DHCP.

use super::ping::Pinger;
use super::world::{BOOT, World};
use crate::Scale;
use crate::harness::{Row, Samples, Unit};
use anyhow::{Context as _, Result};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

pub(super) fn run(world: &mut World, scale: Scale) -> Result<Vec<Row>> {
    // The first brings the image with it.
    world.ensure_running(1)?;
    let (mut call, mut first) = (Samples::default(), Samples::default());
    for _ in 0..scale.of(10, 2) {
        let began = Instant::now();
        let (called, answered) = launch(world, 1, began)?;
        call.push(called);
        first.push(answered);
        world.terminate(1)?;
    }
    let many = scale.of(50, 5);
    let (_, all) = launch(world, many, Instant::now())?;
    let mut whole = Samples::default();
    whole.push(all);
    Ok(vec![
        Row::new("RunInstances call to first ping", Unit::Micros, &first)
            .floor("the call", &call)
            .at_most(Duration::from_millis(800)),
        Row::new(
            format!("RunInstances of {many} to the last first ping"),
            Unit::Micros,
            &whole,
        )
        .at_most(Duration::from_secs(6)),
    ])
}

/// How long the call took, and until the last had answered.
fn launch(world: &mut World, count: usize, began: Instant) -> Result<(Duration, Duration)> {
    let new = world.run(count)?;
    let called = began.elapsed();
    let addresses: Vec<Ipv4Addr> = new.iter().map(|i| i.address).collect();
    let answered = Pinger::new(&world.sandbox.cloud, 1)?
        .until_answered(&addresses, began, BOOT)
        .with_context(|| world.log())?;
    Ok((called, answered.last().copied().unwrap_or_default()))
}
