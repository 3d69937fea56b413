//! `--dry-run`: the objects that a command would remove, in order, and the objects that block it.

use crate::args::{Format, Param, Takes, param};
use crate::table::{Row, render};
use novanet_control::preview::{Effect, Preview};
use serde::Serialize;

/// Prints what a command would do, and does nothing.
pub(super) const DRY_RUN: Param = param(
    "dry_run",
    Takes::Switch,
    "only print what would be removed, and what blocks it",
);

/// A line of a preview: a step, or a reason that the command is refused.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PreviewRow {
    /// Place in the order in which a host works, from 1; `None`: the object blocks the command.
    pub(crate) step: Option<usize>,
    /// `remove`, `revoke`, `change`, `create` or `blocks`.
    pub(crate) action: &'static str,
    /// `None`: the object is in the database only.
    pub(crate) host: Option<String>,
    /// Key of the host object; in the database and for `blocks` the object in words.
    pub(crate) object: String,
    /// What is on the host; for `blocks` the reason and the remedy.
    pub(crate) detail: String,
}

impl Row for PreviewRow {
    const FORMAT: &'static str = "%-5s %-7s %-15s %-22s %s";
    const TITLES: &'static [&'static str] = &["step", "action", "host", "object", "detail"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.step.map_or("-".to_owned(), |step| step.to_string()),
            self.action.to_owned(),
            self.host.clone().unwrap_or_else(|| "-".to_owned()),
            self.object.clone(),
            self.detail.clone(),
        ]
    }
}

/// A preview as text: first what blocks it.
pub(crate) fn text(preview: Preview, format: Format) -> String {
    let mut rows: Vec<PreviewRow> = Vec::new();
    for blocker in preview.blockers {
        rows.push(PreviewRow {
            step: None,
            action: "blocks",
            host: None,
            object: blocker.object,
            detail: blocker.reason,
        });
    }
    for (at, step) in preview.steps.into_iter().enumerate() {
        rows.push(PreviewRow {
            step: Some(at + 1),
            action: match step.effect {
                Effect::Remove => "remove",
                Effect::Revoke => "revoke",
                Effect::Change => "change",
                Effect::Create => "create",
            },
            host: step.host,
            object: step.object,
            detail: step.what,
        });
    }
    render(&rows, format)
}
