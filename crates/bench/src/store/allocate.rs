//! Fixed addresses. The use case that hands them out is RunInstances, with everything that belongs
//! to it: quota, placement, instance, interface, group membership, audit, plan. One instance per
//! call, eight callers at once.
//!
//! The floor is the same number of callers that do nothing but commit: what durability costs here.

use super::World;
use super::stage::{HOST, Stage, WRITERS, flat_out, launch, per_second};
use crate::Scale;
use crate::harness::{Row, Samples, Unit};
use anyhow::Result;
use std::time::Duration;

const WANTED: f64 = 1000.0;
const NOVA: &str = "5–11/s";

pub(super) fn run(world: &mut World, scale: Scale) -> Result<Vec<Row>> {
    let mut rows = world.on_both("allocation, fresh /16", async |stage| {
        stage.network("10.0.0.0/16").await?;
        measure(stage, "fresh /16", scale, false).await
    });
    rows.extend(world.on_both("allocation, nearly full /24", async |stage| {
        stage.network("192.168.7.0/24").await?;
        // 253 for instances; as many are free as are asked for at a time.
        stage.fill(253 - JOBS_IN_A_ROUND).await?;
        measure(stage, "nearly full /24", scale, true).await
    }));
    rows.extend(world.on_both("allocation, /16 with holes", async |stage| {
        stage.network("10.0.0.0/16").await?;
        stage.sql(&holes()).await?;
        stage.counted().await?;
        measure(stage, "/16 with random holes", scale, false).await
    }));
    Ok(rows)
}

const JOBS_IN_A_ROUND: usize = 2 * WRITERS;

/// Rounds of allocations, each beside a round of use cases that do nothing. With `back`, instances
/// are gone again before the next round (which is not measured).
async fn measure(stage: &Stage, what: &str, scale: Scale, back: bool) -> Result<Vec<Row>> {
    let (rounds, jobs) = if back {
        (scale.of(40, 1), JOBS_IN_A_ROUND)
    } else {
        (scale.of(20, 1), scale.of(100, 16))
    };
    let (mut rates, mut bare) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        bare.add(per_second(jobs, commits(stage, jobs).await?));
        rates.add(per_second(jobs, allocations(stage, jobs).await?));
        if back {
            give_back(stage, jobs).await?;
        }
    }
    let what = format!("instances with a fixed IP, {what}, {}", stage.title);
    Ok(vec![
        Row::new(what, Unit::PerSecond, &rates)
            .floor("empty use cases", &bare)
            .at_least(WANTED)
            .nova(NOVA),
    ])
}

async fn allocations(stage: &Stage, jobs: usize) -> Result<Duration> {
    let (cloud, caller, image) = (stage.cloud.clone(), stage.caller.clone(), stage.image);
    flat_out(jobs, move |_, _| {
        let (cloud, caller) = (cloud.clone(), caller.clone());
        async move {
            cloud.run_instances(&caller, &launch(image, 1)).await?;
            Ok(())
        }
    })
    .await
}

async fn commits(stage: &Stage, jobs: usize) -> Result<Duration> {
    let cloud = stage.cloud.clone();
    flat_out(jobs, move |_, _| {
        let cloud = cloud.clone();
        async move {
            cloud.db().begin_planned().await?.commit().await?;
            Ok(())
        }
    })
    .await
}

/// Terminates the newest instances; their host says that they are gone.
async fn give_back(stage: &Stage, count: usize) -> Result<()> {
    let mut living: Vec<_> = stage
        .cloud
        .instances(&stage.caller)
        .await?
        .into_iter()
        .filter(|view| view.row.terminated_at.is_none())
        .map(|view| view.row.id)
        .collect();
    living.sort();
    let newest = living.split_off(living.len() - count);
    stage.cloud.terminate(&stage.caller, &newest).await?;
    stage.settle(HOST).await
}

/// A /16 that was handed out once to the end: one address in eight was given back since, at times
/// and places without order. (Filling it by 65,533 launches takes minutes.)
fn holes() -> String {
    const FIRST: i64 = 0x0a00_0000;
    format!(
        "INSERT INTO fixed_ips (id, address, addr, network_id, allocated, reserved, freed_at, \
         created_at, updated_at) \
         WITH RECURSIVE n(i) AS (SELECT CAST(2 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < 65534), \
         net(id) AS (SELECT max(id) FROM networks) \
         SELECT net.id * 4294967296 + {FIRST} + i, '10.0.' || (i / 256) || '.' || (i % 256), \
         {FIRST} + i, net.id, CASE WHEN i * 48271 % 65537 % 8 = 0 THEN 0 ELSE 1 END, \
         CASE WHEN i * 48271 % 65537 % 8 = 0 THEN 0 ELSE 1 END, \
         CASE WHEN i * 48271 % 65537 % 8 = 0 THEN 1 + i * 75 % 65537 END, 1, 1 FROM n, net; \
         UPDATE address_cursors SET next_addr = {FIRST} + 65536;"
    )
}
