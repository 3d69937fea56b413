//! The cloud that the store's figures are measured on: quotas off, a project, an image and a host
//! that has said hello. Depends on `control` and on a database of its own.

use crate::cloud::CloudFlags;
use anyhow::Result;
use novanet_control::instances::Launch;
use novanet_control::{Caller, Cloud, Engine};
use novanet_lab::{Database, Postgres};
use novanet_model::carve::Request;
use novanet_model::wire::{Hello, HostRole, Status};
use novanet_model::{ImageId, InstanceId, Ipv4Net, NetworkKind, ProjectId};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The host that gets everything, unless there are more.
pub(crate) const HOST: &str = "host00";

/// How many use cases run at once.
pub(super) const WRITERS: usize = 8;

/// A cloud, and what is needed to use it.
pub(crate) struct Stage {
    /// The cloud.
    pub(crate) cloud: Cloud,
    /// Its engine's name, for rows.
    pub(crate) title: &'static str,
    /// An administrator in the project `bench`.
    pub(crate) caller: Caller,
    /// An image that no host will ever unpack.
    pub(crate) image: ImageId,
    flags: CloudFlags,
    /// The product's binary.
    program: PathBuf,
    _folder: TempDir,
    postgres: Option<(Arc<Postgres>, Database)>,
}

impl Stage {
    /// A fresh one: on SQLite, or on a PostgreSQL.
    pub(super) async fn new(program: &Path, postgres: Option<Arc<Postgres>>) -> Result<Self> {
        // Not in /tmp, which is often in memory: the figures are of durable writes.
        let folder = tempfile::Builder::new()
            .prefix("novanet-bench-")
            .tempdir_in("/var/tmp")?;
        let database = postgres.as_ref().map(|p| p.fresh_database()).transpose()?;
        let postgres = postgres.zip(database);
        let mut flags = CloudFlags::new(folder.path(), HOST);
        if let Some((_, database)) = &postgres {
            flags = flags.with("sql_connection", &database.socket_url);
        }
        let cloud = flags.create().await?;
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
            flags,
            program: program.to_owned(),
            _folder: folder,
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
    pub(super) async fn sql(&self, sql: &str) -> Result<()> {
        if let Some((postgres, database)) = &self.postgres {
            postgres.psql(&database.name, sql)?;
            return Ok(());
        }
        self.flags.sqlite(sql).await
    }

    /// What PostgreSQL does by itself a minute after many rows came: it counts them, so that it
    /// knows which index is worth its while. SQLite does not.
    pub(super) async fn counted(&self) -> Result<()> {
        if self.postgres.is_some() {
            self.sql("ANALYZE fixed_ips").await?;
        }
        Ok(())
    }

    /// A process of the product on the same cloud: `novanet COMMAND --state_path=…`.
    pub(super) fn child(&self, command: &str) -> Command {
        self.flags.command(&self.program, command)
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
pub(crate) fn launch(image: ImageId, count: usize) -> Launch {
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
        networks: Vec::new(),
    }
}

/// Does a job `jobs` times by [`WRITERS`] at once, each as soon as one is free. A job is told whose
/// it is and how many that one has done before. How long it all took.
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
