//! Faults of a database as a whole, read from the codes of both engines, with remedies. Depends on
//! sqlx's errors.

use sqlx::error::DatabaseError;
use std::error::Error;
use std::fmt;
use std::io::ErrorKind;

/// A fault of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No server answers.
    Unreachable,
    /// The connection ended.
    Lost,
    /// Another writer holds it for too long.
    Busy,
    /// It is going down or coming up.
    Starting,
    /// All connections are in use.
    Crowded,
    /// The file or its folder cannot be written.
    ReadOnly,
    /// It is a copy that takes no writes.
    Standby,
    /// The disk is full.
    Full,
    /// The file cannot be opened.
    Denied,
    /// The server does not let this user do that.
    Forbidden,
    /// Its content is corrupt.
    Damaged,
    /// The disk answers with errors.
    Disk,
    /// There is no memory left.
    Memory,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "cannot be reached",
            Self::Lost => "the connection was lost",
            Self::Busy => "is busy: somebody else has been writing for too long",
            Self::Starting => "is going down or coming up",
            Self::Crowded => "takes no more connections",
            Self::ReadOnly => "cannot be written",
            Self::Standby => "takes no writes",
            Self::Full => "has no room left",
            Self::Denied => "cannot be opened",
            Self::Forbidden => "does not let its user do that",
            Self::Damaged => "is damaged",
            Self::Disk => "cannot be read or written",
            Self::Memory => "has no memory left",
        })
    }
}

impl Fault {
    pub(crate) fn remedy(self) -> &'static str {
        match self {
            Self::Unreachable => "start PostgreSQL there, or correct sql_connection",
            Self::Lost => {
                "see whether PostgreSQL still runs there, look what was done, and try again"
            }
            Self::Busy => {
                "find who, with fuser on the file or in pg_stat_activity, end that, and try again"
            }
            Self::Starting => "wait until PostgreSQL is up, and try again",
            Self::Crowded => "raise max_connections of PostgreSQL, or end other programs there",
            Self::ReadOnly => {
                "make the file and its folder writable for the user that runs this, \
                 or name another place: --state_path=DIR"
            }
            Self::Standby => "name the primary server in sql_connection",
            Self::Full => "make room on its disk, and try again",
            Self::Denied => {
                "run this as the owner of the file and its folder, \
                 or name another place: --state_path=DIR"
            }
            Self::Forbidden => "make the user of sql_connection the database's owner",
            Self::Damaged => "restore it from a backup",
            Self::Disk => "see what the kernel says of the disk: dmesg",
            Self::Memory => "make memory free on its host, and try again",
        }
    }
}

/// Whether a value that was given cannot be stored: PostgreSQL's character_not_in_repertoire (a
/// zero byte) and numeric_value_out_of_range.
pub(crate) fn is_unfit(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|c| ["22021", "22003"].contains(&c.as_str()))
}

/// The fault of the database; `None`: the statement failed by itself.
pub(crate) fn of(error: &sqlx::Error) -> Option<Fault> {
    match error {
        sqlx::Error::PoolTimedOut => Some(Fault::Busy),
        sqlx::Error::AnyDriverError(earlier) => Some(earlier.downcast_ref::<Earlier>()?.0),
        sqlx::Error::Io(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_) => Some(Fault::Lost),
        _ => of_code(&code(error)?),
    }
}

/// A statement that is not sent, because the database failed earlier in its transaction.
#[derive(Debug)]
struct Earlier(Fault);

impl fmt::Display for Earlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the database failed earlier in this transaction")
    }
}

impl Error for Earlier {}

/// The error of a statement that is not sent after a failure.
pub(crate) fn refusal(fault: Fault) -> sqlx::Error {
    sqlx::Error::AnyDriverError(Box::new(Earlier(fault)))
}

fn code(error: &sqlx::Error) -> Option<String> {
    let code = error.as_database_error().and_then(DatabaseError::code)?;
    Some(code.into_owned())
}

/// PostgreSQL's codes have five characters; SQLite's are numbers with the kind in the lowest byte.
fn of_code(code: &str) -> Option<Fault> {
    if code.len() < 5 {
        return of_sqlite(code.parse::<u32>().ok()? & 0xff);
    }
    Some(match code {
        // lock_timeout, statement_timeout, deadlock, idle in a transaction for too long.
        "55P03" | "57014" | "40P01" | "25P03" => Fault::Busy,
        // admin_shutdown, crash_shutdown, cannot_connect_now.
        "57P01" | "57P02" | "57P03" => Fault::Starting,
        "53200" => Fault::Memory,
        "53300" => Fault::Crowded,
        "53100" => Fault::Full,
        "25006" => Fault::Standby,
        "42501" => Fault::Forbidden,
        "58030" => Fault::Disk,
        "XX001" | "XX002" => Fault::Damaged,
        _ if code.starts_with("08") => Fault::Lost,
        _ => return None,
    })
}

fn of_sqlite(kind: u32) -> Option<Fault> {
    Some(match kind {
        // BUSY, LOCKED
        5 | 6 => Fault::Busy,
        // NOMEM
        7 => Fault::Memory,
        // READONLY
        8 => Fault::ReadOnly,
        // IOERR
        10 => Fault::Disk,
        // CORRUPT
        11 => Fault::Damaged,
        // FULL
        13 => Fault::Full,
        // PERM, CANTOPEN
        3 | 14 => Fault::Denied,
        _ => return None,
    })
}

/// The engine's own words, without those of the libraries in between.
pub(crate) fn cause(error: sqlx::Error) -> Box<dyn Error + Send + Sync> {
    match error {
        // "expected to read 5 bytes, got 0 bytes at EOF" is how sqlx says this.
        sqlx::Error::Io(e) if e.kind() == ErrorKind::UnexpectedEof => {
            std::io::Error::new(ErrorKind::UnexpectedEof, "the other end closed it").into()
        }
        sqlx::Error::Io(e) => e.into(),
        sqlx::Error::Database(e) => e.message().to_owned().into(),
        sqlx::Error::Protocol(why) => why.into(),
        sqlx::Error::AnyDriverError(e) => e,
        other => other.into(),
    }
}
