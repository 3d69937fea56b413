//! The cloud's process ends (SIGTERM, then SIGKILL) and starts again, with instances running and a
//! continuous ping through a floating IP. Converged: the host has reported a change that was made
//! while no process ran. No port is made anew and no packet is lost.

use super::ping::Pinger;
use super::world::{BOOT, World};
use crate::Scale;
use crate::harness::{Judged, Limit, Row, Samples, Unit};
use anyhow::{Context as _, Result, ensure};
use novanet_control::Caller;
use novanet_control::floating_ips::Association;
use novanet_lab::{Host, eventually};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(10);

pub(super) fn run(world: &mut World, scale: Scale) -> Result<Vec<Row>> {
    let count = scale.of(50, 5);
    world.ensure_running(count)?;
    let float = world.allocate()?;
    let target = world.running[0].id.clone();
    world.associate(float, &target)?;
    let mut rows = Vec::new();
    for (gently, how) in [(true, "SIGTERM"), (false, "SIGKILL")] {
        let (took, lost, sent) = restart(world, float, gently).with_context(|| world.log())?;
        let mut converged = Samples::default();
        converged.push(took);
        let instances = world.running.len();
        rows.push(
            Row::new(
                format!("restart after {how}, {instances} instances, converged"),
                Unit::Micros,
                &converged,
            )
            .at_most(Duration::from_secs(2)),
        );
        let what = format!("packets lost in that, of {sent}");
        rows.push(Row::once(what, Unit::Count, lost).limit(Judged::Max, Limit::AtMost(0.0)));
    }
    world.disassociate(float)?;
    Ok(rows)
}

fn restart(world: &mut World, float: Ipv4Addr, gently: bool) -> Result<(Duration, f64, u32)> {
    let pinger = Pinger::new(&world.sandbox.internet, 2)?;
    let steady = Steady::start(pinger, float)?;
    let before = ports(&world.sandbox.cloud)?;
    world.stop(gently)?;
    let (wanted, new) = change(world)?;
    let began = Instant::now();
    world.start_again()?;
    let (runtime, cloud) = (&world.runtime, &world.cloud);
    eventually(BOOT, || {
        let hosts = runtime.block_on(cloud.hosts())?;
        let host = hosts
            .iter()
            .find(|h| h.name == "cloud")
            .context("the host")?;
        let (is, name) = (host.applied_version, &host.name);
        ensure!(is >= wanted, "{name} has applied {is} of {wanted}");
        Ok(())
    })?;
    let took = began.elapsed();
    let errors = runtime.block_on(cloud.host_errors("cloud"))?;
    ensure!(errors.is_empty(), "not in force: {errors:?}");
    world.reconnect()?;
    let after = ports(&world.sandbox.cloud)?;
    ensure!(
        before == after,
        "ports were made anew: {before} then {after}"
    );
    let (lost, sent) = steady.stop()?;
    let caller = operator()?;
    world.runtime.block_on(async {
        let cloud = &world.cloud;
        cloud.disassociate_address(&caller, new.into()).await?;
        cloud.release_address(&caller, new.into()).await
    })?;
    Ok((took, lost, sent))
}

/// Something new for the host, by another process; its version and what it is.
fn change(world: &World) -> Result<(i64, Ipv4Addr)> {
    let instance = world.running.last().context("no instance")?.id.parse()?;
    let caller = operator()?;
    world.runtime.block_on(async {
        let float = world.cloud.allocate_address(&caller, None).await?.address;
        let to = Association::to(instance);
        let (_, change) = world
            .cloud
            .associate_address(&caller, float.into(), &to)
            .await?;
        Ok((change.version, float))
    })
}

fn operator() -> Result<Caller> {
    Ok(Caller::operator("admin".parse()?))
}

/// Instances' ports with their numbers in the kernel: one that was made again has another.
fn ports(cloud: &Host) -> Result<String> {
    let links = cloud.sh("ip -o link show type veth")?.stdout;
    let name = |line: &str| line.split('@').next().unwrap_or_default().to_owned();
    Ok(links
        .lines()
        .filter(|l| l.contains(": nv"))
        .map(name)
        .collect::<Vec<_>>()
        .join(","))
}

/// A ping that goes on until it is stopped.
struct Steady {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(f64, u32)>>,
}

impl Steady {
    fn start(mut pinger: Pinger, address: Ipv4Addr) -> Result<Self> {
        // Not before it is answered at all.
        pinger.until_answered(&[address], Instant::now(), Duration::from_secs(10))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut sent, mut heard) = (Vec::new(), std::collections::BTreeSet::new());
            while !stopped.load(Ordering::Relaxed) {
                sent.push(pinger.ask(address)?);
                let next = Instant::now() + EVERY;
                while let Some((_, sequence)) = pinger.hear(next)? {
                    heard.insert(sequence);
                }
            }
            let last = Instant::now() + Duration::from_millis(500);
            while let Some((_, sequence)) = pinger.hear(last)? {
                heard.insert(sequence);
            }
            let lost = sent
                .iter()
                .filter(|sequence| !heard.contains(sequence))
                .count();
            Ok((f64::from(u32::try_from(lost)?), u32::try_from(sent.len())?))
        });
        Ok(Self { stop, thread })
    }

    fn stop(self) -> Result<(f64, u32)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| anyhow::anyhow!("the ping's thread panicked"))?
    }
}
