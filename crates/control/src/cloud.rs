//! The cloud: its database, its settings, and the calls that wait for hosts. Every use case is a
//! method of [`Cloud`].

use crate::launch::Queue;
use crate::reports::Reports;
use crate::{ControlError, Result};
use novanet_model::carve::Defaults;
use novanet_model::flags::Flags;
use novanet_model::plan::CloudSettings;
use novanet_model::{NetworkKind, Quotas};
use novanet_pki::Vault;
use novanet_store::plan::{self, Subject};
use novanet_store::{Db, Tx, audit};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// When repeated wrong signatures lock an access key for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lockout {
    /// Wrong signatures; 0: never.
    pub attempts: u32,
    /// They count if they come within this time.
    pub window: Duration,
    /// For how long.
    pub lock: Duration,
}

/// The settings of a cloud.
#[derive(Debug, Clone)]
pub struct CloudConfig {
    /// `sql_connection`.
    pub database: String,
    /// What plans need.
    pub settings: CloudSettings,
    /// What `network create` fills in.
    pub network_defaults: Defaults,
    /// `network_manager`: with VLAN a project's first instance takes a free VLAN network.
    pub network_manager: NetworkKind,
    /// Limits of projects.
    pub quotas: Quotas,
    /// Pool that addresses are allocated from.
    pub floating_pool: String,
    /// Allocate and associate a floating IP with every new instance.
    pub auto_assign_floating_ip: bool,
    /// A host not heard of for this long is down.
    pub service_down_time: Duration,
    /// The gateway of new networks; `None`: the first host that can.
    pub network_host: Option<String>,
    /// How far the time of an EC2 request may be off.
    pub ec2_timestamp_expiry: Duration,
    /// Refusal after repeated wrong signatures.
    pub lockout: Lockout,
    /// Each project has an authority of its own.
    pub use_project_ca: bool,
    /// `vpn_image_id`, as it is written.
    pub vpn_image: String,
    /// A VPN starts with a project's first instance in a VLAN network, if there is an image for it.
    pub vpn_autostart: bool,
}

impl CloudConfig {
    /// From the flags.
    pub fn from_flags(flags: &Flags) -> Self {
        Self {
            database: flags.database_url().to_owned(),
            settings: flags.cloud_settings(),
            network_defaults: flags.network_defaults(),
            network_manager: flags.network_kind(),
            quotas: flags.quotas(),
            floating_pool: flags.text("default_floating_pool").to_owned(),
            auto_assign_floating_ip: flags.switch("auto_assign_floating_ip"),
            service_down_time: seconds(flags, "service_down_time"),
            network_host: flags.network_host(),
            ec2_timestamp_expiry: seconds(flags, "ec2_timestamp_expiry"),
            lockout: Lockout {
                attempts: u32::try_from(flags.number("lockout_attempts")).unwrap_or(0),
                window: seconds(flags, "lockout_window") * 60,
                lock: seconds(flags, "lockout_minutes") * 60,
            },
            use_project_ca: flags.switch("use_project_ca"),
            vpn_image: flags.text("vpn_image_id").to_owned(),
            vpn_autostart: flags.switch("vpn_autostart"),
        }
    }
}

/// The SQLite file that [`Cloud::open`] would open or make for this `sql_connection`; `None`: it is
/// a server's database.
pub fn sqlite_file(sql_connection: &str) -> Option<PathBuf> {
    Db::file_of(sql_connection)
}

fn seconds(flags: &Flags, name: &'static str) -> Duration {
    Duration::from_secs(u64::try_from(flags.number(name)).unwrap_or(0))
}

/// What `db check` found and repaired. As text: a line for each row, and one for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Rows that were planned again.
    pub rows: usize,
    /// Rows whose host objects were not what follows from them, and how many of these.
    pub repaired: Vec<(String, usize)>,
}

impl Checked {
    /// Host objects that were repaired.
    pub fn objects(&self) -> usize {
        self.repaired.iter().map(|(_, objects)| objects).sum()
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (row, objects) in &self.repaired {
            writeln!(f, "{row}: {objects} host objects repaired")?;
        }
        let (rows, objects) = (self.rows, self.objects());
        writeln!(f, "{rows} rows planned, {objects} host objects repaired")
    }
}

