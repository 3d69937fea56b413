//! `nova-manage vm`: instances.

mod row;

use super::context::Context;
use super::{Action, Category, action, network};
use crate::args::{Bound, Format, Param, Takes, param};
use crate::failure::Failure;
use crate::table::render;
use novanet_control::Caller;
use novanet_control::groups::GroupRef;
use novanet_control::instances::{InstanceRow, InstanceState, InstanceView, Launch};
use novanet_model::rows::Network;
use novanet_model::{AmiId, InstanceId, NetworkKind, ProjectId};
use row::VmRow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub(crate) const CATEGORY: Category = Category {
    name: "vm",
    aliases: &["instance"],
    about: "instances",
    actions: ACTIONS,
};

const ACTIONS: &[Action] = &[
    action("list", "all instances, or a host's", HOST, |b| {
        let host = b.text("host").map(str::to_owned);
        Ok(super::Command::Vm(Command::List { host }))
    }),
    action("run", "start instances", RUN, |b| {
        Ok(super::Command::Vm(Command::Run(Box::new(run(b)?))))
    }),
    action(
        "terminate",
        "end instances and free their addresses",
        TERMINATE,
        |b| {
            let instances = b
                .all("instance")
                .into_iter()
                .map(|text| {
                    text.parse::<InstanceId>()
                        .map_err(|e| Failure::usage(e.to_string()))
                })
                .collect::<Result<_, _>>()?;
            let wait = wait(b)?;
            Ok(super::Command::Vm(Command::Terminate { instances, wait }))
        },
    ),
];

const HOST: &[Param] = &[param("host", Takes::Optional, "only those on this host")];

const RUN: &[Param] = &[
    param("image", Takes::Required, "the image, like ami-00000001"),
    param("project", Takes::Required, "the project that owns them").or(&["project_id"]),
    param("type", Takes::Named, "size (m1.tiny)").or(&["instance_type", "flavor"]),
    param("count", Takes::Named, "how many (1)"),
    param("key", Takes::Named, "key pair for ssh").or(&["key_name"]),
    param(
        "group",
        Takes::Named,
        "security group; may be given several times (default)",
    ),
    param("user_data_file", Takes::Named, "file with user data"),
    param(
        "network",
        Takes::Named,
        "network of an interface; may be given several times (the project's, or all shared ones)",
    )
    .or(&["subnet"]),
    param(
        "user",
        Takes::Named,
        "user whose they are, with the key pair (the project's manager)",
    ),
    param("wait", Takes::Switch, "wait until they run"),
    TIMEOUT,
];

const TERMINATE: &[Param] = &[
    param("instance", Takes::Many, "an instance, like i-00000001"),
    param("wait", Takes::Switch, "wait until they are gone"),
    TIMEOUT,
];

const TIMEOUT: Param = param(
    "timeout",
    Takes::Named,
    "how many seconds --wait waits (120)",
);

/// `--wait`, with its limit.
fn wait(bound: &Bound) -> Result<Option<Duration>, Failure> {
    let limit = bound.number("timeout", 1, 86_400)?.unwrap_or(120);
    let wait = bound.truth("wait")?.unwrap_or(false);
    Ok(wait.then(|| Duration::from_secs(limit)))
}

/// Whether it needs the key that secrets are sealed with.
pub(crate) fn needs_secrets(command: &Command) -> bool {
    matches!(command, Command::Run(run) if run.user_data_file.is_some())
}

/// The actions of `vm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// List them.
    List {
        /// Only those on this host.
        host: Option<String>,
    },
    /// Start some.
    Run(Box<Run>),
    /// End some.
    Terminate {
        instances: Vec<InstanceId>,
        /// Until they are gone, at most this long.
        wait: Option<Duration>,
    },
}

/// `vm run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) image: AmiId,
    pub(crate) project: ProjectId,
    pub(crate) instance_type: String,
    pub(crate) count: u32,
    pub(crate) key: Option<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) user_data_file: Option<PathBuf>,
    pub(crate) networks: Vec<network::Which>,
    pub(crate) user: Option<String>,
    pub(crate) wait: Option<Duration>,
}

