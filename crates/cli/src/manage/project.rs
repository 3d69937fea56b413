//! `nova-manage project` (and `account`, its later name): the owners of instances and addresses.

use super::context::Context;
use super::quota::Change;
use super::user::{checked, checked_if_given};
use super::{Action, Category, action, credentials, preview, quota};
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use crate::table::{Row, render};
use novanet_control::scrub::Scrubbed;
use novanet_model::ProjectId;
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

pub(crate) const CATEGORY: Category = Category {
    name: "project",
    aliases: &["account"],
    about: "who owns instances, addresses and groups",
    actions: ACTIONS,
};

const ACTIONS: &[Action] = &[
    action("add", "make a user a member of a project", MEMBER, |b| {
        Ok(super::Command::Project(Command::Add {
            name: id(b)?,
            user: checked(b, "user")?,
        }))
    }),
    action("create", "make a project", NEW, |b| {
        Ok(super::Command::Project(Command::Create {
            name: id(b)?,
            manager: checked(b, "manager")?,
            description: b.text("description").unwrap_or("").to_owned(),
        }))
    }),
    action(
        "delete",
        "remove a project that owns nothing",
        DELETE,
        |b| {
            Ok(super::Command::Project(Command::Delete {
                name: id(b)?,
                dry_run: b.truth("dry_run")?.unwrap_or(false),
            }))
        },
    ),
    action(
        "remove",
        "take a member, and its roles there, from a project",
        MEMBER,
        |b| {
            Ok(super::Command::Project(Command::Remove {
                name: id(b)?,
                user: checked(b, "user")?,
            }))
        },
    ),
    action(
        "scrub",
        "take a project's networks and floating addresses from it",
        SCRUB,
        |b| {
            let switch = |name| Ok::<_, Failure>(b.truth(name)?.unwrap_or(false));
            Ok(super::Command::Project(Command::Scrub(Scrub {
                name: id(b)?,
                force: switch("force")?,
                terminate: switch("terminate_instances")?,
                dry_run: switch("dry_run")?,
            })))
        },
    ),
    action(
        "zipfile",
        "write a user's keys and a new certificate to a zip archive",
        ZIPFILE,
        |b| {
            Ok(super::Command::Project(Command::Zipfile {
                name: id(b)?,
                user: checked(b, "user")?,
                file: b.text("file").map(str::to_owned),
            }))
        },
    ),
    action(
        "environment",
        "write a user's keys to a file for a shell",
        ENVIRONMENT,
        |b| {
            Ok(super::Command::Project(Command::Environment {
                name: id(b)?,
                user: checked(b, "user")?,
                file: b.text("file").map(str::to_owned),
            }))
        },
    ),
    action("quota", "show or set a project's limits", QUOTA, |b| {
        Ok(super::Command::Project(Command::Quota {
            name: id(b)?,
            change: quota::change(b)?,
        }))
    }),
    action("modify", "give a project another manager", NEW, |b| {
        Ok(super::Command::Project(Command::Modify {
            name: id(b)?,
            manager: checked(b, "manager")?,
            description: b.text("description").map(str::to_owned),
        }))
    }),
    action("list", "all projects, or those of a user", USER, |b| {
        let user = checked_if_given(b, "user")?;
        Ok(super::Command::Project(Command::List { user }))
    }),
];

const NAME: &[Param] = &[param("name", Takes::Required, "the project's name").or(&["project"])];

const MEMBER: &[Param] = &[NAME[0], param("user", Takes::Required, "the user's name")];

const SCRUB: &[Param] = &[
    NAME[0],
    param(
        "force",
        Takes::Switch,
        "also addresses that lead to instances: these are cut off",
    ),
    param(
        "terminate_instances",
        Takes::Switch,
        "first terminate all instances of the project, and wait for their hosts",
    ),
    preview::DRY_RUN,
];

const DELETE: &[Param] = &[NAME[0], preview::DRY_RUN];

const ZIPFILE: &[Param] = &[
    NAME[0],
    MEMBER[1],
    param("file", Takes::Optional, "the archive (nova.zip; -: stdout)").or(&["filename"]),
];

const ENVIRONMENT: &[Param] = &[
    NAME[0],
    MEMBER[1],
    param("file", Takes::Optional, "the file (novarc; -: stdout)").or(&["filename"]),
];
/// How long the hosts may take to end the instances of a project.
const TERMINATION_LIMIT: Duration = Duration::from_mins(2);

const QUOTA: &[Param] = &[
    NAME[0],
    param("key", Takes::Optional, "what is limited (all are shown)"),
    param("value", Takes::Optional, "the new limit, or unlimited"),
];

const USER: &[Param] =
    &[param("user", Takes::Optional, "only projects of this user").or(&["username"])];

const NEW: &[Param] = &[
    param("name", Takes::Required, "the project's name").or(&["project"]),
    param("manager", Takes::Required, "the user who manages it").or(&["user", "project_manager"]),
    param("description", Takes::Optional, "a few words about it").or(&["desc"]),
];

