//! One transaction for many launches: first all checks that can refuse one of them, then the
//! addresses, then all rows, a table at a time. Depends on the rows of `store` and on nothing of
//! the queue.
//!
//! A refused call leaves nothing behind, although the transaction of the other calls commits: this
//! module writes nothing for a call before the call is certain to succeed, unless it is alone in
//! its transaction.

use super::addresses::{self, Addresses};
use super::context::LaunchContext;
use super::idempotency::earlier;
use super::rows::{self, NewInstance};
use super::types::{Call, Outcome, Plan, PrepareError};
use super::vpn;
use crate::floating_ips::Association;
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::instance_type::{self, InstanceType};
use novanet_model::{FixedIpId, InstanceId, NetworkKind, ReservationId, Resource};
use novanet_store::key_pairs;
use novanet_store::members::{self, Placement, Usage};
use novanet_store::pool::{self as address_pool, AllocatedIp};
use novanet_store::{Committed, PlanOwner, Tx, counters, floating_ips, instances, vpns};
use std::collections::BTreeSet;

/// A plan with the addresses of its instances, one in each network for each.
struct Ready<'a> {
    call: &'a Call,
    plan: Plan,
    addresses: Vec<Vec<AllocatedIp>>,
    floats: Vec<std::net::Ipv4Addr>,
}

impl Cloud {
    /// Launches for all calls; an outcome for each. After an error no call has launched anything.
    pub(super) async fn launch_all(&self, mut tx: Tx, calls: &[&Call]) -> Result<Vec<Outcome>> {
        let mut context = LaunchContext::load(&mut tx, calls.len() == 1).await?;
        let mut plans = Vec::with_capacity(calls.len());
        let mut tokens = BTreeSet::new();
        for call in calls {
            let token = call.launch.client_token.as_deref();
            let again = token.is_some_and(|t| !tokens.insert((&call.caller.project, t)));
            let planned = if again {
                Err(PrepareError::RetryAlone)
            } else {
                self.prepare(&mut tx, &mut context, call).await
            };
            plans.push(classify(planned, context.alone)?);
        }
        let from_pool = |plan: &&Plan| plan.requested.is_none();
        let wanting = plans
            .iter()
            .filter_map(|p| p.as_ref().ok())
            .filter(from_pool);
        let mut pool = Addresses::take(&mut tx, wanting).await?;
        let mut ready = Vec::new();
        let mut outcomes = Vec::with_capacity(calls.len());
        for (call, plan) in calls.iter().zip(plans) {
            let assigned = match plan {
                Ok(plan) => {
                    self.assign_addresses(&mut tx, &mut pool, call, plan)
                        .await?
                }
                Err(outcome) => Err(outcome),
            };
            outcomes.push(assigned.map(|r| ready.push(r)).err());
        }
        pool.give_back(&mut tx).await?;
        let launched = if ready.is_empty() {
            Vec::new()
        } else {
            self.write(tx, &ready).await?
        };
        let mut launched = launched.into_iter();
        let mut done = || match launched.next() {
            Some((ids, committed)) => Outcome::Done(ids, committed),
            None => Outcome::RetryAlone,
        };
        Ok(outcomes
            .into_iter()
            .map(|o| o.unwrap_or_else(&mut done))
            .collect())
    }

