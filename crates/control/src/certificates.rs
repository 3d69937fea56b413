//! Use cases of the PKI: authorities, users' and servers' certificates, revocation. Keys are made
//! before the transactions that store them.

use crate::caller::{controller, operator};
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::{Micros, ProjectId};
use novanet_pki::PkiError;
pub use novanet_pki::x509::{Authority, Issued};
use novanet_pki::x509::{Purpose, Revoked};
use novanet_store::certificates::{self, Certificate};
use novanet_store::{Conn, Tx, audit, projects, users};
use time::{Duration, OffsetDateTime};

/// How long a revocation list is good for, in days. nova's were for a year: an expired list
/// refuses every client.
const LIST_DAYS: u16 = 365;

/// An authority with less than this left is renewed with the same key: no certificate ends before
/// its time because its authority does.
const RENEW_AUTHORITY: Duration = Duration::days(2 * 365);

/// In seconds.
const WEEK: i64 = 7 * 86_400;

/// The words that an authority's key is sealed with, so that one row's is no use in another.
fn context(project: &str) -> String {
    format!("certificate_authorities/{project}/private_key")
}

impl Cloud {
    /// The authority that signs for a project: its own with `use_project_ca`, else the root. Makes
    /// it where there is none.
    pub async fn authority(&self, project: &ProjectId) -> Result<Authority> {
        self.require_project(project).await?;
        self.ensure_authority(self.authority_of(project)).await
    }

    /// The cloud's root authority. Makes it where there is none.
    pub async fn root_authority(&self) -> Result<Authority> {
        self.ensure_authority("").await
    }

    /// Certificates (PEM) that clients of a project trust: its authority's, then the root's, as in
    /// nova's `cacert.pem`.
    pub async fn trusted_certificates(&self, project: &ProjectId) -> Result<String> {
        let own = self.authority(project).await?.certificate().to_owned();
        if self.authority_of(project).is_empty() {
            return Ok(own);
        }
        Ok(own + self.root_authority().await?.certificate())
    }

    /// A new key and certificate in a project for a user: a member or administrator. The key is
    /// kept nowhere.
    pub async fn issue_certificate(&self, project: &ProjectId, user: &str) -> Result<Issued> {
        let authority = self.authority(project).await?;
        let now = OffsetDateTime::now_utc();
        let issued = authority.issue(project.as_str(), user, Purpose::Client, now)?;
        let mut tx = self.db().begin_unplanned().await?;
        if projects::by_id(&mut tx, project).await?.is_none() {
            return Err(ControlError::not_found(Kind::Project, project));
        }
        require_access(&mut tx, project, user).await?;
        self.add_certificate(&mut tx, &authority, project, Some(user), &issued)
            .await?;
        tx.commit().await?;
        Ok(issued)
    }

    /// Stores a certificate that `authority` has issued to a user, or to the project's VPN server.
    pub(crate) async fn add_certificate(
        &self,
        tx: &mut Tx,
        authority: &Authority,
        project: &ProjectId,
        user: Option<&str>,
        issued: &Issued,
    ) -> Result<()> {
        let id = self.authority_of(project);
        // A project that was deleted and made again has another authority.
        let there = certificates::authority(tx, id).await?;
        if there.is_none_or(|row| row.certificate != authority.certificate()) {
            return Err(ControlError::Unavailable(format!(
                "project {project} was made again meanwhile: repeat the command"
            )));
        }
        let row = Certificate {
            serial: issued.serial.clone(),
            authority: id.to_owned(),
            project: project.as_str().to_owned(),
            user: user.unwrap_or_default().to_owned(),
            certificate: issued.certificate.clone(),
            not_before: issued.not_before.into(),
            not_after: issued.not_after.into(),
            revoked_at: None,
        };
        certificates::insert(tx, &row).await?;
        let (name, of) = (user.unwrap_or("server"), Some(project.as_str()));
        let action = "certificate.issue";
        audit::record(tx, &operator(), action, of, name, &issued.serial).await?;
        Ok(())
    }

    /// The revocation list (PEM) of the authority that signs for a project. The same bytes until a
    /// certificate is revoked or a new week begins: those that follow it see a change only then,
    /// and it is renewed long before it expires, also after a long time without a server.
    pub async fn revocation_list(&self, project: &ProjectId) -> Result<String> {
        let authority = self.authority(project).await?;
        let now = OffsetDateTime::now_utc();
        let week = WEEK * now.unix_timestamp().div_euclid(WEEK);
        let week = Micros::new(week * 1_000_000);
        let mut tx = self.db().read().await?;
        let rows = certificates::revoked(&mut tx, self.authority_of(project), week).await?;
        let made = rows.iter().map(|(_, at)| *at).fold(week, Micros::max);
        let revoked = rows.into_iter().map(|(serial, at)| {
            let at = date(at, "revoked_at")?;
            Ok(Revoked { serial, at })
        });
        let revoked: Vec<_> = revoked.collect::<Result<_>>()?;
        let made = date(made, "revoked_at")?;
        Ok(authority.revocation_list(&revoked, made, LIST_DAYS)?)
    }

