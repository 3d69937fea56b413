//! Runs the agent with the real subsystems, and plans and cleans up a host without an agent. The
//! only module that depends on all subsystems.

use super::engine::Engine;
use super::error::AgentError;
use super::identity;
use super::lock::{Lock, NamespaceLock};
use super::offline::{Offline, offline_with};
use super::preflight;
use super::questions::Console;
use super::saved_settings::save;
use super::serve::{BackgroundTasks, Parts, serve};
use crate::dhcp::DhcpServers;
use crate::dhcp::journal::Journal;
use crate::firewall::{Firewall, FirewallBackend};
use crate::image::{ImageError, ImageSource, Images};
use crate::instance::{Consoles, FirstBoot, FirstBootSource, Gate, Instances, PortAttacher};
use crate::link::{self, Links};
use crate::metadata::{self, MetadataError, MetadataSource};
use crate::server_client::{Client, LeaseSource, Pace, ServerAddress};
use crate::settings::Settings;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use novanet_model::object::Port;
use novanet_model::wire::{
    Hello, HostRole, InstanceReport, LeaseEvent, Metadata, Packet, RulesView,
};
use novanet_model::{InstanceId, NetworkKind, ObjectKey};
use novanet_reconcile::{
    Desired, FirewallGate, Inspect, Subsystem, SubsystemError, Subsystems, Timing, host_key,
};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};

/// Options of the agent besides the host's settings.
#[derive(Debug, Clone)]
pub struct Options {
    /// The host's roles.
    pub roles: Vec<HostRole>,
    /// The conversation's times; `heartbeat` is the `report_interval` flag.
    pub pace: Pace,
    /// The engine's times.
    pub timing: Timing,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            roles: vec![HostRole::Network, HostRole::Compute],
            pace: Pace::default(),
            timing: Timing::default(),
        }
    }
}

/// Runs the agent of this host until `shutdown`, with both roles. Instances and rules stay as they
/// are then. Call it in a multi-threaded runtime, in the host's network namespace.
pub async fn run(
    settings: Settings,
    server: ServerAddress,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    run_with(settings, Options::default(), server, shutdown).await
}

/// As [`run`], with options.
pub async fn run_with(
    settings: Settings,
    options: Options,
    server: ServerAddress,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    preflight::check(&options.roles)?;
    let lock = Lock::acquire(&settings.state_path)?;
    let _namespace = NamespaceLock::acquire()?;
    identity::check(&settings.state_path, &settings.host)?;
    identity::claim(&settings.state_path, &settings.host)?;
    if let Err(error) = save(&settings) {
        tracing::warn!(%error, "the settings cannot be kept for host plan while no agent runs");
    }
    let metadata = listen(settings.metadata_port).await?;
    let client = Client::new(server, &settings.host);
    let (reporter, reports) = mpsc::unbounded_channel();
    let subsystems = real_subsystems(&settings, Arc::new(client.clone()), reporter)?;
    let followed = Arc::new(Followed {
        client: client.clone(),
        engine: OnceLock::new(),
    });
    subsystems
        .instances
        .set_first_boot_source(Arc::clone(&followed) as _);
    let leases = Leases {
        journal: subsystems.dhcp.journal(),
        changed: subsystems.dhcp.leases_changed(),
    };
    let console = Arc::new(subsystems.instances.consoles());
    tracing::info!(host = settings.host, "the agent starts");
    let parts = Parts {
        background: background(&settings, metadata, followed),
        hello: hello(&settings, &options.roles),
        my_ip_follows: settings.my_ip_follows,
        state_path: settings.state_path,
        lock,
        subsystems,
        client,
        console,
        leases: Some(Arc::new(leases)),
        reports,
        timing: options.timing,
        pace: options.pace,
    };
    serve(parts, shutdown).await
}

/// `host plan` and `host cleanup` while no agent runs here.
pub async fn offline(
    settings: &Settings,
    what: Offline,
) -> Result<Result<String, String>, AgentError> {
    preflight::check(&[HostRole::Network])?;
    // The subsystems would take the sockets of a running agent over: first the locks.
    let lock = Lock::acquire(&settings.state_path)?;
    let _namespace = NamespaceLock::acquire()?;
    if identity::owner(&settings.state_path).is_some() {
        identity::check(&settings.state_path, &settings.host)?;
    }
    let (reporter, _reports) = mpsc::unbounded_channel();
    let subsystems = real_subsystems(settings, Arc::new(NoServer), reporter)?;
    Box::pin(offline_with(&settings.state_path, lock, subsystems, what)).await
}

