//! A fresh database on either engine, and the macro that runs a promise on both.

use anyhow::Result;
use novanet_lab::{Database, Postgres};
use novanet_store::{Db, Engine};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// `both! { a_promise, … }` makes two tests of each `async fn a_promise(t: Fresh) -> Result<()>`:
/// `a_promise::on_sqlite` and `a_promise::on_postgres`.
macro_rules! both {
    ($($name:ident,)+) => {$(
        mod $name {
            #[test]
            fn on_sqlite() {
                $crate::engines::run(::novanet_store::Engine::Sqlite, super::$name);
            }

            #[test]
            fn on_postgres() {
                $crate::engines::run(::novanet_store::Engine::Postgres, super::$name);
            }
        }
    )+};
}

/// A migrated, empty database of one test's own.
#[derive(Debug)]
pub(crate) struct Fresh {
    db: Db,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Folder(TempDir),
    Server(Database),
}

impl Deref for Fresh {
    type Target = Db;
    fn deref(&self) -> &Db {
        &self.db
    }
}

impl Fresh {
    /// An empty database, migrated by copying one that is.
    pub(crate) async fn on(engine: Engine) -> Result<Self> {
        match engine {
            Engine::Sqlite => {
                let folder = tempfile::tempdir()?;
                std::fs::write(file_in(folder.path()), sqlite_template())?;
                Self::open(Place::Folder(folder)).await
            }
            Engine::Postgres => {
                let database = Postgres::shared()?.copy_of(postgres_template())?;
                Self::open(Place::Server(database)).await
            }
        }
    }

    async fn open(place: Place) -> Result<Self> {
        let db = Db::open(&place.url()).await?;
        Ok(Self { db, place })
    }

    /// The `sql_connection` of this database.
    pub(crate) fn url(&self) -> String {
        self.place.url()
    }

    /// Another handle, as another process would have it.
    pub(crate) async fn again(&self) -> Result<Db> {
        Ok(Db::open(&self.url()).await?)
    }

    /// A copy of the database as it is now. Only this handle may be open; it opens again.
    pub(crate) async fn copy(&mut self) -> Result<Self> {
        self.db.close().await;
        let place = match &self.place {
            Place::Folder(from) => {
                let folder = tempfile::tempdir()?;
                std::fs::copy(file_in(from.path()), file_in(folder.path()))?;
                Place::Folder(folder)
            }
            Place::Server(database) => Place::Server(Postgres::shared()?.copy_of(database)?),
        };
        self.db = Db::open(&self.url()).await?;
        Self::open(place).await
    }

    /// Ends all connections to this database, on PostgreSQL.
    pub(crate) fn cut_connections(&self) -> Result<()> {
        let url = self.url();
        let name = url.rsplit('/').next().unwrap_or_default();
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        );
        Postgres::shared()?.psql("postgres", &sql)?;
        Ok(())
    }

    /// Runs one statement as an operator would by hand.
    pub(crate) async fn by_hand(&self, sql: &'static str) -> Result<u64, sqlx::Error> {
        let mut tx = self.db.begin_unplanned().await.unwrap();
        let done = sqlx::query(sql).execute(&mut *tx).await?;
        tx.commit().await.unwrap();
        Ok(done.rows_affected())
    }
}

impl Place {
    fn url(&self) -> String {
        match self {
            Self::Folder(folder) => sqlite_url(&file_in(folder.path())),
            Self::Server(database) => database.url.clone(),
        }
    }
}

/// The file in a test's folder.
fn file_in(folder: &Path) -> PathBuf {
    folder.join("nova.sqlite")
}

/// A file as nova writes it in `sql_connection`.
pub(crate) fn sqlite_url(file: &Path) -> String {
    format!("sqlite:///{}", file.display())
}

/// Runs a promise on one engine; a bound on its time turns a deadlock into a failure.
pub(crate) fn run<F>(engine: Engine, promise: impl FnOnce(Fresh) -> F)
where
    F: Future<Output = Result<()>>,
{
    runtime().block_on(async {
        let fresh = Fresh::on(engine).await.unwrap();
        tokio::time::timeout(Duration::from_mins(5), promise(fresh))
            .await
            .expect("the promise took five minutes")
            .unwrap();
    });
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
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

/// On a thread of its own: the caller may be inside a runtime.
fn migrate(url: String) {
    let work = move || {
        runtime().block_on(async {
            let db = Db::open(&url).await.unwrap();
            db.migrate().await.unwrap();
            db.close().await;
        });
    };
    std::thread::spawn(work).join().unwrap();
}
