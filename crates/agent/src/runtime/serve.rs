//! Runs the parts of an agent until it has to stop: workers, local socket, conversation with the
//! server, background tasks. Depends on no subsystem: generic over them, so that tests run it on a
//! host in memory.

use super::engine::Engine;
use super::error::AgentError;
use super::lock::{Lock, agent_dir};
use super::questions::{Answers, Console};

use crate::ledger::Ledger;
use crate::local::Local;
use crate::server_client::{Client, Conversation, LeaseSource, Pace};
use futures_util::future::BoxFuture;
use novanet_model::wire::{Hello, InstanceReport};
use novanet_reconcile::{Inspect, Subsystem, SubsystemWorker, Subsystems, Timing, Workers};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// How long the workers may take to end their rounds when the agent stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Tasks that run as long as the agent does, by name.
pub type BackgroundTasks = Vec<(
    &'static str,
    Box<dyn FnOnce(Engine) -> BoxFuture<'static, ()> + Send>,
)>;

/// Everything an agent is made of.
pub struct Parts<L, F, D, I> {
    /// The folder of its ledger and socket.
    pub state_path: PathBuf,
    /// The lock of that folder, acquired before the subsystems were made.
    pub lock: Lock,
    /// The subsystems of the host.
    pub subsystems: Subsystems<L, F, D, I>,
    /// Its client of the server.
    pub client: Client,
    /// Its introduction to the server.
    pub hello: Hello,
    /// The introduction has the present address of the host as `my_ip`.
    pub my_ip_follows: bool,
    /// Reads consoles.
    pub console: Arc<dyn Console>,
    /// The lease events for the server; `None`: a host without DHCP.
    pub leases: Option<Arc<dyn LeaseSource>>,
    /// Changed states of instances.
    pub reports: mpsc::UnboundedReceiver<InstanceReport>,
    /// Further tasks (the metadata service).
    pub background: BackgroundTasks,
    /// The engine's times.
    pub timing: Timing,
    /// The conversation's times.
    pub pace: Pace,
}

/// Runs an agent until `shutdown`, and leaves rules, links and instances as they are. An error: a
/// worker or a task ended by itself.
pub async fn serve<L, F, D, I>(
    parts: Parts<L, F, D, I>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError>
where
    L: Subsystem + Inspect + Send + 'static,
    F: Subsystem + Inspect + Send + 'static,
    D: Subsystem + Inspect + Send + 'static,
    I: Subsystem + Inspect + Send + 'static,
{
    let _lock = parts.lock;
    let ledger = Ledger::open(&agent_dir(&parts.state_path))?;
    let local = Local::open(&parts.state_path)?;
    let (engine, workers) = Engine::new(parts.subsystems, Some(ledger), &parts.timing);
    let mut workers = start(workers)?;
    let answers = Answers::new(engine.clone(), parts.console);
    let conversation = Conversation {
        client: parts.client,
        engine: engine.clone(),
        answers: answers.clone(),
        hello: parts.hello,
        my_ip_follows: parts.my_ip_follows,
        leases: parts.leases,
        pace: parts.pace,
    };
    // A task each: a task that waits for a disk does not delay the others.
    let mut tasks = JoinSet::new();
    for (name, make) in parts.background {
        tasks.spawn(named(name, make(engine.clone())));
    }
    let conversation = Box::pin(conversation.run());
    tasks.spawn(named("conversation with the server", conversation));
    tasks.spawn(named("local socket", local.serve(answers)));
    let reports = pass_on(parts.reports, engine.clone());
    tasks.spawn(named("instance reports", reports));
    let result = tokio::select! {
        () = shutdown => Ok(()),
        name = workers.first_end() => Err(AgentError::Ended(name)),
        Some(ended) = tasks.join_next() => Err(AgentError::Ended(ended.unwrap_or("a task"))),
    };
    tasks.shutdown().await;
    engine.stop();
    if tokio::time::timeout(STOP_TIMEOUT, workers.all_ends())
        .await
        .is_err()
    {
        tracing::warn!(
            "a subsystem is still busy; what it was doing is finished at the next start"
        );
    }
    result
}

async fn pass_on(mut reports: mpsc::UnboundedReceiver<InstanceReport>, engine: Engine) {
    while let Some(report) = reports.recv().await {
        engine.report(report);
    }
    // A host without instances has no instance to report.
    std::future::pending::<()>().await;
}

/// A task that returns its name when it ends.
async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}

/// The workers' threads.
struct Running(Vec<(&'static str, oneshot::Receiver<()>)>);

impl Running {
    /// Waits until a worker ends, which is an error, and returns its name.
    async fn first_end(&mut self) -> &'static str {
        let ends = self.0.iter_mut().map(|(name, end)| {
            Box::pin(async move {
                let _ = end.await; // ended or panicked
                *name
            })
        });
        let (name, place, _) = futures_util::future::select_all(ends).await;
        self.0.remove(place);
        name
    }

    async fn all_ends(self) {
        for (_, end) in self.0 {
            let _ = end.await;
        }
    }
}

/// Gives each worker a thread: a subsystem that waits for the kernel or for a program delays no
/// other.
fn start<L, F, D, I>(workers: Workers<L, F, D, I>) -> Result<Running, AgentError>
where
    L: Subsystem + Inspect + Send + 'static,
    F: Subsystem + Inspect + Send + 'static,
    D: Subsystem + Inspect + Send + 'static,
    I: Subsystem + Inspect + Send + 'static,
{
    Ok(Running(vec![
        thread(workers.links, false)?,
        thread(workers.firewall, false)?,
        thread(workers.dhcp, false)?,
        // Instances are started side by side.
        thread(workers.instances, true)?,
    ]))
}

fn thread<R: Subsystem + Inspect + Send + 'static>(
    worker: SubsystemWorker<R>,
    side_by_side: bool,
) -> Result<(&'static str, oneshot::Receiver<()>), AgentError> {
    let failed = |e| AgentError::file(R::NAME, e);
    let mut builder = if side_by_side {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2);
        builder
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder
        .enable_all()
        .thread_name(R::NAME)
        .build()
        .map_err(failed)?;
    let (ending, end) = oneshot::channel();
    let work = move || {
        let _ending = ending; // dropped at the end, and in a panic
        runtime.block_on(worker.run());
    };
    std::thread::Builder::new()
        .name(R::NAME.to_owned())
        .spawn(work)
        .map_err(failed)?;
    Ok((R::NAME, end))
}