/// The actions of `project`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Make a user a member.
    Add {
        /// Of this project.
        name: ProjectId,
        user: String,
    },
    /// Take a member from one.
    Remove {
        /// From this project.
        name: ProjectId,
        user: String,
    },
    /// Make one.
    Create {
        /// Its id.
        name: ProjectId,
        /// The user that manages it.
        manager: String,
        /// For people.
        description: String,
    },
    /// Remove one.
    Delete {
        /// Its id.
        name: ProjectId,
        /// Only say what would be done.
        dry_run: bool,
    },
    /// Take from one what it owns.
    Scrub(Scrub),
    /// Write the archive with a user's credentials.
    Zipfile {
        /// In this project.
        name: ProjectId,
        user: String,
        /// Where to; `-`: stdout.
        file: Option<String>,
    },
    /// Write a user's `novarc`.
    Environment {
        /// In this project.
        name: ProjectId,
        user: String,
        /// Where to; `-`: stdout.
        file: Option<String>,
    },
    /// Show the limits, and set one.
    Quota {
        /// Of this project.
        name: ProjectId,
        /// `None`: only show.
        change: Option<Change>,
    },
    /// Change one.
    Modify {
        /// Its id.
        name: ProjectId,
        /// The new manager.
        manager: String,
        /// `None`: stays.
        description: Option<String>,
    },
    /// List them.
    List {
        /// Only those of this user.
        user: Option<String>,
    },
}

/// `project scrub`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scrub {
    /// Its id.
    pub(crate) name: ProjectId,
    /// Also addresses that lead to instances.
    pub(crate) force: bool,
    /// Its instances first.
    pub(crate) terminate: bool,
    /// Only say what would be done.
    pub(crate) dry_run: bool,
}

fn id(bound: &Bound) -> Result<ProjectId, Failure> {
    bound.parse_required("name")
}

/// Whether a command seals or opens secrets.
pub(crate) fn needs_secrets(command: &Command) -> bool {
    matches!(
        command,
        Command::Zipfile { .. } | Command::Environment { .. }
    )
}

/// Does it.
pub(crate) async fn run(command: Command, cx: &Context) -> Result<String, Failure> {
    match command {
        Command::Add { name, user } => {
            cx.cloud.add_member(&name, &user).await?;
            Ok(String::new())
        }
        Command::Remove { name, user } => {
            cx.cloud.remove_member(&name, &user).await?;
            Ok(String::new())
        }
        Command::Create {
            name,
            manager,
            description,
        } => {
            cx.cloud
                .create_project(&name, &manager, &description)
                .await?;
            Ok(String::new())
        }
        Command::Delete {
            name,
            dry_run: true,
        } => {
            let preview = cx.cloud.preview_delete_project(&name).await?;
            Ok(preview::text(preview, cx.format))
        }
        Command::Delete { name, .. } => {
            cx.cloud.delete_project(&name).await?;
            Ok(String::new())
        }
        Command::Scrub(command) => scrub(command, cx).await,
        Command::Zipfile { name, user, file } => {
            credentials::zipfile(cx, &name, &user, file.as_deref()).await
        }
        Command::Environment { name, user, file } => {
            credentials::environment(cx, &name, &user, file.as_deref()).await
        }
        Command::Quota { name, change } => quota::run(cx, &name, change).await,
        Command::Modify {
            name,
            manager,
            description,
        } => {
            let description = description.as_deref();
            cx.cloud
                .modify_project(&name, &manager, description)
                .await?;
            Ok(String::new())
        }
        Command::List { user } => {
            let projects = cx.cloud.projects(user.as_deref()).await?;
            let rows: Vec<ProjectRow> = projects
                .into_iter()
                .map(|project| ProjectRow {
                    name: project.id.to_string(),
                    manager: project.manager,
                    description: project.description,
                })
                .collect();
            Ok(render(&rows, cx.format))
        }
    }
}

async fn scrub(command: Scrub, cx: &Context) -> Result<String, Failure> {
    let Scrub {
        name,
        force,
        terminate,
        dry_run,
    } = command;
    if dry_run {
        let preview = cx.cloud.preview_scrub(&name, force, terminate).await?;
        return Ok(preview::text(preview, cx.format));
    }
    if terminate {
        super::vm::terminate_all_of(&name, TERMINATION_LIMIT, cx).await?;
    }
    let scrub = async || cx.cloud.scrub_project(&name, force).await;
    let scrubbed = super::vpn::when_cloudpipe_ended(scrub).await?;
    if scrubbed.networks.is_empty() && scrubbed.floats.is_empty() {
        cx.note(&format!(
            "project {name} owned no network and no floating address"
        ));
    }
    Ok(describe_scrub(&scrubbed))
}

/// What a scrub did, a line each.
fn describe_scrub(scrubbed: &Scrubbed) -> String {
    let mut text = String::new();
    for network in &scrubbed.networks {
        let _ = writeln!(text, "network {network}: is nobody's now");
    }
    for (address, led_to) in &scrubbed.floats {
        let cut = led_to.map_or_else(String::new, |i| format!(", it led to instance {i}"));
        let _ = writeln!(text, "floating IP {address}: is free now{cut}");
    }
    text
}

/// A line of `project list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ProjectRow {
    pub(crate) name: String,
    pub(crate) manager: String,
    pub(crate) description: String,
}

impl Row for ProjectRow {
    const FORMAT: &'static str = "%s";
    const TITLES: &'static [&'static str] = &["name", "manager", "description"];
    const HEADED: bool = false;

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.manager.clone(),
            self.description.clone(),
        ]
    }
}
