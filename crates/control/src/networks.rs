//! Use cases of networks: create, list, delete. The model carves the subnets; `network_modify` has
//! later changes.

use crate::caller::operator;
use crate::host_addresses;
use crate::preview::{Blocker, Preview, refusal};
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::carve::{self, CarveError, Carved, NewNetwork, Request};
use novanet_model::rows::Network;
use novanet_model::wire::HostRole;
use novanet_model::{InstanceId, ModelError, NetworkId, NetworkKind};
use novanet_store::networks::Reserved;
pub use novanet_store::networks::{BadNetwork, Brief};
use novanet_store::{
    Committed, Conn, PlanOwner, Tx, audit, fixed_ips, floating_ips, hosts, instances, networks,
    objects, vpns,
};
use std::collections::{BTreeMap, BTreeSet};

/// The result of `network create`.
#[derive(Debug)]
pub struct Created {
    /// The networks.
    pub networks: Vec<Network>,
    /// Decisions that the user did not make and that may surprise.
    pub notes: Vec<String>,
    /// To wait until the hosts have applied it.
    pub change: Committed,
}

impl Cloud {
    /// `network create`: all or nothing.
    pub async fn create_networks(&self, request: &Request) -> Result<Created> {
        let mut tx = self.db().begin_planned().await?;
        if let Some(project) = &request.project
            && novanet_store::projects::by_id(&mut tx, project)
                .await?
                .is_none()
        {
            return Err(ControlError::not_found(Kind::Project, project));
        }
        let carved = self.carve(&mut tx, request).await?;
        let host = self.gateway_host(&mut tx).await?;
        if host.is_none() {
            self.refuse_unknown_network_host(&mut tx).await?;
        }
        let reports = novanet_store::host_addresses::all(&mut tx).await?;
        let mut made = Vec::with_capacity(carved.networks.len());
        for new in &carved.networks {
            host_addresses::refuse_network(&reports, new)?;
            if let Some(float) = floating_ips::first_within(&mut tx, new.cidr).await? {
                let reason =
                    format!("floating IP {float} is in it: choose another range, or delete that");
                return Err(ControlError::in_use(Kind::Network, new.cidr, reason));
            }
            let network = self.insert_network(&mut tx, new, host.as_deref()).await?;
            host_addresses::reserve(&mut tx, &reports, &network).await?;
            made.push(network);
        }
        let change = tx.commit().await?;
        Ok(Created {
            networks: made,
            notes: carved.notes,
            change,
        })
    }

    /// What to make, beside all that is there and all that some host may still have.
    async fn carve(&self, c: &mut Conn, request: &Request) -> Result<Carved> {
        let defaults = &self.carve_defaults(c).await?;
        let there = networks::in_the_way(c).await?;
        let refusal = match carve::carve(request, &there.all(), defaults) {
            Err(CarveError::Conflict(refusal)) if !there.deleting.is_empty() => refusal,
            other => return Ok(other?),
        };
        let (living, going) = (there.living, there.deleting);
        if carve::carve(request, &living, defaults).is_err() {
            return Err(CarveError::Conflict(refusal).into());
        }
        // Only networks that are being deleted are in the way: no list shows them, so name one
        // here.
        let in_the_way = going.iter().find(|one| {
            let with = [living.as_slice(), std::slice::from_ref(one)].concat();
            carve::carve(request, &with, defaults).is_err()
        });
        let one = in_the_way.unwrap_or(&going[0]);
        Err(being_deleted(c, one).await?)
    }

    /// The flags' defaults, with the VLAN ids that hosts have devices of and the ports of VPNs.
    pub(crate) async fn carve_defaults(&self, c: &mut Conn) -> Result<carve::Defaults> {
        let mut defaults = self.config().network_defaults.clone();
        defaults.vpn_ports = vpns::ports(c).await?;
        for (host, report) in novanet_store::host_addresses::all(c).await? {
            for vlan in report.vlans {
                defaults.host_vlans.entry(vlan).or_insert(host.clone());
            }
        }
        Ok(defaults)
    }

