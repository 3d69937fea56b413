//! `nova-manage vpn`: the ways into projects' networks. Depends on the use cases of `control`.

use super::context::Context;
use super::{Action, Category, action, vpn_probe};
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use crate::table::{Row, none, render};
use novanet_control::vpn::VpnView;
use novanet_control::{ControlError, Kind};
use novanet_model::{InstanceId, ProjectId};
use serde::Serialize;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

pub(crate) const CATEGORY: Category = Category {
    name: "vpn",
    aliases: &["cloudpipe"],
    about: "the ways into projects' networks",
    actions: ACTIONS,
};

const ACTIONS: &[Action] = &[
    action(
        "change",
        "move a VPN to another public address and port; its clients need a new file",
        CHANGE,
        |b| {
            Ok(super::Command::Vpn(Command::Change {
                project: id(b)?,
                address: address(b)?,
                port: port(b)?,
            }))
        },
    ),
    action("list", "all VPNs, or a project's", PROJECT, |b| {
        let project = b.parse("project")?;
        Ok(super::Command::Vpn(Command::List { project }))
    }),
    action(
        "profile",
        "print a user's VPN client file, with certificate and key",
        PROFILE,
        |b| {
            Ok(super::Command::Vpn(Command::Profile {
                project: id(b)?,
                user: b.parse_required::<ProjectId>("user")?.to_string(),
            }))
        },
    ),
    REVOKE,
    action("run", "start a project's VPN instance", RUN, |b| {
        Ok(super::Command::Vpn(Command::Run {
            project: id(b)?,
            user: b.parse::<ProjectId>("user")?.map(|user| user.to_string()),
        }))
    }),
    action(
        "spawn",
        "start the VPN instance of every project",
        &[],
        |_| Ok(super::Command::Vpn(Command::Spawn)),
    ),
    action(
        "stop",
        "end a project's VPN instance; its address stays",
        NAME,
        |b| Ok(super::Command::Vpn(Command::Stop { project: id(b)? })),
    ),
];

/// Also of `user`. A user's name is checked as a project's: both go into certificates.
pub(super) const REVOKE: Action = action(
    "revoke",
    "end a user's certificates, and the VPN sessions with them",
    REVOKED,
    |b| {
        Ok(super::Command::Vpn(Command::Revoke {
            user: b.parse_required::<ProjectId>("user")?.to_string(),
            project: b.parse("project")?,
        }))
    },
);

const REVOKED: &[Param] = &[
    param("user", Takes::Required, "the user's name").or(&["name", "user_id"]),
    param("project", Takes::Optional, "only in this project (in all)").or(&["project_id"]),
];

const NAME: &[Param] =
    &[param("project", Takes::Required, "the project's name").or(&["project_id"])];

const PROJECT: &[Param] =
    &[param("project", Takes::Optional, "only this project's").or(&["project_id"])];

const PROFILE: &[Param] = &[
    NAME[0],
    param("user", Takes::Required, "the user's name").or(&["user_id"]),
];

const CHANGE: &[Param] = &[
    NAME[0],
    param("ip", Takes::Required, "the public address"),
    param("port", Takes::Required, "the public UDP port"),
];

const RUN: &[Param] = &[
    NAME[0],
    param(
        "user",
        Takes::Optional,
        "who owns key pair and instance (the project's manager)",
    )
    .or(&["user_id"]),
];

/// The actions of `vpn`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Move one.
    Change {
        /// Of this project.
        project: ProjectId,
        /// The new public address.
        address: Ipv4Addr,
        /// The new public UDP port.
        port: u16,
    },
    /// List them.
    List {
        /// Only this project's.
        project: Option<ProjectId>,
    },
    /// Print a client file.
    Profile {
        /// Of this project.
        project: ProjectId,
        /// Whose certificate.
        user: String,
    },
    /// Revoke a user's certificates.
    Revoke {
        /// Whose.
        user: String,
        /// Only in this project.
        project: Option<ProjectId>,
    },
    /// Start one.
    Run {
        /// Of this project.
        project: ProjectId,
        /// Who owns it; `None`: the project's manager.
        user: Option<String>,
    },
    /// Start all.
    Spawn,
    /// End one.
    Stop {
        /// Of this project.
        project: ProjectId,
    },
}

/// Whether a command seals or opens secrets.
pub(crate) fn needs_secrets(command: &Command) -> bool {
    matches!(
        command,
        Command::Run { .. } | Command::Spawn | Command::Profile { .. }
    )
}

fn port(bound: &Bound) -> Result<u16, Failure> {
    let port = bound.number("port", 1, 65_535)?.unwrap_or_default();
    Ok(u16::try_from(port).unwrap_or(u16::MAX))
}

fn address(bound: &Bound) -> Result<Ipv4Addr, Failure> {
    let missing = || Failure::usage("ip is missing");
    bound.address("ip")?.ok_or_else(missing)
}

fn id(bound: &Bound) -> Result<ProjectId, Failure> {
    bound.parse_required("project")
}

