//! Errors in the place of statements, so that tests can try what follows after each of them. In a
//! running cloud there is no injector, and a statement costs one look at an empty cell more.

use sqlx::error::{DatabaseError, ErrorKind};
use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Debug};
use std::sync::Arc;

/// Decides which statements fail.
pub trait FaultInjector: Debug + Send + Sync {
    /// `sql` is about to be sent. With an error it is not sent, and fails with that.
    fn before(&self, sql: &str) -> Option<sqlx::Error>;

    /// The database has done `sql`. An error takes the place of its answer.
    fn after(&self, sql: &str) -> Option<sqlx::Error>;
}

/// One statement, as an injector sees it.
#[derive(Debug)]
pub(crate) struct Injection {
    injector: Arc<dyn FaultInjector>,
    sql: String,
}

impl Injection {
    pub(crate) fn new(injector: &Arc<dyn FaultInjector>, sql: &str) -> Self {
        Self {
            injector: Arc::clone(injector),
            sql: sql.to_owned(),
        }
    }

    pub(crate) fn before(&self) -> Option<sqlx::Error> {
        self.injector.before(&self.sql)
    }

    pub(crate) fn after(&self) -> Option<sqlx::Error> {
        self.injector.after(&self.sql)
    }
}

/// An error as the engine gives it with this code: `13` of SQLite, `25006` of PostgreSQL.
pub fn error_of(code: &'static str) -> sqlx::Error {
    sqlx::Error::Database(Box::new(Injected(code)))
}

/// An error that no engine gave.
#[derive(Debug)]
struct Injected(&'static str);

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "injected {}", self.0)
    }
}

impl Error for Injected {}

impl DatabaseError for Injected {
    fn message(&self) -> &'static str {
        "injected"
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.0.into())
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }
}
