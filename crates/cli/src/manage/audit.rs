//! `nova-manage audit`: who changed what, when, from where.

use super::{Category, action};
use crate::args::{Param, Takes, param};
use crate::table::{Row, none};
use novanet_model::ProjectId;
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
                project: b.parse("project")?,
                limit: u32::try_from(limit).unwrap_or(100),
            }))
        },
    )],
};

const LIST: &[Param] = &[
    param("limit", Takes::Optional, "how many (100)"),
    param("project", Takes::Named, "only this project's").or(&["project_id"]),
];

/// What `audit` can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// List the last changes.
    List {
        /// Only this project's.
        project: Option<ProjectId>,
        /// At most so many.
        limit: u32,
    },
}

/// A line of `audit list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct AuditRow {
    pub(crate) at: String,
    pub(crate) actor: String,
    pub(crate) project: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) action: String,
    pub(crate) subject: String,
    pub(crate) detail: String,
}

impl Row for AuditRow {
    const FORMAT: &'static str = "%-20s %-12s %-12s %-15s %-24s %-20s %s";
    const TITLES: &'static [&'static str] =
        &["when", "who", "project", "from", "what", "which", "detail"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.at.clone(),
            self.actor.clone(),
            none(self.project.as_ref()),
            none(self.origin.as_ref()),
            self.action.clone(),
            self.subject.clone(),
            self.detail.clone(),
        ]
    }
}
