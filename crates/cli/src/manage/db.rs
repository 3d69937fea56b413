//! `nova-manage db`: the database itself.

use super::context::Context;
use super::{Action, Category, action, restored, trouble};
use crate::args::{Bound, Format, Param, Takes, param};
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
    action(
        "restored",
        "decide about a database that is not the one of this state folder: an older copy, another \
         one (docs/restore.md); without a word: say what differs",
        RESTORED,
        |b| Ok(super::Command::Db(Command::Restored(choice(b)?))),
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

const RESTORED: &[Param] = &[
    param(
        "adopt",
        Takes::Switch,
        "the database learns what this host runs",
    ),
    param(
        "drop",
        Takes::Switch,
        "this host removes what the database does not know",
    ),
];

fn choice(bound: &Bound) -> Result<Option<restored::Choice>, Failure> {
    let given = |name| Ok::<_, Failure>(bound.truth(name)?.unwrap_or(false));
    match (given("adopt")?, given("drop")?) {
        (false, false) => Ok(None),
        (true, false) => Ok(Some(restored::Choice::Adopt)),
        (false, true) => Ok(Some(restored::Choice::Drop)),
        (true, true) => Err(Failure::usage(
            "db restored: --adopt and --drop are opposites: choose one",
        )),
    }
}

/// nova had a row for each address; the manual's `update fixed_ips set reserved=1` counts on it.
const WITHOUT_ROW: &str = "fixed_ips has no row for an address that was never handed out: SQL \
    reserves none of those; nova-manage network modify NETWORK --reserve=ADDRESSES does";

/// The actions of `db`.
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
    /// Decide about a restored copy; `None`: say what differs.
    Restored(Option<restored::Choice>),
}

/// Does it. The schema need not be this program's. A check that finds what it cannot repair has
/// failed.
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
        Command::Restored(choice) => restored::run(choice, cx).await,
        Command::Version => Ok(format!("{}\n", cx.cloud.schema_version().await?.0)),
        Command::Check => {
            cx.cloud.require_schema().await?;
            let checked = cx.cloud.check().await?;
            let bad = cx.cloud.bad_rows().await?;
            let output = match cx.format {
                Format::Table | Format::Plain => checked.to_string(),
                Format::Json => json(&Report::new(&checked, &bad)),
            };
            if checked.rows > 0 && cx.format != Format::Json {
                cx.note(WITHOUT_ROW);
            }
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
