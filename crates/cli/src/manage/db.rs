//! `nova-manage db`: the database itself.

use super::{Action, Category, action};
use crate::args::{Takes, param};

pub(crate) const CATEGORY: Category = Category {
    name: "db",
    aliases: &[],
    about: "the database itself",
    actions: ACTIONS,
};

const ACTIONS: &[Action] = &[
    action(
        "sync",
        "make the database, or bring its schema up to date",
        &[param(
            "version",
            Takes::Optional,
            "taken for nova's sake; the newest only",
        )],
        |b| {
            let version = b.number("version", 0, 1_000_000)?;
            Ok(super::Command::Db(Command::Sync { version }))
        },
    ),
    action("version", "the schema's version", &[], |_| {
        Ok(super::Command::Db(Command::Version))
    }),
    action(
        "check",
        "compare every host's objects with the plan",
        &[param("repair", Takes::Switch, "put right what differs")],
        |b| {
            let repair = b.truth("repair")?.unwrap_or(false);
            Ok(super::Command::Db(Command::Check { repair }))
        },
    ),
];

/// What `db` can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Make it, or bring it up to date.
    Sync {
        /// The version asked for.
        version: Option<u64>,
    },
    /// Its schema's version.
    Version,
    /// Compare rows and host objects.
    Check {
        /// Put right what differs.
        repair: bool,
    },
}
