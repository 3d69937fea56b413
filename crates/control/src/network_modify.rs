//! `network modify`: changes a network's settings, its host, its project and its reserved addresses
//! in one transaction; its hosts follow while instances run. Depends on the pure change of carving.

use crate::caller::operator;
use crate::networks::owners_of_network;
use crate::preview::{Blocker, Preview, refusal};
use crate::{Cloud, ControlError, Kind, Result, fixed_ips, host_addresses};
use novanet_model::carve::{Change, NewNetwork};
use novanet_model::rows::Network;
use novanet_model::{NetworkId, ProjectId};
use novanet_store::{
    Committed, PlanOwner, Tx, audit, instances, network_change, networks, objects, pool, projects,
};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// What `network modify` is to change; `None` and empty lists: stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Modify {
    /// The settings.
    pub settings: Change,
    /// The host that is to be its gateway.
    pub host: Option<String>,
    /// The project that gets it; `Some(None)`: it leaves its project.
    pub project: Option<Option<ProjectId>>,
    /// Addresses that no instance gets from now on.
    pub reserve: Vec<Ipv4Addr>,
    /// Addresses that instances may get again.
    pub unreserve: Vec<Ipv4Addr>,
}

impl Cloud {
    /// `network modify`: all or nothing. Refused where running instances would lose their network.
    pub async fn modify_network(&self, id: NetworkId, modify: &Modify) -> Result<Committed> {
        let mut tx = self.db().begin_planned().await?;
        let changed = self.change_network(&mut tx, id, modify).await?;
        let (network, blockers) = (changed.network, changed.blockers);
        if let Some(refusal) = refusal(Kind::Network, network.cidr, &blockers) {
            return Err(refusal);
        }
        Ok(tx.commit().await?)
    }

    /// What [`Cloud::modify_network`] would do.
    pub async fn preview_modify(&self, id: NetworkId, modify: &Modify) -> Result<Preview> {
        let mut tx = self.db().begin_planned().await?;
        let owners = owners_of_network(&mut tx, id).await?;
        let before = objects::of_owners(&mut tx, &owners).await?;
        let changed = self.change_network(&mut tx, id, modify).await?;
        let after = objects::of_owners(&mut tx, &owners).await?;
        Ok(Preview::between(&before, &after, changed.blockers))
    }

    /// Changes the rows and plans them, whatever blocks it: the caller refuses.
    async fn change_network(&self, tx: &mut Tx, id: NetworkId, modify: &Modify) -> Result<Changed> {
        let old = networks::by_id(tx, id).await?;
        let old = old.ok_or_else(|| ControlError::not_found(Kind::Network, id))?;
        let mut others = networks::in_the_way(tx).await?.all();
        others.retain(|other| other.id != id);
        let defaults = self.carve_defaults(tx).await?;
        let new = modify.settings.of(&old, &others, &defaults)?;
        let mut blockers = self.gateway_address_blockers(tx, &old, &new).await?;
        let mut network = Network {
            spec: new.spec,
            ..old.clone()
        };
        if let Some(host) = &modify.host {
            if old.host.as_ref() != Some(host) {
                blockers.extend(self.gateway_blockers(tx, &old, host).await?);
            }
            network.host = Some(host.clone());
        }
        if let Some(project) = &modify.project {
            blockers.extend(project_blockers(tx, &old, project.as_ref()).await?);
            network.project.clone_from(project);
        }
        if network != old {
            network_change::update(tx, &network).await?;
            if network_change::refit(tx, &network).await? {
                let reports = novanet_store::host_addresses::all(tx).await?;
                host_addresses::reserve(tx, &reports, &network).await?;
            }
            let (object, detail) = (network.cidr.to_string(), differences(&old, &network));
            audit::record(tx, &operator(), "network.modify", None, &object, &detail).await?;
        }
        blockers.extend(reserve(tx, &network, modify).await?);
        let owners: BTreeSet<PlanOwner> = owners_of_network(tx, id).await?;
        if blockers.is_empty() || network.gateway == old.gateway {
            self.plan(tx, owners).await?;
        }
        Ok(Changed { network, blockers })
    }

