//! `nova-manage host`: the hosts, what they must have, and what is there.

use super::context::Context;
use super::trouble::{self, Fault};
use super::{Action, Category, action};
use crate::args::{Bound, Format, Param, Takes, param};
use crate::failure::Failure;
use crate::table::{Row, json, render};
use novanet_agent::link::Adopted;
use novanet_agent::runtime::{AgentError, Lock, identity};
use novanet_model::flags::Flags;
use novanet_model::rows::Network;
use novanet_model::wire::HostRole;
use novanet_model::{IfName, Ipv4Net};
use serde::Serialize;

pub(crate) const CATEGORY: Category = Category {
    name: "host",
    aliases: &[],
    about: "the hosts, what they must have, and what is there",
    actions: ACTIONS,
};

const ACTIONS: &[Action] = &[
    action("list", "all hosts", ZONE, |b| {
        let zone = b.text("zone").map(str::to_owned);
        Ok(super::Command::Host(Command::List { zone }))
    }),
    action(
        "plan",
        "what a host must have; --diff: what would change now, and why (exit code 2 if something does)",
        PLAN,
        |b| {
            Ok(super::Command::Host(Command::Plan {
                host: host(b),
                diff: switch(b, "diff")?,
            }))
        },
    ),
    action(
        "cleanup",
        "remove everything of novanet from this host, and nothing else",
        CLEANUP,
        |b| {
            Ok(super::Command::Host(Command::Cleanup {
                host: host(b),
                dry_run: switch(b, "dry_run")?,
                force: switch(b, "force")?,
            }))
        },
    ),
    action(
        "adopt",
        "give a bridge or VLAN device on this host that novanet did not make to novanet",
        &[param(
            "device",
            Takes::Required,
            "its name, like vlan100 or br100",
        )],
        |b| {
            Ok(super::Command::Host(Command::Adopt {
                device: b.parse_required("device")?,
            }))
        },
    ),
    action(
        "confirm",
        "keep this host's interfaces in their bridges, though their sshd sessions had to stop",
        &[param(
            "interface",
            Takes::Optional,
            "one interface (all that wait or were taken out again)",
        )],
        |b| {
            Ok(super::Command::Host(Command::Confirm {
                interface: b.parse("interface")?,
            }))
        },
    ),
    action(
        "zone",
        "put a host into an availability zone",
        SET_ZONE,
        |b| {
            Ok(super::Command::Host(Command::Zone {
                host: b.required("host")?.to_owned(),
                zone: b.required("zone")?.to_owned(),
            }))
        },
    )
    .or(&["set_zone"]),
    action(
        "rename",
        "give a host another name, in the database and in the state folder of this host; its agent \
         must not run",
        RENAME,
        |b| {
            Ok(super::Command::Host(Command::Rename {
                host: b.required("host")?.to_owned(),
                name: host_name(b.required("name")?)?,
            }))
        },
    ),
    action(
        "delete",
        "forget a host that is gone for good",
        &[param("host", Takes::Required, "the host")],
        |b| {
            let host = b.required("host")?.to_owned();
            Ok(super::Command::Host(Command::Delete { host }))
        },
    )
    .or(&["remove"]),
];

const RENAME: &[Param] = &[
    param("host", Takes::Required, "the host"),
    param("name", Takes::Required, "its new name"),
];

/// A name that a host can have.
fn host_name(name: &str) -> Result<String, Failure> {
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 255 || !name.chars().all(ok) {
        return Err(Failure::usage(format!(
            "name {name:?}: must be 1 to 255 letters, digits, '-', '_' or '.'"
        )));
    }
    Ok(name.to_owned())
}

const SET_ZONE: &[Param] = &[
    param("host", Takes::Required, "the host"),
    param("zone", Takes::Required, "where new instances find it"),
];

const ZONE: &[Param] = &[param("zone", Takes::Optional, "only this zone")];

const PLAN: &[Param] = &[
    param("host", Takes::Optional, "the host (this one)"),
    param("diff", Takes::Switch, "only what would change now"),
];

const CLEANUP: &[Param] = &[
    param(
        "host",
        Takes::Optional,
        "the host (this one; another with --dry-run only)",
    ),
    param("dry_run", Takes::Switch, "only say what would be removed"),
    param("force", Takes::Switch, "also if instances run here"),
];

/// The actions of `host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// List them.
    List {
        /// Only this zone.
        zone: Option<String>,
    },
    /// What a host must have.
    Plan {
        /// Which; `None`: this one.
        host: Option<String>,
        /// Only the difference to what is there.
        diff: bool,
    },
    /// Make a device of this host novanet's.
    Adopt {
        /// Its name.
        device: IfName,
    },
    /// Confirm the moves of this host's uplinks.
    Confirm {
        /// Which; `None`: all that wait.
        interface: Option<IfName>,
    },
    /// Put one into a zone.
    Zone { host: String, zone: String },
    /// Give one another name.
    Rename {
        host: String,
        /// The new name.
        name: String,
    },
    /// Forget one.
    Delete { host: String },
    /// Remove all of ours.
    Cleanup {
        /// Which; `None`: this one.
        host: Option<String>,
        /// Only say what.
        dry_run: bool,
        /// Also if instances run.
        force: bool,
    },
}

