//! A nova-manage that writes while another process commits without pause: the whole command, from
//! starting the program to its end. The queue between processes keeps it from starving.

use super::World;
use super::stage::{Stage, WRITERS};
use crate::Scale;
use crate::harness::{Judged, Limit, Row, Samples, Unit};
use anyhow::{Result, ensure};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub(super) fn run(world: &mut World, scale: Scale) -> Result<Vec<Row>> {
    let rounds = scale.of(100, 5);
    Ok(world.on_both("a CLI write", async |stage| {
        let mut alone = Samples::default();
        for round in 0..rounds.min(20) {
            alone.push(write(stage, 1, round).await?);
        }
        let busy = Busy::start(stage);
        let began = Instant::now();
        let mut took = Samples::default();
        for round in 0..rounds {
            took.push(write(stage, 2, round).await?);
        }
        let seconds = began.elapsed();
        let commits = busy.stop().await?;
        let rate = super::stage::per_second(commits, seconds);
        let what = format!("a CLI write beside a busy server, {}", stage.title);
        Ok(vec![
            Row::new(what, Unit::Micros, &took)
                .floor("no server", &alone)
                .limit(Judged::P99, Limit::AtMost(1e5))
                .note(format!("the server made {rate:.0} commits/s meanwhile")),
        ])
    }))
}

async fn write(stage: &Stage, third: usize, round: usize) -> Result<Duration> {
    let mut command = stage.child("manage");
    command
        .args(["floating", "create", &format!("198.18.{third}.{round}/32")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let began = Instant::now();
    let said = tokio::task::spawn_blocking(move || command.output()).await??;
    let took = began.elapsed();
    let errors = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.success(), "nova-manage: {errors}");
    Ok(took)
}

/// Writers that never rest.
struct Busy {
    stop: Arc<AtomicBool>,
    commits: Arc<AtomicUsize>,
    writers: Vec<tokio::task::JoinHandle<Result<()>>>,
}

impl Busy {
    fn start(stage: &Stage) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let commits = Arc::new(AtomicUsize::new(0));
        let writers = (0..WRITERS)
            .map(|_| {
                let (cloud, stop) = (stage.cloud.clone(), Arc::clone(&stop));
                let commits = Arc::clone(&commits);
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        cloud.db().begin_planned().await?.commit().await?;
                        commits.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        Self {
            stop,
            commits,
            writers,
        }
    }

    async fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            writer.await??;
        }
        Ok(self.commits.load(Ordering::Relaxed))
    }
}
