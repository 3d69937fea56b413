//! `project scrub`: a project leaves its networks and gives back its floating IPs; a VLAN network
//! without a project has nothing on hosts. Depends on the plan.

use crate::caller::operator;
use crate::networks::instance_blockers;
use crate::preview::{Blocker, Preview, refusal};
use crate::{Caller, Cloud, ControlError, Kind, Result};
use novanet_model::rows::{FloatingIp, Vpn};
use novanet_model::{InstanceId, ProjectId};
use novanet_store::instances::{self, State};
use novanet_store::networks::Brief;
use novanet_store::{
    Committed, Conn, PlanOwner, Tx, audit, fixed_ips, floating_ips, interfaces, networks, objects,
    projects, vpns,
};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// What `project scrub` took.
#[derive(Debug)]
pub struct Scrubbed {
    /// Networks that the project has left.
    pub networks: Vec<String>,
    /// Floating IPs that are free now, and the instances that they led to.
    pub floats: Vec<(Ipv4Addr, Option<InstanceId>)>,
    /// To wait until the hosts have applied it.
    pub change: Committed,
}

/// What a project owns beside its instances.
struct Owned {
    networks: Vec<Brief>,
    floats: Vec<FloatingIp>,
    vpn: Option<Vpn>,
}

impl Owned {
    async fn of(c: &mut Conn, id: &ProjectId) -> Result<Self> {
        if projects::by_id(c, id).await?.is_none() {
            return Err(ControlError::not_found(Kind::Project, id));
        }
        Ok(Self {
            networks: networks::of_project(c, id).await?,
            floats: floating_ips::of_project(c, id).await?,
            vpn: vpns::of_project(c, id).await?,
        })
    }

    fn owners(&self) -> BTreeSet<PlanOwner> {
        let networks = self.networks.iter().map(|n| PlanOwner::Network(n.id));
        let floats = self.floats.iter().map(|f| PlanOwner::FloatingIp(f.id));
        networks.chain(floats).collect()
    }

    /// The Cloudpipe, whose end a scrub brings about.
    fn cloudpipe(&self) -> Option<InstanceId> {
        self.vpn.as_ref().and_then(|vpn| vpn.instance)
    }
}

impl Cloud {
    /// `project scrub`: it leaves its networks, its floating IPs go back to their pools, and its VPN
    /// ends. Refused while instances have addresses in the networks, and, without `force`, while a
    /// floating IP leads to an instance: its peers would be cut off. A network with the Cloudpipe
    /// waits for its host: then the VPN ends, and the answer says that the scrub is to be repeated
    /// ([`ControlError::InUse`] of [`Kind::Vpn`]).
    pub async fn scrub_project(&self, id: &ProjectId, force: bool) -> Result<Scrubbed> {
        let mut tx = self.db().begin_planned().await?;
        let owned = Owned::of(&mut tx, id).await?;
        let found = blockers(&mut tx, id, &owned, force, owned.cloudpipe()).await?;
        if let Some(refusal) = refusal(Kind::Project, id, &found) {
            return Err(refusal);
        }
        if let Some(vpn) = &owned.vpn {
            self.end_vpn(&mut tx, vpn).await?;
            if !blockers(&mut tx, id, &owned, force, None).await?.is_empty() {
                tx.commit().await?;
                let reason = "ends: its host has not let go of the Cloudpipe yet (repeat the \
                              scrub; nova-manage service list shows whether the host is up)";
                return Err(ControlError::in_use(Kind::Vpn, id, reason));
            }
        }
        self.scrub(&mut tx, id, &owned).await?;
        let change = tx.commit().await?;
        Ok(Scrubbed {
            networks: owned.networks.into_iter().map(|n| n.cidr).collect(),
            floats: owned
                .floats
                .into_iter()
                .map(|f| (f.address, f.fixed.map(|to| to.instance)))
                .collect(),
            change,
        })
    }

