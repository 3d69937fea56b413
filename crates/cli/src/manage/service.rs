//! `nova-manage service`: which hosts are alive.

use super::context::Context;
use super::trouble::{self, Fault};
use super::{Category, action};
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use crate::table::{Row, Time, render};
use novanet_model::wire::HostRole;
use serde::Serialize;

pub(crate) const CATEGORY: Category = Category {
    name: "service",
    aliases: &[],
    about: "which hosts are alive, and as what",
    actions: &[
        action(
            "list",
            "all services, or one host's, or one kind",
            LIST,
            |b| {
                Ok(super::Command::Service(Command::List {
                    host: b.text("host").map(str::to_owned),
                    service: b.text("service").map(str::to_owned),
                }))
            },
        ),
        action(
            "enable",
            "let a host get new instances and networks again",
            HOST,
            |b| set(b, true),
        ),
        action(
            "disable",
            "give a host no new instances and networks; what runs there goes on",
            HOST,
            |b| set(b, false),
        ),
    ],
};

const HOST: &[Param] = &[
    param("host", Takes::Required, "the host"),
    param(
        "service",
        Takes::Optional,
        "taken for nova's sake: a host is enabled and disabled as a whole",
    )
    .or(&["binary"]),
];

fn set(bound: &Bound, enabled: bool) -> Result<super::Command, Failure> {
    let service = bound.text("service").map(str::to_owned);
    if let Some(name) = &service
        && !ROLES.iter().any(|role| binary(*role) == name)
    {
        return Err(Failure::usage(format!(
            "service {name:?}: must be nova-network or nova-compute"
        )));
    }
    Ok(super::Command::Service(Command::Set {
        host: bound.required("host")?.to_owned(),
        service,
        enabled,
    }))
}

const ROLES: [HostRole; 2] = [HostRole::Network, HostRole::Compute];

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
    /// Enable or disable a host.
    Set {
        /// Which.
        host: String,
        /// nova disabled one service of it.
        service: Option<String>,
        /// `false`: disable.
        enabled: bool,
    },
}

/// Does it.
pub(crate) async fn run(command: Command, cx: &Context) -> Result<String, Failure> {
    match command {
        Command::List { host, service } => list(host, service, cx).await,
        Command::Set {
            host,
            service,
            enabled,
        } => {
            cx.cloud.set_enabled(&host, enabled).await?;
            if service.is_some() {
                cx.note(&format!(
                    "host {host}: all of its services are {} together",
                    if enabled { "enabled" } else { "disabled" }
                ));
            }
            Ok(String::new())
        }
    }
}

/// Lists the services, with the faults of their hosts: an operator looks here first.
async fn list(
    host: Option<String>,
    service: Option<String>,
    cx: &Context,
) -> Result<String, Failure> {
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

    fn novas_cells(&self) -> Vec<String> {
        let mut cells = self.cells();
        cells[5] = self.updated_at.novas();
        cells
    }
}
