//! `nova-manage role`: what users may do in the projects that they are members of.

use super::context::Context;
use super::user::{checked, checked_if_given};
use super::{Action, Category, action};
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use crate::table::{Row, none, render};
use novanet_control::members::GLOBAL_ROLES;
use novanet_model::ProjectId;
use serde::Serialize;

pub(crate) const CATEGORY: Category = Category {
    name: "role",
    aliases: &[],
    about: "what users may do: cloudadmin, itsec, sysadmin, netadmin, developer",
    actions: ACTIONS,
};

const ACTIONS: &[Action] = &[
    action("add", "give a role", ROLE, |b| {
        parse(b, |user, role, project| Command::Add {
            user,
            role,
            project,
        })
    }),
    action(
        "has",
        "whether a user has a role: True or False",
        ROLE,
        |b| {
            parse(b, |user, role, project| Command::Has {
                user,
                role,
                project,
            })
        },
    ),
    action("list", "roles where they were given", USER, |b| {
        let user = checked_if_given(b, "user")?;
        Ok(super::Command::Role(Command::List { user }))
    }),
    action("remove", "take a role from where it was given", ROLE, |b| {
        parse(b, |user, role, project| Command::Remove {
            user,
            role,
            project,
        })
    }),
];

const ROLE: &[Param] = &[
    param("user", Takes::Required, "the user's name"),
    param("role", Takes::Required, "the role"),
    param(
        "project",
        Takes::Optional,
        "in this project (in all of the user's)",
    ),
];

const USER: &[Param] = &[param("user", Takes::Optional, "only this user's")];

/// The actions of `role`. Without a project it is about all projects of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Give one.
    Add {
        user: String,
        role: String,
        project: Option<ProjectId>,
    },
    /// Say whether it is there.
    Has {
        user: String,
        role: String,
        project: Option<ProjectId>,
    },
    /// List them.
    List {
        /// Only this user's.
        user: Option<String>,
    },
    /// Take one away.
    Remove {
        user: String,
        role: String,
        project: Option<ProjectId>,
    },
}

fn parse(
    bound: &Bound,
    command: fn(String, String, Option<ProjectId>) -> Command,
) -> Result<super::Command, Failure> {
    Ok(super::Command::Role(command(
        checked(bound, "user")?,
        bound.required("role")?.to_ascii_lowercase(),
        bound.parse("project")?,
    )))
}

/// Does it.
pub(crate) async fn run(command: Command, cx: &Context) -> Result<String, Failure> {
    match command {
        Command::Add {
            user,
            role,
            project,
        } => {
            cx.cloud.add_role(&user, &role, project.as_ref()).await?;
            if let Some(missing) = missing(cx, &user, &role, project.as_ref()).await? {
                cx.note(&missing);
            }
            Ok(String::new())
        }
        Command::Has {
            user,
            role,
            project,
        } => {
            let has = cx.cloud.has_role(&user, &role, project.as_ref()).await?;
            Ok(if has { "True\n" } else { "False\n" }.to_owned())
        }
        Command::List { user } => {
            let rows: Vec<RoleRow> = cx
                .cloud
                .roles(user.as_deref())
                .await?
                .into_iter()
                .map(|given| RoleRow {
                    user: given.user,
                    role: given.role,
                    project: given.project,
                })
                .collect();
            Ok(render(&rows, cx.format))
        }
        Command::Remove {
            user,
            role,
            project,
        } => {
            let left = cx.cloud.remove_role(&user, &role, project.as_ref()).await?;
            if project.is_none() {
                for place in left.into_iter().filter_map(|given| given.project) {
                    cx.note(&format!(
                        "user {user} was given the role {role} in project {place}, too: without the one in \
                         all projects it does not count (nova-manage role remove {user} {role} {place})"
                    ));
                }
            }
            Ok(String::new())
        }
    }
}

/// The grant that is still missing: a role counts in a project only if the user has it there and in
/// all projects.
async fn missing(
    cx: &Context,
    user: &str,
    role: &str,
    project: Option<&ProjectId>,
) -> Result<Option<String>, Failure> {
    if let Some(project) = project {
        let counts = cx.cloud.has_role(user, role, Some(project)).await?;
        return Ok((!counts).then(|| {
            format!(
                "the role {role} counts in project {project} when user {user} has it in all projects, \
                 too: nova-manage role add {user} {role}"
            )
        }));
    }
    if GLOBAL_ROLES.contains(&role) {
        return Ok(None);
    }
    let given = cx.cloud.roles(Some(user)).await?;
    let somewhere = given.iter().any(|g| g.role == role && g.project.is_some());
    Ok((!somewhere).then(|| {
        format!(
            "the role {role} counts in the projects where user {user} has it, too: \
             nova-manage role add {user} {role} PROJECT"
        )
    }))
}

/// A line of `role list`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RoleRow {
    pub(crate) user: String,
    pub(crate) role: String,
    pub(crate) project: Option<String>,
}

impl Row for RoleRow {
    const FORMAT: &'static str = "%-20s\t%-12s\t%s";
    const TITLES: &'static [&'static str] = &["user", "role", "project"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.user.clone(),
            self.role.clone(),
            none(self.project.as_ref()),
        ]
    }
}
