//! Use cases of users and projects: create and list. `deletion` has their end, `accounts` changes
//! them, `members` has projects' members and roles.

use crate::caller::operator;
use crate::certificates::require_access;
use crate::{Caller, Cloud, ControlError, Kind, Result};
pub use novanet_model::Credentials;
use novanet_model::{ModelError, ProjectId};
use novanet_store::users::{self, User};
use novanet_store::{StoreError, Tx, audit, projects};

/// The words that a user's secret is sealed with, so that one row's secret is no use in another.
pub(crate) fn secret_context(user: &str) -> String {
    format!("users/{user}/secret_key")
}

impl Cloud {
    /// `user create` and `user admin`. Keys are made when none are given.
    pub async fn create_user(
        &self,
        name: &str,
        keys: Option<Credentials>,
        admin: bool,
    ) -> Result<Credentials> {
        check_user(name)?;
        let keys = keys.unwrap_or_else(|| Credentials {
            access_key: novanet_pki::credentials::new_access_key(),
            secret_key: novanet_pki::credentials::new_secret_key(),
        });
        let sealed = self
            .vault()?
            .seal(&secret_context(name), keys.secret_key.as_bytes());
        // Planned, as the deletion: the audit numbers both in the order of their commits.
        let mut tx = self.db().begin_planned().await?;
        let user = User {
            id: name.to_owned(),
            access_key: keys.access_key.clone(),
            sealed_secret: sealed,
            is_admin: admin,
            created_at: tx.now,
        };
        if users::by_id(&mut tx, name).await?.is_some() {
            return Err(ControlError::exists(Kind::User, name));
        }
        match users::insert(&mut tx, &user).await {
            Err(StoreError::Conflict(_)) => {
                return Err(ControlError::in_use(
                    Kind::User,
                    name,
                    "the access key belongs to another user",
                ));
            }
            other => other?,
        }
        audit::record(&mut tx, &operator(), "user.create", None, name, "").await?;
        tx.commit().await?;
        Ok(keys)
    }

    /// `user list`.
    pub async fn users(&self) -> Result<Vec<User>> {
        let mut tx = self.db().read().await?;
        Ok(users::list(&mut tx).await?)
    }

    /// A user's keys, for its credentials file.
    pub async fn credentials(&self, name: &str) -> Result<Credentials> {
        let mut tx = self.db().read().await?;
        let user = users::by_id(&mut tx, name)
            .await?
            .ok_or_else(|| ControlError::not_found(Kind::User, name))?;
        Ok(Credentials {
            secret_key: self.open_secret(&user)?,
            access_key: user.access_key,
        })
    }

    /// The keys of a user that can use a project, for its credentials file there.
    pub async fn credentials_in(&self, project: &ProjectId, user: &str) -> Result<Credentials> {
        let mut tx = self.db().read().await?;
        if projects::by_id(&mut tx, project).await?.is_none() {
            return Err(ControlError::not_found(Kind::Project, project));
        }
        require_access(&mut tx, project, user).await?;
        drop(tx);
        self.credentials(user).await
    }

    pub(crate) fn open_secret(&self, user: &User) -> Result<String> {
        let plain = self
            .vault()?
            .open(&secret_context(&user.id), &user.sealed_secret)?;
        Ok(String::from_utf8_lossy(&plain).into_owned())
    }

    /// `project create`: with its default group.
    pub async fn create_project(
        &self,
        id: &ProjectId,
        manager: &str,
        description: &str,
    ) -> Result<()> {
        let mut tx = self.db().begin_planned().await?;
        if users::by_id(&mut tx, manager).await?.is_none() {
            return Err(ControlError::not_found(Kind::User, manager));
        }
        if projects::by_id(&mut tx, id).await?.is_some() {
            return Err(ControlError::exists(Kind::Project, id));
        }
        projects::insert(&mut tx, id, manager, description).await?;
        let project = Some(id.as_str());
        audit::record(
            &mut tx,
            &operator(),
            "project.create",
            project,
            id.as_str(),
            manager,
        )
        .await?;
        self.ensure_default_group(&mut tx, &operator(), id, manager)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Whether the caller's project is there still: between the check of a signature and the use
    /// case another request may have deleted it.
    pub(crate) async fn still_there(&self, tx: &mut Tx, caller: &Caller) -> Result<()> {
        match projects::by_id(tx, &caller.project).await? {
            Some(_) => Ok(()),
            None => Err(ControlError::not_found(Kind::Project, &caller.project)),
        }
    }

    /// `project list`; only a user's if named.
    pub async fn projects(&self, user: Option<&str>) -> Result<Vec<projects::Project>> {
        let mut tx = self.db().read().await?;
        Ok(projects::list(&mut tx, user.unwrap_or_default()).await?)
    }
}

fn check_user(name: &str) -> Result<()> {
    // A user's name goes where a project's goes: certificates, file names, the EC2 access key's
    // `key:project`.
    name.parse::<ProjectId>()
        .map(|_| ())
        .map_err(|e| ModelError::new("user", name, e.reason).into())
}