    /// Everything that can refuse a call.
    async fn prepare(
        &self,
        tx: &mut Tx,
        context: &mut LaunchContext,
        call: &Call,
    ) -> Result<Plan, PrepareError> {
        let Call { caller, launch, .. } = call;
        let cloudpipe = if call.is_cloudpipe {
            Some(vpn::vacant(tx, call, context.alone).await?)
        } else {
            None
        };
        if let Some(token) = &launch.client_token {
            let before = instances::by_client_token(tx, &caller.project, token).await?;
            if !before.is_empty() {
                return Err(PrepareError::AlreadyLaunched(earlier(
                    self, token, launch, &before,
                )?));
            }
        }
        // An address that is taken and not given must be taken back with everything else.
        if !context.alone && self.wants_float(call) {
            return Err(PrepareError::RetryAlone);
        }
        context.usage(tx, &caller.project).await?;
        let image = context.image(tx, call).await?;
        let name = launch.instance_type.as_deref().unwrap_or("m1.small");
        let size = instance_type::find(name)
            .ok_or_else(|| ControlError::not_found(Kind::InstanceType, name))?;
        let key = match &launch.key_name {
            None => None,
            Some(name) => Some(
                key_pairs::by_name(tx, &caller.actor.who, name)
                    .await?
                    .ok_or_else(|| ControlError::not_found(Kind::KeyPair, name))?,
            ),
        };
        let groups = context.groups(self, tx, call).await?;
        let networks = match &cloudpipe {
            Some((_, network)) => vec![network.clone()],
            None => context.networks_for(self, tx, call).await?,
        };
        let zone = launch.availability_zone.as_deref();
        let able = context
            .hosts
            .able(|host| self.is_up(host), &networks, zone)?;
        let (count, requested) = match &cloudpipe {
            Some((vpn, _)) => (1, Some(vpn::address(tx, vpn).await?)),
            None => (
                self.count(tx, context, call, size, networks.len()).await?,
                addresses::requested_address(tx, call, &networks).await?,
            ),
        };
        let places = (0..count)
            .map(|_| context.hosts.choose(&able))
            .collect::<Result<_>>()?;
        Ok(Plan {
            combination: context.combination(tx, &groups).await?,
            count: usize::try_from(count).unwrap_or(0),
            networks,
            image,
            size,
            key,
            groups,
            places,
            requested,
            vpn: cloudpipe.map(|(vpn, _)| vpn.id),
        })
    }

    /// Whether each instance of a call gets a floating IP.
    fn wants_float(&self, call: &Call) -> bool {
        let asked = call.launch.public_address;
        asked.unwrap_or(self.config().auto_assign_floating_ip)
    }

    /// As many as asked for, or as the quotas leave, but not less than `min` (nova's and EC2's
    /// rule).
    async fn count(
        &self,
        tx: &mut Tx,
        context: &mut LaunchContext,
        call: &Call,
        size: &InstanceType,
        networks: usize,
    ) -> Result<i64> {
        let project = &call.caller.project;
        let each = i64::try_from(networks).unwrap_or(i64::MAX);
        let usage = *context.usage(tx, project).await?;
        // The addresses of the project are counted only if they have a limit.
        let addresses = match self.room_within(usage.fixed_ips, Resource::FixedIps, 0) {
            Some(_) => Some(context.addresses(tx, project).await?),
            None => None,
        };
        let used = addresses.as_deref().copied().unwrap_or(0);
        let (vcpus, memory) = (i64::from(size.vcpus), i64::from(size.memory_mb));
        let count = self.how_many(&usage, call, [vcpus, memory], (used, each))?;
        if let Some(addresses) = addresses {
            *addresses += count * each;
        }
        let usage = context.usage(tx, project).await?;
        usage.instances.0 += count;
        usage.cores.0 += count * vcpus;
        usage.ram.0 += count * memory;
        Ok(count)
    }

    fn how_many(
        &self,
        usage: &Usage,
        call: &Call,
        [vcpus, memory]: [i64; 2],
        (addresses, each): (i64, i64),
    ) -> Result<i64> {
        let limits = [
            (Resource::Instances, usage.instances, 1),
            (Resource::Cores, usage.cores, vcpus),
            (Resource::Ram, usage.ram, memory),
            (Resource::FixedIps, (addresses, usage.fixed_ips), each),
        ];
        let (min, mut count) = (call.launch.min, call.launch.max);
        for (resource, (used, own), each) in limits {
            let Some(room) = self.room_within(own, resource, used) else {
                continue;
            };
            if room < min * each {
                return Err(ControlError::Quota {
                    resource,
                    used,
                    wanted: min * each,
                    limit: used + room,
                });
            }
            count = count.min(room / each);
        }
        Ok(count)
    }

