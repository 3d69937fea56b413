//! Opening a database: which engine, which file, whose file. The schema is `schema`'s.

use crate::hints::Hints;
use crate::lock::WriteLock;
use crate::{Result, StoreError};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, Connection, Executor};
use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// Readers beside the one writer.
const SQLITE_READERS: u32 = 8;

/// Per process; PostgreSQL's own default limit is 100 for all.
pub(crate) const POSTGRES_CONNECTIONS: u32 = 16;

const SQLITE_SETTINGS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; \
    PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -4000;";

const POSTGRES_SETTINGS: &str = "SET lock_timeout = '10s'; SET statement_timeout = '30s'; \
    SET idle_in_transaction_session_timeout = '30s'; SET synchronous_commit = on;";

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
    writers: AnyPool,
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
        let options = AnyConnectOptions::from_str(&file_url(path))?;
        probe(&options, SQLITE_SETTINGS)
            .await
            .map_err(|e| not_opened(path, e))?;
        let connect = |count| {
            AnyPoolOptions::new()
                .max_connections(count)
                .acquire_timeout(Duration::from_secs(10))
                .test_before_acquire(false)
                .after_connect(|c, _| Box::pin(set_up(c, SQLITE_SETTINGS)))
                .connect_with(options.clone())
        };
        let failed = |e| not_opened(path, e);
        Ok(Self(Arc::new(Inner {
            pool: connect(SQLITE_READERS).await.map_err(failed)?,
            // One connection, always the same: what another one writes makes it forget all pages.
            writers: connect(1).await.map_err(failed)?,
            engine: Engine::Sqlite,
            lock: WriteLock::beside(path)?,
            hints: Hints::default(),
            file: Some(path.to_owned()),
        })))
    }

    async fn open_postgres(url: &str) -> Result<Self> {
        let mut options = AnyConnectOptions::from_str(url).map_err(not_reached)?;
        // More than there are statements in this crate, so that each is prepared once.
        options
            .database_url
            .query_pairs_mut()
            .append_pair("statement-cache-capacity", "256");
        probe(&options, POSTGRES_SETTINGS)
            .await
            .map_err(not_reached)?;
        let pool = AnyPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS)
            .acquire_timeout(Duration::from_secs(10))
            // A round trip for each transaction; `begin` notices dead connections by itself.
            .test_before_acquire(false)
            .after_connect(|c, _| Box::pin(set_up(c, POSTGRES_SETTINGS)))
            .connect_with(options)
            .await
            .map_err(not_reached)?;
        Ok(Self(Arc::new(Inner {
            writers: pool.clone(),
            pool,
            engine: Engine::Postgres,
            lock: WriteLock::none(),
            hints: Hints::default(),
            file: None,
        })))
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
        self.0.writers.close().await;
    }

    pub(crate) fn pool(&self) -> &AnyPool {
        &self.0.pool
    }

    /// Where writers get their connections.
    pub(crate) fn writers(&self) -> &AnyPool {
        &self.0.writers
    }

    pub(crate) fn write_lock(&self) -> &WriteLock {
        &self.0.lock
    }
}

/// Connects once: the pool would try again for seconds and then only say that it had no time left.
async fn probe(options: &AnyConnectOptions, settings: &'static str) -> sqlx::Result<()> {
    let mut connection = AnyConnection::connect_with(options).await?;
    set_up(&mut connection, settings).await?;
    connection.close().await
}

async fn set_up(connection: &mut AnyConnection, settings: &'static str) -> sqlx::Result<()> {
    connection.execute(settings).await?;
    Ok(())
}

/// The URL of a file; what a URL would take apart is escaped.
fn file_url(path: &Path) -> String {
    let mut url = "sqlite://".to_owned();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            url.push(char::from(*byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    url
}

/// Why a SQLite file cannot be used, for people.
fn not_opened(path: &Path, error: sqlx::Error) -> StoreError {
    const NOT_A_DATABASE: &str = "26";
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    if code.is_some_and(|c| c == NOT_A_DATABASE) {
        return StoreError::Refused(format!(
            "database file {}: is not a SQLite database",
            path.display()
        ));
    }
    StoreError::unavailable(format!("file {}", path.display()), error)
}

/// Why PostgreSQL cannot be used. The URL is not repeated: it holds a password.
fn not_reached(error: sqlx::Error) -> StoreError {
    if let sqlx::Error::Configuration(why) = &error {
        return StoreError::Refused(format!("sql_connection: {why}"));
    }
    match error.as_database_error() {
        // Wrong user or password, no such database: trying again does not help.
        Some(refused)
            if refused
                .code()
                .is_some_and(|c| c.starts_with("28") || c == "3D000") =>
        {
            StoreError::Refused(format!("sql_connection: {}", refused.message()))
        }
        _ => StoreError::unavailable("PostgreSQL cannot be reached", error),
    }
}

/// Makes the file and its folder, or says why an existing one cannot be used.
fn prepare_file(path: &Path) -> Result<()> {
    let refused =
        |e: std::io::Error| StoreError::Refused(format!("database file {}: {e}", path.display()));
    let me = rustix::process::geteuid().as_raw();
    if let Some(folder) = path.parent() {
        if !folder.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(refused)?;
        }
        let owner = folder.metadata().map_err(refused)?.uid();
        if me == 0 && owner != 0 && !path.exists() {
            // The folder's owner could not use what root makes there.
            return Err(not_mine(folder, owner, me));
        }
    }
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(refused)?;
    let found = file.metadata().map_err(refused)?;
    if found.uid() != me {
        // As another user than the owner SQLite would leave WAL files behind that the owner cannot
        // read; root too, who could open it.
        return Err(not_mine(path, found.uid(), me));
    }
    keep_private(&file).map_err(refused)
}

/// The WAL gets the file's mode, and both hold what is nobody else's business.
fn keep_private(file: &File) -> std::io::Result<()> {
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn not_mine(path: &Path, owner: u32, me: u32) -> StoreError {
    StoreError::Refused(format!(
        "database file {}: belongs to user id {owner}, not to {me} \
         (run this as its owner, or: chown it)",
        path.display()
    ))
}
