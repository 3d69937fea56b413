//! Use cases of membership: the users of a project, and their roles.
//!
//! nova's rule (`has_role` of 2011.3; `global_roles`): a role counts in a project when it was given
//! in all of the user's projects *and* in that one. cloudadmin and itsec are given in all only.

use crate::caller::operator;
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::{ModelError, ProjectId};
use novanet_store::{Conn, audit, certificates, projects, users};

/// nova's `allowed_roles`.
pub const ROLES: [&str; 5] = ["cloudadmin", "itsec", "sysadmin", "netadmin", "developer"];

pub use novanet_store::users::GLOBAL_ROLES;

/// A role where it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The user that has it.
    pub user: String,
    /// The role.
    pub role: String,
    /// In which project; `None`: in all of the user's.
    pub project: Option<String>,
}

impl Cloud {
    /// `project add`: makes a user a member. Twice does nothing.
    pub async fn add_member(&self, project: &ProjectId, user: &str) -> Result<()> {
        let mut tx = self.db().begin_unplanned().await?;
        require_project(&mut tx, project).await?;
        require_user(&mut tx, user).await?;
        if projects::has_member(&mut tx, project, user).await? {
            return Ok(());
        }
        projects::add_member(&mut tx, project, user).await?;
        let id = Some(project.as_str());
        audit::record(&mut tx, &operator(), "project.add", id, user, "").await?;
        tx.commit().await?;
        Ok(())
    }

    /// `project remove`: a user is no member any more, has no role there, and its certificates
    /// there are revoked. Refused for the user that manages the project.
    pub async fn remove_member(&self, project: &ProjectId, user: &str) -> Result<()> {
        let mut tx = self.db().begin_unplanned().await?;
        let found = require_project(&mut tx, project).await?;
        require_user(&mut tx, user).await?;
        if found.manager == user {
            let reason = format!("manages project {project}");
            return Err(ControlError::in_use(Kind::User, user, reason));
        }
        if !users::leave_project(&mut tx, user, project).await? {
            return Err(no_member(user, project));
        }
        certificates::revoke_user(&mut tx, user, Some(project)).await?;
        let id = Some(project.as_str());
        audit::record(&mut tx, &operator(), "project.remove", id, user, "").await?;
        tx.commit().await?;
        Ok(())
    }

    /// `role add`: in a project that the user is a member of, or in all. Twice does nothing.
    pub async fn add_role(
        &self,
        user: &str,
        role: &str,
        project: Option<&ProjectId>,
    ) -> Result<()> {
        check_role(role, project)?;
        let mut tx = self.db().begin_unplanned().await?;
        require_user(&mut tx, user).await?;
        if let Some(project) = project {
            require_project(&mut tx, project).await?;
            if !projects::has_member(&mut tx, project, user).await? {
                return Err(no_member(user, project));
            }
        }
        users::add_role(&mut tx, user, role, project).await?;
        let id = project.map(ProjectId::as_str);
        audit::record(&mut tx, &operator(), "role.add", id, user, role).await?;
        tx.commit().await?;
        Ok(())
    }

    /// `role remove`: from where it was given. Answers where the user has it still.
    pub async fn remove_role(
        &self,
        user: &str,
        role: &str,
        project: Option<&ProjectId>,
    ) -> Result<Vec<Given>> {
        check_role(role, project)?;
        let mut tx = self.db().begin_unplanned().await?;
        require_user(&mut tx, user).await?;
        if !users::remove_role(&mut tx, user, role, project).await? {
            let place = project.map_or_else(
                || "in all projects".to_owned(),
                |project| format!("in project {project}"),
            );
            let reason = format!("has no role {role} {place} (see: nova-manage role list {user})");
            return Err(ControlError::in_use(Kind::User, user, reason));
        }
        let id = project.map(ProjectId::as_str);
        audit::record(&mut tx, &operator(), "role.remove", id, user, role).await?;
        let mut left = given(&mut tx, user).await?;
        tx.commit().await?;
        left.retain(|one| one.role == role);
        Ok(left)
    }

    /// `role has`: whether a user's role counts in a project; without a project: whether it was
    /// given in all.
    pub async fn has_role(
        &self,
        user: &str,
        role: &str,
        project: Option<&ProjectId>,
    ) -> Result<bool> {
        check_role(role, None)?;
        let mut tx = self.db().read().await?;
        require_user(&mut tx, user).await?;
        let Some(project) = project else {
            let all = given(&mut tx, user).await?;
            return Ok(all.iter().any(|g| g.role == role && g.project.is_none()));
        };
        require_project(&mut tx, project).await?;
        let roles = users::roles(&mut tx, user, project).await?;
        Ok(roles.iter().any(|r| r == role))
    }

    /// `role list`: all roles where they were given; only a user's if named.
    pub async fn roles(&self, user: Option<&str>) -> Result<Vec<Given>> {
        let mut tx = self.db().read().await?;
        if let Some(user) = user {
            require_user(&mut tx, user).await?;
        }
        given(&mut tx, user.unwrap_or_default()).await
    }
}

async fn given(c: &mut Conn, user: &str) -> Result<Vec<Given>> {
    let rows = users::given_roles(c, user).await?;
    let given = rows.into_iter().map(|(user, role, project)| Given {
        user,
        role,
        project: Some(project).filter(|p| !p.is_empty()),
    });
    Ok(given.collect())
}

fn check_role(role: &str, project: Option<&ProjectId>) -> Result<()> {
    if !ROLES.contains(&role) {
        let why = format!("must be one of {}", ROLES.join(", "));
        return Err(ModelError::new("role", role, why).into());
    }
    if project.is_some() && GLOBAL_ROLES.contains(&role) {
        let why = "is for all projects or for none: leave the project out";
        return Err(ModelError::new("role", role, why).into());
    }
    Ok(())
}

async fn require_user(c: &mut Conn, user: &str) -> Result<()> {
    match users::by_id(c, user).await? {
        Some(_) => Ok(()),
        None => Err(ControlError::not_found(Kind::User, user)),
    }
}

async fn require_project(c: &mut Conn, id: &ProjectId) -> Result<projects::Project> {
    projects::by_id(c, id)
        .await?
        .ok_or_else(|| ControlError::not_found(Kind::Project, id))
}

pub(crate) fn no_member(user: &str, project: &ProjectId) -> ControlError {
    let reason = format!(
        "is no member of project {project} (add it: nova-manage project add {project} {user})"
    );
    ControlError::in_use(Kind::User, user, reason)
}
