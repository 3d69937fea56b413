//! Opening a database: which engine, which file, whether its schema is ours.

use crate::hints::Hints;
use crate::lock::WriteLock;
use crate::{Result, StoreError};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::Migrator;
use sqlx::{AnyPool, Executor};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

static COMMON: Migrator = sqlx::migrate!("migrations/common");
static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// Which database engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// One file, one host: the embedded default.
    Sqlite,
    /// Several servers, many hosts.
    Postgres,
}

/// A database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: AnyPool,
    engine: Engine,
    lock: WriteLock,
    hints: Hints,
    file: Option<PathBuf>,
}

impl Db {
    /// Opens the database of a `sql_connection` flag: `sqlite:////var/lib/nova/nova.sqlite` (nova's
    /// four slashes, or two), or `postgresql://user:password@host/name`. A SQLite file is made if it
    /// is missing, 0600 in a 0700 folder; a file of another owner is refused.
    pub async fn open(url: &str) -> Result<Self> {
        sqlx::any::install_default_drivers();
        if let Some(rest) = url.strip_prefix("sqlite:") {
            // SQLAlchemy writes an absolute path with four slashes; two mean the same here.
            let path = format!("/{}", rest.trim_start_matches('/'));
            return Self::open_sqlite(Path::new(&path)).await;
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Self::open_postgres(url).await;
        }
        Err(StoreError::Refused(format!(
            "sql_connection {:?}: must start with sqlite:// or postgresql://",
            url.split("://").next().unwrap_or_default()
        )))
    }

    async fn open_sqlite(path: &Path) -> Result<Self> {
        prepare_file(path)?;
        let options = AnyConnectOptions::from_str(&format!("sqlite://{}", path.display()))?;
        let pool = AnyPoolOptions::new()
            .max_connections(8)
            .acquire_timeout(Duration::from_secs(10))
            .test_before_acquire(false)
            .after_connect(|c, _| {
                Box::pin(async move {
                    c.execute(
                        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                         PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000; \
                         PRAGMA cache_size = -4000;",
                    )
                    .await?;
                    Ok(())
                })
            })
            .connect_with(options)
            .await
            .map_err(|e| StoreError::unavailable(format!("{}", path.display()), e))?;
        Ok(Self(Arc::new(Inner {
            pool,
            engine: Engine::Sqlite,
            lock: WriteLock::beside(path)?,
            hints: Hints::default(),
            file: Some(path.to_owned()),
        })))
    }

    async fn open_postgres(url: &str) -> Result<Self> {
        let options = AnyConnectOptions::from_str(url)?;
        let pool = AnyPoolOptions::new()
            .max_connections(16)
            .acquire_timeout(Duration::from_secs(10))
            .after_connect(|c, _| {
                Box::pin(async move {
                    c.execute(
                        "SET lock_timeout = '10s'; SET statement_timeout = '30s'; \
                         SET idle_in_transaction_session_timeout = '30s'; \
                         SET synchronous_commit = on;",
                    )
                    .await?;
                    Ok(())
                })
            })
            .connect_with(options)
            .await
            .map_err(|e| StoreError::unavailable("PostgreSQL cannot be reached", e))?;
        Ok(Self(Arc::new(Inner {
            pool,
            engine: Engine::Postgres,
            lock: WriteLock::none(),
            hints: Hints::default(),
            file: None,
        })))
    }

    /// Brings the schema up to this program's version (`db sync`). Twice does nothing.
    pub async fn migrate(&self) -> Result<()> {
        let _guard = self.0.lock.acquire().await?;
        for steps in self.steps() {
            let mut migrator = Migrator {
                ignore_missing: true,
                ..Migrator::DEFAULT
            };
            migrator.migrations = steps.migrations.clone();
            migrator
                .run(&self.0.pool)
                .await
                .map_err(|e| StoreError::unavailable("could not be brought up to date", e))?;
        }
        crate::clock::ensure_epoch(&self.0.pool).await
    }

    fn steps(&self) -> [&'static Migrator; 2] {
        match self.0.engine {
            Engine::Sqlite => [&COMMON, &SQLITE],
            Engine::Postgres => [&COMMON, &POSTGRES],
        }
    }

    /// The schema's version there, and the one that this program needs (`db version`).
    pub async fn schema_version(&self) -> Result<(i64, i64)> {
        let want = self
            .steps()
            .iter()
            .flat_map(|m| m.iter())
            .map(|m| m.version)
            .max()
            .unwrap_or(0);
        let have: std::result::Result<Option<i64>, _> =
            sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
                .fetch_one(&self.0.pool)
                .await;
        match have {
            Ok(have) => Ok((have.unwrap_or(0), want)),
            // No such table: an empty database.
            Err(sqlx::Error::Database(_)) => Ok((0, want)),
            Err(other) => Err(other.into()),
        }
    }

    /// Refuses a schema of another version, saying what to do.
    pub async fn require_schema(&self) -> Result<()> {
        let (have, want) = self.schema_version().await?;
        if have < want {
            return Err(StoreError::Refused(format!(
                "the database's schema is version {have}, this program needs {want} \
                 (run: nova-manage db sync)"
            )));
        }
        if have > want {
            return Err(StoreError::Refused(format!(
                "the database's schema is version {have}, newer than this program's {want} \
                 (use the newer novanet)"
            )));
        }
        Ok(())
    }

    /// Which engine.
    pub fn engine(&self) -> Engine {
        self.0.engine
    }

    /// Hints within this process.
    pub fn hints(&self) -> &Hints {
        &self.0.hints
    }

    /// The SQLite file.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// Closes all connections, after a checkpoint.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }

    pub(crate) fn pool(&self) -> &AnyPool {
        &self.0.pool
    }

    pub(crate) fn write_lock(&self) -> &WriteLock {
        &self.0.lock
    }
}

/// Makes the file and its folder, or says why an existing one cannot be used.
fn prepare_file(path: &Path) -> Result<()> {
    let refused =
        |e: std::io::Error| StoreError::Refused(format!("database file {}: {e}", path.display()));
    if let Some(folder) = path.parent()
        && !folder.exists()
    {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(refused)?;
    }
    let file = std::fs::OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(refused)?;
    let me = rustix::process::geteuid().as_raw();
    let owner = file.metadata().map_err(refused)?.uid();
    if owner != me {
        // As another user than the owner SQLite would leave WAL files behind that the owner cannot
        // read; root too, who could open it.
        return Err(StoreError::Refused(format!(
            "database file {}: belongs to user id {owner}, not to {me} \
             (run this as its owner, or: chown it)",
            path.display()
        )));
    }
    Ok(())
}
