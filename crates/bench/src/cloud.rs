//! What all measured clouds have in common: their flags, the key file, a handle on their database.
//! Depends on `control` and on the flags of `model`; reads nothing of this machine's configuration.

use anyhow::{Context as _, Result, anyhow};
use novanet_control::{Cloud, CloudConfig, Vault};
use novanet_model::flags::{Facts, Flags, Given, Origin};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A cloud that is measured has no limits.
const QUOTAS: [&str; 8] = [
    "quota_instances",
    "quota_cores",
    "quota_ram",
    "quota_floating_ips",
    "quota_fixed_ips",
    "quota_security_groups",
    "quota_security_group_rules",
    "quota_key_pairs",
];

/// The flags of a measured cloud, for this process and for the processes of the product.
#[derive(Debug, Clone)]
pub(crate) struct CloudFlags {
    state_path: PathBuf,
    flags: Vec<(&'static str, String)>,
}

impl CloudFlags {
    /// A cloud in a folder, with a host of this name and without quotas.
    pub(crate) fn new(state_path: &Path, host: &str) -> Self {
        let mut flags = vec![
            ("state_path", state_path.display().to_string()),
            ("host", host.to_owned()),
        ];
        flags.extend(QUOTAS.map(|quota| (quota, "-1".to_owned())));
        Self {
            state_path: state_path.to_owned(),
            flags,
        }
    }

    /// The same with one more flag.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.flags.push((name, value.into()));
        self
    }

    /// `PROGRAM COMMAND --flagfile= --state_path=…`: no file of this machine is read.
    pub(crate) fn command(&self, program: &Path, command: &str) -> Command {
        let mut process = Command::new(program);
        process.arg(command).arg("--flagfile=");
        for (name, value) in &self.flags {
            process.arg(format!("--{name}={value}"));
        }
        process
    }

    /// Opens the database of a cloud that a process of the product has started.
    pub(crate) async fn open(&self) -> Result<Cloud> {
        let flags = self.resolve()?;
        let file = flags.path("secret_key_file");
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        self.cloud(&flags, Vault::parse(&text).context("key file")?)
            .await
    }

    /// Makes the key file and the database of a new cloud.
    pub(crate) async fn create(&self) -> Result<Cloud> {
        let flags = self.resolve()?;
        let vault = Vault::generate();
        std::fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(flags.path("secret_key_file"))
            .and_then(|mut file| file.write_all(vault.to_text().as_bytes()))
            .context("key file")?;
        let cloud = self.cloud(&flags, vault).await?;
        cloud.migrate().await?;
        Ok(cloud)
    }

    async fn cloud(&self, flags: &Flags, vault: Vault) -> Result<Cloud> {
        Ok(Cloud::open(CloudConfig::from_flags(flags), Some(vault)).await?)
    }

    fn resolve(&self) -> Result<Flags> {
        let given: Vec<Given> = self
            .flags
            .iter()
            .map(|(name, value)| Given {
                name: (*name).to_owned(),
                value: Some(value.clone()),
                origin: Origin::CommandLine,
            })
            .collect();
        let facts = Facts {
            hostname: "localhost".to_owned(),
            address: Ipv4Addr::LOCALHOST,
            current_dir: self.state_path.clone(),
        };
        Flags::resolve(&given, &facts).map_err(|e| anyhow!("{e}"))
    }

    /// Runs SQL on the cloud's SQLite database, beside whatever else writes there.
    pub(crate) async fn sqlite(&self, sql: &str) -> Result<()> {
        let mut connection = SqliteConnectOptions::new()
            .filename(self.state_path.join("nova.sqlite"))
            .busy_timeout(Duration::from_secs(20))
            .connect()
            .await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut connection)
            .await?;
        Ok(sqlx::Connection::close(connection).await?)
    }
}
