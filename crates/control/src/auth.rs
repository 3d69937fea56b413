//! Whose signature is it: access key and project to a secret, and to a caller.

use crate::{Caller, Cloud, ControlError, Kind, Result};
use novanet_model::ProjectId;
use novanet_store::audit::Actor;
use novanet_store::users::User;
use novanet_store::{projects, users};

/// A user found by access key, whose signature is yet to be checked.
#[derive(Debug)]
pub struct Claim {
    user: User,
}

impl Cloud {
    /// The user that an access key names.
    pub async fn claim(&self, access_key: &str) -> Result<Claim> {
        let mut tx = self.db().read().await?;
        let user = users::by_access_key(&mut tx, access_key)
            .await?
            .ok_or_else(|| ControlError::not_found(Kind::User, access_key))?;
        Ok(Claim { user })
    }

    /// The secret to check a signature with.
    pub fn secret_of(&self, claim: &Claim) -> Result<String> {
        self.open_secret(&claim.user)
    }

    /// A caller whose signature was good. Without a project: the user's only one, or the one of the
    /// user's own name.
    pub async fn caller(
        &self,
        claim: &Claim,
        project: Option<&str>,
        source: &str,
    ) -> Result<Caller> {
        let mut tx = self.db().read().await?;
        let user = &claim.user;
        let mine = projects::list(&mut tx, &user.id).await?;
        let id: ProjectId = match project {
            Some(name) => name.parse()?,
            None => match mine.as_slice() {
                [only] => only.id.clone(),
                _ => user.id.parse()?,
            },
        };
        let found = projects::by_id(&mut tx, &id)
            .await?
            .ok_or_else(|| ControlError::not_found(Kind::Project, &id))?;
        let roles = users::roles(&mut tx, &user.id, &id).await?;
        let has = |role: &str| roles.iter().any(|r| r == role);
        // nova's `superuser_roles`; itsec may look into every project.
        let admin = user.is_admin || has("cloudadmin");
        if !admin && !has("itsec") && !mine.iter().any(|p| p.id == id) {
            return Err(ControlError::Forbidden(format!(
                "user {} is no member of project {id}",
                user.id
            )));
        }
        Ok(Caller {
            actor: Actor {
                who: user.id.clone(),
                source: source.to_owned(),
            },
            admin,
            manager: found.manager == user.id,
            project: id,
            roles: roles.into_iter().collect(),
        })
    }
}
