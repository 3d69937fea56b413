//! Use cases of the projects' VPNs: a Cloudpipe is an instance at a reserved address that lets the
//! project's users into its network. Depends on launches, the PKI and the payload.

pub(crate) mod autostart;
mod change;
mod client;
pub(crate) mod end;
mod payload;
mod renewal;
mod reserve;

use crate::caller::operator;
use crate::groups::GroupRef;
use crate::instances::Launch;
use crate::{Caller, Cloud, ControlError, Kind, Result};
pub use novanet_model::rows::Vpn;
use novanet_model::{AmiId, ImageId, InstanceId, ModelError, ProjectId};
use novanet_store::instances::{self, Row, State};
use novanet_store::{Committed, Conn, audit, projects, vpns};
use std::fmt;

/// The suffix of a VPN's key pair and security group (nova's `vpn_key_suffix`).
const SUFFIX: &str = "-vpn";

/// The type of a Cloudpipe.
const INSTANCE_TYPE: &str = "m1.tiny";

/// Name of a project's key pair and security group for its VPN.
pub(crate) fn name_of(project: &ProjectId) -> String {
    format!("{project}{SUFFIX}")
}

/// A VPN and its Cloudpipe.
#[derive(Debug, Clone)]
pub struct VpnView {
    /// Its row.
    pub vpn: Vpn,
    /// Its Cloudpipe; `None`: none was launched, or it is long terminated.
    pub instance: Option<Row>,
}

/// The result of `vpn run`.
#[derive(Debug)]
pub struct VpnRun {
    /// The VPN.
    pub vpn: Vpn,
    /// Its Cloudpipe.
    pub instance: InstanceId,
    /// To wait until the hosts have applied it.
    pub change: Committed,
}

/// What `vpn run` exports for the operator.
pub struct VpnSecrets {
    /// The user that owns key pair and Cloudpipe.
    pub user: String,
    /// The name of the key pair.
    pub key_name: String,
    /// The private half of the key pair, as ssh reads it.
    pub ssh_key: String,
    /// The server's certificate (PEM).
    pub certificate: String,
    /// The key of that certificate (PKCS #8 in PEM).
    pub server_key: String,
}

/// Without the keys.
impl fmt::Debug for VpnSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("VpnSecrets");
        shown
            .field("key_name", &self.key_name)
            .finish_non_exhaustive()
    }
}

impl Cloud {
    /// `vpn run`: reserves what the project's VPN needs, makes its key pair, group and certificate,
    /// and launches its Cloudpipe, each unless it is there. `user` owns key pair and Cloudpipe;
    /// `None`: the project's manager.
    pub async fn run_vpn(&self, project: &ProjectId, user: Option<&str>) -> Result<VpnRun> {
        let image = self.vpn_image().await?;
        let found = {
            let mut tx = self.db().read().await?;
            vpns::of_project(&mut tx, project).await?
        };
        let vpn = match found {
            Some(vpn) => {
                self.ensure_vpn_certificate(project).await?;
                vpn
            }
            None => self.reserve_vpn(project, user).await?,
        };
        let secrets = {
            let mut tx = self.db().read().await?;
            vpns::secrets(&mut tx, vpn.id).await?
        };
        let mut caller = Caller::operator(project.clone());
        caller.actor.who = secrets.ok_or_else(|| no_vpn(project))?.user;
        let launch = Launch {
            image,
            min: 1,
            max: 1,
            instance_type: Some(INSTANCE_TYPE.to_owned()),
            key_name: Some(name_of(project)),
            groups: vec![GroupRef::Name(name_of(project))],
            user_data: None,
            client_token: None,
            public_address: Some(false),
            availability_zone: None,
            private_address: None,
            networks: Vec::new(),
        };
        let (ids, change) = self.launch_cloudpipe(caller, launch).await?;
        let instance = ids.first().copied().ok_or_else(|| {
            ControlError::Unavailable("no Cloudpipe was launched (try again)".to_owned())
        })?;
        let mut tx = self.db().read().await?;
        let vpn = vpns::of_project(&mut tx, project).await?.unwrap_or(vpn);
        Ok(VpnRun {
            vpn,
            instance,
            change,
        })
    }

    /// `vpn list`: all VPNs, by project.
    pub async fn vpns(&self) -> Result<Vec<VpnView>> {
        let mut tx = self.db().read().await?;
        let mut views = Vec::new();
        for vpn in vpns::list(&mut tx).await? {
            let instance = match vpn.instance {
                Some(id) => instances::by_id(&mut tx, id).await?,
                None => None,
            };
            views.push(VpnView { vpn, instance });
        }
        Ok(views)
    }

