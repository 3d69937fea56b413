//! `nova-manage db`: the database itself.

use super::context::Context;
use super::{Action, Category, action, trouble};
use crate::args::{Format, Takes, param};
use crate::failure::Failure;
use crate::table::json;
use novanet_control::Checked;
use serde::Serialize;

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
        "plan every row again, compare with what hosts were told, and repair what differs",
        &[],
        |_| Ok(super::Command::Db(Command::Check)),
    ),
];

/// `db check --format json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Rows that were planned again.
    rows: usize,
    /// Rows whose host objects were repaired.
    repaired: Vec<Repaired<'a>>,
    /// Rows that do not validate, and why.
    bad: &'a [String],
}

#[derive(Debug, Serialize)]
struct Repaired<'a> {
    row: &'a str,
    objects: usize,
}

impl<'a> Report<'a> {
    fn new(checked: &'a Checked, bad: &'a [String]) -> Self {
        let repaired = checked.repaired.iter();
        Self {
            rows: checked.rows,
            repaired: repaired
                .map(|(row, objects)| Repaired {
                    row,
                    objects: *objects,
                })
                .collect(),
            bad,
        }
    }
}

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
    /// Compare rows and host objects, and repair.
    Check,
}

/// Does it. The schema need not be this program's. A check that finds what it cannot repair has failed.
pub(crate) async fn run(command: Command, cx: &Context) -> Result<String, Failure> {
    match command {
        Command::Sync { version } => {
            let (_, newest) = cx.cloud.schema_version().await?;
            if let Some(asked) = version.filter(|v| i64::try_from(*v) != Ok(newest)) {
                return Err(Failure::usage(format!(
                    "db sync: version {asked}: this program knows {newest} only: leave it out"
                )));
            }
            cx.cloud.migrate().await?;
            Ok(String::new())
        }
        Command::Version => Ok(format!("{}\n", cx.cloud.schema_version().await?.0)),
        Command::Check => {
            cx.cloud.require_schema().await?;
            let checked = cx.cloud.check().await?;
            let bad = cx.cloud.bad_rows().await?;
            let output = match cx.format {
                Format::Table => checked.to_string(),
                Format::Json => json(&Report::new(&checked, &bad)),
            };
            if bad.is_empty() {
                return Ok(output);
            }
            let lines: Vec<String> = bad.iter().map(|row| trouble::spoiled(row)).collect();
            Err(Failure {
                output,
                ..Failure::failed(lines.join("\n"))
            })
        }
    }
}
