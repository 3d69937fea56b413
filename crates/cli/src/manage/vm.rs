//! `nova-manage vm`: instances.

use super::{Action, Category, action};
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use crate::table::{Row, none};
use novanet_model::{AmiId, InstanceId, ProjectId};
use serde::Serialize;
use std::path::PathBuf;

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
            let wait = b.truth("wait")?.unwrap_or(false);
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
    param("wait", Takes::Switch, "wait until they run"),
];

const TERMINATE: &[Param] = &[
    param("instance", Takes::Many, "an instance, like i-00000001"),
    param("wait", Takes::Switch, "wait until they are gone"),
];

/// What `vm` can be told.
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
        /// Which.
        instances: Vec<InstanceId>,
        /// Until they are gone.
        wait: bool,
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
    pub(crate) wait: bool,
}

fn run(bound: &Bound) -> Result<Run, Failure> {
    let missing = |what| Failure::usage(format!("{what} is missing"));
    let instance_type = bound.text("type").unwrap_or("m1.tiny");
    if novanet_model::instance_type::find(instance_type).is_none() {
        return Err(Failure::usage(format!(
            "type {instance_type:?}: not known: nova-manage instance_type list shows them"
        )));
    }
    let count = bound.number("count", 1, 1000)?.unwrap_or(1);
    Ok(Run {
        image: bound.parse("image")?.ok_or_else(|| missing("image"))?,
        project: bound.parse("project")?.ok_or_else(|| missing("project"))?,
        instance_type: instance_type.to_owned(),
        count: u32::try_from(count).unwrap_or(1),
        key: bound.text("key").map(str::to_owned),
        groups: bound.all("group").into_iter().map(str::to_owned).collect(),
        user_data_file: bound.text("user_data_file").map(PathBuf::from),
        wait: bound.truth("wait")?.unwrap_or(false),
    })
}

/// A line of `vm list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct VmRow {
    pub(crate) instance: String,
    pub(crate) host: Option<String>,
    #[serde(rename = "type")]
    pub(crate) instance_type: String,
    pub(crate) state: String,
    pub(crate) launched: Option<String>,
    pub(crate) image: String,
    pub(crate) project: String,
    pub(crate) user: Option<String>,
    pub(crate) zone: String,
    pub(crate) index: i64,
    pub(crate) hostname: String,
    pub(crate) addresses: Vec<std::net::Ipv4Addr>,
}

impl Row for VmRow {
    const FORMAT: &'static str =
        "%-10s %-15s %-10s %-10s %-26s %-9s %-9s %-9s  %-10s %-10s %-10s %-5s";
    const TITLES: &'static [&'static str] = &[
        "instance", "node", "type", "state", "launched", "image", "kernel", "ramdisk", "project",
        "user", "zone", "index",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.instance.clone(),
            none(self.host.as_ref()),
            self.instance_type.clone(),
            self.state.clone(),
            none(self.launched.as_ref()),
            self.image.clone(),
            "None".to_owned(),
            "None".to_owned(),
            self.project.clone(),
            none(self.user.as_ref()),
            self.zone.clone(),
            self.index.to_string(),
        ]
    }
}
