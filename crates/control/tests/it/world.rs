//! A cloud of a test's own on each engine, and short words for what tests do all the time.

use crate::fake_host::FakeHost;
use anyhow::Result;
use novanet_control::groups::{GroupRef, SourceRef};
use novanet_control::instances::Launch;
use novanet_control::{Caller, Cloud, CloudConfig, ControlError, Lockout};
use novanet_lab::{Database, Postgres, eventually_async};
use novanet_model::Quotas;
use novanet_model::carve::{Defaults, Request};
use novanet_model::plan::CloudSettings;
use novanet_model::rows::Network;
use novanet_model::rule::{Ports, Traffic};
use novanet_model::{ImageId, InstanceId, NetworkKind, ProjectId};
use novanet_pki::Vault;
use novanet_store::Engine;
use novanet_store::audit::Actor;
use novanet_store::inject::FaultInjector;
use std::io::Cursor;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tempfile::TempDir;

/// A cloud on a fresh database.
pub(crate) struct World {
    pub(crate) cloud: Cloud,
    config: CloudConfig,
    vault: Vault,
    place: Place,
    injector: OnceLock<Arc<dyn FaultInjector>>,
}

enum Place {
    Folder(TempDir),
    Server(#[allow(dead_code)] Database),
}

impl Deref for World {
    type Target = Cloud;
    fn deref(&self) -> &Cloud {
        &self.cloud
    }
}

/// Runs a promise on SQLite, then on PostgreSQL; a bound on its time turns a deadlock into a
/// failure.
pub(crate) fn both(promise: impl AsyncFn(&World) -> Result<()>) {
    both_with(|_| {}, promise);
}

/// [`both`] with a configuration of one's own.
pub(crate) fn both_with(
    configure: impl Fn(&mut CloudConfig),
    promise: impl AsyncFn(&World) -> Result<()>,
) {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        on(engine, &configure, &promise);
    }
}

