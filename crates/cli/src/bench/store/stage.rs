//! A cloud to measure on: opened as the faces open theirs, with quotas off, a project, an image, and
//! a host that has said hello.

use crate::environment;
use crate::keyfile;
use anyhow::{Context as _, Result, anyhow, ensure};
use novanet_control::instances::Launch;
use novanet_control::{Caller, Cloud, CloudConfig, Engine};
use novanet_lab::{Database, Postgres};
use novanet_model::carve::Request;
use novanet_model::flags::{Given, Origin};
use novanet_model::wire::{Hello, HostRole, Status};
use novanet_model::{ImageId, InstanceId, Ipv4Net, NetworkKind, ProjectId};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The host that gets everything, unless there are more.
pub(in crate::bench) const HOST: &str = "host00";

/// How many use cases run at once.
pub(super) const WRITERS: usize = 8;

/// A cloud, and what is needed to use it.
pub(in crate::bench) struct Stage {
    /// The cloud.
    pub(in crate::bench) cloud: Cloud,
    /// Its engine's name, for rows.
    pub(in crate::bench) title: &'static str,
    /// An administrator in the project `bench`.
    pub(in crate::bench) caller: Caller,
    /// An image that no host will ever unpack.
    pub(in crate::bench) image: ImageId,
    folder: TempDir,
    postgres: Option<(Arc<Postgres>, Database)>,
}

impl Stage {
    /// A fresh one: on SQLite, or on a PostgreSQL.
    pub(super) async fn new(postgres: Option<Arc<Postgres>>) -> Result<Self> {
        // Not in memory, as /tmp often is: what is measured is durable.
        let folder = tempfile::Builder::new()
            .prefix("novanet-bench-")
            .tempdir_in("/var/tmp")?;
        let database = postgres.as_ref().map(|p| p.fresh_database()).transpose()?;
        let postgres = postgres.zip(database);
        let url = postgres
            .as_ref()
            .map(|(_, database)| database.socket_url.as_str());
        let given = flags(folder.path(), url);
        let flags = environment::flags(&given).map_err(|e| anyhow!("{e}"))?;
        let vault =
            keyfile::open(&flags.path("secret_key_file"), true).map_err(|e| anyhow!("{e}"))?;
        let cloud = Cloud::open(CloudConfig::from_flags(&flags), Some(vault)).await?;
        cloud.migrate().await?;
        cloud.create_user("bench", None, true).await?;
        let project: ProjectId = "bench".parse()?;
        cloud.create_project(&project, "bench", "figures").await?;
        let image = cloud
            .register_image("bench", std::io::Cursor::new("no image at all"))
            .await?;
        let stage = Self {
            title: super::title(if postgres.is_some() {
                Engine::Postgres
            } else {
                Engine::Sqlite
            }),
            caller: Caller::operator(project),
            image: image.id,
            cloud,
            folder,
            postgres,
        };
        stage.hello(HOST).await?;
        Ok(stage)
    }

