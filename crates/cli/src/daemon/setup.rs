//! Makes the first cloud of `novanet up` on an empty host: schema, an administrator with a project
//! and credentials, the `tiny` image, a flat-DHCP network, floating addresses. Each step checks
//! first whether it is done, so that the next start continues where a killed one ended.

use crate::environment::{given, origin};
use crate::failure::Failure;
use crate::manage::floating::SHORTEST_PREFIX;
use crate::{novarc, private_file, say};
use novanet_agent::image::build;
use novanet_agent::link::kernel_has_vlans;
use novanet_agent::runtime::{has_ledger, preflight};
use novanet_control::{Cloud, sqlite_file};
use novanet_model::carve::{CarveError, Request, carve};
use novanet_model::flags::{Flags, Origin};
use novanet_model::host_addresses::{HostAddresses, When};
use novanet_model::rows::Network;
use novanet_model::wire::HostRole;
use novanet_model::{IfName, Ipv4Net, NetworkKind, ProjectId};
use std::io::Cursor;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// The first user and the first project.
const FIRST: &str = "admin";

/// The results of the set-up, for the message at the end.
pub(super) struct Ready {
    /// The credentials file.
    pub(super) novarc: PathBuf,
    /// The image to run.
    pub(super) image: String,
    /// Floating addresses there are.
    pub(super) floating: usize,
}

/// Whether nothing was made here yet, as far as can be told without opening the database.
pub(super) fn is_first_start(flags: &Flags) -> bool {
    let file = sqlite_file(flags.database_url());
    file.is_some_and(|file| !file.exists()) && !has_ledger(&flags.state_path())
}

/// What the flags ask for in an empty cloud, found possible.
pub(super) struct First {
    network: Request,
    floating: Option<Ipv4Net>,
    /// Why the network's kind is not the one that was asked for.
    remark: Option<String>,
    /// `flat_network_bridge`, if a flag gives it, and its origin.
    bridge: Option<(IfName, Origin)>,
    /// This host will serve the network's DHCP and DNS.
    serves: bool,
    here: Here,
    /// What of this host conflicts with the network.
    conflict: Option<String>,
}

/// This host, before its agent has reported anything.
pub(super) struct Here {
    /// Its name.
    pub(super) host: String,
    /// What it has of its own.
    pub(super) addresses: HostAddresses,
}

impl First {
    /// From the flags and what this host has. What could never be is refused here, before anything
    /// is made.
    pub(super) fn of(flags: &Flags, here: Here) -> Result<Self, Failure> {
        let (kind, remark) = kind(flags);
        let range = match flags.fixed_range().filter(|_| given(flags, "fixed_range")) {
            Some(range) => range,
            None => Ipv4Net::new(Ipv4Addr::new(10, 0, 0, 0), 24)
                .map_err(|e| Failure::failed(format!("{e}")))?,
        };
        let mut network = Request::new(kind, "private", range);
        network.network_size = Some(1 << (32 - range.prefix_len()));
        let carved = carve(&network, &[], &flags.network_defaults()).map_err(|e| match e {
            CarveError::Invalid(e) | CarveError::Conflict(e) => {
                Failure::failed(format!("fixed_range {range}: {}", e.reason))
            }
        })?;
        let floating = flags.floating_range();
        if let Some(floating) = floating
            && floating.prefix_len() < SHORTEST_PREFIX
        {
            return Err(Failure::failed(format!(
                "floating_range {floating}: is too large: at most a /{SHORTEST_PREFIX}"
            )));
        }
        let conflict = carved.networks.iter().find_map(|new| {
            let claim = novanet_control::host_addresses::claim(new);
            here.addresses.conflict(&claim, When::Create)
        });
        let first = Self {
            conflict,
            here,
            network,
            floating,
            remark,
            bridge: bridge(flags),
            serves: kind != NetworkKind::Flat && flags.roles().contains(&HostRole::Network),
        };
        if is_first_start(flags) {
            first.refuse_conflict()?;
            first.refuse_overlap(&[range])?;
            first.refuse_taken_ports()?;
        }
        Ok(first)
    }

    /// The host's own LAN is not the instances'.
    fn refuse_conflict(&self) -> Result<(), Failure> {
        let Some(has) = &self.conflict else {
            return Ok(());
        };
        Err(Failure::failed(format!(
            "fixed_range {}: this host has {has}: choose another range (--fixed_range=RANGE)",
            self.network.range
        )))
    }

    fn refuse_overlap(&self, networks: &[Ipv4Net]) -> Result<(), Failure> {
        let both = |a: &Ipv4Net, b: &Ipv4Net| a.contains(b) || b.contains(a);
        if let Some(floating) = self.floating
            && let Some(network) = networks.iter().find(|range| both(range, &floating))
        {
            return Err(Failure::failed(format!(
                "floating_range {floating}: overlaps the network {network}, whose addresses are \
                 the instances' own: choose another range (--floating_range or --fixed_range)"
            )));
        }
        Ok(())
    }

    /// A network keeps the bridge that it was made with; a flag that says otherwise now would have
    /// no effect. In a file it may be the default for networks to come: there it is a warning.
    fn refuse_another_bridge(&self, networks: &[Network]) -> Result<(), Failure> {
        let Some((bridge, origin)) = &self.bridge else {
            return Ok(());
        };
        let flat = |n: &&Network| n.kind != NetworkKind::Vlan;
        let there: Vec<&Network> = networks.iter().filter(flat).collect();
        let Some(first) = there
            .first()
            .filter(|_| there.iter().all(|n| n.bridge != *bridge))
        else {
            return Ok(());
        };
        let text = format!(
            "flat_network_bridge {bridge} ({origin}): network {} is on {}, and the flag counts for \
             new networks only: give --flat_network_bridge={}, or end the instances and make the \
             network again (nova-manage network delete {0}, network create … --bridge={bridge})",
            first.cidr, first.bridge, first.bridge
        );
        if *origin == Origin::CommandLine {
            return Err(Failure::failed(text));
        }
        tracing::warn!("{text}");
        Ok(())
    }