type RealSubsystems = Subsystems<Links, Firewall, DhcpServers, Instances>;

fn real_subsystems(
    settings: &Settings,
    source: Arc<dyn ImageSource>,
    reporter: mpsc::UnboundedSender<InstanceReport>,
) -> Result<RealSubsystems, AgentError> {
    let failed = |subsystem| move |source| AgentError::Subsystem { subsystem, source };
    let images = Images::new(&settings.state_path, settings.instance_uid_base, source);
    let images = images.map_err(|e| failed("images")(SubsystemError::Refused(e.to_string())))?;
    let links = Links::new(settings).map_err(failed(Links::NAME))?;
    let attacher = Arc::new(VethPorts(links.veth_attacher()));
    Ok(Subsystems {
        links,
        firewall: Firewall::new(settings).map_err(failed(<Firewall>::NAME))?,
        dhcp: DhcpServers::new(settings).map_err(failed(DhcpServers::NAME))?,
        instances: Instances::new(settings, Arc::new(images), attacher, reporter),
    })
}

async fn listen(port: u16) -> Result<TcpListener, AgentError> {
    // On every address: the firewall redirects from the bridges, and drops requests from elsewhere.
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await;
    listener.map_err(|source| AgentError::Port { port, source })
}

fn background(
    settings: &Settings,
    listener: TcpListener,
    source: Arc<Followed>,
) -> BackgroundTasks {
    let cache = super::lock::agent_dir(&settings.state_path).join("metadata");
    vec![(
        "metadata service",
        Box::new(move |engine| {
            Box::pin(async move {
                let _ = source.engine.set(engine.clone());
                let find = move |address| engine.instance_at(address);
                let served = metadata::serve(listener, find, source, cache);
                if let Err(error) = served.await {
                    tracing::error!(%error, "metadata service");
                }
            })
        }),
    )]
}

/// The kinds of network that this host's kernel can run.
fn kinds() -> Vec<NetworkKind> {
    let vlan = link::kernel_has_vlans().then_some(NetworkKind::Vlan);
    [NetworkKind::Flat, NetworkKind::FlatDhcp]
        .into_iter()
        .chain(vlan)
        .collect()
}

fn hello(settings: &Settings, roles: &[HostRole]) -> Hello {
    let memory = rustix::system::sysinfo();
    let bytes = u128::from(memory.totalram) * u128::from(memory.mem_unit);
    let cpus = std::thread::available_parallelism();
    Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        roles: roles.to_vec(),
        my_ip: settings.my_ip,
        kinds: kinds(),
        vcpus: cpus.map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX)),
        memory_mb: u64::try_from(bytes >> 20).unwrap_or(u64::MAX),
    }
}

impl Inspect for Links {
    fn describe(value: &Self::Value) -> String {
        value.to_string()
    }

    async fn in_use(&mut self) -> Result<String, SubsystemError> {
        Ok(self.ports()?.join(", "))
    }
}

impl Inspect for DhcpServers {
    fn describe(value: &Self::Value) -> String {
        value.to_string()
    }
}

impl<B: FirewallBackend> Inspect for Firewall<B> {
    /// Without its rules the host is open: the second of two flushes must not wait for a pause.
    const MAX_GAP: Duration = Duration::from_millis(10);

    fn describe(value: &Self::Value) -> String {
        value.to_string()
    }

    fn warnings(&self) -> BTreeMap<ObjectKey, String> {
        let keyed = |(chain, why): (&String, &String)| {
            (host_key(&format!("{}/{chain}", Self::NAME)), why.clone())
        };
        Firewall::warnings(self).iter().map(keyed).collect()
    }

    async fn show(&mut self) -> Result<String, SubsystemError> {
        Firewall::show(self).await
    }

    async fn view(
        &mut self,
        view: RulesView,
        desired: &Desired<Self::Key, Self::Value>,
    ) -> Result<String, SubsystemError> {
        Firewall::view(self, view, desired).await
    }

    async fn explain(
        &mut self,
        packet: Packet,
        desired: &Desired<Self::Key, Self::Value>,
    ) -> Result<String, SubsystemError> {
        let explanation = Firewall::explain(self, packet, desired)?;
        serde_json::to_string(&explanation)
            .map_err(|e| SubsystemError::Refused(format!("the explanation: {e}")))
    }
}

