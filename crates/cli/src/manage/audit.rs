//! `nova-manage audit`: the changes of the cloud with their actors, times and sources. Depends on
//! the audit log.

use super::context::Context;
use super::{Category, action};
use crate::args::{Param, Takes, param};
use crate::failure::Failure;
use crate::table::{Row, Time, none, render};
use serde::Serialize;

pub(crate) const CATEGORY: Category = Category {
    name: "audit",
    aliases: &[],
    about: "who changed what, when, from where",
    actions: &[action(
        "list",
        "the last changes, oldest first",
        LIST,
        |b| {
            let limit = b.number("limit", 1, 100_000)?.unwrap_or(100);
            Ok(super::Command::Audit(Command::List {
                object: b.text("object").map(str::to_owned),
                limit: i64::try_from(limit).unwrap_or(100),
            }))
        },
    )],
};

const LIST: &[Param] = &[
    param(
        "object",
        Takes::Optional,
        "only changes of this, like i-0000000a or 10.0.0.0/24",
    ),
    param("limit", Takes::Named, "how many (100)"),
];

/// The actions of `audit`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// List the last changes.
    List {
        /// Only those of this thing.
        object: Option<String>,
        /// At most so many.
        limit: i64,
    },
}

/// Does it.
pub(crate) async fn run(command: Command, cx: &Context) -> Result<String, Failure> {
    let Command::List { object, limit } = command;
    let mut rows: Vec<AuditRow> = cx
        .cloud
        .audit(object.as_deref(), limit)
        .await?
        .into_iter()
        .map(|entry| AuditRow {
            at: Time(entry.at),
            actor: entry.actor,
            source: entry.source,
            project: entry.project_id,
            action: entry.action,
            object: entry.object,
            detail: entry.detail,
        })
        .collect();
    rows.reverse();
    Ok(render(&rows, cx.format))
}

/// A line of `audit list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AuditRow {
    pub(crate) at: Time,
    pub(crate) actor: String,
    pub(crate) source: String,
    pub(crate) project: Option<String>,
    pub(crate) action: String,
    pub(crate) object: String,
    pub(crate) detail: String,
}

impl Row for AuditRow {
    const FORMAT: &'static str = "%-23s  %-12s %-15s %-12s %-24s %-20s %s";
    const TITLES: &'static [&'static str] =
        &["when", "who", "from", "project", "what", "which", "detail"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.at.to_string(),
            self.actor.clone(),
            self.source.clone(),
            none(self.project.as_ref()),
            self.action.clone(),
            self.object.clone(),
            self.detail.clone(),
        ]
    }
}