    /// The VPN of a project.
    pub async fn vpn(&self, project: &ProjectId) -> Result<Vpn> {
        let mut tx = self.db().read().await?;
        vpns::of_project(&mut tx, project)
            .await?
            .ok_or_else(|| no_vpn(project))
    }

    /// The keys of a project's VPN.
    pub async fn vpn_secrets(&self, project: &ProjectId) -> Result<VpnSecrets> {
        let mut tx = self.db().read().await?;
        let missing = || no_vpn(project);
        let vpn = vpns::of_project(&mut tx, project).await?;
        let id = vpn.ok_or_else(missing)?.id;
        let sealed = vpns::secrets(&mut tx, id).await?.ok_or_else(missing)?;
        drop(tx);
        let vault = self.vault()?;
        let open = |what, sealed: &[u8]| -> Result<String> {
            let plain = vault.open(&reserve::context(project, what), sealed)?;
            Ok(String::from_utf8_lossy(&plain).into_owned())
        };
        Ok(VpnSecrets {
            ssh_key: open("ssh_key", &sealed.ssh_key)?,
            server_key: open("server_key", &sealed.server_key)?,
            user: sealed.user,
            key_name: name_of(project),
            certificate: sealed.certificate,
        })
    }

    /// `nova-vpn.conf` of the credentials zip; `None`: the project has no VPN.
    pub async fn vpn_client_file(&self, project: &ProjectId) -> Result<Option<String>> {
        let mut tx = self.db().read().await?;
        let vpn = vpns::of_project(&mut tx, project).await?;
        Ok(vpn.as_ref().map(client::beside_files))
    }

    /// `vpn profile`: a new certificate of a user and all that a client needs, in one file.
    pub async fn vpn_profile(&self, project: &ProjectId, user: &str) -> Result<String> {
        let vpn = self.vpn(project).await?;
        let authority = self.authority(project).await?;
        let issued = self.issue_certificate(project, user).await?;
        let identity = client::Identity {
            authority: authority.certificate(),
            certificate: &issued.certificate,
            key: &issued.private_key,
        };
        Ok(client::in_one_file(&vpn, &identity))
    }

    /// `vpn stop`: ends the Cloudpipe. Addresses, port, key and certificate stay for the next `vpn
    /// run`. `None`: it did not run.
    pub async fn stop_vpn(&self, project: &ProjectId) -> Result<Option<InstanceId>> {
        let vpn = self.vpn(project).await?;
        let living = {
            let mut tx = self.db().read().await?;
            living(&mut tx, &vpn).await?
        };
        let Some(row) = living else {
            return Ok(None);
        };
        let caller = Caller::operator(project.clone());
        self.terminate(&caller, &[row.id]).await?;
        Ok(Some(row.id))
    }

    /// The image of the flag `vpn_image_id`.
    async fn vpn_image(&self) -> Result<ImageId> {
        let text = self.config().vpn_image.as_str();
        if text.is_empty() || text == "0" {
            return Err(ControlError::Unavailable(
                "the flag vpn_image_id names no image (make one: nova-manage image build \
                 cloudpipe; then write --vpn_image_id=ami-… into nova.conf)"
                    .to_owned(),
            ));
        }
        let invalid = |reason: String| ModelError::new("vpn_image_id", text, reason);
        let id: AmiId = text.parse().map_err(|e: ModelError| invalid(e.reason))?;
        let mut tx = self.db().read().await?;
        let image = novanet_store::images::by_id(&mut tx, ImageId(id.0)).await?;
        let image = image.ok_or_else(|| {
            let reason = "is no image here (nova-manage image list shows them; nova-manage image \
                          build cloudpipe makes one)";
            invalid(reason.to_owned())
        })?;
        Ok(image.id)
    }
}

/// The Cloudpipe of a VPN, unless it is terminated or goes.
pub(crate) async fn living(c: &mut Conn, vpn: &Vpn) -> Result<Option<Row>> {
    let Some(id) = vpn.instance else {
        return Ok(None);
    };
    let row = instances::by_id(c, id).await?;
    Ok(row.filter(|row| !matches!(row.state, State::Terminated | State::Deleting)))
}

fn no_vpn(project: &ProjectId) -> ControlError {
    ControlError::not_found(Kind::Vpn, project)
}

/// The manager of a project.
async fn manager(c: &mut Conn, project: &ProjectId) -> Result<String> {
    projects::by_id(c, project)
        .await?
        .map(|p| p.manager)
        .ok_or_else(|| ControlError::not_found(Kind::Project, project))
}

/// Records what the operator did to a project's VPN.
async fn record(
    tx: &mut novanet_store::Tx,
    action: &str,
    project: &ProjectId,
    detail: &str,
) -> Result<()> {
    let object = project.as_str();
    Ok(audit::record(tx, &operator(), action, Some(object), object, detail).await?)
}
