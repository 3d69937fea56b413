//! A running server: its listeners, its state, its background loops.

use crate::listeners::{agent_gate, ec2_gate, serve_agents, serve_ec2};
use crate::lockout::Lockouts;
use crate::questions::Questions;
use crate::regions::Regions;
use crate::state::State;
use crate::{admin, agent_api, clock_file, ec2};
use novanet_control::{Cloud, error_chain};
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long calls that are under way may take when the server ends.
const DRAIN: Duration = Duration::from_secs(3);

/// How often the note of the clock is made to outlast a power cut.
const DURABLE: Duration = Duration::from_secs(5);

/// Where a server listens and what it says of itself.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// EC2 API (`ec2_listen`, `ec2_listen_port`).
    pub ec2_listen: SocketAddr,
    /// Socket of the agent API, and of what the command line asks.
    pub agent_socket: PathBuf,
    /// Names and endpoints of regions (`region_list`).
    pub regions: Vec<(String, String)>,
    /// Name of this server, for leases.
    pub name: String,
    /// Where it notes how far the database is ([`clock_file`]).
    pub clock_file: PathBuf,
}

/// Why a server could not start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// A port or socket cannot be used.
    #[error("cannot listen on {what}: {source} ({remedy})")]
    Listen {
        /// The address.
        what: String,
        /// errno.
        source: std::io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// The cloud cannot be used.
    #[error(transparent)]
    Cloud(#[from] novanet_control::ControlError),
}

/// A server that listens and does not answer yet.
#[derive(Debug)]
pub struct Server {
    state: Arc<State>,
    ec2: TcpListener,
    agents: UnixListener,
    config: ServerConfig,
}

impl Server {
    /// Takes the port and the socket.
    pub async fn bind(config: ServerConfig, cloud: Cloud) -> Result<Self, ServerError> {
        cloud.require_schema().await?;
        let ec2 = TcpListener::bind(config.ec2_listen)
            .await
            .map_err(|source| ServerError::Listen {
                what: config.ec2_listen.to_string(),
                source,
                remedy: "another program has the port, or the address is not on this host: \
                         see ec2_listen and ec2_listen_port",
            })?;
        let agents = listen_unix(&config.agent_socket).map_err(|source| ServerError::Listen {
            what: config.agent_socket.display().to_string(),
            source,
            remedy: "another server runs with this state_path, or the folder cannot be written",
        })?;
        let state = Arc::new(State {
            lockouts: Lockouts::new(cloud.config().lockout),
            cloud,
            questions: Questions::default(),
            regions: Regions::new(config.regions.clone()),
            ec2_gate: ec2_gate(),
            agent_gate: agent_gate(),
        });
        Ok(Self {
            state,
            ec2,
            agents,
            config,
        })
    }

    /// What it says of regions.
    pub fn regions(&self) -> Regions {
        self.state.regions.clone()
    }

    /// Where the EC2 API listens.
    pub fn ec2_address(&self) -> std::io::Result<SocketAddr> {
        self.ec2.local_addr()
    }

    /// Answers until `shutdown`.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let local = agent_api::router(Arc::clone(&self.state))
            .merge(admin::router(Arc::clone(&self.state)));
        // Tasks of their own: nothing that this one does can delay an answer. They end with it.
        let mut agents = JoinSet::new();
        agents.spawn(serve_agents(
            self.agents,
            self.state.agent_gate.clone(),
            local,
        ));
        let (stop, stopping) = watch::channel(false);
        let router = ec2::router(Arc::clone(&self.state));
        let gate = self.state.ec2_gate.clone();
        let mut ec2 = JoinSet::new();
        ec2.spawn(serve_ec2(self.ec2, gate, router, stopped(stopping)));
        tokio::select! {
            _ = agents.join_next() => {}
            _ = ec2.join_next() => {}
            () = poll_clock(&self.state.cloud, &self.config.clock_file) => {}
            () = self.state.cloud.db().listen() => {}
            () = self.state.cloud.run_controllers(&self.config.name) => {}
            () = shutdown => {}
        }
        // Calls under way get their answers; new connections are refused.
        stop.send_replace(true);
        let _ = tokio::time::timeout(DRAIN, ec2.join_next()).await;
        let _ = std::fs::remove_file(&self.config.agent_socket);
        if let Ok((epoch, version)) = self.state.cloud.clock().await {
            note(&self.config.clock_file, &epoch, version, true);
        }
        Ok(())
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stop| *stop).await;
}

/// Hints of other processes, whatever becomes of notifications: looks at the clock row ten times a
/// second (54–99 µs each), and notes what it says. A note that is behind is right: only a database
/// that is older than the note is another one.
async fn poll_clock(cloud: &Cloud, clock_file: &Path) {
    let mut last = (String::new(), 0);
    let mut synced_at = Instant::now();
    let mut synced = true;
    loop {
        let mut moved = false;
        match cloud.clock().await {
            Ok(now) if now != last => {
                last = now;
                moved = true;
                synced = false;
                cloud.db().hints().tell_all(last.1);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(
                    error = error_chain(&error),
                    remedy = error.remedy(),
                    "clock row"
                );
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        let durable = !synced && synced_at.elapsed() > DURABLE;
        if moved || durable {
            let (file, (epoch, version)) = (clock_file.to_owned(), last.clone());
            let write = move || note(&file, &epoch, version, durable);
            let _ended = tokio::task::spawn_blocking(write).await; // it does not panic
        }
        if durable {
            (synced, synced_at) = (true, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn note(file: &Path, epoch: &str, version: i64, durable: bool) {
    if let Err(error) = clock_file::write(file, epoch, version, durable) {
        tracing::debug!(%error, file = %file.display(), "not noted");
    }
}

/// A socket for root and the owner of the state folder; a stale one of a server that was killed is
/// replaced, one that answers is not.
fn listen_unix(path: &Path) -> std::io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(std::io::Error::from(std::io::ErrorKind::AddrInUse));
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
