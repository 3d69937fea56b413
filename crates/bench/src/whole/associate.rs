//! Floating addresses through the whole cloud. An instance has one at a time, so a thousand
//! addresses need a thousand instances: those are on a host elsewhere, while their addresses are on
//! this one.

use super::ping::Pinger;
use super::world::World;
use crate::Scale;
use crate::harness::{Row, Samples, Unit};
use crate::store::launch;
use anyhow::{Context as _, Result};
use novanet_control::Caller;
use novanet_model::wire::{Hello, HostRole};
use novanet_model::{ImageId, NetworkKind};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const FEW: usize = 10;
const LIMIT: Duration = Duration::from_millis(50);

pub(super) fn run(world: &mut World, scale: Scale) -> Result<Vec<Row>> {
    let many = scale.of(1000, 30);
    world.ensure_running(1)?;
    let elsewhere = elsewhere(world, many)?;
    let float = world.allocate()?;
    let (few, rest) = elsewhere.split_at(FEW);
    for instance in few {
        let address = world.allocate()?;
        world.associate(address, instance)?;
    }
    let rounds = scale.of(60, 5);
    let (call_few, at_few) = reach(world, float, rounds)?;
    let began = Instant::now();
    let mut each = Samples::default();
    for instance in rest {
        let one = Instant::now();
        let address = world.allocate()?;
        world.associate(address, instance)?;
        each.push(one.elapsed());
    }
    let all = began.elapsed();
    let (call_many, at_many) = reach(world, float, rounds)?;
    let row = |n: usize, samples, call| {
        Row::new(
            format!("AssociateAddress call to reachable from outside at N = {n}"),
            Unit::Micros,
            samples,
        )
        .floor("the call", call)
        .at_most(LIMIT)
    };
    let share = Duration::from_secs(10).mul_f64(fraction(rest.len(), 1000));
    let mut whole = Samples::default();
    whole.push(all);
    Ok(vec![
        row(FEW, &at_few, &call_few),
        row(many, &at_many, &call_many),
        Row::new(
            format!("{} × allocate and associate, one by one", rest.len()),
            Unit::Micros,
            &whole,
        )
        .at_most(share)
        .nova("1,000: 55–138 s, host alone"),
        Row::new("one allocate and associate of those", Unit::Micros, &each),
    ])
}

#[allow(clippy::cast_precision_loss)] // some hundreds
fn fraction(of: usize, whole: usize) -> f64 {
    of as f64 / whole as f64
}

/// How long the call takes, and until a client outside has an answer.
fn reach(world: &mut World, float: Ipv4Addr, rounds: usize) -> Result<(Samples, Samples)> {
    let (mut call, mut reached) = (Samples::default(), Samples::default());
    let target = world.running[0].id.clone();
    for round in 0..rounds {
        let mut pinger = Pinger::new(&world.sandbox.internet, u16::try_from(1000 + round)?)?;
        let began = Instant::now();
        // The client outside does not know when the call is over: it asks all the time.
        let asked = std::thread::spawn(move || {
            pinger.until_answered(&[float], began, Duration::from_secs(10))
        });
        world.associate(float, &target)?;
        call.push(began.elapsed());
        let answered = asked
            .join()
            .map_err(|_| anyhow::anyhow!("the ping's thread panicked"))?
            .with_context(|| world.log())?;
        reached.push(answered.first().copied().context("no answer")?);
        world.disassociate(float)?;
    }
    Ok((call, reached))
}

/// Instances of another compute host, which only says hello. Their ids.
fn elsewhere(world: &mut World, count: usize) -> Result<Vec<String>> {
    let hello = Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        roles: vec![HostRole::Compute],
        my_ip: Ipv4Addr::new(203, 0, 113, 3),
        kinds: vec![NetworkKind::FlatDhcp],
        vcpus: 2,
        memory_mb: 4096,
    };
    world
        .runtime
        .block_on(world.cloud.hello("elsewhere", &hello))?;
    world.sql("UPDATE hosts SET disabled = CASE WHEN name = 'elsewhere' THEN 0 ELSE 1 END")?;
    let caller = Caller::operator("admin".parse()?);
    let mut ids = Vec::new();
    while ids.len() < count {
        let launch = launch(ImageId(1), (count - ids.len()).min(50));
        let new = world
            .runtime
            .block_on(world.cloud.run_instances(&caller, &launch))?;
        ids.extend(new.0.iter().map(ToString::to_string));
    }
    world.sql("UPDATE hosts SET disabled = CASE WHEN name = 'elsewhere' THEN 1 ELSE 0 END")?;
    Ok(ids)
}