/// Does it.
pub(crate) async fn run(command: Command, cx: &Context) -> Result<String, Failure> {
    match command {
        Command::Change {
            project,
            address,
            port,
        } => {
            cx.cloud.change_vpn(&project, address, port).await?;
            cx.note(&format!(
                "clients need a new file: nova-manage project zipfile {project} USER, or \
                 nova-manage vpn profile {project} USER"
            ));
            list(Some(&project), cx).await
        }
        Command::List { project } => list(project.as_ref(), cx).await,
        Command::Profile { project, user } => Ok(cx.cloud.vpn_profile(&project, &user).await?),
        Command::Run { project, user } => {
            launch(&project, user.as_deref(), cx).await?;
            list(Some(&project), cx).await
        }
        Command::Spawn => spawn(cx).await,
        Command::Revoke { user, project } => {
            let projects = cx.cloud.revoke_user(&user, project.as_ref()).await?;
            if projects.is_empty() {
                cx.note(&format!(
                    "user {user} has no certificate that is not revoked"
                ));
            }
            Ok(projects.iter().fold(String::new(), |text, project| {
                format!("{text}project {project}: certificates of {user} are revoked\n")
            }))
        }
        Command::Stop { project } => {
            match cx.cloud.stop_vpn(&project).await? {
                Some(instance) => cx.note(&format!("instance {instance} is being terminated")),
                None => cx.note(&format!("the VPN of project {project} does not run")),
            }
            Ok(String::new())
        }
    }
}

async fn list(project: Option<&ProjectId>, cx: &Context) -> Result<String, Failure> {
    let mut views = cx.cloud.vpns().await?;
    if let Some(project) = project {
        cx.cloud.vpn(project).await?;
        views.retain(|view| view.vpn.project == *project);
    }
    let mut rows: Vec<VpnRow> = views.iter().map(VpnRow::of).collect();
    let runs = |row: &&VpnRow| row.state == "running";
    let running = rows.iter().filter(runs).map(VpnRow::server).collect();
    let answering = vpn_probe::answering(&running)
        .map_err(|e| Failure::failed(format!("vpn list: asking the servers: {e}")))?;
    for row in &mut rows {
        row.answers = answering.contains(&row.server());
    }
    Ok(render(&rows, cx.format))
}

/// How long a command waits for the end of a Cloudpipe.
const CLOUDPIPE_ENDS: Duration = Duration::from_mins(1);

/// Repeats what waits for the end of a Cloudpipe ([`Kind::Vpn`] is in use).
pub(super) async fn when_cloudpipe_ended<T>(
    once: impl AsyncFn() -> Result<T, ControlError>,
) -> Result<T, ControlError> {
    let end = Instant::now() + CLOUDPIPE_ENDS;
    loop {
        match once().await {
            Err(ControlError::InUse {
                kind: Kind::Vpn, ..
            }) if Instant::now() < end => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => return other,
        }
    }
}

/// Starts a VPN; a new Cloudpipe takes the address of its predecessor.
async fn launch(project: &ProjectId, user: Option<&str>, cx: &Context) -> Result<(), Failure> {
    when_cloudpipe_ended(async || cx.cloud.run_vpn(project, user).await).await?;
    if let Err(failure) = super::ca_files::export_vpn(cx, project).await {
        cx.warn(&format!(
            "ca_path, keys_path: the VPN's keys were not exported: {} (they are in the database)",
            failure.message
        ));
    }
    Ok(())
}

/// Starts every project's VPN, also after one that failed.
async fn spawn(cx: &Context) -> Result<String, Failure> {
    let mut failed = Vec::new();
    for project in cx.cloud.projects(None).await? {
        if let Err(failure) = launch(&project.id, None, cx).await {
            cx.note(&format!("project {}: {}", project.id, failure.message));
            failed.push(project.id.to_string());
        }
    }
    if failed.is_empty() {
        return list(None, cx).await;
    }
    let failed = failed.join(", ");
    Err(Failure::failed(format!(
        "vpn spawn: not started for project {failed}"
    )))
}

/// A line of `vpn list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct VpnRow {
    pub(crate) project: ProjectId,
    pub(crate) public_ip: Ipv4Addr,
    pub(crate) public_port: u16,
    pub(crate) internal_ip: Ipv4Addr,
    pub(crate) first_client: Ipv4Addr,
    pub(crate) last_client: Ipv4Addr,
    pub(crate) instance: Option<String>,
    pub(crate) state: String,
    /// Its OpenVPN server answers at the public address and port.
    pub(crate) answers: bool,
}

impl VpnRow {
    fn server(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.public_ip, self.public_port)
    }

    fn of(view: &VpnView) -> Self {
        let vpn = &view.vpn;
        Self {
            project: vpn.project.clone(),
            public_ip: vpn.public_address,
            public_port: vpn.public_port,
            internal_ip: vpn.private_address,
            first_client: vpn.clients.first,
            last_client: vpn.clients.last,
            instance: view.instance.as_ref().map(|row| row.id).map(name),
            state: view
                .instance
                .as_ref()
                .map_or_else(|| "stopped".to_owned(), |row| row.state.to_string()),
            answers: false,
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // for map
fn name(id: InstanceId) -> String {
    id.to_string()
}

impl Row for VpnRow {
    const FORMAT: &'static str = "%-12s\t%-20s\t%-20s\t%-12s\t%-4s\t%-12s\t%s";
    const TITLES: &'static [&'static str] = &[
        "project",
        "ip:port",
        "private_ip",
        "state",
        "up",
        "instance",
        "clients",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.project.to_string(),
            format!("{}:{}", self.public_ip, self.public_port),
            self.internal_ip.to_string(),
            self.state.clone(),
            if self.answers { "up" } else { "down" }.to_owned(),
            none(self.instance.as_ref()),
            format!("{}-{}", self.first_client, self.last_client),
        ]
    }
}