    async fn insert_network(
        &self,
        tx: &mut Tx,
        new: &NewNetwork,
        host: Option<&str>,
    ) -> Result<Network> {
        let mut network = Network {
            id: NetworkId(0),
            spec: new.spec.clone(),
            host: host.map(str::to_owned),
            uuid: uuid::Uuid::new_v4().to_string(),
        };
        let reserved: Vec<Reserved> = new
            .reserved
            .iter()
            .map(|&(first, last)| Reserved {
                first,
                last,
                reason: reason_of(new, first).to_owned(),
            })
            .collect();
        network.id = networks::insert(tx, &network, &reserved).await?;
        let object = network.cidr.to_string();
        let detail = format!("{} on {}", network.kind, network.bridge);
        audit::record(tx, &operator(), "network.create", None, &object, &detail).await?;
        self.plan(tx, [PlanOwner::Network(network.id)]).await?;
        Ok(network)
    }

    /// `network list`.
    pub async fn networks(&self) -> Result<Vec<Network>> {
        let mut tx = self.db().read().await?;
        Ok(networks::list(&mut tx).await?)
    }

    /// Networks whose rows do not validate: hosts have what followed from them when they last did.
    pub async fn bad_networks(&self) -> Result<Vec<BadNetwork>> {
        let mut tx = self.db().read().await?;
        Ok(networks::bad(&mut tx).await?)
    }

    /// A network by number or range.
    pub async fn network(&self, id: &str) -> Result<Network> {
        let mut tx = self.db().read().await?;
        find(&mut tx, id).await
    }

    /// How many addresses of a network instances have, and its reserved ranges.
    pub async fn network_use(&self, id: NetworkId) -> Result<(i64, Vec<Reserved>)> {
        let mut tx = self.db().read().await?;
        let used = fixed_ips::in_use(&mut tx, id).await?;
        Ok((used, fixed_ips::reserved_ranges(&mut tx, id).await?))
    }