/// `host adopt`: of the device's addresses, those of networks become novanet's too.
pub(crate) async fn adopt(device: &IfName, cx: &Context) -> Result<String, Failure> {
    let networks = cx.cloud.networks().await?;
    let here = networks.iter().filter(|n| {
        n.bridge == *device || n.vlan.map(IfName::vlan_device).as_ref() == Some(device)
    });
    let here: Vec<_> = here.collect();
    let gateway = |n: &&Network| Ipv4Net::new(n.gateway, n.cidr.prefix_len()).ok();
    let gateways: Vec<Ipv4Net> = here.iter().filter_map(gateway).collect();
    match novanet_agent::link::adopt(device, &gateways).map_err(Failure::failed)? {
        Adopted::Already => cx.note(&format!("device {device} was novanet's before")),
        Adopted::Tagged if here.is_empty() => cx.note(&format!(
            "no network has device {device}: the agent removes it"
        )),
        Adopted::Tagged => {}
    }
    Ok(String::new())
}

/// `host confirm`: in the agent's state folder on this host, whether an agent runs or not.
pub(crate) fn confirm(
    interface: Option<&IfName>,
    flags: &Flags,
    format: Format,
) -> Result<String, Failure> {
    let confirmed = novanet_agent::link::confirm(&flags.state_path(), interface);
    let confirmed = confirmed.map_err(Failure::failed)?;
    if format == Format::Json {
        return Ok(json(&confirmed));
    }
    let line = |uplink: &IfName| format!("interface {uplink}: confirmed\n");
    let lines: Vec<_> = confirmed.iter().map(line).collect();
    Ok(lines.concat())
}

fn host(bound: &Bound) -> Option<String> {
    bound.text("host").map(str::to_owned)
}

fn switch(bound: &Bound, name: &str) -> Result<bool, Failure> {
    Ok(bound.truth(name)?.unwrap_or(false))
}

/// Runs the actions on rows of hosts; [`super::local`] has those on the host itself.
pub(crate) async fn list(zone: Option<&str>, cx: &Context) -> Result<String, Failure> {
    let mut hosts = cx.cloud.hosts().await?;
    hosts.retain(|host| zone.is_none_or(|z| z == host.availability_zone));
    let mut faults = trouble::report(cx, &hosts).await?;
    let rows: Vec<HostRow> = hosts
        .into_iter()
        .map(|host| HostRow {
            alive: cx.cloud.is_up(&host),
            roles: host.roles.iter().map(|r| word(*r).to_owned()).collect(),
            faults: faults.remove(&host.name).unwrap_or_default(),
            host: host.name,
            zone: host.availability_zone,
            address: host.my_ip,
            applied_version: host.applied_version,
        })
        .collect();
    Ok(render(&rows, cx.format))
}

/// `host rename`. The state folder on this host follows, if it is that host's.
pub(crate) async fn rename(old: &str, new: &str, cx: &Context) -> Result<String, Failure> {
    let failed = |e: AgentError| Failure::because(&e);
    let state_path = cx.flags.state_path();
    let here = identity::owner(&state_path).as_deref() == Some(old);
    // While it is held no agent runs with this state.
    let lock = if here {
        Some(Lock::acquire(&state_path).map_err(failed)?)
    } else {
        None
    };
    let names: Vec<String> = cx
        .cloud
        .hosts()
        .await?
        .into_iter()
        .map(|h| h.name)
        .collect();
    let has = |name: &str| names.iter().any(|n| n == name);
    // A rename that was killed half-way left only the folder to do.
    if !(here && !has(old) && has(new)) {
        cx.cloud.rename_host(old, new, lock.is_some()).await?;
    }
    if here {
        identity::claim(&state_path, new).map_err(failed)?;
    }
    Ok(String::new())
}

fn word(role: HostRole) -> &'static str {
    match role {
        HostRole::Network => "network",
        HostRole::Compute => "compute",
    }
}

/// A line of `host list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct HostRow {
    pub(crate) host: String,
    pub(crate) zone: String,
    pub(crate) roles: Vec<String>,
    pub(crate) address: std::net::Ipv4Addr,
    pub(crate) alive: bool,
    pub(crate) applied_version: i64,
    faults: Vec<Fault>,
}

impl Row for HostRow {
    const FORMAT: &'static str = "%-25s\t%-15s";
    const TITLES: &'static [&'static str] = &["host", "zone"];

    fn cells(&self) -> Vec<String> {
        vec![self.host.clone(), self.zone.clone()]
    }
}
