//! The certificates of VPN servers are renewed long before they end, and when another authority
//! signs for the project (`use_project_ca` was switched). Depends on the PKI; the Cloudpipe takes the
//! new one with its user data.

use super::record;
use super::reserve::context;
use crate::{Cloud, Result, error_chain};
use novanet_model::ProjectId;
use novanet_model::rows::Vpn;
use novanet_pki::x509::Purpose;
use novanet_store::{now, vpns};
use std::time::Duration;
use time::OffsetDateTime;

/// A certificate is renewed when it has less than this left.
const RENEW: Duration = Duration::from_hours(90 * 24);

impl Cloud {
    /// Renews all that must be renewed. A failure is a warning, and tried again in the next round.
    pub(crate) async fn renew_vpn_certificates(&self) -> Result<()> {
        for vpn in self.stale_vpns().await? {
            if let Err(error) = self.renew_vpn_certificate(&vpn).await {
                let (project, error) = (&vpn.project, error_chain(&error));
                tracing::warn!(%project, error, "the VPN's certificate could not be renewed");
            }
        }
        Ok(())
    }

    /// Renews the certificate of a project's VPN if it must be renewed.
    pub(super) async fn ensure_vpn_certificate(&self, project: &ProjectId) -> Result<()> {
        let stale = self.stale_vpns().await?;
        match stale.iter().find(|vpn| vpn.project == *project) {
            Some(vpn) => self.renew_vpn_certificate(vpn).await,
            None => Ok(()),
        }
    }

    async fn stale_vpns(&self) -> Result<Vec<Vpn>> {
        let mut tx = self.db().read().await?;
        Ok(vpns::stale(&mut tx, now() + RENEW, self.config().use_project_ca).await?)
    }

    async fn renew_vpn_certificate(&self, vpn: &Vpn) -> Result<()> {
        let project = &vpn.project;
        let authority = self.authority(project).await?;
        let now = OffsetDateTime::now_utc();
        let server = authority.issue(project.as_str(), "server", Purpose::Server, now)?;
        let key = server.private_key.as_bytes();
        let sealed = self.vault()?.seal(&context(project, "server_key"), key);
        let mut tx = self.db().begin_unplanned().await?;
        let still = vpns::of_project(&mut tx, project).await?;
        if still.is_none_or(|now| now.id != vpn.id || now.deleting) {
            return Ok(());
        }
        self.add_certificate(&mut tx, &authority, project, None, &server)
            .await?;
        vpns::set_certificate(&mut tx, vpn.id, &server.certificate, &sealed).await?;
        record(&mut tx, "vpn.renew", project, &server.serial).await?;
        tx.commit().await?;
        Ok(())
    }
}
