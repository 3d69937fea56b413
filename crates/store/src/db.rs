//! Opening a database: which engine, which file, whose file. The schema is `schema`'s.

use crate::engine_tx::{Engine, POSTGRES_READERS, Writers};
use crate::fault::{self, Fault};
use crate::group_commit::GroupCommit;
use crate::hints::Hints;
use crate::inject::FaultInjector;
use crate::lock::WriteLock;
use crate::session::{Conn, Health};
use crate::{Result, StoreError, file, schema};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AnyConnection, AnyPool, Connection, Executor};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Readers beside the one writer.
const SQLITE_READERS: u32 = 8;

/// Planned transactions use one connection after the other, and one that waits costs the server
/// nothing. The few connections in use have all statements prepared.
const POSTGRES_WRITERS: u32 = 4;

const SQLITE_SETTINGS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; \
    PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -4000;";

/// Plans are kept, the foreign keys' too, and most are made while the tables are nearly empty:
/// there a scan of everything is cheapest, and later it is not.
const POSTGRES_SETTINGS: &str = "SET enable_seqscan = off; SET jit = off; \
    SET lock_timeout = '10s'; SET statement_timeout = '30s'; \
    SET idle_in_transaction_session_timeout = '30s'; SET synchronous_commit = on;";

/// A database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: AnyPool,
    writers: Writers,
    commits: GroupCommit,
    hints: Hints,
    file: Option<PathBuf>,
    name: String,
    /// Why nothing may be changed.
    refused: OnceLock<String>,
}

impl Db {
    /// Opens the database of a `sql_connection` flag: `sqlite:////var/lib/nova/nova.sqlite` (nova's
    /// four slashes, or two), or `postgresql://user:password@host/name`. A SQLite file is made if
    /// it is missing, 0600 in a 0700 folder; a file of another owner is refused.
    pub async fn open(url: &str) -> Result<Self> {
        sqlx::any::install_default_drivers();
        if let Some(path) = Self::file_of(url) {
            return Self::open_sqlite(&path).await;
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Self::open_postgres(url).await;
        }
        Err(StoreError::Refused(format!(
            "sql_connection {:?}: must start with sqlite:// or postgresql://",
            url.split("://").next().unwrap_or_default()
        )))
    }

    /// The file that [`Db::open`] would open or make; `None`: the URL is not of SQLite.
    pub fn file_of(url: &str) -> Option<PathBuf> {
        let rest = url.strip_prefix("sqlite:")?;
        // SQLAlchemy writes an absolute path with four slashes; two mean the same here.
        Some(Path::new("/").join(rest.trim_start_matches('/')))
    }

    async fn open_sqlite(path: &Path) -> Result<Self> {
        let name = file::name(path);
        let opened = file::open(path)?;
        let options = connect_options(&file::url(path))?;
        let failed = |e| not_opened(path, e);
        if !opened.is_empty() {
            // Before the first setting: even WAL would change another program's file.
            let pool = AnyPoolOptions::new().max_connections(1);
            let pool = pool.connect_lazy_with(options.clone());
            let mut conn = Conn::acquire(&pool, &Arc::default())
                .await
                .map_err(failed)?;
            let found = schema::look(&mut conn, Engine::Sqlite, &name).await;
            drop(conn);
            pool.close().await;
            found.map_err(|e| file::not_a_database(path, e).of(&name))?;
        }
        opened.keep_private()?;
        probe(&options, SQLITE_SETTINGS).await.map_err(failed)?;
        let health = Arc::default();
        let connect = |count| pool_of(count, &options, SQLITE_SETTINGS, &health);
        Ok(Self(Arc::new(Inner {
            pool: connect(SQLITE_READERS),
            writers: Writers {
                // One connection, always the same: writes of another one make it forget all pages.
                pool: connect(1),
                engine: Engine::Sqlite,
                lock: WriteLock::beside(path)?,
                health: Arc::clone(&health),
            },
            commits: GroupCommit::default(),
            hints: Hints::default(),
            file: Some(path.to_owned()),
            name,
            refused: OnceLock::new(),
        })))
    }

    async fn open_postgres(url: &str) -> Result<Self> {
        let server = Server::of(url)?;
        let failed = |e| server.not_reached(e);
        let mut options = connect_options(url).map_err(failed)?;
        // More than there are statements in this crate, so that each is prepared once.
        options
            .database_url
            .query_pairs_mut()
            .append_pair("statement-cache-capacity", "256");
        probe(&options, POSTGRES_SETTINGS).await.map_err(failed)?;
        let health = Arc::default();
        let connect = |count| pool_of(count, &options, POSTGRES_SETTINGS, &health);
        Ok(Self(Arc::new(Inner {
            pool: connect(POSTGRES_READERS),
            writers: Writers {
                pool: connect(POSTGRES_WRITERS),
                engine: Engine::Postgres,
                lock: WriteLock::none(),
                health: Arc::clone(&health),
            },
            commits: GroupCommit::default(),
            hints: Hints::default(),
            file: None,
            name: server.name(),
            refused: OnceLock::new(),
        })))
    }

