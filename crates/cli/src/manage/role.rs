//! `nova-manage role`: what users may do in the projects that they are members of.

use super::context::Context;
use super::{Action, Category, action};
use crate::args::{Bound, Param, Takes, param};
use crate::failure::Failure;
use crate::table::{Row, none, render};
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
        let user = b.text("user").map(str::to_owned);
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

/// What `role` can be told. Without a project it is about all projects of the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Give one.
    Add {
        /// Who.
        user: String,
        /// Which.
        role: String,
        /// Where.
        project: Option<ProjectId>,
    },
    /// Say whether it is there.
    Has {
        /// Who.
        user: String,
        /// Which.
        role: String,
        /// Where.
        project: Option<ProjectId>,
    },
    /// List them.
    List {
        /// Only this user's.
        user: Option<String>,
    },
    /// Take one away.
    Remove {
        /// Who.
        user: String,
        /// Which.
        role: String,
        /// Where.
        project: Option<ProjectId>,
    },
}

fn parse(
    bound: &Bound,
    command: fn(String, String, Option<ProjectId>) -> Command,
) -> Result<super::Command, Failure> {
    Ok(super::Command::Role(command(
        bound.required("user")?.to_owned(),
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
            // nova wanted a role both everywhere and in the project; here either is enough, so what
            // used to take it from everywhere does not.
            for left in cx.cloud.remove_role(&user, &role, project.as_ref()).await? {
                let place = left
                    .project
                    .map_or_else(|| "all projects".to_owned(), |p| format!("project {p}"));
                cx.note(&format!("user {user} has the role {role} in {place} still"));
            }
            Ok(String::new())
        }
    }
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
