//! The one error of this crate, by what the caller can do about it.

use novanet_model::ModelError;
use thiserror::Error;

/// Why the store could not do it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database is not there, busy for too long, or went away. Trying again may help.
    #[error("database {what}")]
    Unavailable {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something else already has this address, name, VLAN …
    #[error("already in use: {0}")]
    Conflict(String),
    /// The database file or schema cannot be used as it is; the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// A row does not say what it must. Somebody edited it by hand.
    #[error("{row}: {source}")]
    BadRow {
        /// Table and key.
        row: String,
        /// What is wrong with it.
        source: ModelError,
    },
    /// The database refused a statement: a fault in this program.
    #[error("database statement")]
    Statement(#[source] sqlx::Error),
}

impl StoreError {
    /// A column of a row that does not parse.
    #[allow(clippy::needless_pass_by_value)] // takes literals and formatted names alike
    pub fn bad_row(row: impl ToString) -> impl FnOnce(ModelError) -> Self {
        let row = row.to_string();
        move |source| Self::BadRow { row, source }
    }

    /// The database could not be reached while doing `what`.
    pub fn unavailable(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// SQLITE_BUSY, SQLITE_LOCKED, SQLITE_BUSY_SNAPSHOT; PostgreSQL's lock_timeout, statement_timeout,
/// deadlock, admin_shutdown, crash_shutdown, cannot_connect_now, too many connections, idle in a
/// transaction for too long.
const PASSING: [&str; 11] = [
    "5", "6", "517", "55P03", "57014", "40P01", "57P01", "57P02", "57P03", "53300", "25P03",
];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let Some(refused) = error.as_database_error() {
            if refused.is_unique_violation() || refused.is_foreign_key_violation() {
                return Self::Conflict(refused.message().to_owned());
            }
            if refused
                .code()
                .is_some_and(|c| PASSING.contains(&c.as_ref()))
            {
                return Self::unavailable("is busy or going away", error);
            }
            return Self::Statement(error);
        }
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_) => Self::unavailable("connection was lost", error),
            other => Self::Statement(other),
        }
    }
}

/// Shorthand of this crate.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;