    /// Which engine.
    pub fn engine(&self) -> Engine {
        self.0.writers.engine
    }

    /// Hints within this process.
    pub fn hints(&self) -> &Hints {
        &self.0.hints
    }

    /// The SQLite file.
    pub fn file(&self) -> Option<&Path> {
        self.0.file.as_deref()
    }

    /// Which database this is, for people: `file …`, or `… at host:port`. Never with a password.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// From now on transactions that change something are refused in these words.
    pub fn refuse_changes(&self, why: &str) {
        self.0.refused.get_or_init(|| why.to_owned());
    }

    pub(crate) fn may_change(&self) -> Result<()> {
        match self.0.refused.get() {
            None => Ok(()),
            Some(why) => Err(StoreError::Refused(why.clone())),
        }
    }

    /// Asks `injector` at each statement from now on, those that begin and end transactions too.
    /// The first one stays.
    pub fn inject_faults(&self, injector: Arc<dyn FaultInjector>) {
        let _the_first_stays = self.health().injector.set(injector);
    }

    /// Closes all connections, after a checkpoint.
    pub async fn close(&self) {
        self.0.pool.close().await;
        self.0.writers.pool.close().await;
    }

    pub(crate) fn pool(&self) -> &AnyPool {
        &self.0.pool
    }

    pub(crate) fn writers(&self) -> &Writers {
        &self.0.writers
    }

    pub(crate) fn commits(&self) -> &GroupCommit {
        &self.0.commits
    }

    pub(crate) fn health(&self) -> &Arc<Health> {
        &self.0.writers.health
    }
}

/// A slow statement is logged as any other, with its whole text, on the level `debug`: on a busy
/// machine each may be slow for once, which is nothing that an operator has to act on.
fn connect_options(url: &str) -> sqlx::Result<AnyConnectOptions> {
    let mut options = AnyConnectOptions::from_str(url)?;
    options.log_settings.slow_statements_level = options.log_settings.statements_level;
    Ok(options)
}

/// Connections that are made as they are needed.
fn pool_of(
    most: u32,
    options: &AnyConnectOptions,
    settings: &'static str,
    health: &Arc<Health>,
) -> AnyPool {
    let health = Arc::clone(health);
    AnyPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(Duration::from_secs(10))
        // A round trip for each transaction; `begin_on` notices dead connections by itself.
        .test_before_acquire(false)
        .before_acquire(move |_, connection| {
            let accepted = health.accepts(&connection);
            Box::pin(async move { Ok(accepted) })
        })
        .after_connect(move |c, _| Box::pin(set_up(c, settings)))
        .connect_lazy_with(options.clone())
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

/// Why a SQLite file cannot be used, for people.
fn not_opened(path: &Path, error: sqlx::Error) -> StoreError {
    file::not_a_database(path, error.into()).of(&file::name(path))
}

/// A PostgreSQL database, for messages: its URL holds a password and is not repeated.
struct Server {
    host: String,
    port: u16,
    database: String,
}

impl Server {
    fn of(url: &str) -> Result<Self> {
        let options = PgConnectOptions::from_str(url).map_err(|error| {
            StoreError::Refused(format!(
                "sql_connection: {error} (it has to look like postgresql://USER:PASSWORD@HOST:PORT/NAME)"
            ))
        })?;
        let socket = options.get_socket().map(|path| path.display().to_string());
        let user = options.get_username();
        Ok(Self {
            host: socket.unwrap_or_else(|| options.get_host().to_owned()),
            port: options.get_port(),
            database: options.get_database().unwrap_or(user).to_owned(),
        })
    }

    fn name(&self) -> String {
        format!("{} at {}:{}", self.database, self.host, self.port)
    }

    /// Why it cannot be used.
    fn not_reached(&self, error: sqlx::Error) -> StoreError {
        let refused = error.as_database_error();
        let code = refused.and_then(sqlx::error::DatabaseError::code);
        let Self {
            host,
            port,
            database,
        } = self;
        // Trying again does not help against these.
        let remedy = match code.as_deref() {
            Some("3D000") => {
                format!(
                    "make it: createdb -h {host} -p {port} {database}, or correct sql_connection"
                )
            }
            Some(code) if code.starts_with("28") => {
                "correct user and password in sql_connection, or pg_hba.conf there".to_owned()
            }
            _ => {
                let fault = match fault::of(&error) {
                    Some(Fault::Lost) | None => Fault::Unreachable,
                    Some(other) => other,
                };
                return StoreError::unavailable(fault, fault::cause(error)).of(&self.name());
            }
        };
        let why = refused.map(|e| e.message().to_owned()).unwrap_or_default();
        StoreError::Refused(format!("database {}: {why} ({remedy})", self.name()))
    }
}
