//! `nova-manage service`: which hosts are alive.

use super::context::Context;
use super::trouble::{self, Fault};
use super::{Category, action};
use crate::args::{Param, Takes, param};
use crate::failure::Failure;
use crate::table::{Row, Time, render};
use novanet_model::wire::HostRole;
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

/// The actions of `service`.
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

/// Lists the services, with the faults of their hosts: an operator looks here first.
pub(crate) async fn run(command: Command, cx: &Context) -> Result<String, Failure> {
    let Command::List { host, service } = command;
    let mut rows = Vec::new();
    let mut hosts = cx.cloud.hosts().await?;
    hosts.retain(|one| host.as_ref().is_none_or(|h| *h == one.name));
    let faults = trouble::report(cx, &hosts).await?;
    for one in &hosts {
        for role in &one.roles {
            rows.push(ServiceRow {
                binary: binary(*role).to_owned(),
                host: one.name.clone(),
                zone: one.availability_zone.clone(),
                enabled: !one.disabled,
                alive: cx.cloud.is_up(one),
                faults: faults.get(&one.name).cloned().unwrap_or_default(),
                updated_at: Time(one.seen_at),
            });
        }
    }
    rows.retain(|row| service.as_ref().is_none_or(|s| *s == row.binary));
    Ok(render(&rows, cx.format))
}

/// nova's name of the program that plays a role.
fn binary(role: HostRole) -> &'static str {
    match role {
        HostRole::Network => "nova-network",
        HostRole::Compute => "nova-compute",
    }
}

/// A line of `service list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ServiceRow {
    pub(crate) binary: String,
    pub(crate) host: String,
    pub(crate) zone: String,
    pub(crate) enabled: bool,
    pub(crate) alive: bool,
    pub(crate) updated_at: Time,
    faults: Vec<Fault>,
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
            self.updated_at.to_string(),
        ]
    }
}