    /// `user revoke`: revokes every certificate of a user, in one project or in all. Answers the
    /// projects whose certificates that were; revoking again does nothing.
    pub async fn revoke_user(
        &self,
        user: &str,
        project: Option<&ProjectId>,
    ) -> Result<Vec<String>> {
        let mut tx = self.db().begin_unplanned().await?;
        if let Some(project) = project
            && projects::by_id(&mut tx, project).await?.is_none()
        {
            return Err(ControlError::not_found(Kind::Project, project));
        }
        let revoked = certificates::revoke_user(&mut tx, user, project).await?;
        // The certificates of a deleted user were revoked with the user.
        if revoked.is_empty() && users::by_id(&mut tx, user).await?.is_none() {
            return Err(ControlError::not_found(Kind::User, user));
        }
        for project in &revoked {
            let action = "certificate.revoke";
            audit::record(&mut tx, &operator(), action, Some(project), user, "").await?;
        }
        tx.commit().await?;
        Ok(revoked)
    }

    /// Whose authority signs for a project; empty: the root.
    pub(crate) fn authority_of<'p>(&self, project: &'p ProjectId) -> &'p str {
        if self.config().use_project_ca {
            project.as_str()
        } else {
            ""
        }
    }

    async fn require_project(&self, project: &ProjectId) -> Result<()> {
        let mut tx = self.db().read().await?;
        match projects::by_id(&mut tx, project).await? {
            Some(_) => Ok(()),
            None => Err(ControlError::not_found(Kind::Project, project)),
        }
    }

    async fn ensure_authority(&self, project: &str) -> Result<Authority> {
        if let Some(found) = self.stored_authority(project).await? {
            if found.not_after() - OffsetDateTime::now_utc() > RENEW_AUTHORITY {
                return Ok(found);
            }
            return self.renew_authority(project, found).await;
        }
        let made = Authority::generate(project, OffsetDateTime::now_utc())?;
        let key = made.private_key()?;
        let row = certificates::Authority {
            project: project.to_owned(),
            certificate: made.certificate().to_owned(),
            sealed_key: self.vault()?.seal(&context(project), key.as_bytes()),
            not_after: made.not_after().into(),
        };
        let mut tx = self.db().begin_unplanned().await?;
        if !project.is_empty() && !projects::exists(&mut tx, project).await? {
            return Err(ControlError::not_found(Kind::Project, project));
        }
        certificates::insert_authority(&mut tx, &row).await?;
        tx.commit().await?;
        // Of two that made one at once the first stays.
        self.stored_authority(project)
            .await?
            .ok_or_else(|| ControlError::not_found(Kind::Project, project))
    }

    async fn renew_authority(&self, project: &str, found: Authority) -> Result<Authority> {
        let old = found.certificate().to_owned();
        let renewed = found.renewed(OffsetDateTime::now_utc())?;
        let new = (renewed.certificate(), renewed.not_after().into());
        let mut tx = self.db().begin_unplanned().await?;
        certificates::renew_authority(&mut tx, project, &old, new).await?;
        let (of, name) = ((!project.is_empty()).then_some(project), "authority");
        audit::record(
            &mut tx,
            &controller("renewals"),
            "certificate.renew",
            of,
            name,
            "",
        )
        .await?;
        tx.commit().await?;
        self.stored_authority(project)
            .await?
            .ok_or_else(|| ControlError::not_found(Kind::Project, project))
    }

    async fn stored_authority(&self, project: &str) -> Result<Option<Authority>> {
        let mut tx = self.db().read().await?;
        let Some(row) = certificates::authority(&mut tx, project).await? else {
            return Ok(None);
        };
        let key = self.vault()?.open(&context(project), &row.sealed_key)?;
        let key = String::from_utf8_lossy(&key);
        let not_after = date(row.not_after, "not_after")?;
        let opened = Authority::open(project, &row.certificate, &key, not_after)?;
        Ok(Some(opened))
    }
}

/// A stored moment of the PKI; `column`: where it is stored.
fn date(moment: Micros, column: &str) -> Result<OffsetDateTime> {
    moment.date().ok_or_else(|| {
        let moment = moment.get();
        PkiError::Damaged(format!("{column} = {moment}: is no date")).into()
    })
}

/// Refuses a user that cannot use the project: neither a member nor an administrator.
pub(crate) async fn require_access(c: &mut Conn, project: &ProjectId, user: &str) -> Result<()> {
    let Some(found) = users::by_id(c, user).await? else {
        return Err(ControlError::not_found(Kind::User, user));
    };
    if found.is_admin || projects::has_member(c, project, user).await? {
        return Ok(());
    }
    let roles = users::roles(c, user, project).await?;
    if roles
        .iter()
        .any(|role| users::GLOBAL_ROLES.contains(&&**role))
    {
        return Ok(());
    }
    Err(crate::members::no_member(user, project))
}