    /// A host reports for duty, as network and compute host.
    pub(super) async fn hello(&self, host: &str) -> Result<()> {
        let hello = Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            roles: vec![HostRole::Network, HostRole::Compute],
            my_ip: Ipv4Addr::LOCALHOST,
            kinds: vec![NetworkKind::Flat, NetworkKind::FlatDhcp],
            vcpus: 2,
            memory_mb: 4096,
        };
        Ok(self.cloud.hello(host, &hello).await?)
    }

    /// A host says that it has applied everything there is.
    pub(super) async fn settle(&self, host: &str) -> Result<()> {
        let (epoch, version) = self.cloud.clock().await?;
        let status = Status {
            epoch,
            version,
            errors: Vec::new(),
            instances: Vec::new(),
        };
        Ok(self.cloud.status(host, &status).await?)
    }

    /// One flat-DHCP network of a whole range.
    pub(super) async fn network(&self, range: &str) -> Result<()> {
        self.cloud.create_networks(&request(range)?).await?;
        Ok(())
    }

    /// RunInstances.
    pub(super) async fn run(&self, count: usize) -> Result<Vec<InstanceId>> {
        let launch = launch(self.image, count);
        Ok(self.cloud.run_instances(&self.caller, &launch).await?.0)
    }

    /// Many instances, in several calls: a transaction has a time limit.
    pub(super) async fn fill(&self, count: usize) -> Result<Vec<InstanceId>> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.run((count - all.len()).min(100)).await?);
        }
        Ok(all)
    }

    /// Runs SQL on the database, for a fixture that would take too long to come about.
    pub(super) fn sql(&self, sql: &str) -> Result<()> {
        if let Some((postgres, database)) = &self.postgres {
            postgres.psql(&database.name, sql)?;
            return Ok(());
        }
        let script =
            "import sqlite3,sys; c = sqlite3.connect(sys.argv[1]); c.executescript(sys.argv[2])";
        let said = Command::new("python3")
            .args(["-c", script])
            .arg(self.folder.path().join("nova.sqlite"))
            .arg(sql)
            .output()
            .context("python3")?;
        let errors = String::from_utf8_lossy(&said.stderr);
        ensure!(said.status.success(), "python3: {errors}");
        Ok(())
    }

    /// What PostgreSQL does by itself a minute after many rows came: it counts them, so that it knows
    /// which index is worth its while. SQLite does not.
    pub(super) fn counted(&self) -> Result<()> {
        if self.postgres.is_some() {
            self.sql("ANALYZE fixed_ips")?;
        }
        Ok(())
    }

    /// Another process of this program on the same cloud: `novanet FACE --state_path=…`.
    pub(super) fn child(&self, face: &str) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(face);
        let url = self.postgres.as_ref().map(|(_, d)| d.socket_url.as_str());
        for flag in flags(self.folder.path(), url) {
            let value = flag.value.unwrap_or_default();
            command.arg(format!("--{}={value}", flag.name));
        }
        Ok(command)
    }
}

/// A network of a whole range.
pub(super) fn request(range: &str) -> Result<Request> {
    let range: Ipv4Net = range.parse()?;
    let mut request = Request::new(NetworkKind::FlatDhcp, "bench", range);
    request.network_size = Some(1 << (32 - range.prefix_len()));
    Ok(request)
}

/// So many of the smallest instances.
pub(in crate::bench) fn launch(image: ImageId, count: usize) -> Launch {
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    Launch {
        image,
        min: count,
        max: count,
        instance_type: Some("m1.tiny".to_owned()),
        key_name: None,
        groups: Vec::new(),
        user_data: None,
        client_token: None,
        public_address: None,
        availability_zone: None,
        private_address: None,
    }
}

/// What the cloud and its other processes are given: no file of this machine, no limits.
fn flags(state_path: &Path, database: Option<&str>) -> Vec<Given> {
    let mut all = vec![
        ("flagfile", String::new()),
        ("state_path", state_path.display().to_string()),
        ("host", HOST.to_owned()),
    ];
    all.extend(super::super::NO_QUOTAS.map(|quota| (quota, "-1".to_owned())));
    all.extend(database.map(|url| ("sql_connection", url.to_owned())));
    all.into_iter()
        .map(|(name, value)| Given {
            name: name.to_owned(),
            value: Some(value),
            origin: Origin::CommandLine,
        })
        .collect()
}

/// Does a job `jobs` times by [`WRITERS`] at once, each as soon as one is free. A job is told whose it is
/// and how many that one has done before. How long it all took.
pub(super) async fn flat_out<F>(
    jobs: usize,
    job: impl Fn(usize, usize) -> F + Clone + Send + 'static,
) -> Result<Duration>
where
    F: Future<Output = Result<()>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (next, job) = (Arc::clone(&next), job.clone());
            tokio::spawn(async move {
                let mut done = 0;
                while next.fetch_add(1, Ordering::Relaxed) < jobs {
                    job(writer, done).await?;
                    done += 1;
                }
                Ok::<_, anyhow::Error>(())
            })
        })
        .collect();
    for writer in writers {
        writer.await??;
    }
    Ok(began.elapsed())
}

/// So many in that time.
#[allow(clippy::cast_precision_loss)] // far below 2^52
pub(super) fn per_second(jobs: usize, took: Duration) -> f64 {
    jobs as f64 / took.as_secs_f64().max(1e-9)
}
