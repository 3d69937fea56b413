//! Use cases of floating IPs: what projects do with addresses. The operator's are in
//! [`crate::floating_pool`].

use crate::caller::record;
use crate::host_addresses;
use crate::{Caller, Cloud, ControlError, Kind, Result, Role};
use novanet_model::rows::FloatingIp;
use novanet_model::{FixedIpId, FloatingIpId, InstanceId, Resource};
use novanet_store::instances::{State, Target};
use novanet_store::plan::Subject;
use novanet_store::{Committed, Conn, PlanOwner, Tx, floating_ips, instances};
use std::net::Ipv4Addr;

/// A floating IP as a caller names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatingIpRef {
    /// By address.
    Address(Ipv4Addr),
    /// By row id (EC2's allocation id).
    Id(FloatingIpId),
}

impl From<Ipv4Addr> for FloatingIpRef {
    fn from(address: Ipv4Addr) -> Self {
        Self::Address(address)
    }
}

/// Where a floating IP shall lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Association {
    /// The instance.
    pub instance: InstanceId,
    /// Which of its fixed IPs; `None`: the first.
    pub fixed: Option<Ipv4Addr>,
    /// Take it away from another instance that it leads to.
    pub may_move: bool,
}

impl Association {
    /// To an instance's first address, wherever it leads now.
    pub fn to(instance: InstanceId) -> Self {
        Self {
            instance,
            fixed: None,
            may_move: true,
        }
    }
}

impl Cloud {
    /// DescribeAddresses: the project's.
    pub async fn addresses(&self, caller: &Caller) -> Result<Vec<FloatingIp>> {
        let mut tx = self.db().read().await?;
        Ok(floating_ips::of_project(&mut tx, &caller.project).await?)
    }

    /// AllocateAddress, from a pool or the default one.
    pub async fn allocate_address(
        &self,
        caller: &Caller,
        pool: Option<&str>,
    ) -> Result<FloatingIp> {
        caller.require(Role::NetAdmin)?;
        let mut tx = self.db().begin_planned().await?;
        self.still_there(&mut tx, caller).await?;
        let float = self.take_address(&mut tx, caller, pool).await?;
        tx.commit().await?;
        Ok(float)
    }

    /// AllocateAddress of a certain address; only from `pool` if that is given.
    pub async fn allocate_this_address(
        &self,
        caller: &Caller,
        address: Ipv4Addr,
        pool: Option<&str>,
    ) -> Result<FloatingIp> {
        caller.require(Role::NetAdmin)?;
        let mut tx = self.db().begin_planned().await?;
        self.still_there(&mut tx, caller).await?;
        self.room_for_address(&mut tx, caller).await?;
        let pool = pool.unwrap_or_default();
        if !floating_ips::take(&mut tx, address, pool, &caller.project).await? {
            // The owner stays secret.
            let reason = "is not free: it is in no pool, or a project has it";
            return Err(ControlError::in_use(Kind::FloatingIp, address, reason));
        }
        let float = allocated(&mut tx, caller, address).await?;
        tx.commit().await?;
        Ok(float)
    }

    async fn room_for_address(&self, tx: &mut Tx, caller: &Caller) -> Result<()> {
        let used = floating_ips::count_of(tx, &caller.project).await?;
        self.within_quota(tx, &caller.project, Resource::FloatingIps, used, 1)
            .await
    }

    pub(crate) async fn take_address(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        pool: Option<&str>,
    ) -> Result<FloatingIp> {
        self.room_for_address(tx, caller).await?;
        let pool = pool.unwrap_or(&self.config().floating_pool);
        let address = floating_ips::allocate(tx, pool, &caller.project)
            .await?
            .ok_or_else(|| {
                ControlError::exhausted(
                    Kind::FloatingIp,
                    format!(
                        "no free floating IP in pool {pool} (the operator adds some: \
                         nova-manage floating create RANGE)"
                    ),
                )
            })?;
        allocated(tx, caller, address).await
    }

    /// ReleaseAddress. Refused while the address leads to an instance, as nova did: its peers
    /// would be cut off.
    pub async fn release_address(
        &self,
        caller: &Caller,
        float: FloatingIpRef,
    ) -> Result<Committed> {
        caller.require(Role::NetAdmin)?;
        let mut tx = self.db().begin_planned().await?;
        let float = owned(&mut tx, caller, float).await?;
        if let Some(target) = &float.fixed {
            return Err(ControlError::StillAssociated {
                address: float.address,
                instance: target.instance,
            });
        }
        floating_ips::release(&mut tx, float.id).await?;
        record(&mut tx, caller, "floating_ip.release", float.address, "").await?;
        self.plan(&mut tx, [PlanOwner::FloatingIp(float.id)])
            .await?;
        Ok(tx.commit().await?)
    }

    /// AssociateAddress. Answers with the address as it was before.
    pub async fn associate_address(
        &self,
        caller: &Caller,
        float: FloatingIpRef,
        to: &Association,
    ) -> Result<(FloatingIp, Committed)> {
        caller.require(Role::NetAdmin)?;
        let mut tx = self.db().begin_planned().await?;
        let before = self.point_address(&mut tx, caller, float, to).await?;
        Ok((before, tx.commit().await?))
    }