/// A cloud. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cloud(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    db: Db,
    config: CloudConfig,
    vault: Option<Vault>,
    reports: Reports,
    launches: Queue,
}

impl Cloud {
    /// Opens the cloud's database. Without a `vault` everything works but what needs secrets.
    pub async fn open(config: CloudConfig, vault: Option<Vault>) -> Result<Self> {
        let db = Db::open(&config.database).await?;
        Ok(Self(Arc::new(Inner {
            db,
            config,
            vault,
            reports: Reports::default(),
            launches: Queue::default(),
        })))
    }

    /// `db sync`: brings the schema up to date.
    pub async fn migrate(&self) -> Result<()> {
        Ok(self.db().migrate().await?)
    }

    /// `db version`: the schema there, and the one needed.
    pub async fn schema_version(&self) -> Result<(i64, i64)> {
        Ok(self.db().schema_version().await?)
    }

    /// Refuses a schema of another version.
    pub async fn require_schema(&self) -> Result<()> {
        Ok(self.db().require_schema().await?)
    }

    /// `db check`: plans everything again and repairs what differs.
    pub async fn check(&self) -> Result<Checked> {
        let mut tx = self.db().begin_planned().await?;
        let owners = plan::all_owners(&mut tx).await?;
        let mut checked = Checked {
            rows: owners.len(),
            repaired: Vec::new(),
        };
        for owner in owners {
            let changed = self.plan_again(&mut tx, owner).await?;
            if changed > 0 {
                checked.repaired.push((owner.to_string(), changed));
            }
        }
        if !checked.repaired.is_empty() {
            let detail = format!("{} host objects", checked.objects());
            let actor = crate::caller::controller("check");
            audit::record(&mut tx, &actor, "db.repair", None, "host_objects", &detail).await?;
            tx.commit().await?;
        }
        Ok(checked)
    }

    /// Rows that do not validate, a line each: the row, the column, the mistake. Their host objects
    /// are those of the last valid row.
    pub async fn bad_rows(&self) -> Result<Vec<String>> {
        let mut tx = self.db().read().await?;
        let bad = plan::bad_rows(&mut tx, &self.config().settings).await?;
        let mut lines: Vec<String> = bad.into_iter().map(|(_, why)| why).collect();
        // An instance is planned in two parts.
        lines.sort();
        lines.dedup();
        Ok(lines)
    }

    /// `audit list`.
    pub async fn audit(
        &self,
        object: Option<&str>,
        limit: i64,
    ) -> Result<Vec<novanet_store::audit::Entry>> {
        let mut tx = self.db().read().await?;
        Ok(audit::list(&mut tx, object, limit).await?)
    }

    /// Closes the database.
    pub async fn close(&self) {
        self.db().close().await;
    }

    /// The store, for followers.
    pub fn db(&self) -> &Db {
        &self.0.db
    }

    /// The configuration.
    pub fn config(&self) -> &CloudConfig {
        &self.0.config
    }

    pub(crate) fn reports(&self) -> &Reports {
        &self.0.reports
    }

    pub(crate) fn launches(&self) -> &Queue {
        &self.0.launches
    }

    /// The key that seals secrets.
    pub(crate) fn vault(&self) -> Result<&Vault> {
        self.0.vault.as_ref().ok_or_else(no_key)
    }

    /// Plans again within a transaction.
    pub(crate) async fn plan(
        &self,
        tx: &mut Tx,
        subjects: impl IntoIterator<Item = impl Into<Subject>>,
    ) -> Result<usize> {
        Ok(plan::replan(tx, &self.config().settings, subjects).await?)
    }
}

/// The error of a cloud without its key.
pub(crate) fn no_key() -> ControlError {
    ControlError::Unavailable(
        "the key file is missing: secrets can be neither sealed nor opened \
         (run this as the owner of state_path)"
            .to_owned(),
    )
}