    /// `network delete`, by number or range. Refused while instances or a project have it; the row
    /// goes when its host has let go of it.
    pub async fn delete_network(&self, id: &str) -> Result<Committed> {
        let mut tx = self.db().begin_planned().await?;
        let network = to_delete(&mut tx, id).await?;
        let blockers = delete_blockers(&mut tx, &network).await?;
        if let Some(refusal) = refusal(Kind::Network, &network.cidr, &blockers) {
            return Err(refusal);
        }
        // Instances that are going keep the row, and with it the range, until their hosts let go.
        let object = &network.cidr;
        audit::record(&mut tx, &operator(), "network.delete", None, object, "").await?;
        networks::set_deleting(&mut tx, network.id).await?;
        self.plan(&mut tx, [PlanOwner::Network(network.id)]).await?;
        finish_deleting_networks(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// What [`Cloud::delete_network`] would do.
    pub async fn preview_delete_network(&self, id: &str) -> Result<Preview> {
        let mut tx = self.db().read().await?;
        let network = to_delete(&mut tx, id).await?;
        let blockers = delete_blockers(&mut tx, &network).await?;
        let owners = BTreeSet::from([PlanOwner::Network(network.id)]);
        let before = objects::of_owners(&mut tx, &owners).await?;
        Ok(Preview::between(&before, &BTreeMap::new(), blockers))
    }
}

/// A network by number or range, also one whose row does not validate: deleting it is a way to be
/// rid of that.
async fn to_delete(c: &mut Conn, id: &str) -> Result<Brief> {
    let network = networks::find(c, id).await?;
    network.ok_or_else(|| ControlError::not_found(Kind::Network, id))
}

/// What keeps a network from being deleted: its project, and its instances.
async fn delete_blockers(c: &mut Conn, network: &Brief) -> Result<Vec<Blocker>> {
    let project = network.project.iter().map(|project| Blocker {
        object: format!("project {project}"),
        reason: format!("owns it (scrub it first: nova-manage project scrub {project})"),
    });
    let mut blockers: Vec<Blocker> = project.collect();
    let vpns = vpns::list(c).await?;
    let here = vpns.iter().filter(|vpn| vpn.network == network.id);
    blockers.extend(here.map(|vpn| Blocker {
        object: format!("VPN of project {}", vpn.project),
        reason: format!(
            "is in it (scrub it first: nova-manage project scrub {})",
            vpn.project
        ),
    }));
    blockers.extend(instance_blockers(c, network.id, None).await?);
    Ok(blockers)
}

/// The instances in a network that keep it, but for one.
pub(crate) async fn instance_blockers(
    c: &mut Conn,
    id: NetworkId,
    except: Option<InstanceId>,
) -> Result<Vec<Blocker>> {
    let living = instances::living_in_network(c, id).await?;
    let living = living.into_iter().filter(|id| Some(*id) != except);
    let blockers = living.map(|instance| Blocker {
        object: format!("instance {instance}"),
        reason: "is in it (terminate it first)".to_owned(),
    });
    Ok(blockers.collect())
}

/// Removes networks that are being deleted and that no host and no instance has any more.
pub(crate) async fn finish_deleting_networks(tx: &mut Tx) -> Result<()> {
    for id in networks::deleting(tx).await? {
        let gone = objects::removed_everywhere(tx, PlanOwner::Network(id)).await?;
        if gone && fixed_ips::in_use(tx, id).await? == 0 {
            networks::delete(tx, id).await?;
        }
    }
    Ok(())
}

/// What has to be planned again when a network's bridge or host changes.
pub(crate) async fn owners_of_network(c: &mut Conn, id: NetworkId) -> Result<BTreeSet<PlanOwner>> {
    let mut owners = BTreeSet::from([PlanOwner::Network(id)]);
    let living = instances::living_in_network(c, id).await?;
    owners.extend(living.into_iter().map(PlanOwner::Instance));
    let floats = floating_ips::of_network(c, id).await?;
    owners.extend(floats.into_iter().map(|f| PlanOwner::FloatingIp(f.id)));
    Ok(owners)
}

/// Why a network's range, tag or bridge is not free yet.
pub(crate) async fn being_deleted(c: &mut Conn, network: &Network) -> Result<ControlError> {
    let holders = networks::holders(c, network.id).await?;
    let reason = match holders.as_slice() {
        [] => "is being deleted (try again in a moment)".to_owned(),
        [host] => format!("is being deleted; host {host} has not let go of it yet"),
        hosts => format!(
            "is being deleted; hosts {} have not let go of it yet",
            hosts.join(", ")
        ),
    };
    Ok(ControlError::in_use(Kind::Network, network.cidr, reason))
}

/// Finds a network by number or range.
pub(crate) async fn find(c: &mut Conn, id: &str) -> Result<Network> {
    let found = match id.parse::<i64>() {
        Ok(number) => networks::by_id(c, NetworkId(number)).await?,
        Err(_) => networks::by_cidr(c, id).await?,
    };
    found.ok_or_else(|| ControlError::not_found(Kind::Network, id))
}

impl Cloud {
    /// The host that becomes the gateway of a new network: `network_host`, once it is there;
    /// without the flag the first with that role, one that is up before one that is not.
    pub(crate) async fn gateway_host(&self, c: &mut Conn) -> Result<Option<String>> {
        let wanted = self.config().network_host.as_ref();
        let gateways: Vec<hosts::Host> = hosts::list(c)
            .await?
            .into_iter()
            .filter(|h| h.roles.contains(&HostRole::Network) && !h.disabled)
            .filter(|h| wanted.is_none_or(|name| *name == h.name))
            .collect();
        let best = gateways
            .iter()
            .find(|h| self.is_up(h))
            .or_else(|| gateways.first());
        Ok(best.map(|h| h.name.clone()))
    }
}

impl Cloud {
    /// Refuses a `network_host` that is none of the known hosts: a new network would wait for it
    /// without a word. Before the first host has reported, the flag may be right.
    async fn refuse_unknown_network_host(&self, c: &mut Conn) -> Result<()> {
        let Some(wanted) = &self.config().network_host else {
            return Ok(());
        };
        let known = hosts::list(c).await?;
        let reason = match known.iter().find(|host| host.name == *wanted) {
            _ if known.is_empty() => return Ok(()),
            None => {
                let names: Vec<&str> = known.iter().map(|host| host.name.as_str()).collect();
                format!("is no host of this cloud: there is {}", names.join(", "))
            }
            Some(host) if host.disabled => {
                format!("is disabled: nova-manage service enable {wanted}")
            }
            Some(_) => "has not the role network (flag roles)".to_owned(),
        };
        Err(ModelError::new("network_host", wanted, reason).into())
    }
}

fn reason_of(new: &NewNetwork, first: std::net::Ipv4Addr) -> &'static str {
    if first <= new.gateway {
        "network and gateway"
    } else if Some(first) == new.vpn_private_address && new.kind == NetworkKind::Vlan {
        "vpn"
    } else if new.vpn_clients > 0 {
        "vpn clients and broadcast"
    } else {
        "reserved"
    }
}
