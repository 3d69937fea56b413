//! One more floating IP in route mode, among few and among many: from the host object, by the
//! engine's own path (`change`, `settle`) through firewall and links, to what the kernel has
//! acknowledged.

use super::bare::Bare;
use super::objects::{float, gateway, host, settings};
use super::{World, objects};
use crate::Scale;
use crate::harness::{Judged, Limit, Row, Samples, Unit};
use anyhow::{Result, anyhow, ensure};
use novanet_agent::firewall::Firewall;
use novanet_agent::link::Links;
use novanet_model::HostObject;
use novanet_reconcile::{Reconciler, Subsystem};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const FEW: u32 = 10;
/// In to the instance, out from it, and the guard that keeps what neither translates from the host.
const ELEMENTS: usize = 3;

pub(super) fn run(_: &mut World, scale: Scale) -> Result<Vec<Row>> {
    let many = u32::try_from(scale.of(10_000, 1_000))?;
    let few = Worker::start(FEW)?;
    let many_there = Worker::start(many)?;
    let mut samples = [(); 4].map(|()| Samples::default());
    for round in 0..scale.of(300, 30) {
        let number = u32::try_from(round)?;
        // In turn, and by turns in another order.
        let mut order = [0, 1, 2, 3];
        order.rotate_left(round % 4);
        for which in order {
            let worker = if which < 2 { &few } else { &many_there };
            let job = if which % 2 == 0 {
                Job::Subsystems
            } else {
                Job::Bare
            };
            samples[which].push(worker.one_more(job, number)?);
        }
    }
    let [at_few, bare_few, at_many, bare_many] = samples;
    few.stop()?;
    many_there.stop()?;
    let millisecond = Duration::from_millis(1);
    let row = |n, samples| {
        Row::new(
            format!("one more floating IP at N = {n}"),
            Unit::Micros,
            samples,
        )
    };
    Ok(vec![
        row(FEW, &at_few)
            .floor("bare netlink", &bare_few)
            .at_most(millisecond),
        row(many, &at_many)
            .floor("bare netlink", &bare_many)
            .at_most(millisecond)
            .nova("78–280 ms at 1,000"),
        row(many, &at_many)
            .floor("N = 10", &at_few)
            .limit(Judged::Ratio, Limit::AtMost(1.3)),
    ])
}

#[derive(Clone, Copy)]
enum Job {
    Subsystems,
    Bare,
}

/// A host with so many floating IPs, on a thread that is in it.
struct Worker {
    jobs: Sender<(Job, u32)>,
    answers: Receiver<Result<Duration>>,
    thread: JoinHandle<Result<()>>,
}

impl Worker {
    fn start(floats: u32) -> Result<Self> {
        let (jobs, todo) = channel();
        let (answer, answers) = channel();
        let thread = std::thread::spawn(move || {
            let (host, _outside) = host()?;
            host.exec_in(move || work(floats, &todo, &answer))?
        });
        let worker = Self {
            jobs,
            answers,
            thread,
        };
        // The first answer says that everything is there.
        worker.answer()?;
        Ok(worker)
    }

    /// How long one more takes; it is gone again afterwards.
    fn one_more(&self, job: Job, number: u32) -> Result<Duration> {
        self.jobs
            .send((job, number))
            .map_err(|_| anyhow!("the host has ended"))?;
        self.answer()
    }

    fn answer(&self) -> Result<Duration> {
        self.answers
            .recv()
            .map_err(|_| anyhow!("the host has ended"))?
    }

    fn stop(self) -> Result<()> {
        drop(self.jobs);
        self.thread
            .join()
            .map_err(|_| anyhow!("the host's thread panicked"))?
    }
}

fn work(floats: u32, todo: &Receiver<(Job, u32)>, answer: &Sender<Result<Duration>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let state = tempfile::tempdir()?;
    let prepared = runtime.block_on(Subsystems::start(state.path(), floats));
    let (mut subsystems, bare) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return Ok(answer.send(Err(error))?),
    };
    answer.send(Ok(Duration::ZERO))?;
    for (job, number) in todo {
        let number = floats + number;
        let took = match job {
            Job::Subsystems => runtime.block_on(subsystems.one_more(number)),
            Job::Bare => one_more_bare(&bare, number),
        };
        answer.send(took)?;
    }
    // The figure counts only if no change is left to do.
    runtime.block_on(subsystems.check())
}

fn one_more_bare(bare: &Bare, number: u32) -> Result<Duration> {
    let began = Instant::now();
    bare.more(number)?;
    let took = began.elapsed();
    bare.less(number)?;
    Ok(took)
}

/// The two subsystems that a floating IP concerns.
struct Subsystems {
    links: Reconciler<Links>,
    firewall: Reconciler<Firewall>,
}

impl Subsystems {
    async fn start(state_path: &std::path::Path, floats: u32) -> Result<(Self, Bare)> {
        let settings = settings(state_path)?;
        let mut subsystems = Self {
            links: Reconciler::new(Links::new(&settings)?),
            firewall: Reconciler::new(Firewall::new(&settings)?),
        };
        let mut objects: Vec<HostObject> = (0..floats).map(float).collect();
        subsystems.links.set_objects(&objects);
        objects.push(gateway()?);
        objects.extend(objects::ports(10)?);
        subsystems.firewall.set_objects(&objects);
        let now = tokio::time::Instant::now();
        settled(
            "links",
            &subsystems.links.round(now).await,
            &subsystems.links,
        )?;
        settled(
            "firewall",
            &subsystems.firewall.round(now).await,
            &subsystems.firewall,
        )?;
        subsystems.check().await?;
        Ok((subsystems, Bare::new(floats)?))
    }

    async fn one_more(&mut self, number: u32) -> Result<Duration> {
        let object = float(number);
        let began = Instant::now();
        self.set(&object, true).await?;
        let took = began.elapsed();
        self.set(&object, false).await?;
        Ok(took)
    }

    /// In the engine's order: a floating IP is answered only while the firewall knows it.
    async fn set(&mut self, object: &HostObject, there: bool) -> Result<()> {
        if there {
            self.set_in_firewall(object, true).await?;
            self.set_in_links(object, true).await
        } else {
            self.set_in_links(object, false).await?;
            self.set_in_firewall(object, false).await
        }
    }

    async fn set_in_links(&mut self, object: &HostObject, there: bool) -> Result<()> {
        self.links.change(&object.key(), there.then_some(object));
        let round = self.links.settle(tokio::time::Instant::now()).await;
        ensure!(
            round.applied == 1,
            "links: {round:?} {:?}",
            self.links.errors()
        );
        Ok(())
    }

    async fn set_in_firewall(&mut self, object: &HostObject, there: bool) -> Result<()> {
        self.firewall.change(&object.key(), there.then_some(object));
        let round = self.firewall.settle(tokio::time::Instant::now()).await;
        ensure!(
            round.applied == ELEMENTS,
            "firewall: {round:?} {:?}",
            self.firewall.errors()
        );
        Ok(())
    }

    async fn check(&mut self) -> Result<()> {
        let links = self.links.difference().await?;
        ensure!(links.is_empty(), "links differ: {links:?}");
        let firewall = self.firewall.difference().await?;
        ensure!(firewall.is_empty(), "the firewall differs: {firewall:?}");
        Ok(())
    }
}

fn settled<R: Subsystem>(
    name: &str,
    round: &novanet_reconcile::Round,
    subsystem: &Reconciler<R>,
) -> Result<()> {
    ensure!(round.failed == 0, "{name}: {:?}", subsystem.errors());
    Ok(())
}
