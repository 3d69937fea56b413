//! The one error of this crate, by what the caller can do about it.

use crate::fault::{self, Fault};
use novanet_model::ModelError;
use std::sync::OnceLock;
use thiserror::Error;

/// Why the store could not do it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database is not there, busy for too long, or went away. [`StoreError::remedy`] says what
    /// helps; trying again may.
    #[error("database{}{fault}", place(database.as_deref()))]
    Unavailable {
        /// Which database, for people, without its password; `None` where that was not known.
        database: Option<String>,
        /// The mistake.
        fault: Fault,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something else already has this address, name, VLAN …
    #[error("already in use: {0}")]
    Conflict(String),
    /// A value that a caller gave cannot be in a database: a zero byte, a number beyond all.
    #[error("cannot be stored: {0}")]
    Unfit(String),
    /// The database file or schema cannot be used as it is; the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// A row does not validate, usually after an edit by hand.
    #[error("{row}: {source}")]
    BadRow {
        /// Table and key.
        row: String,
        /// The mistake.
        source: ModelError,
    },
    /// The database refused a statement: a fault in this program.
    #[error("database statement")]
    Statement(#[source] sqlx::Error),
}

fn place(database: Option<&str>) -> String {
    database.map_or_else(|| ": ".to_owned(), |name| format!(" {name}: "))
}

impl StoreError {
    /// A column of a row that does not parse.
    #[allow(clippy::needless_pass_by_value)] // takes literals and formatted names alike
    pub fn bad_row(row: impl ToString) -> impl FnOnce(ModelError) -> Self {
        let row = row.to_string();
        move |source| Self::BadRow { row, source }
    }

    pub(crate) fn unavailable(
        fault: Fault,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable {
            database: None,
            fault,
            source: source.into(),
        }
    }

    /// The same, and which database it was, unless that is said already.
    #[must_use]
    pub fn of(mut self, name: &str) -> Self {
        if let Self::Unavailable { database, .. } = &mut self {
            database.get_or_insert_with(|| name.to_owned());
        }
        self
    }

    /// What the operator can do about it, for the end of the message; the other texts hold theirs.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Unavailable { fault, .. } => Some(fault.remedy()),
            Self::BadRow { .. } => {
                Some("correct that column in the database; nova-manage db check finds such rows")
            }
            _ => None,
        }
    }
}

type Act = Box<dyn Fn() + Send + Sync>;

static WHEN_FULL: OnceLock<Act> = OnceLock::new();

/// From now on this process calls `act` whenever a database has no room left, before the caller
/// gets the error: `act` can release reserved space, so that the next write works. The first `act`
/// stays.
pub fn when_full(act: impl Fn() + Send + Sync + 'static) {
    let _ = WHEN_FULL.set(Box::new(act));
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let Some(refused) = error.as_database_error() {
            if refused.is_unique_violation() || refused.is_foreign_key_violation() {
                return Self::Conflict(refused.message().to_owned());
            }
            if fault::is_unfit(&error) {
                return Self::Unfit(refused.message().to_owned());
            }
        }
        match fault::of(&error) {
            Some(fault) => {
                if let (Fault::Full, Some(act)) = (fault, WHEN_FULL.get()) {
                    act();
                }
                Self::unavailable(fault, fault::cause(error))
            }
            None => Self::Statement(error),
        }
    }
}

/// Shorthand of this crate.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;