    /// A cloud that has its network already starts all the same: the host says what it lacks.
    fn refuse_taken_ports(&self) -> Result<(), Failure> {
        if !self.serves {
            return Ok(());
        }
        preflight::check_dhcp_ports().map_err(|e| Failure::because(&e))
    }

    /// Beside what is in the database already.
    pub(super) async fn check(&self, cloud: &Cloud) -> Result<(), Failure> {
        let networks = cloud.networks().await?;
        let mut ranges: Vec<Ipv4Net> = networks.iter().map(|n| n.cidr).collect();
        if ranges.is_empty() {
            ranges.push(self.network.range);
            self.refuse_conflict()?;
            self.refuse_taken_ports()?;
        }
        self.refuse_overlap(&ranges)?;
        self.refuse_another_bridge(&networks)?;
        if cloud.all_images().await?.is_empty()
            && let Some((program, package)) = build::missing().first()
        {
            return Err(Failure::failed(format!(
                "image tiny: {program} is missing: apt-get install {package}"
            )));
        }
        Ok(())
    }
}

/// nova's default kind is VLAN, which needs a switch that knows of it. A first cloud on one host
/// does not have one, so here the flag counts only if given. A kernel that cannot run VLAN networks
/// would make a cloud that says it is up and starts no instance: the second value says so.
fn kind(flags: &Flags) -> (NetworkKind, Option<String>) {
    let Some(origin) = origin(flags, "network_manager") else {
        return (NetworkKind::FlatDhcp, None);
    };
    match flags.network_kind() {
        NetworkKind::Vlan if !kernel_has_vlans() => (
            NetworkKind::FlatDhcp,
            Some(format!(
                "network_manager asks for vlan networks ({origin}), and this kernel has no 802.1Q \
                 (modprobe 8021q): the first network is flatdhcp"
            )),
        ),
        kind => (kind, None),
    }
}

fn bridge(flags: &Flags) -> Option<(IfName, Origin)> {
    let origin = origin(flags, "flat_network_bridge")?.clone();
    let bridge = flags.text("flat_network_bridge").parse().ok()?;
    Some((bridge, origin))
}

/// Makes what is missing.
pub(super) async fn run(cloud: &Cloud, flags: &Flags, first: &First) -> Result<Ready, Failure> {
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
    network(cloud, first, &project).await?;
    if let Some(range) = first.floating {
        floating(cloud, range, &first.here).await?;
    }
    Ok(Ready {
        novarc: credentials(cloud, flags).await?,
        floating: cloud.floating_ips().await?.len(),
        image,
    })
}

fn step(what: &str) {
    say::line(&format!("making {what}"));
}

async fn image(cloud: &Cloud) -> Result<String, Failure> {
    if let Some(image) = cloud.all_images().await?.first() {
        return Ok(novanet_model::AmiId(image.id.0).to_string());
    }
    step("the image tiny");
    // In memory: a file would be left over by a start that is killed.
    let bytes = build::tiny_archive().map_err(|e| Failure::failed(format!("image tiny: {e}")))?;
    let image = cloud.register_image("tiny", Cursor::new(bytes)).await?;
    Ok(novanet_model::AmiId(image.id.0).to_string())
}

/// The first network when there is none. A VLAN network is the first project's: without one it
/// would have nothing on hosts.
async fn network(cloud: &Cloud, first: &First, project: &ProjectId) -> Result<(), Failure> {
    if !cloud.networks().await?.is_empty() {
        return Ok(());
    }
    let request = &Request {
        project: (first.network.kind == NetworkKind::Vlan).then(|| project.clone()),
        ..first.network.clone()
    };
    if let Some(remark) = &first.remark {
        say::line(remark);
    }
    step(&format!("network {} ({})", request.range, request.kind));
    cloud.create_networks(request).await?;
    Ok(())
}

/// What the host has itself is left out, and said when the others are made.
async fn floating(cloud: &Cloud, range: Ipv4Net, here: &Here) -> Result<(), Failure> {
    let here = (here.host.as_str(), &here.addresses);
    let (new, left_out) = cloud.create_floating_ips_around(range, here).await?;
    if new > 0 {
        step(&format!("{new} floating addresses of {range}"));
        for (ip, why) in left_out {
            say::line(&format!(
                "leaving {ip} out of the floating addresses: {why}"
            ));
        }
    }
    Ok(())
}

/// The credentials file of the first user.
pub(super) async fn credentials(cloud: &Cloud, flags: &Flags) -> Result<PathBuf, Failure> {
    let project: ProjectId = FIRST.parse().map_err(|e| Failure::failed(format!("{e}")))?;
    let keys = cloud.credentials(FIRST).await?;
    let region = flags
        .regions()
        .first()
        .map_or_else(|| "nova".to_owned(), |(name, _)| name.clone());
    let path = flags.state_path().join("novarc");
    let at = novarc::Endpoint {
        url: &flags.ec2_url(),
        region: &region,
    };
    let text = novarc::text(&keys, &project, &at);
    if std::fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(path);
    }
    private_file::write(&path, &text)?;
    Ok(path)
}
