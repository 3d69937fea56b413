//! `nova-manage project zipfile` and `project environment`: what a user needs to use a project.
//! Exports the certificates to `ca_path` by the way.

use super::ca_files;
use super::context::Context;
use crate::failure::Failure;
use crate::novarc::{self, Endpoint};
use crate::private_file::Pending;
use novanet_control::{Cloud, archive};
use novanet_model::ProjectId;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

/// Standard output, as a file's name.
const STDOUT: &str = "-";

/// Writes the archive with credentials and a new certificate to `file` (default `nova.zip`).
pub(super) async fn zipfile(
    cx: &Context,
    project: &ProjectId,
    user: &str,
    file: Option<&str>,
) -> Result<String, Failure> {
    let file = file.unwrap_or("nova.zip");
    if file == STDOUT && std::io::stdout().is_terminal() {
        return Err(Failure::usage(
            "file \"-\": is a terminal, and a zip archive is no text: redirect the output",
        ));
    }
    // Before a certificate is made: a target that cannot be written costs none.
    let target = match file {
        STDOUT => None,
        name => Some(Pending::begin(Path::new(name))?),
    };
    let mut entries = Vec::new();
    let keys = cx.cloud.credentials_in(project, user).await?;
    for (region, url) in endpoints(cx) {
        let at = Endpoint {
            url: &url,
            region: &region,
        };
        let text = novarc::with_files(&keys, project, &at);
        entries.push((format!("{}rc", file_word(&region)?), text.into_bytes()));
    }
    let cloud: &Cloud = &cx.cloud;
    let issued = cloud.issue_certificate(project, user).await?;
    let trusted = cloud.trusted_certificates(project).await?;
    entries.push(("pk.pem".to_owned(), issued.private_key.into_bytes()));
    entries.push((
        "cert.pem".to_owned(),
        issued.certificate.clone().into_bytes(),
    ));
    match cloud.vpn_client_file(project).await? {
        Some(text) => entries.push(("nova-vpn.conf".to_owned(), text.into_bytes())),
        None => cx.note(&format!(
            "no VPN in project {project}, so no nova-vpn.conf (nova-manage vpn run {project})"
        )),
    }
    entries.push(("cacert.pem".to_owned(), trusted.into_bytes()));
    let bytes = archive::zip(&entries, archive::Method::Stored)
        .map_err(|e| Failure::failed(format!("{file}: {e}")))?;
    if let Err(failure) = ca_files::export(cx, project, &issued.serial, &issued.certificate).await {
        cx.warn(&format!(
            "ca_path: the certificates were not exported: {} (they are in the database)",
            failure.message
        ));
    }
    match target {
        Some(target) => target.finish(&bytes)?,
        None => print(&bytes)?,
    }
    Ok(String::new())
}

/// Writes the `novarc` of a user in a project to `file` (default `novarc`), or answers it.
pub(super) async fn environment(
    cx: &Context,
    project: &ProjectId,
    user: &str,
    file: Option<&str>,
) -> Result<String, Failure> {
    let keys = cx.cloud.credentials_in(project, user).await?;
    let first = endpoints(cx).into_iter().next();
    let (region, url) = first.unwrap_or_else(|| ("nova".to_owned(), cx.flags.ec2_url()));
    let at = Endpoint {
        url: &url,
        region: &region,
    };
    let text = novarc::with_files(&keys, project, &at);
    match file.unwrap_or("novarc") {
        STDOUT => Ok(text),
        name => {
            Pending::begin(Path::new(name))?.finish(text.as_bytes())?;
            Ok(String::new())
        }
    }
}

/// Regions and their URLs. Clients of the only region use the address for instances, as in nova.
fn endpoints(cx: &Context) -> Vec<(String, String)> {
    let only = cx.flags.text("region_list").is_empty();
    let url = |host: &str| {
        if only {
            cx.flags.ec2_url()
        } else {
            cx.flags.ec2_url_at(host)
        }
    };
    let regions = cx.flags.regions().into_iter();
    regions.map(|(name, host)| (name, url(&host))).collect()
}

/// A region's name begins a file's name in the archive.
fn file_word(region: &str) -> Result<&str, Failure> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !region.is_empty() && region.chars().all(fine) {
        return Ok(region);
    }
    Err(Failure::failed(format!(
        "region_list: region {region:?}: must be letters, digits, '-' or '_' to name a file"
    )))
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|e| Failure::failed(format!("cannot write the output: {e}")))
}