    /// The addresses of a plan's instances: fixed ones, and floating ones where each instance gets
    /// one.
    async fn assign_addresses<'a>(
        &self,
        tx: &mut Tx,
        pool: &mut Addresses,
        call: &'a Call,
        plan: Plan,
    ) -> Result<Result<Ready<'a>, Outcome>> {
        let min = usize::try_from(call.launch.min).unwrap_or(usize::MAX);
        let assigned = match plan.requested {
            Some(taken) => Ok(vec![vec![taken]]),
            None => pool.assign(&plan, min),
        };
        let mut addresses = match assigned {
            Ok(addresses) => addresses,
            Err(none_left) => return Ok(Err(Outcome::Refused(none_left))),
        };
        let mut floats = Vec::new();
        if self.wants_float(call) {
            for index in 0..addresses.len() {
                match self.take_address(tx, &call.caller, None).await {
                    Ok(float) => floats.push(float.address),
                    Err(ControlError::Exhausted { .. } | ControlError::Quota { .. })
                        if index >= min =>
                    {
                        break;
                    }
                    Err(none_left) => return Ok(Err(Outcome::Refused(none_left))),
                }
            }
            let without = addresses.split_off(floats.len());
            let ids: Vec<FixedIpId> = without.into_iter().flatten().map(|ip| ip.id).collect();
            address_pool::release(tx, &ids).await?;
        }
        Ok(Ok(Ready {
            call,
            plan,
            addresses,
            floats,
        }))
    }

    /// Writes all instances and what follows from them.
    async fn write(
        &self,
        mut tx: Tx,
        ready: &[Ready<'_>],
    ) -> Result<Vec<(Vec<InstanceId>, Committed)>> {
        let count = ready.iter().map(|r| r.addresses.len()).sum::<usize>();
        let [count, calls] = [count, ready.len()].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let (first, reservation) =
            counters::take_both(&mut tx, ("instances", count), ("reservations", calls)).await?;
        let mut ids = first..;
        let mut all = Vec::new();
        let mut made = Vec::new();
        for (reservation, ready) in (reservation..).zip(ready) {
            let before = all.len();
            let one = ready.addresses.iter().zip(&ready.plan.places);
            for ((index, (addresses, place)), id) in (0..).zip(one).zip(&mut ids) {
                let place = (InstanceId(id), ReservationId(reservation), index, place);
                let vault = self.vault().ok();
                all.push(NewInstance::new(
                    ready.call,
                    &ready.plan,
                    addresses,
                    place,
                    vault,
                )?);
            }
            made.push(all[before..].iter().map(|new| new.row.id).collect());
        }
        rows::insert(&mut tx, &all).await?;
        let placements: Vec<Placement<'_>> = all.iter().map(NewInstance::placement).collect();
        let mut owners = members::add_members(&mut tx, &placements).await?;
        if let [alone] = ready {
            // A VLAN network that the launch took has host objects from now on.
            let networks = alone.plan.networks.iter();
            let vlans = networks.filter(|n| n.kind == NetworkKind::Vlan);
            owners.extend(vlans.map(|n| PlanOwner::Network(n.id)));
        }
        for (ready, ids) in ready.iter().zip(&made) {
            self.assign(&mut tx, ready, ids).await?;
            if let (Some(vpn), Some(id)) = (ready.plan.vpn, ids.first()) {
                vpns::set_instance(&mut tx, vpn, *id).await?;
            }
        }
        rows::record(&mut tx, &all).await?;
        self.plan(&mut tx, owners).await?;
        let committed = tx.commit().await?;
        Ok(made
            .into_iter()
            .map(|ids| (ids, committed.clone()))
            .collect())
    }

    /// Points the floating IPs that every instance gets.
    async fn assign(&self, tx: &mut Tx, ready: &Ready<'_>, ids: &Vec<InstanceId>) -> Result<()> {
        for (address, id) in ready.floats.iter().zip(ids) {
            let to = Association::to(*id);
            let caller = &ready.call.caller;
            let float = self
                .point_address(tx, caller, (*address).into(), &to)
                .await?;
            floating_ips::set_auto_assigned(tx, float.id).await?;
        }
        Ok(())
    }
}

/// The plan or the outcome of a call. A store error fails the transaction of all calls.
fn classify(planned: Result<Plan, PrepareError>, alone: bool) -> Result<Result<Plan, Outcome>> {
    Ok(Err(match planned {
        Ok(plan) => return Ok(Ok(plan)),
        Err(PrepareError::Failed(error @ ControlError::Store(_))) => return Err(error),
        // The calls before it may launch fewer instances than they were counted with.
        Err(PrepareError::Failed(ControlError::Quota { .. }) | PrepareError::RetryAlone)
            if !alone =>
        {
            Outcome::RetryAlone
        }
        Err(PrepareError::Failed(error)) => Outcome::Refused(error),
        Err(PrepareError::AlreadyLaunched(ids)) => Outcome::Done(ids, Committed::default()),
        Err(PrepareError::RetryAlone) => Outcome::RetryAlone,
    }))
}