impl Inspect for Instances {
    /// Each attempt may cost a download.
    const MAX_RETRY_PAUSE: Duration = Duration::from_secs(30);

    fn describe(value: &Self::Value) -> String {
        value.to_string()
    }

    async fn finish(&mut self) {
        self.wait_idle().await;
    }

    fn set_firewall_gate(&mut self, firewall_gate: FirewallGate) {
        self.set_gate(Arc::new(firewall_gate));
    }
}

impl Gate for FirewallGate {
    fn reason_not_ready(&self, instance: InstanceId) -> Option<String> {
        FirewallGate::reason_not_ready(self, instance)
    }

    fn ready(&self, instance: InstanceId) -> BoxFuture<'_, ()> {
        Box::pin(FirewallGate::ready(self, instance))
    }
}

impl Console for Consoles {
    fn read(&self, instance: InstanceId) -> Option<std::io::Result<String>> {
        Consoles::read(self, instance)
    }
}

/// Attaches the ports of instances by the links subsystem.
struct VethPorts(link::VethAttacher);

impl PortAttacher for VethPorts {
    fn attach<'a>(
        &'a self,
        port: &'a Port,
        pid: i32,
        ifname: &'a str,
    ) -> BoxFuture<'a, Result<(), SubsystemError>> {
        Box::pin(self.0.attach(port, pid, ifname))
    }
}

/// The journal of leases, as the conversation with the server sees it.
struct Leases {
    journal: Journal,
    changed: Arc<Notify>,
}

impl LeaseSource for Leases {
    fn pending(&self, limit: usize) -> std::io::Result<Vec<LeaseEvent>> {
        let mut events = self.journal.pending()?;
        events.truncate(limit);
        Ok(events)
    }

    fn acknowledge(&self, count: usize) -> std::io::Result<()> {
        self.journal.acknowledge(count)
    }

    fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }
}

impl ImageSource for Client {
    fn fetch<'a>(
        &'a self,
        digest: &'a str,
        into: &'a Path,
    ) -> BoxFuture<'a, Result<(), ImageError>> {
        Box::pin(async move {
            let fetched = self.image(digest, into).await;
            fetched.map_err(|error| ImageError::Fetch {
                digest: digest.to_owned(),
                message: error.to_string(),
            })
        })
    }
}

/// The server's metadata while the host follows its database: in another database the same number
/// belongs to another instance.
struct Followed {
    client: Client,
    /// Not set: the agent is starting.
    engine: OnceLock<Engine>,
}

impl Followed {
    async fn ask(&self, instance: InstanceId) -> Result<Metadata, MetadataError> {
        let held = match self.engine.get() {
            None => Some("the agent is starting".to_owned()),
            Some(engine) => engine.held(),
        };
        if let Some(why) = held {
            return Err(MetadataError::Unavailable(why));
        }
        match self.client.metadata(instance).await {
            Ok(Some(metadata)) => Ok(metadata),
            Ok(None) => Err(MetadataError::Unknown(instance)),
            Err(error) => Err(MetadataError::Unavailable(error.to_string())),
        }
    }
}

impl MetadataSource for Followed {
    fn metadata(&self, instance: InstanceId) -> BoxFuture<'_, Result<Metadata, MetadataError>> {
        Box::pin(self.ask(instance))
    }
}

impl FirstBootSource for Followed {
    fn first_boot(&self, instance: InstanceId) -> BoxFuture<'_, Result<FirstBoot, String>> {
        Box::pin(async move {
            let metadata = self.ask(instance).await.map_err(|e| e.to_string())?;
            let user_data = metadata.user_data.map(|data| STANDARD.decode(data));
            let user_data = user_data.transpose().map_err(|e| e.to_string())?;
            Ok(FirstBoot {
                full_name: metadata.hostname,
                keys: metadata
                    .public_keys
                    .into_iter()
                    .map(|(_, key)| key)
                    .collect(),
                user_data,
            })
        })
    }
}

/// Without an agent no image is fetched.
struct NoServer;

impl ImageSource for NoServer {
    fn fetch<'a>(
        &'a self,
        digest: &'a str,
        _into: &'a Path,
    ) -> BoxFuture<'a, Result<(), ImageError>> {
        let digest = digest.to_owned();
        let message = "no agent runs".to_owned();
        Box::pin(async move { Err(ImageError::Fetch { digest, message }) })
    }
}
