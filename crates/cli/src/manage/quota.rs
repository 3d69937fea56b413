//! `nova-manage project quota`: a project's limits beside what is in use.

use super::context::Context;
use crate::args::Bound;
use crate::failure::Failure;
use crate::table::{Row, render};
use novanet_control::quota::Limit;
use novanet_model::flags::nearest;
use novanet_model::{ProjectId, Resource};
use serde::Serialize;

/// nova's word for no limit.
const UNLIMITED: &str = "unlimited";

/// A limit to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    resource: Resource,
    /// `None`: no limit.
    limit: Option<u32>,
}

/// From `KEY VALUE`; `None`: both are missing.
pub(super) fn change(bound: &Bound) -> Result<Option<Change>, Failure> {
    match (bound.text("key"), bound.text("value")) {
        (None, None) => Ok(None),
        (Some(key), Some(value)) => Ok(Some(Change {
            resource: resource(key)?,
            limit: limit(value)?,
        })),
        (Some(key), None) => Err(Failure::usage(format!(
            "value: is missing: the new limit of {key}, or {UNLIMITED}"
        ))),
        (None, Some(_)) => Err(Failure::usage("key: is missing: what is limited")),
    }
}

fn resource(key: &str) -> Result<Resource, Failure> {
    let words = || Resource::ALL.iter().map(|resource| resource.as_str());
    let found = Resource::ALL.iter().find(|one| one.as_str() == key);
    found.copied().ok_or_else(|| {
        let hint = nearest(key, words())
            .map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
        let all = words().collect::<Vec<_>>().join(", ");
        Failure::usage(format!("key {key:?}: must be one of {all}{hint}"))
    })
}

fn limit(value: &str) -> Result<Option<u32>, Failure> {
    if value == UNLIMITED || value == "-1" {
        return Ok(None);
    }
    match value.parse() {
        Ok(limit @ 0..=1_000_000_000) => Ok(Some(limit)),
        _ => Err(Failure::usage(format!(
            "value {value:?}: must be a number from 0 to 1000000000, or {UNLIMITED}"
        ))),
    }
}

/// Sets a limit, if one is given, and answers all.
pub(super) async fn run(
    cx: &Context,
    project: &ProjectId,
    change: Option<Change>,
) -> Result<String, Failure> {
    if let Some(Change { resource, limit }) = change {
        cx.cloud.set_quota(project, resource, limit).await?;
    }
    let limits = cx.cloud.quotas(project).await?;
    let rows: Vec<QuotaRow> = limits.into_iter().map(QuotaRow::of).collect();
    Ok(render(&rows, cx.format))
}

/// A line of `project quota`.
#[derive(Debug, Clone, Serialize)]
struct QuotaRow {
    quota: &'static str,
    /// `null`: no limit.
    limit: Option<i64>,
    used: i64,
    /// The project's own limit, not the flag's.
    own: bool,
}

impl QuotaRow {
    fn of(limit: Limit) -> Self {
        Self {
            quota: limit.resource.as_str(),
            limit: limit.limit,
            used: limit.used,
            own: limit.own,
        }
    }
}

impl Row for QuotaRow {
    const FORMAT: &'static str = "%s: %s";
    const TITLES: &'static [&'static str] = &["Quota", "Limit", "In Use"];
    const HEADED: bool = false;

    fn cells(&self) -> Vec<String> {
        let limit = self.limit.map(|limit| limit.to_string());
        vec![
            self.quota.to_owned(),
            limit.unwrap_or_else(|| UNLIMITED.to_owned()),
            self.used.to_string(),
        ]
    }
}