/// [`both_with`], on one of them.
pub(crate) fn on<T>(
    engine: Engine,
    configure: impl Fn(&mut CloudConfig),
    promise: impl AsyncFn(&World) -> Result<T>,
) -> T {
    runtime().block_on(async {
        let world = World::on(engine, configure).await.unwrap();
        tokio::time::timeout(Duration::from_mins(5), promise(&world))
            .await
            .unwrap_or_else(|_| panic!("{engine:?}: took five minutes"))
            .unwrap_or_else(|error| panic!("{engine:?}: {error:?}"))
    })
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

impl World {
    pub(crate) async fn on(engine: Engine, configure: impl Fn(&mut CloudConfig)) -> Result<Self> {
        let place = match engine {
            Engine::Sqlite => {
                let folder = folder()?;
                std::fs::write(file_in(folder.path()), sqlite_template())?;
                Place::Folder(folder)
            }
            Engine::Postgres => Place::Server(Postgres::shared()?.copy_of(postgres_template())?),
        };
        let mut config = config(match &place {
            Place::Folder(folder) => sqlite_url(&file_in(folder.path())),
            Place::Server(database) => database.url.clone(),
        });
        configure(&mut config);
        let vault = Vault::generate();
        Ok(Self {
            cloud: Cloud::open(config.clone(), Some(vault.clone())).await?,
            config,
            vault,
            place,
            injector: OnceLock::new(),
        })
    }

    /// Waits until one transaction waits for a lock of another one, on PostgreSQL.
    pub(crate) async fn until_one_waits_for_a_lock(&self) -> Result<()> {
        eventually_async(Duration::from_secs(10), async || {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity \
                 WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            .fetch_one(&mut *self.db().connection().await?)
            .await?;
            anyhow::ensure!(waiting == 1, "{waiting} wait");
            Ok(())
        })
        .await
    }

    /// This cloud, and another one with a copy of its database as it is now.
    pub(crate) async fn copy(self) -> Result<(Self, Self)> {
        self.cloud.close().await;
        let place = match &self.place {
            Place::Folder(from) => {
                let folder = folder()?;
                std::fs::copy(file_in(from.path()), file_in(folder.path()))?;
                Place::Folder(folder)
            }
            Place::Server(database) => Place::Server(Postgres::shared()?.copy_of(database)?),
        };
        let config = CloudConfig {
            database: match &place {
                Place::Folder(folder) => sqlite_url(&file_in(folder.path())),
                Place::Server(database) => database.url.clone(),
            },
            ..self.config.clone()
        };
        let vault = self.vault.clone();
        let copy = Self {
            cloud: Cloud::open(config.clone(), Some(vault.clone())).await?,
            config,
            vault,
            place,
            injector: OnceLock::new(),
        };
        let cloud = self.again().await;
        Ok((Self { cloud, ..self }, copy))
    }

    /// The same cloud as another process has it.
    pub(crate) async fn again(&self) -> Cloud {
        let vault = Some(self.vault.clone());
        Cloud::open(self.config.clone(), vault).await.unwrap()
    }

    /// The same cloud, configured otherwise.
    pub(crate) async fn with(&self, configure: impl Fn(&mut CloudConfig)) -> Cloud {
        let mut config = self.config.clone();
        configure(&mut config);
        let vault = Some(self.vault.clone());
        let cloud = Cloud::open(config, vault).await.unwrap();
        if let Some(injector) = self.injector.get() {
            cloud.db().inject_faults(Arc::clone(injector));
        }
        cloud
    }

    /// Lets statements fail, also those of what [`World::with`] opens later.
    pub(crate) fn inject(&self, injector: Arc<dyn FaultInjector>) {
        self.db().inject_faults(Arc::clone(&injector));
        let _the_first_stays = self.injector.set(injector);
    }

    /// The same cloud without its key file.
    pub(crate) async fn without_key(&self) -> Cloud {
        Cloud::open(self.config.clone(), None).await.unwrap()
    }

    /// A project with a manager `boss-of-<project>`, as that one calls.
    pub(crate) async fn project(&self, id: &str) -> Caller {
        let boss = format!("boss-of-{id}");
        self.create_user(&boss, None, false).await.unwrap();
        self.create_project(&name(id), &boss, "for tests")
            .await
            .unwrap();
        caller(&boss, id, true)
    }

    /// A flat-DHCP network.
    pub(crate) async fn network(&self, cidr: &str) -> Network {
        let mut request = Request::new(NetworkKind::FlatDhcp, "test", cidr.parse().unwrap());
        request.network_size = Some(1 << (32 - request.range.prefix_len()));
        let created = self.create_networks(&request).await.unwrap();
        created.networks.into_iter().next().unwrap()
    }

    pub(crate) async fn image(&self) -> ImageId {
        let bytes = Cursor::new(b"an image".to_vec());
        self.register_image("tiny", bytes).await.unwrap().id
    }

    /// Floating IPs in the default pool.
    pub(crate) async fn floats(&self, range: &str) {
        let range = range.parse().unwrap();
        self.create_floating_ips(range, None, None).await.unwrap();
    }

    /// A host with both roles that has said hello.
    pub(crate) async fn host(&self, name: &str) -> FakeHost {
        let host = FakeHost::new(self.cloud.clone(), name);
        host.hello().await;
        host
    }

    /// `count` instances of an image that is there.
    pub(crate) async fn run(&self, caller: &Caller, count: i64) -> Vec<InstanceId> {
        let launch = Launch {
            min: count,
            max: count,
            ..launch(ImageId(1))
        };
        self.run_instances(caller, &launch).await.unwrap().0
    }

    /// The fixed IP of an instance.
    pub(crate) async fn fixed_ip(&self, caller: &Caller, id: InstanceId) -> Ipv4Addr {
        self.instance(caller, id).await.unwrap().ports[0].address
    }

    /// Refused unless everything that is planned follows from the rows.
    pub(crate) async fn assert_planned(&self) {
        let report = self.check().await.unwrap().to_string();
        assert!(report.contains(" 0 host objects repaired"), "{report}");
    }

    /// The actions of the audit log, oldest first.
    pub(crate) async fn actions(&self) -> Vec<String> {
        let entries = self.audit(None, 10_000).await.unwrap();
        entries.into_iter().rev().map(|e| e.action).collect()
    }
}

pub(crate) fn config(database: String) -> CloudConfig {
    CloudConfig {
        database,
        settings: CloudSettings::default(),
        network_defaults: Defaults::default(),
        quotas: Quotas {
            instances: Some(200),
            cores: None,
            ram_mb: None,
            floating_ips: Some(10),
            fixed_ips: None,
            security_groups: Some(5),
            security_group_rules: Some(6),
            key_pairs: Some(3),
        },
        network_manager: NetworkKind::Vlan,
        floating_pool: "nova".to_owned(),
        auto_assign_floating_ip: false,
        service_down_time: Duration::from_mins(1),
        network_host: None,
        ec2_timestamp_expiry: Duration::from_mins(5),
        lockout: Lockout {
            attempts: 5,
            window: Duration::from_mins(15),
            lock: Duration::from_mins(15),
        },
        use_project_ca: true,
        vpn_image: String::new(),
        vpn_autostart: false,
    }
}

/// A caller of a project, with no roles but, maybe, the manager's rights.
pub(crate) fn caller(who: &str, project: &str, manager: bool) -> Caller {
    Caller {
        actor: Actor {
            who: who.to_owned(),
            source: "192.0.2.9".to_owned(),
        },
        project: name(project),
        admin: false,
        manager,
        roles: std::collections::BTreeSet::new(),
    }
}

/// One small instance.
pub(crate) fn launch(image: ImageId) -> Launch {
    Launch {
        image,
        min: 1,
        max: 1,
        instance_type: Some("m1.tiny".to_owned()),
        key_name: None,
        groups: vec![],
        user_data: None,
        client_token: None,
        public_address: None,
        availability_zone: None,
        private_address: None,
        networks: Vec::new(),
    }
}

pub(crate) fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub(crate) fn name(text: &str) -> ProjectId {
    text.parse().unwrap()
}

/// A rule for everybody, with a description.
pub(crate) fn described_rule(port: u16) -> [novanet_control::groups::NewRule; 1] {
    [novanet_control::groups::NewRule {
        traffic: tcp(port),
        source: from("0.0.0.0/0"),
        description: Some("for tests".to_owned()),
    }]
}

pub(crate) fn tcp(port: u16) -> Traffic {
    Traffic::Tcp(Ports {
        from: port,
        to: port,
    })
}

pub(crate) fn from(cidr: &str) -> SourceRef {
    SourceRef::Cidr(cidr.parse().unwrap())
}

pub(crate) fn group(name: &str) -> GroupRef {
    GroupRef::Name(name.to_owned())
}

pub(crate) fn from_group(name: &str) -> SourceRef {
    SourceRef::Group {
        group: group(name),
        project: None,
    }
}

/// The text of a refusal.
pub(crate) fn refused<T>(result: Result<T, ControlError>) -> String {
    match result {
        Ok(_) => "it was done".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Asserts that a use case refuses with a certain variant and a text with these words.
macro_rules! assert_refused {
    ($call:expr, $variant:pat, $words:expr) => {{
        let Err(error) = $call else {
            panic!("it was done: {}", stringify!($call));
        };
        assert!(matches!(error, $variant), "{error:?}");
        let text = error.to_string();
        assert!(text.contains($words), "{text}");
    }};
}
pub(crate) use assert_refused;

/// In memory if there is such a place: that a commit is durable is the store's promise, not ours.
fn folder() -> std::io::Result<TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

fn file_in(folder: &Path) -> PathBuf {
    folder.join("nova.sqlite")
}

fn sqlite_url(file: &Path) -> String {
    format!("sqlite:///{}", file.display())
}

/// The bytes of a migrated SQLite file.
fn sqlite_template() -> &'static [u8] {
    static TEMPLATE: OnceLock<Vec<u8>> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = file_in(folder.path());
        migrate(sqlite_url(&file));
        std::fs::read(file).unwrap()
    })
}

/// A migrated database on the shared server.
fn postgres_template() -> &'static Database {
    static TEMPLATE: OnceLock<Database> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let database = Postgres::shared().unwrap().fresh_database().unwrap();
        migrate(database.url.clone());
        database
    })
}

/// On a thread of its own: the caller is inside a runtime.
fn migrate(url: String) {
    let work = move || {
        runtime().block_on(async {
            let cloud = Cloud::open(config(url), None).await.unwrap();
            cloud.migrate().await.unwrap();
            cloud.close().await;
        });
    };
    std::thread::spawn(work).join().unwrap();
}
