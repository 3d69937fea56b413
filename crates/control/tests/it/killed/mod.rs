//! Kills processes that run use cases at random moments: no use case is half done, and the next
//! process can write at once.

mod books;
mod writer;

use crate::atomic::db_snapshot::settled;
use crate::world::{World, on};
use anyhow::{Context, Result, ensure};
use novanet_control::Cloud;
use novanet_store::Engine;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use writer::Rng;

/// Set in a process that is to be killed: the database it writes to.
const WRITE_TO: &str = "NOVANET_TEST_USE_CASES_IN";

/// Its seed.
const SEED: &str = "NOVANET_TEST_SEED";

/// Two processes are killed in each.
const ROUNDS: u64 = 8;

/// Waits of 10 s and more are the patience that a writer has with one that hangs.
const AT_ONCE: Duration = Duration::from_secs(8);

#[test]
fn on_sqlite_killed_processes_leave_whole_use_cases_and_no_locks() {
    test(
        "on_sqlite_killed_processes_leave_whole_use_cases_and_no_locks",
        Engine::Sqlite,
    );
}

#[test]
fn on_postgres_killed_processes_leave_whole_use_cases_and_no_locks() {
    test(
        "on_postgres_killed_processes_leave_whole_use_cases_and_no_locks",
        Engine::Postgres,
    );
}

fn test(name: &str, engine: Engine) {
    match std::env::var(WRITE_TO) {
        Ok(url) => writer::for_ever(&url, std::env::var(SEED).unwrap().parse().unwrap()),
        Err(_) => on(
            engine,
            |_| {},
            async |w| kill_again_and_again(w, &format!("killed::{name}")).await,
        ),
    }
}

async fn kill_again_and_again(w: &World, name: &str) -> Result<()> {
    w.image().await;
    for host in writer::HOSTS {
        w.host(host).await;
    }
    for project in writer::PROJECTS {
        w.project(project).await;
    }
    w.network("10.0.0.0/24").await;
    w.floats("203.0.113.0/28").await;
    let mut killed_at_work = 0;
    for round in 0..ROUNDS {
        let mut rng = Rng(round);
        let [mut one, mut other] = [0, 1].map(|n| Writer::start(w, name, 2 * round + n).unwrap());
        other.wait_for(1)?;
        one.wait_for(1 + rng.below(20))?;
        tokio::time::sleep(Duration::from_micros(rng.below(5000))).await;
        killed_at_work += one.kill()?;
        // The processes that live go on at once.
        let began = Instant::now();
        other.wait_for(2)?;
        ensure!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        killed_at_work += other.kill()?;
        let next = w.again().await;
        let began = Instant::now();
        next.create_user(&format!("next{round}"), None, false)
            .await?;
        ensure!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        settled(next.db()).await?;
        books::agree(&next)
            .await
            .with_context(|| format!("round {round}"))?;
        w.assert_planned().await;
        next.close().await;
    }
    // If they died idle each time, this has shown nothing.
    ensure!(killed_at_work > 0, "nobody was killed within a use case");
    end_everything(w).await
}

/// Everything can still be ended, by the use cases that would have ended it without the kills.
async fn end_everything(w: &World) -> Result<()> {
    let running = |all: Vec<novanet_control::instances::InstanceView>| {
        let living = all.into_iter().filter(|i| i.row.terminated_at.is_none());
        living.map(|i| i.row.id).collect::<Vec<_>>()
    };
    for project in writer::PROJECTS {
        let boss = writer::boss_of(project);
        w.terminate(&boss, &running(w.instances(&boss).await?))
            .await?;
    }
    for host in writer::HOSTS {
        w.host(host).await.round().await;
    }
    ensure!(running(w.all_instances().await?).is_empty());
    let taken = w.fixed_ips(None).await?;
    ensure!(taken.iter().all(|ip| ip.instance.is_none()), "{taken:?}");
    w.assert_planned().await;
    books::agree(&w.cloud).await
}

/// A process that does use cases until it is killed.
struct Writer {
    process: Child,
    said: Lines<BufReader<ChildStdout>>,
    begun: u64,
    ended: u64,
}

impl Writer {
    fn start(cloud: &Cloud, name: &str, seed: u64) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args([name, "--exact", "--nocapture", "--test-threads=1"])
            .env(WRITE_TO, &cloud.config().database)
            .env(SEED, seed.to_string())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().context("it has an output")?;
        Ok(Self {
            process,
            said: BufReader::new(output).lines(),
            begun: 0,
            ended: 0,
        })
    }

    /// Until it has done so many more use cases.
    fn wait_for(&mut self, more: u64) -> Result<()> {
        let until = self.ended + more;
        while self.ended < until {
            self.hear()?.context("it ended by itself")?;
        }
        Ok(())
    }

    fn hear(&mut self) -> Result<Option<()>> {
        let Some(line) = self.said.next().transpose()? else {
            return Ok(None);
        };
        match line.as_str() {
            writer::BEGUN => self.begun += 1,
            writer::ENDED => self.ended += 1,
            _ => {}
        }
        Ok(Some(()))
    }

    /// SIGKILL. How many use cases it was in the middle of.
    fn kill(mut self) -> Result<u64> {
        self.process.kill()?;
        self.process.wait()?;
        while self.hear()?.is_some() {}
        Ok(self.begun - self.ended)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _dead_already = self.process.kill();
        let _reaped_already = self.process.wait();
    }
}