fn run(bound: &Bound) -> Result<Run, Failure> {
    let instance_type = bound.text("type").unwrap_or("m1.tiny");
    if novanet_model::instance_type::find(instance_type).is_none() {
        return Err(Failure::usage(format!(
            "type {instance_type:?}: not known: nova-manage instance_type list shows them"
        )));
    }
    let count = bound.number("count", 1, 1000)?.unwrap_or(1);
    Ok(Run {
        image: bound.parse_required("image")?,
        project: bound.parse_required("project")?,
        instance_type: instance_type.to_owned(),
        count: u32::try_from(count).unwrap_or(1),
        key: bound.text("key").map(str::to_owned),
        groups: bound.all("group").into_iter().map(str::to_owned).collect(),
        user_data_file: bound.text("user_data_file").map(PathBuf::from),
        networks: bound
            .all("network")
            .into_iter()
            .map(network::Which::parse)
            .collect::<Result<_, _>>()?,
        user: super::user::checked_if_given(bound, "user")?,
        wait: wait(bound)?,
    })
}

/// Does it.
pub(crate) async fn execute(command: Command, cx: &Context) -> Result<String, Failure> {
    match command {
        Command::List { host } => {
            let rows: Vec<VmRow> = living(cx)
                .await?
                .into_iter()
                .map(VmRow::from)
                .filter(|row| host.is_none() || row.host == host)
                .collect();
            Ok(render(&rows, cx.format))
        }
        Command::Run(run) => launch(*run, cx).await,
        Command::Terminate { instances, wait } => {
            terminate(&instances, cx).await?;
            if let Some(limit) = wait {
                until(cx, ("terminated", limit), &instances, <[_]>::is_empty).await?;
            }
            Ok(String::new())
        }
    }
}

async fn living(cx: &Context) -> Result<Vec<InstanceView>, Failure> {
    let mut all = cx.cloud.all_instances().await?;
    all.retain(|view| view.row.state != InstanceState::Terminated);
    Ok(all)
}

async fn launch(run: Run, cx: &Context) -> Result<String, Failure> {
    let manager = cx
        .cloud
        .projects(None)
        .await?
        .into_iter()
        .find(|p| p.id == run.project)
        .map(|p| p.manager);
    let Some(manager) = manager else {
        return Err(Failure::failed(format!(
            "project {} not found: nova-manage project list shows them",
            run.project
        )));
    };
    let user_data = match &run.user_data_file {
        None => None,
        Some(path) => Some(
            std::fs::read(path)
                .map_err(|e| Failure::failed(format!("user_data_file {}: {e}", path.display())))?,
        ),
    };
    let mut networks = Vec::with_capacity(run.networks.len());
    for which in &run.networks {
        let network = network::find(which, cx).await?;
        refuse_foreign(&network, &run.project)?;
        networks.push(network.id);
    }
    let mut caller = Caller::operator(run.project);
    caller.actor.who = run.user.unwrap_or(manager);
    let launch = Launch {
        image: novanet_model::ImageId(run.image.0),
        min: i64::from(run.count),
        max: i64::from(run.count),
        instance_type: Some(run.instance_type),
        key_name: run.key,
        groups: run.groups.into_iter().map(GroupRef::Name).collect(),
        user_data,
        client_token: None,
        public_address: None,
        private_address: None,
        networks,
        availability_zone: None,
    };
    let (ids, _) = cx.cloud.run_instances(&caller, &launch).await?;
    if let Some(limit) = run.wait {
        let running =
            |views: &[InstanceView]| views.iter().all(|v| v.row.state == InstanceState::Running);
        until(cx, ("running", limit), &ids, running)
            .await
            .map_err(|failure| naming(failure, &ids))?;
    }
    made(&ids, cx).await
}

