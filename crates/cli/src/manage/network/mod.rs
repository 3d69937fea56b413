//! `nova-manage network`: subnets for instances.

mod create;
mod modify;
mod row;

use super::context::Context;
use super::{Action, Category, action, preview};
use crate::args::{Bound, Format, Param, Takes, param};
use crate::failure::Failure;
use crate::table::{json, render};
use create::Create;
use novanet_control::Modify;
use novanet_control::networks::{BadNetwork, Brief};
use novanet_model::carve::parse_range;
use novanet_model::rows::Network;
use novanet_model::{Ipv4Net, ModelError, SubnetId};
use row::NetworkRow;

pub(crate) const CATEGORY: Category = Category {
    name: "network",
    aliases: &[],
    about: "subnets for instances",
    actions: ACTIONS,
};

const ACTIONS: &[Action] = &[
    action(
        "create",
        "make networks: carve NUM_NETWORKS subnets of NETWORK_SIZE addresses from a range",
        create::PARAMS,
        create::parse,
    )
    .places(create::places, create::ORDERS),
    action("list", "all networks", &[], |_| {
        Ok(super::Command::Network(Command::List))
    }),
    action("show", "everything about one network", ONE, |bound| {
        Ok(super::Command::Network(Command::Show(which(bound)?)))
    })
    .or(&["info"]),
    action(
        "delete",
        "remove a network that no instance uses",
        DELETE,
        |bound| {
            let dry_run = bound.truth("dry_run")?.unwrap_or(false);
            Ok(super::Command::Network(Command::Delete(
                which(bound)?,
                dry_run,
            )))
        },
    )
    .or(&["remove"]),
    action(
        "modify",
        "change a network; its hosts follow while instances run",
        modify::PARAMS,
        modify::parse,
    ),
];

const DELETE: &[Param] = &[ONE[0], preview::DRY_RUN];

const ONE: &[Param] = &[param(
    "network",
    Takes::Required,
    "the network: its subnet, id, uuid or label",
)
.or(&["fixed_range", "cidr", "id", "uuid"])];

/// The actions of `network`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Make networks.
    Create(Box<Create>),
    /// List them.
    List,
    /// Show one.
    Show(Which),
    /// Delete one; `true`: only say what would be deleted.
    Delete(Which, bool),
    /// Change one; `true`: only say what would change.
    Modify(Which, Box<Modify>, bool),
}

/// How a user names a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Which {
    /// By subnet.
    Cidr(Ipv4Net),
    /// By id.
    Id(i64),
    /// By uuid or label.
    Name(String),
}

impl Which {
    /// A subnet, an id, EC2's id (`subnet-0000000a`), a uuid or a label.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if text.contains('/') {
            return parse_range(text).map(Self::Cidr).map_err(|e| refused(&e));
        }
        let id = text.parse().ok();
        let id = id.or_else(|| Some(text.parse::<SubnetId>().ok()?.0));
        Ok(id.map_or_else(|| Self::Name(text.to_owned()), Self::Id))
    }
}

fn which(bound: &Bound) -> Result<Which, Failure> {
    Which::parse(bound.required("network")?)
}

fn refused(error: &ModelError) -> Failure {
    Failure::usage(error.to_string())
}