    /// What [`Cloud::scrub_project`] would do, with `terminate` after all instances of the project
    /// have ended.
    pub async fn preview_scrub(
        &self,
        id: &ProjectId,
        force: bool,
        terminate: bool,
    ) -> Result<Preview> {
        let mut tx = self.db().begin_planned().await?;
        let owned = Owned::of(&mut tx, id).await?;
        let mut owners = owned.owners();
        let mut ending = Vec::new();
        if terminate {
            let going = |state| matches!(state, State::Deleting | State::Terminated);
            ending = instances::list(&mut tx, Some(id)).await?;
            ending.retain(|row| !going(row.state));
        }
        for row in &ending {
            owners.insert(PlanOwner::Instance(row.id));
            owners.insert(PlanOwner::Membership(row.id));
        }
        if let Some(vpn) = &owned.vpn {
            owners.extend(crate::vpn::end::owners(&mut tx, vpn).await?);
        }
        let before = objects::of_owners(&mut tx, &owners).await?;
        let operator = Caller::operator(id.clone());
        for row in &ending {
            let changed = self.let_go(&mut tx, &operator, row).await?;
            self.plan(&mut tx, changed).await?;
        }
        // The command waits for the instances that it ends.
        let blockers = if terminate {
            Vec::new()
        } else {
            blockers(&mut tx, id, &owned, force, owned.cloudpipe()).await?
        };
        if let Some(vpn) = &owned.vpn {
            self.end_vpn(&mut tx, vpn).await?;
        }
        self.scrub(&mut tx, id, &owned).await?;
        let after = objects::of_owners(&mut tx, &owners).await?;
        Ok(Preview::between(&before, &after, blockers))
    }

    /// Takes from a project what it owns, and plans it.
    async fn scrub(&self, tx: &mut Tx, id: &ProjectId, owned: &Owned) -> Result<()> {
        for network in &owned.networks {
            networks::leave_project(tx, network.id).await?;
            scrubbed(tx, id, "network.disassociate", &network.cidr).await?;
        }
        for float in &owned.floats {
            floating_ips::release(tx, float.id).await?;
            let object = float.address.to_string();
            scrubbed(tx, id, "floating_ip.release", &object).await?;
        }
        scrubbed(tx, id, "project.scrub", id.as_str()).await?;
        self.plan(tx, owned.owners()).await?;
        Ok(())
    }
}

/// What keeps a project from being scrubbed: instances in its networks but for `except`, those too
/// that a host has not let go of, and, without `force`, floating IPs that lead to instances.
async fn blockers(
    c: &mut Conn,
    id: &ProjectId,
    owned: &Owned,
    force: bool,
    except: Option<InstanceId>,
) -> Result<Vec<Blocker>> {
    let mut all = Vec::new();
    for network in &owned.networks {
        let cidr = &network.cidr;
        let living = instance_blockers(c, network.id, except).await?;
        let mut used = fixed_ips::in_use(c, network.id).await?;
        if let Some(id) = except {
            let ports = interfaces::ports(c, id).await?;
            used -= ports
                .iter()
                .filter(|p| p.network == network.id)
                .map(|_| 1)
                .sum::<i64>();
        }
        if living.is_empty() && used > 0 {
            let holders = networks::holders(c, network.id).await?.join(", ");
            all.push(Blocker {
                object: format!("network {cidr}"),
                reason: format!(
                    "has {used} addresses of instances that are being terminated; waiting for \
                     {holders}"
                ),
            });
        }
        let remedy = format!("nova-manage project scrub {id} --terminate-instances");
        all.extend(living.into_iter().map(|blocker| Blocker {
            object: blocker.object,
            reason: format!("is in network {cidr} (terminate it first, or: {remedy})"),
        }));
    }
    let leading = owned.floats.iter().filter(|_| !force);
    let leading = leading.filter_map(|f| f.fixed.as_ref().map(|to| (f.address, to.instance)));
    all.extend(leading.map(|(address, instance)| Blocker {
        object: format!("floating IP {address}"),
        reason: format!(
            "leads to instance {instance} (disassociate it first, or cut it off: nova-manage \
             project scrub {id} --force)"
        ),
    }));
    Ok(all)
}

async fn scrubbed(tx: &mut Tx, id: &ProjectId, action: &str, object: &str) -> Result<()> {
    let project = Some(id.as_str());
    Ok(audit::record(tx, &operator(), action, project, object, "project scrub").await?)
}