    pub(crate) async fn point_address(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        float: FloatingIpRef,
        to: &Association,
    ) -> Result<FloatingIp> {
        let float = owned(tx, caller, float).await?;
        floating_ips::check(&float)?;
        refuse_conflict(caller, &float)?;
        let &Association {
            instance,
            fixed,
            may_move,
        } = to;
        if let Some(target) = &float.fixed
            && target.instance != instance
            && !may_move
        {
            return Err(ControlError::in_use(
                Kind::FloatingIp,
                float.address,
                format!("leads to instance {} already", target.instance),
            ));
        }
        let target = instances::target(tx, instance)
            .await?
            .filter(|t| t.project == caller.project && t.state != State::Terminated)
            .ok_or_else(|| ControlError::not_found(Kind::Instance, instance))?;
        if target.state == State::Deleting {
            return Err(ControlError::in_use(
                Kind::Instance,
                instance,
                "is being terminated",
            ));
        }
        let chosen = match fixed {
            Some(ip) => target.addresses.iter().find(|(_, address)| *address == ip),
            None => first_translated(tx, &target).await?,
        };
        let Some((fixed_id, fixed)) = chosen else {
            let reason = fixed.map_or_else(
                || "has no fixed IP".to_owned(),
                |ip| format!("does not have the fixed IP {ip}"),
            );
            return Err(ControlError::in_use(Kind::Instance, instance, reason));
        };
        if let Some(network) = target.outside.get(fixed_id) {
            let network = host_addresses::NetworkAndHost::load(tx, *network).await?;
            network.refuse_floating_ip(caller, float.address)?;
        }
        // nova: one floating IP leads to one fixed IP; an earlier one of this instance lets go.
        let mut moved = Vec::new();
        for &(other, address) in &target.floats {
            if other != float.id {
                moved.push(point(tx, other, None).await?);
                let detail = format!("{instance} has {} now", float.address);
                let action = "floating_ip.disassociate";
                record(tx, caller, action, address, &detail).await?;
            }
        }
        moved.push(point(tx, float.id, Some(*fixed_id)).await?);
        let mut detail = format!("{instance} {fixed}");
        if let Some(before) = float.fixed.as_ref().filter(|f| f.instance != instance) {
            detail = format!("{detail}, before: {}", before.instance);
        }
        let action = "floating_ip.associate";
        record(tx, caller, action, float.address, &detail).await?;
        self.plan(tx, moved).await?;
        Ok(float)
    }

    /// DisassociateAddress. An address that leads nowhere is left as it is.
    pub async fn disassociate_address(
        &self,
        caller: &Caller,
        float: FloatingIpRef,
    ) -> Result<Committed> {
        caller.require(Role::NetAdmin)?;
        let mut tx = self.db().begin_planned().await?;
        let float = owned(&mut tx, caller, float).await?;
        if float.fixed.is_none() {
            return Ok(Committed::default());
        }
        let moved = point(&mut tx, float.id, None).await?;
        let action = "floating_ip.disassociate";
        record(&mut tx, caller, action, float.address, "").await?;
        self.plan(&mut tx, [moved]).await?;
        Ok(tx.commit().await?)
    }
}

/// The first fixed IP that a floating IP can lead to; without one the first of all.
async fn first_translated<'a>(
    c: &mut Conn,
    target: &'a Target,
) -> Result<Option<&'a (FixedIpId, Ipv4Addr)>> {
    for address in &target.addresses {
        let translated = match target.outside.get(&address.0) {
            None => true,
            Some(network) => host_addresses::NetworkAndHost::load(c, *network)
                .await?
                .translates(),
        };
        if translated {
            return Ok(Some(address));
        }
    }
    Ok(target.addresses.first())
}

/// Points a floating IP at a fixed IP's row, or nowhere. Answers with the subject to plan.
pub(crate) async fn point(
    tx: &mut Tx,
    id: FloatingIpId,
    fixed_ip: Option<FixedIpId>,
) -> Result<Subject> {
    let now = floating_ips::point(tx, id, fixed_ip).await?;
    Ok(now.map_or(
        Subject::PlanOwner(PlanOwner::FloatingIp(id)),
        Subject::FloatingIp,
    ))
}

/// Records an allocation; the address as it is now.
async fn allocated(tx: &mut Tx, caller: &Caller, address: Ipv4Addr) -> Result<FloatingIp> {
    record(tx, caller, "floating_ip.allocate", address, "").await?;
    floating_ips::by_address(tx, address)
        .await?
        .ok_or_else(|| ControlError::not_found(Kind::FloatingIp, address))
}

/// Refuses an address that a host has itself: rows may be older than the host's report.
fn refuse_conflict(caller: &Caller, float: &FloatingIp) -> Result<()> {
    let Some(conflict) = &float.conflict else {
        return Ok(());
    };
    // What hosts there are is the operator's business only.
    let why = if caller.admin {
        conflict
    } else {
        "it is an address of the cloud's own"
    };
    let reason = format!("{why}: release it and allocate another");
    Err(ControlError::in_use(
        Kind::FloatingIp,
        float.address,
        reason,
    ))
}

/// A floating IP of the caller's project.
async fn owned(c: &mut Conn, caller: &Caller, float: FloatingIpRef) -> Result<FloatingIp> {
    let found = match float {
        FloatingIpRef::Address(address) => floating_ips::by_address(c, address).await?,
        FloatingIpRef::Id(id) => floating_ips::by_id(c, id).await?,
    };
    found
        .filter(|f| f.project.as_ref() == Some(&caller.project))
        .ok_or_else(|| match float {
            FloatingIpRef::Address(address) => ControlError::not_found(Kind::FloatingIp, address),
            FloatingIpRef::Id(id) => ControlError::not_found(Kind::FloatingIp, id),
        })
}