/// Does it.
pub(crate) async fn run(command: Command, cx: &Context) -> Result<String, Failure> {
    match command {
        Command::Create(create) => {
            let (request, _) = create.request(&cx.flags)?;
            let created = cx.cloud.create_networks(&request).await?;
            for note in &created.notes {
                cx.note(note);
            }
            let rows = rows(created.networks, cx).await?;
            match cx.format {
                Format::Json => Ok(json(&rows)),
                // nova said nothing here.
                Format::Table | Format::Plain => Ok(String::new()),
            }
        }
        Command::List => {
            let networks = cx.cloud.networks().await?;
            let rows = rows(networks, cx).await?;
            if rows.is_empty() && cx.format != Format::Json {
                cx.note("no networks found: nova-manage network create makes some");
            }
            for full in rows.iter().filter(|row| row.free <= 0) {
                cx.note(&format!(
                    "network {} ({}) has no free address: make another network (nova-manage network \
                     create), or free addresses (nova-manage fixed list shows who has them)",
                    full.id, full.cidr
                ));
            }
            for bad in cx.cloud.bad_networks().await? {
                cx.note(&describe_bad_row(&bad));
            }
            Ok(render(&rows, cx.format))
        }
        Command::Show(which) => {
            let usage = cx.cloud.network_usage().await?;
            let network = find(&which, cx).await?;
            let usage = usage.get(&network.id).copied().unwrap_or_default();
            let row = NetworkRow::new(network, usage);
            match cx.format {
                Format::Json => Ok(json(&row)),
                Format::Table | Format::Plain => Ok(row.show()),
            }
        }
        Command::Modify(which, modify, dry_run) => {
            let network = find(&which, cx).await?;
            if dry_run {
                let preview = cx.cloud.preview_modify(network.id, &modify).await?;
                return Ok(preview::text(preview, cx.format));
            }
            let change = cx.cloud.modify_network(network.id, &modify).await?;
            // An instance that renews its lease right after this is served by the new settings.
            let applied = cx.cloud.applied(&change).await;
            let told = &modify.settings;
            if told.gateway.is_some() || told.dns.is_some() {
                let until = match told.gateway {
                    Some(_) => {
                        "; until then those without the new gateway reach their own network only"
                    }
                    None => "",
                };
                // The server that they ask for a renewal may be gone: the lease runs out then.
                let seconds = cx.flags.number("dhcp_lease_time");
                cx.note(&format!(
                    "instances learn it with their next lease (within {seconds} s) or reboot{until}"
                ));
                if !applied {
                    cx.note("its hosts have not applied it yet: nova-manage host list");
                }
            }
            Ok(String::new())
        }
        Command::Delete(which, dry_run) => {
            let id = match bad(&which, cx).await? {
                Some(bad) => bad.brief.id,
                None => find(&which, cx).await?.id,
            };
            if dry_run {
                let preview = cx.cloud.preview_delete_network(&id.to_string()).await?;
                return Ok(preview::text(preview, cx.format));
            }
            cx.cloud.delete_network(&id.to_string()).await?;
            Ok(String::new())
        }
    }
}

async fn rows(networks: Vec<Network>, cx: &Context) -> Result<Vec<NetworkRow>, Failure> {
    let usage = cx.cloud.network_usage().await?;
    let of = |network: &Network| usage.get(&network.id).copied().unwrap_or_default();
    let networks = networks.into_iter();
    Ok(networks
        .map(|n| (of(&n), n))
        .map(|(usage, n)| NetworkRow::new(n, usage))
        .collect())
}

/// The network that is meant; a label has to be of one network only.
pub(crate) async fn find(which: &Which, cx: &Context) -> Result<Network, Failure> {
    let mut found: Vec<Network> = cx.cloud.networks().await?;
    found.retain(|n| match which {
        Which::Cidr(cidr) => n.cidr == *cidr,
        Which::Id(id) => n.id.0 == *id,
        Which::Name(name) => n.uuid == *name || n.label == *name,
    });
    let name = match which {
        Which::Cidr(cidr) => cidr.to_string(),
        Which::Id(id) => id.to_string(),
        Which::Name(name) => name.clone(),
    };
    if found.len() > 1 {
        let all: Vec<String> = found.iter().map(|n| n.cidr.to_string()).collect();
        return Err(Failure::failed(format!(
            "network {name}: there are {} of this label: say which by subnet: {}",
            all.len(),
            all.join(", ")
        )));
    }
    if let Some(found) = found.pop() {
        return Ok(found);
    }
    Err(Failure::failed(match bad(which, cx).await? {
        Some(bad) => describe_bad_row(&bad),
        None => format!("network {name} not found: nova-manage network list shows them"),
    }))
}

/// The network that is meant, if its row does not validate. By what is surely its own only: a label
/// may be that of others, too.
async fn bad(which: &Which, cx: &Context) -> Result<Option<BadNetwork>, Failure> {
    let all = cx.cloud.bad_networks().await?;
    Ok(all.into_iter().find(|bad| match which {
        Which::Cidr(cidr) => bad.brief.cidr == cidr.to_string(),
        Which::Id(id) => bad.brief.id.0 == *id,
        Which::Name(name) => bad.brief.cidr == *name,
    }))
}

/// The mistake in a network's row, and the remedy.
fn describe_bad_row(bad: &BadNetwork) -> String {
    let Brief { id, cidr, .. } = &bad.brief;
    format!(
        "{} (its range is {cidr}; hosts keep what followed from the row when it was last good: mend \
         it, or: nova-manage network delete {id})",
        bad.why
    )
}
