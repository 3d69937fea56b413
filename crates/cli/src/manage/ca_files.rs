//! The export of the PKI to `ca_path` and of VPNs' keys to `keys_path`, where nova kept them: for
//! people and for openssl. The database stays the truth; every file is 0600.

use super::context::Context;
use crate::failure::Failure;
use crate::private_file::{give_to_owner_of, write};
use novanet_control::certificates::Authority;
use novanet_model::ProjectId;
use std::fs;
use std::path::Path;

/// Writes the root's files, those of the authority that signs for the project, and a certificate.
pub(super) async fn export(
    cx: &Context,
    project: &ProjectId,
    serial: &str,
    certificate: &str,
) -> Result<(), Failure> {
    let top = cx.flags.path("ca_path");
    authority(&top, &top, &cx.cloud.root_authority().await?)?;
    let mut folder = top.clone();
    if cx.cloud.config().use_project_ca {
        folder.push("projects");
        folder.push(project.as_str());
        authority(&top, &folder, &cx.cloud.authority(project).await?)?;
    }
    let list = cx.cloud.revocation_list(project).await?;
    file(&top, &folder.join("crl.pem"), &list)?;
    let name = format!("newcerts/{serial}.pem");
    file(&top, &folder.join(name), certificate)
}

/// Writes the keys of a project's VPN: the server's beside the authority that signed it, and the
/// private half of the key pair below `keys_path`, where the manual has it (the project's folder)
/// and where nova had it (the owner's).
pub(super) async fn export_vpn(cx: &Context, project: &ProjectId) -> Result<(), Failure> {
    let secrets = cx.cloud.vpn_secrets(project).await?;
    let top = cx.flags.path("ca_path");
    let folder = top.join("projects").join(project.as_str());
    if cx.cloud.config().use_project_ca {
        authority(&top, &folder, &cx.cloud.authority(project).await?)?;
    }
    file(&top, &folder.join("server.crt"), &secrets.certificate)?;
    file(&top, &folder.join("server.key"), &secrets.server_key)?;
    let keys = cx.flags.path("keys_path");
    for owner in [project.as_str(), &secrets.user] {
        let name = format!("{owner}/{}.pem", secrets.key_name);
        file(&keys, &keys.join(name), &secrets.ssh_key)?;
    }
    Ok(())
}

fn authority(top: &Path, folder: &Path, authority: &Authority) -> Result<(), Failure> {
    let key = authority
        .private_key()
        .map_err(|e| Failure::failed(e.to_string()))?;
    file(top, &folder.join("cacert.pem"), authority.certificate())?;
    file(top, &folder.join("private/cakey.pem"), &key)
}

/// Writes a file unless it is there. What root makes belongs to the owner of the folder above `top`
/// (`ca_path` or `keys_path`).
fn file(top: &Path, path: &Path, text: &str) -> Result<(), Failure> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    write(path, text)?;
    let Some(above) = top.parent() else {
        return Ok(());
    };
    let made = path.ancestors().take_while(|one| *one != above);
    for one in made {
        give_to_owner_of(above, one)
            .map_err(|e| Failure::failed(format!("{}: {e}", one.display())))?;
    }
    Ok(())
}
