//! The caller of a use case and its rights. Every use case that a client can reach checks them
//! here.

use crate::{ControlError, Result};
use novanet_model::ProjectId;
use novanet_store::Tx;
use novanet_store::audit::{self, Actor};
use std::collections::BTreeSet;

/// nova's roles (`allowed_roles` of 2011.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Runs the cloud.
    CloudAdmin,
    /// Addresses, groups, VPN.
    NetAdmin,
    /// Instances, images.
    SysAdmin,
}

impl Role {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::CloudAdmin => "cloudadmin",
            Self::NetAdmin => "netadmin",
            Self::SysAdmin => "sysadmin",
        }
    }
}

/// An authenticated caller.
#[derive(Debug, Clone)]
pub struct Caller {
    /// For the audit.
    pub actor: Actor,
    /// The project that the call is about.
    pub project: ProjectId,
    /// May do everything, in every project.
    pub admin: bool,
    /// Manages the project: may do everything in it.
    pub manager: bool,
    /// Roles that count in the project.
    pub roles: BTreeSet<String>,
}

impl Caller {
    /// The operator on the command line. A user that can write the database may do everything.
    pub fn operator(project: ProjectId) -> Self {
        Self {
            actor: operator(),
            project,
            admin: true,
            manager: true,
            roles: BTreeSet::new(),
        }
    }

    /// Refuses unless the caller is an administrator, manages the project, or has the role.
    pub fn require(&self, role: Role) -> Result<()> {
        let allowed = self.admin
            || self.roles.contains(Role::CloudAdmin.word())
            || (role != Role::CloudAdmin && self.manager)
            || self.roles.contains(role.word());
        if allowed {
            return Ok(());
        }
        let (who, role, project) = (&self.actor.who, role.word(), &self.project);
        Err(ControlError::Forbidden(format!(
            "user {who} needs the role {role} in project {project} (the operator gives it: \
             nova-manage role add {who} {role}, and nova-manage role add {who} {role} {project})"
        )))
    }
}

/// Records what the caller did to an object of its project.
pub(crate) async fn record(
    tx: &mut Tx,
    caller: &Caller,
    action: &str,
    object: impl std::fmt::Display,
    detail: &str,
) -> Result<()> {
    let project = Some(caller.project.as_str());
    let object = object.to_string();
    Ok(audit::record(tx, &caller.actor, action, project, &object, detail).await?)
}

/// The operator as an actor.
pub(crate) fn operator() -> Actor {
    Actor {
        who: "operator".to_owned(),
        source: "cli".to_owned(),
    }
}

/// One of our own controllers as an actor.
pub(crate) fn controller(name: &str) -> Actor {
    Actor {
        who: format!("controller:{name}"),
        source: "server".to_owned(),
    }
}
