//! What `novanet up` makes on an empty host: schema, an administrator with a project and
//! credentials, the `tiny` image, a flat-DHCP network, floating addresses. Each step looks whether
//! it is done already, so that a run that was killed goes on where it stopped.

use super::novarc;
use crate::failure::Failure;
use novanet_control::Cloud;
use novanet_model::carve::Request;
use novanet_model::flags::{Flags, Origin};
use novanet_model::{Ipv4Net, NetworkKind, ProjectId};
use std::path::PathBuf;

/// The first user and the first project.
const FIRST: &str = "admin";

/// What was made and what is there, for the words at the end.
pub(super) struct Ready {
    /// The credentials file.
    pub(super) novarc: PathBuf,
    /// The image to run.
    pub(super) image: String,
    /// Floating addresses there are.
    pub(super) floating: usize,
}

/// Makes what is missing.
pub(super) async fn run(cloud: &Cloud, flags: &Flags) -> Result<Ready, Failure> {
    let project: ProjectId = FIRST.parse().map_err(|e| Failure::failed(format!("{e}")))?;
    if !cloud.users().await?.iter().any(|user| user.id == FIRST) {
        step("user admin, an administrator");
        cloud.create_user(FIRST, None, true).await?;
    }
    if !cloud.projects(None).await?.iter().any(|p| p.id == project) {
        step("project admin");
        cloud
            .create_project(&project, FIRST, "the first project")
            .await?;
    }
    let image = image(cloud).await?;
    network(cloud, flags).await?;
    floating(cloud, flags).await?;
    Ok(Ready {
        novarc: credentials(cloud, flags, &project).await?,
        floating: cloud.floating_ips().await?.len(),
        image,
    })
}

fn step(what: &str) {
    println!("making {what}");
}

async fn image(cloud: &Cloud) -> Result<String, Failure> {
    if let Some(image) = cloud.all_images().await?.first() {
        return Ok(novanet_model::AmiId(image.id.0).to_string());
    }
    step("the image tiny");
    let folder = tempfile::tempdir().map_err(|e| Failure::failed(format!("image tiny: {e}")))?;
    let path = folder.path().join("tiny.tar");
    novanet_agent::image::build::tiny(&path)
        .map_err(|e| Failure::failed(format!("image tiny: {e}")))?;
    let file = std::fs::File::open(&path)
        .map_err(|e| Failure::failed(format!("{}: {e}", path.display())))?;
    let image = cloud.register_image("tiny", file).await?;
    Ok(novanet_model::AmiId(image.id.0).to_string())
}

/// A flat-DHCP network when there is none. nova's default kind is VLAN, which needs a switch that
/// knows of it; a first cloud on one host does not have one, so here the flag counts only if given.
async fn network(cloud: &Cloud, flags: &Flags) -> Result<(), Failure> {
    if !cloud.networks().await?.is_empty() {
        return Ok(());
    }
    let kind = if given(flags, "network_manager") {
        flags.network_kind()
    } else {
        NetworkKind::FlatDhcp
    };
    let range: Ipv4Net = match flags.fixed_range().filter(|_| given(flags, "fixed_range")) {
        Some(range) => range,
        None => Ipv4Net::new(std::net::Ipv4Addr::new(10, 0, 0, 0), 24)
            .map_err(|e| Failure::failed(format!("{e}")))?,
    };
    step(&format!("network {range} ({kind})"));
    let mut request = Request::new(kind, "private", range);
    request.network_size = Some(1 << (32 - range.prefix_len()));
    cloud.create_networks(&request).await?;
    Ok(())
}

async fn floating(cloud: &Cloud, flags: &Flags) -> Result<(), Failure> {
    let Some(range) = flags.floating_range() else {
        return Ok(());
    };
    let new = cloud.create_floating_ips(range, None, None).await?;
    if new > 0 {
        step(&format!("{new} floating addresses of {range}"));
    }
    Ok(())
}

async fn credentials(
    cloud: &Cloud,
    flags: &Flags,
    project: &ProjectId,
) -> Result<PathBuf, Failure> {
    let keys = cloud.credentials(FIRST).await?;
    let region = flags
        .regions()
        .first()
        .map_or_else(|| "nova".to_owned(), |(name, _)| name.clone());
    let path = flags.state_path().join("novarc");
    let text = novarc::text(&keys, project, &flags.ec2_url(), &region);
    if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(path);
    }
    novarc::write(&path, &text)?;
    Ok(path)
}

fn given(flags: &Flags, name: &str) -> bool {
    flags
        .get(name)
        .is_some_and(|value| value.origin != Origin::Default)
}