    /// Why a network cannot have a new gateway: its address has an owner.
    async fn gateway_address_blockers(
        &self,
        tx: &mut Tx,
        old: &Network,
        new: &NewNetwork,
    ) -> Result<Vec<Blocker>> {
        if new.gateway == old.gateway {
            return Ok(Vec::new());
        }
        let reports = novanet_store::host_addresses::all(tx).await?;
        host_addresses::refuse_network(&reports, new)?;
        let gateway = new.gateway;
        let Some(row) = novanet_store::fixed_ips::by_address(tx, old.id, gateway).await? else {
            return Ok(Vec::new());
        };
        Ok(match row.instance {
            Some(instance) => vec![Blocker {
                object: format!("instance {instance}"),
                reason: format!("has {gateway}: choose another gateway, or terminate it"),
            }],
            None if row.reserved => vec![Blocker {
                object: format!("fixed IP {gateway}"),
                reason: format!("is reserved: nova-manage fixed unreserve {gateway}"),
            }],
            None => Vec::new(),
        })
    }
}

/// A network as it was changed, and why that must not stay.
struct Changed {
    network: Network,
    blockers: Vec<Blocker>,
}

/// The instances that keep a network from another project, or from none.
async fn project_blockers(
    tx: &mut Tx,
    network: &Network,
    to: Option<&ProjectId>,
) -> Result<Vec<Blocker>> {
    if let Some(project) = to
        && projects::by_id(tx, project).await?.is_none()
    {
        return Err(ControlError::not_found(Kind::Project, project));
    }
    if network.project.as_ref() == to {
        return Ok(Vec::new());
    }
    let mut blockers = Vec::new();
    for instance in instances::living_in_network(tx, network.id).await? {
        let row = instances::by_id(tx, instance).await?;
        let Some(row) = row.filter(|row| Some(&row.project) != to) else {
            continue;
        };
        blockers.push(Blocker {
            object: format!("instance {instance}"),
            reason: format!("of project {} is in it: terminate it first", row.project),
        });
    }
    Ok(blockers)
}

/// Reserves and unreserves; the addresses that instances have.
async fn reserve(tx: &mut Tx, network: &Network, modify: &Modify) -> Result<Vec<Blocker>> {
    let mut blockers = Vec::new();
    for &ip in &modify.reserve {
        fixed_ips::within(tx, network, ip).await?;
        if pool::reserve(tx, network.id, ip).await? {
            fixed_ips::record(tx, "fixed_ip.reserve", ip).await?;
            continue;
        }
        let user = network_change::user_of(tx, network.id, ip).await?;
        let user = user.map_or_else(|| "an instance".to_owned(), |i| format!("instance {i}"));
        blockers.push(Blocker {
            object: format!("fixed IP {ip}"),
            reason: format!("belongs to {user}: terminate it first, or leave the address out"),
        });
    }
    for &ip in &modify.unreserve {
        fixed_ips::within(tx, network, ip).await?;
        if !pool::unreserve(tx, network.id, ip).await? {
            return Err(fixed_ips::not_reserved(ip));
        }
        fixed_ips::record(tx, "fixed_ip.unreserve", ip).await?;
    }
    Ok(blockers)
}

/// The changed settings for the audit: `vlan 100 to 200, bridge br100 to br200`.
fn differences(old: &Network, new: &Network) -> String {
    let fields = |network: &Network| match serde_json::to_value(network) {
        Ok(serde_json::Value::Object(map)) => map,
        _ => serde_json::Map::new(),
    };
    let (was, is) = (fields(old), fields(new));
    let word = |value: Option<&serde_json::Value>| match value {
        None | Some(serde_json::Value::Null) => "none".to_owned(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let differs = is
        .iter()
        .filter(|(name, value)| was.get(*name) != Some(*value));
    let differs: Vec<String> = differs
        .map(|(name, value)| format!("{name} {} to {}", word(was.get(name)), word(Some(value))))
        .collect();
    differs.join(", ")
}
