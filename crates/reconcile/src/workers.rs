//! The four workers of a host and their handles: which subsystem waits for which, and which part
//! of it waits for the firewall. Depends on [`crate::worker`], which drives one subsystem.

use crate::cadence::Timing;
use crate::command::{Batch, Command, Dependencies, ForeignView, Inspect, ObjectChange, Query};
use crate::firewall_gate::Guarded;
use crate::foreign::ForeignDevices;
use crate::progress::Progress;
use crate::subsystem::Subsystem;
use crate::worker::SubsystemWorker;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// The subsystems of a host.
pub struct Subsystems<L, F, D, I> {
    /// Bridges, ports, addresses, routes.
    pub links: L,
    /// Filters and NAT.
    pub firewall: F,
    /// DHCP servers.
    pub dhcp: D,
    /// Instances.
    pub instances: I,
}

/// The tasks of the subsystems. Run them, together or each in its own task.
pub struct Workers<L: Subsystem, F: Subsystem, D: Subsystem, I: Subsystem> {
    /// See [`Subsystems::links`].
    pub links: SubsystemWorker<L>,
    /// See [`Subsystems::firewall`].
    pub firewall: SubsystemWorker<F>,
    /// See [`Subsystems::dhcp`].
    pub dhcp: SubsystemWorker<D>,
    /// See [`Subsystems::instances`].
    pub instances: SubsystemWorker<I>,
}

impl<L, F, D, I> Workers<L, F, D, I>
where
    L: Subsystem + Inspect,
    F: Subsystem + Inspect,
    D: Subsystem + Inspect,
    I: Subsystem + Inspect,
{
    /// Runs all workers in one task, until the engine is dropped.
    pub async fn run(self) {
        tokio::join!(
            self.links.run(),
            self.firewall.run(),
            self.dhcp.run(),
            self.instances.run()
        );
    }
}

/// Workers by their place in the order of creation.
pub const LINKS: usize = 0;
/// See [`LINKS`].
pub const FIREWALL: usize = 1;
/// See [`LINKS`].
pub const DHCP: usize = 2;
/// See [`LINKS`].
pub const INSTANCES: usize = 3;
/// How long a query waits for one subsystem.
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a cleanup of one subsystem may take: a hundred instances end in it.
const CLEANUP_TIMEOUT: Duration = Duration::from_mins(2);

/// Sends commands to the workers of a host and reads their progress. Never waits for a subsystem,
/// except in [`Self::ask`].
pub struct WorkerHandles {
    workers: [WorkerHandle; 4],
    news: Arc<Notify>,
    foreign: watch::Receiver<Option<ForeignDevices>>,
}

struct WorkerHandle {
    name: &'static str,
    commands: mpsc::UnboundedSender<Command>,
    progress: watch::Receiver<Progress>,
}

impl WorkerHandles {
    /// Workers for these subsystems. They do nothing until they are run and have a batch.
    pub fn new<L, F, D, I>(
        subsystems: Subsystems<L, F, D, I>,
        timing: &Timing,
    ) -> (Self, Workers<L, F, D, I>)
    where
        L: Subsystem + Inspect,
        F: Subsystem + Inspect,
        D: Subsystem + Inspect,
        I: Subsystem + Inspect,
    {
        let news = Arc::new(Notify::new());
        let progress: [_; 4] = std::array::from_fn(|_| watch::channel(Progress::default()));
        let [links, firewall, dhcp, instances] = progress;
        let seen = [&links.1, &firewall.1, &dhcp.1, &instances.1].map(Clone::clone);
        let (foreign, mut views) = ForeignView::of_workers();
        let mut around = |place: usize| Dependencies {
            below: seen[..place].to_vec(),
            above: seen.get(place + 1).cloned(),
            first_waits: place != FIREWALL,
            firewall_gate: guarded(place).map(|kind| (seen[FIREWALL].clone(), kind)),
            foreign_view: views(),
        };
        let mut handles = Vec::new();
        let mut start = Start {
            news: &news,
            timing,
            handles: &mut handles,
        };
        let workers = Workers {
            links: start.worker(subsystems.links, links, around(LINKS)),
            firewall: start.worker(subsystems.firewall, firewall, around(FIREWALL)),
            dhcp: start.worker(subsystems.dhcp, dhcp, around(DHCP)),
            instances: start.worker(subsystems.instances, instances, around(INSTANCES)),
        };
        let handles = handles
            .try_into()
            .unwrap_or_else(|_| unreachable!("four subsystems make four workers"));
        let handles = Self {
            workers: handles,
            news,
            foreign,
        };
        (handles, workers)
    }

    /// Hands changed objects to all workers. Numbers grow; the first batch is number 1.
    pub fn send(&self, number: u64, objects: Vec<ObjectChange>) {
        let batch = Batch {
            number,
            objects: objects.into(),
        };
        for worker in &self.workers {
            let _ = worker.commands.send(Command::Batch(batch.clone())); // ends with the agent only
        }
    }

    /// Asks one worker; waits for the round that it is in.
    pub async fn ask(&self, place: usize, ask: Query) -> Result<String, String> {
        let worker = &self.workers[place];
        let (answer, answered) = oneshot::channel();
        let _ = worker.commands.send(Command::Query(ask, answer)); // then `answered` fails
        let limit = match ask {
            Query::Cleanup { dry_run: false } => CLEANUP_TIMEOUT,
            _ => QUERY_TIMEOUT,
        };
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(text)) => text,
            Ok(Err(_)) => Err(format!("{}: has ended", worker.name)),
            Err(_) => Err(format!(
                "{}: busy for over {limit:?}; ask again",
                worker.name
            )),
        }
    }

    /// Ends the workers, each after the round that it is in. What is on the host stays as it is.
    pub fn stop(&self) {
        for worker in &self.workers {
            let _ = worker.commands.send(Command::Stop); // it may have ended already
        }
    }

    /// How many workers there are.
    pub fn places(&self) -> usize {
        self.workers.len()
    }

    /// The progress of each worker, in the order of creation.
    pub fn progress(&self) -> Vec<Progress> {
        let workers = self.workers.iter();
        workers
            .map(|worker| worker.progress.borrow().clone())
            .collect()
    }

    /// Notified when a worker's progress changed.
    pub fn news(&self) -> &Arc<Notify> {
        &self.news
    }

    /// The foreign devices; `None` until the links subsystem has observed them.
    pub fn foreign(&self) -> watch::Receiver<Option<ForeignDevices>> {
        self.foreign.clone()
    }
}

/// The objects that the worker at this place makes only while the firewall protects them.
fn guarded(place: usize) -> Option<Guarded> {
    match place {
        LINKS => Some(Guarded::FloatingIps),
        INSTANCES => Some(Guarded::Instances),
        _ => None,
    }
}

type Channel = (watch::Sender<Progress>, watch::Receiver<Progress>);

/// Makes workers that have the same times and announce news to the same engine.
struct Start<'a> {
    news: &'a Arc<Notify>,
    timing: &'a Timing,
    handles: &'a mut Vec<WorkerHandle>,
}

impl Start<'_> {
    fn worker<R: Subsystem + Inspect>(
        &mut self,
        subsystem: R,
        (progress, seen): Channel,
        dependencies: Dependencies,
    ) -> SubsystemWorker<R> {
        let (commands, todo) = mpsc::unbounded_channel();
        self.handles.push(WorkerHandle {
            name: R::NAME,
            commands,
            progress: seen,
        });
        let news = Arc::clone(self.news);
        let timing = self.timing.clone();
        SubsystemWorker::new(subsystem, todo, progress, news, dependencies, timing)
    }
}
