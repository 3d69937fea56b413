//! A running server on a database of its own.

use crate::client::Client;
use crate::fake_agent::FakeAgent;
use anyhow::Result;
use novanet_control::projects::Credentials;
use novanet_control::{Cloud, CloudConfig, Lockout, Vault};
use novanet_lab::{Database, Postgres};
use novanet_model::Quotas;
use novanet_model::carve::{Defaults, Request};
use novanet_model::plan::CloudSettings;
use novanet_model::rows::Network;
use novanet_model::{NetworkKind, ProjectId};
use novanet_server::{Server, ServerConfig, ServerError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server and what it stands on.
pub(crate) struct World {
    pub(crate) cloud: Cloud,
    pub(crate) ec2: SocketAddr,
    pub(crate) config: ServerConfig,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), ServerError>>,
    pub(crate) vault: Vault,
    folder: TempDir,
    _database: Option<Database>,
}

impl World {
    pub(crate) async fn on_sqlite() -> Self {
        let folder = folder();
        let url = format!("sqlite:///{}/nova.sqlite", folder.path().display());
        Self::start(folder, url, None).await
    }

    pub(crate) async fn on_postgres() -> Self {
        let database =
            tokio::task::spawn_blocking(|| Postgres::shared().unwrap().fresh_database().unwrap());
        let database = database.await.unwrap();
        let url = database.url.clone();
        Self::start(folder(), url, Some(database)).await
    }

    async fn start(folder: TempDir, url: String, database: Option<Database>) -> Self {
        let vault = Vault::generate();
        let cloud = Cloud::open(cloud_config(url), Some(vault.clone()))
            .await
            .unwrap();
        cloud.migrate().await.unwrap();
        let config = ServerConfig {
            ec2_listen: "127.0.0.1:0".parse().unwrap(),
            agent_socket: folder.path().join("agent.sock"),
            regions: vec![("nova".to_owned(), "127.0.0.1".to_owned())],
            name: "s1".to_owned(),
            clock_file: folder.path().join("seen"),
        };
        let server = Server::bind(config.clone(), cloud.clone()).await.unwrap();
        let ec2 = server.ec2_address().unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self {
            cloud,
            ec2,
            config,
            stop,
            running,
            vault,
            folder,
            _database: database,
        }
    }

    /// The same cloud as another process has it: another connection, other hints.
    pub(crate) async fn another_process(&self) -> Cloud {
        let config = self.cloud.config().clone();
        Cloud::open(config, Some(self.vault.clone())).await.unwrap()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    pub(crate) fn client(&self, host: &str) -> Client {
        Client::new(&self.socket(), host)
    }

    pub(crate) async fn agent(&self, host: &str) -> FakeAgent {
        FakeAgent::join(self.client(host)).await
    }

    /// Ends the server as a signal does; what it says.
    pub(crate) async fn stop(self) -> Result<TempDir, ServerError> {
        let _ = self.stop.send(());
        self.running.await.unwrap()?;
        Ok(self.folder)
    }

    /// A project with a manager; that one's keys.
    pub(crate) async fn project(&self, id: &str) -> Credentials {
        let boss = format!("boss-of-{id}");
        let keys = self.cloud.create_user(&boss, None, false).await.unwrap();
        let id: ProjectId = id.parse().unwrap();
        self.cloud.create_project(&id, &boss, "").await.unwrap();
        keys
    }
}

pub(crate) async fn network(cloud: &Cloud, cidr: &str) -> Network {
    let mut request = Request::new(NetworkKind::FlatDhcp, "test", cidr.parse().unwrap());
    request.network_size = Some(1 << (32 - request.range.prefix_len()));
    let created = cloud.create_networks(&request).await.unwrap();
    created.networks.into_iter().next().unwrap()
}

fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

fn cloud_config(database: String) -> CloudConfig {
    CloudConfig {
        database,
        settings: CloudSettings::default(),
        network_defaults: Defaults::default(),
        quotas: Quotas {
            instances: Some(10),
            cores: None,
            ram_mb: None,
            floating_ips: Some(10),
            fixed_ips: None,
            security_groups: Some(10),
            security_group_rules: Some(20),
            key_pairs: None,
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
