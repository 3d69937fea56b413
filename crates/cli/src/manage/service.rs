//! `nova-manage service`: which hosts are alive.

use super::{Category, action};
use crate::args::{Param, Takes, param};
use crate::table::{Row, none};
use serde::Serialize;

pub(crate) const CATEGORY: Category = Category {
    name: "service",
    aliases: &[],
    about: "which hosts are alive, and as what",
    actions: &[action(
        "list",
        "all services, or one host's, or one kind",
        LIST,
        |b| {
            Ok(super::Command::Service(Command::List {
                host: b.text("host").map(str::to_owned),
                service: b.text("service").map(str::to_owned),
            }))
        },
    )],
};

const LIST: &[Param] = &[
    param("host", Takes::Optional, "only this host"),
    param(
        "service",
        Takes::Optional,
        "only this one, like nova-network",
    )
    .or(&["binary"]),
];

/// What `service` can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// List them.
    List {
        /// Only this host.
        host: Option<String>,
        /// Only this one.
        service: Option<String>,
    },
}

/// A line of `service list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ServiceRow {
    pub(crate) binary: String,
    pub(crate) host: String,
    pub(crate) zone: String,
    pub(crate) enabled: bool,
    pub(crate) alive: bool,
    pub(crate) updated_at: Option<String>,
}

impl Row for ServiceRow {
    const FORMAT: &'static str = "%-16s %-36s %-16s %-10s %-5s %-10s";
    const TITLES: &'static [&'static str] =
        &["Binary", "Host", "Zone", "Status", "State", "Updated_At"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.binary.clone(),
            self.host.clone(),
            self.zone.clone(),
            if self.enabled { "enabled" } else { "disabled" }.to_owned(),
            if self.alive { ":-)" } else { "XXX" }.to_owned(),
            none(self.updated_at.as_ref()),
        ]
    }
}