/// Refuses a network that no instance of the project may be in. EC2 clients read that there is no
/// such subnet; the error names its project.
fn refuse_foreign(network: &Network, project: &ProjectId) -> Result<(), Failure> {
    let (id, cidr) = (network.id, network.cidr);
    match &network.project {
        Some(owner) if owner != project => Err(Failure::failed(format!(
            "network {id} ({cidr}): belongs to project {owner}: instances of {project} can be in \
             {project}'s own networks and in shared flat ones"
        ))),
        None if network.kind == NetworkKind::Vlan => Err(Failure::failed(format!(
            "network {id} ({cidr}): is a vlan network that belongs to no project: an instance of a \
             project without networks takes a free one if no --network is given"
        ))),
        _ => Ok(()),
    }
}

/// The output of `vm run`: the ids, or all columns of the new instances.
async fn made(ids: &[InstanceId], cx: &Context) -> Result<String, Failure> {
    if cx.format != Format::Json {
        return Ok(ids
            .iter()
            .fold(String::new(), |text, id| format!("{text}{id}\n")));
    }
    let mut views = living(cx).await?;
    views.retain(|view| ids.contains(&view.row.id));
    let rows: Vec<VmRow> = views.into_iter().map(VmRow::from).collect();
    Ok(render(&rows, cx.format))
}

/// They are there although the command failed: its user must be able to end them.
#[allow(clippy::needless_pass_by_value)] // as map_err wants it
fn naming(failure: Failure, ids: &[InstanceId]) -> Failure {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let message = format!("{}; it made {}", failure.message, ids.join(" "));
    Failure { message, ..failure }
}

/// Each in the name of its own project; all of them or none.
async fn terminate(ids: &[InstanceId], cx: &Context) -> Result<(), Failure> {
    let all = cx.cloud.all_instances().await?;
    let first = ids
        .iter()
        .find_map(|id| all.iter().find(|v| v.row.id == *id));
    let project = match first {
        Some(view) => view.row.project.clone(),
        None => return Err(Failure::failed(format!("instance {} not found", ids[0]))),
    };
    cx.cloud.terminate(&Caller::operator(project), ids).await?;
    Ok(())
}

/// Terminates a project's instances, and waits until no host has one.
pub(super) async fn terminate_all_of(
    project: &ProjectId,
    limit: Duration,
    cx: &Context,
) -> Result<(), Failure> {
    let mut all = living(cx).await?;
    all.retain(|view| view.row.project == *project);
    let ids: Vec<InstanceId> = all.iter().map(|view| view.row.id).collect();
    if ids.is_empty() {
        return Ok(());
    }
    let operator = Caller::operator(project.clone());
    cx.cloud.terminate(&operator, &ids).await?;
    until(cx, ("terminated", limit), &ids, <[_]>::is_empty).await
}

/// Waits until what is left of these instances is as it should be.
async fn until(
    cx: &Context,
    (what, limit): (&str, Duration),
    ids: &[InstanceId],
    done: impl Fn(&[InstanceView]) -> bool,
) -> Result<(), Failure> {
    let end = Instant::now() + limit;
    loop {
        let mut views = living(cx).await?;
        views.retain(|view| ids.contains(&view.row.id));
        if done(&views) {
            return Ok(());
        }
        if let Some(bad) = views.iter().find(|v| v.row.state == InstanceState::Error) {
            let detail = bad.row.detail.as_deref().unwrap_or("no reason is known");
            return Err(Failure::failed(format!(
                "instance {}: {detail}",
                bad.row.id
            )));
        }
        if Instant::now() > end {
            let states: Vec<String> = views.iter().map(|v| progress(&v.row)).collect();
            return Err(Failure::failed(format!(
                "not {what} after {} s: {} (nova-manage service list shows which hosts are up)",
                limit.as_secs(),
                states.join(", ")
            )));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What an instance is doing, and what it waits for.
fn progress(row: &InstanceRow) -> String {
    let detail = row.detail.as_ref().map(|why| format!(": {why}"));
    format!("{} {}{}", row.id, row.state, detail.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_fails_says_which_instances_it_made() {
        let failure = naming(
            Failure::failed("not running after 120 s"),
            &[InstanceId(1), InstanceId(2)],
        );
        assert_eq!(failure.code, 1);
        assert_eq!(
            failure.message,
            "not running after 120 s; it made i-00000001 i-00000002"
        );
    }
}
