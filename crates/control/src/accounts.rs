//! Use cases that change users and projects: keys, rights, manager. A change counts with the next
//! request.

use crate::caller::operator;
use crate::projects::secret_context;
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::{Credentials, ProjectId};
use novanet_store::{StoreError, audit, projects, users};

/// What `user modify` changes; `None`: stays.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UserChange {
    /// Access key.
    pub access_key: Option<String>,
    /// Secret key.
    pub secret_key: Option<String>,
    /// May do everything.
    pub admin: Option<bool>,
}

impl Cloud {
    /// `user modify`. Answers the keys that the user has now.
    pub async fn modify_user(&self, name: &str, change: UserChange) -> Result<Credentials> {
        let vault = self.vault()?;
        let sealed = change
            .secret_key
            .as_ref()
            .map(|secret| vault.seal(&secret_context(name), secret.as_bytes()));
        let mut tx = self.db().begin_unplanned().await?;
        let mut user = users::by_id(&mut tx, name)
            .await?
            .ok_or_else(|| ControlError::not_found(Kind::User, name))?;
        let mut what = Vec::new();
        if let Some(access_key) = change.access_key {
            user.access_key = access_key;
            what.push("access key");
        }
        if let Some(sealed) = sealed {
            user.sealed_secret = sealed;
            what.push("secret key");
        }
        if let Some(admin) = change.admin {
            user.is_admin = admin;
            what.push(if admin { "admin" } else { "no admin" });
        }
        match users::update(&mut tx, &user).await {
            Err(StoreError::Conflict(_)) => {
                let reason = "the access key belongs to another user";
                return Err(ControlError::in_use(Kind::User, name, reason));
            }
            other => other?,
        }
        let what = what.join(", ");
        audit::record(&mut tx, &operator(), "user.modify", None, name, &what).await?;
        tx.commit().await?;
        Ok(Credentials {
            secret_key: self.open_secret(&user)?,
            access_key: user.access_key,
        })
    }

    /// `user rotate`: new random keys. The old ones are refused from the next request on.
    pub async fn rotate_keys(&self, name: &str) -> Result<Credentials> {
        let change = UserChange {
            access_key: Some(novanet_pki::credentials::new_access_key()),
            secret_key: Some(novanet_pki::credentials::new_secret_key()),
            admin: None,
        };
        self.modify_user(name, change).await
    }

    /// `project modify`: another manager, who becomes a member, and another description (`None`:
    /// stays).
    pub async fn modify_project(
        &self,
        id: &ProjectId,
        manager: &str,
        description: Option<&str>,
    ) -> Result<()> {
        let mut tx = self.db().begin_unplanned().await?;
        let project = projects::by_id(&mut tx, id)
            .await?
            .ok_or_else(|| ControlError::not_found(Kind::Project, id))?;
        if users::by_id(&mut tx, manager).await?.is_none() {
            return Err(ControlError::not_found(Kind::User, manager));
        }
        let description = description.unwrap_or(&project.description);
        projects::update(&mut tx, id, manager, description).await?;
        let of = Some(id.as_str());
        let actor = operator();
        audit::record(&mut tx, &actor, "project.modify", of, id.as_str(), manager).await?;
        tx.commit().await?;
        Ok(())
    }
}
