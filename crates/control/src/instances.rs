//! Use cases of instances after their launch ([`crate::launch`]): lists, reboot, termination,
//! metadata. Agents report what became of them ([`crate::agents`]).

use crate::caller::controller;
use crate::{Caller, Cloud, ControlError, Kind, Result, Role};
use base64::Engine as _;
use novanet_model::rows::InstancePort;
use novanet_model::wire::Metadata;
use novanet_model::{AmiId, InstanceId, ProjectId};
use novanet_store::audit::Actor;
use novanet_store::groups::{self, Group};
use novanet_store::instances::{self, Row, State};
use novanet_store::{
    Committed, Conn, PlanOwner, Tx, audit, fixed_ips, floating_ips, hosts, interfaces, members,
    networks, now, objects,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

pub use crate::launch::{Launch, USER_DATA_LIMIT};
pub use novanet_store::instances::{Row as InstanceRow, State as InstanceState};

/// An instance as clients see it.
#[derive(Debug, Clone)]
pub struct InstanceView {
    /// Its row.
    pub row: Row,
    /// Its groups.
    pub groups: Vec<Group>,
    /// Its ports.
    pub ports: Vec<InstancePort>,
    /// The floating IP that leads to it.
    pub public_address: Option<Ipv4Addr>,
    /// Why it may have no network though it runs.
    pub remark: Option<String>,
}

impl InstanceView {
    /// The reason of its state, or another problem. For people.
    pub fn reason(&self) -> Option<&str> {
        if self.row.halted && self.row.state == State::Stopped {
            return Some("User initiated shutdown");
        }
        self.row.detail.as_deref().or(self.remark.as_deref())
    }
}

impl Cloud {
    /// DescribeInstances: the project's, terminated ones of the last hour too.
    pub async fn instances(&self, caller: &Caller) -> Result<Vec<InstanceView>> {
        let mut tx = self.db().read().await?;
        let mut views = self.all_views(&mut tx, Some(&caller.project)).await?;
        self.explain(&mut tx, &mut views).await?;
        Ok(views)
    }

    /// DescribeInstances of some: in their order, each once; one that is not the project's refuses
    /// all.
    pub async fn instances_of(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
    ) -> Result<Vec<InstanceView>> {
        let mut tx = self.db().read().await?;
        let wanted: BTreeSet<InstanceId> = ids.iter().copied().collect();
        let mut views = Vec::with_capacity(wanted.len());
        // Three statements each, or a few for all of the project.
        if wanted.len() <= FEW {
            for &id in &wanted {
                if let Some(row) = instances::by_id(&mut tx, id).await?
                    && row.project == caller.project
                {
                    views.push(self.view(&mut tx, row).await?);
                }
            }
        } else {
            views = self.all_views(&mut tx, Some(&caller.project)).await?;
            views.retain(|v| wanted.contains(&v.row.id));
        }
        let unknown = |id: &&InstanceId| !views.iter().any(|v| v.row.id == **id);
        if let Some(unknown) = wanted.iter().find(unknown) {
            return Err(ControlError::not_found(Kind::Instance, unknown));
        }
        self.explain(&mut tx, &mut views).await?;
        Ok(views)
    }

    /// `vm list`: of all projects.
    pub async fn all_instances(&self) -> Result<Vec<InstanceView>> {
        let mut tx = self.db().read().await?;
        let mut views = self.all_views(&mut tx, None).await?;
        self.explain(&mut tx, &mut views).await?;
        Ok(views)
    }

    /// One of the project's instances; an administrator finds those of all projects.
    pub async fn instance(&self, caller: &Caller, id: InstanceId) -> Result<InstanceView> {
        let mut tx = self.db().read().await?;
        let row = find(&mut tx, caller, id).await?;
        let mut view = self.view(&mut tx, row).await?;
        self.explain(&mut tx, std::slice::from_mut(&mut view))
            .await?;
        Ok(view)
    }

    /// The host to ask for an instance's console; `None`: it is on none any more.
    pub async fn console_host(&self, caller: &Caller, id: InstanceId) -> Result<Option<String>> {
        caller.require(Role::SysAdmin)?;
        let mut tx = self.db().read().await?;
        let row = find(&mut tx, caller, id).await?;
        Ok(row.host.filter(|_| row.state != State::Terminated))
    }

    /// RebootInstances: all or none.
    pub async fn reboot(&self, caller: &Caller, ids: &[InstanceId]) -> Result<Committed> {
        caller.require(Role::SysAdmin)?;
        let mut tx = self.db().begin_planned().await?;
        for &id in ids {
            let row = find(&mut tx, caller, id).await?;
            if row.halted || matches!(row.state, State::Deleting | State::Terminated) {
                return Err(ControlError::in_use(
                    Kind::Instance,
                    id,
                    format!("is {}, which cannot be rebooted", word(&row)),
                ));
            }
            instances::count_boot(&mut tx, id).await?;
            record(&mut tx, caller, "instance.reboot", &row).await?;
        }
        let owners: Vec<PlanOwner> = ids.iter().copied().map(PlanOwner::Instance).collect();
        self.plan(&mut tx, owners).await?;
        Ok(tx.commit().await?)
    }

    /// TerminateInstances: all or none. Answers with the state of each before. The rows stay until
    /// their hosts have let go.
    pub async fn terminate(
        &self,
        caller: &Caller,
        ids: &[InstanceId],
    ) -> Result<(Vec<(InstanceId, State)>, Committed)> {
        caller.require(Role::SysAdmin)?;
        let mut tx = self.db().begin_planned().await?;
        let mut before = Vec::new();
        let mut owners = BTreeSet::new();
        for &id in ids {
            let row = find(&mut tx, caller, id).await?;
            before.push((id, row.state));
            if matches!(row.state, State::Deleting | State::Terminated) {
                continue;
            }
            owners.extend(self.let_go(&mut tx, caller, &row).await?);
        }
        self.plan(&mut tx, owners).await?;
        for &(id, state) in &before {
            if !matches!(state, State::Deleting | State::Terminated) {
                finish_deleting(&mut tx, id).await?;
            }
        }
        Ok((before, tx.commit().await?))
    }

    /// Marks an instance as being deleted, and returns the plan owners to plan again.
    pub(crate) async fn let_go(
        &self,
        tx: &mut Tx,
        caller: &Caller,
        row: &Row,
    ) -> Result<BTreeSet<PlanOwner>> {
        let mut owners =
            BTreeSet::from([PlanOwner::Instance(row.id), PlanOwner::Membership(row.id)]);
        for float in floating_ips::of_instance(tx, row.id).await? {
            floating_ips::point(tx, float.id, None).await?;
            let ended = format!("{} terminated", row.id);
            let of = (row.project.as_str(), &float.address.to_string());
            note(tx, &caller.actor, "floating_ip.disassociate", of, &ended).await?;
            if floating_ips::is_auto_assigned(tx, float.id).await? {
                floating_ips::release(tx, float.id).await?;
                note(tx, &caller.actor, "floating_ip.release", of, &ended).await?;
            }
            owners.insert(PlanOwner::FloatingIp(float.id));
        }
        instances::set_state(tx, row.id, State::Deleting, None).await?;
        if let Some(host) = &row.host {
            let groups: Vec<_> = groups::of_instance(tx, row.id)
                .await?
                .into_iter()
                .map(|g| g.id)
                .collect();
            owners.extend(members::remove_member(tx, row.id, &row.project, &groups, host).await?);
        }
        record(tx, caller, "instance.terminate", row).await?;
        Ok(owners)
    }

    /// What an instance may learn about itself, asked by `host`: the one that it is on, or the
    /// gateway of one of its networks. Refused for any other host.
    pub async fn metadata(&self, host: &str, id: InstanceId) -> Result<Metadata> {
        let mut tx = self.db().read().await?;
        let unknown = || ControlError::not_found(Kind::Instance, id);
        let row = instances::by_id(&mut tx, id).await?.ok_or_else(unknown)?;
        let view = self.view(&mut tx, row).await?;
        let asks = Some(host);
        let serves = |p: &InstancePort| p.network_host.as_deref() == asks;
        let may_ask = view.row.host.as_deref() == asks || view.ports.iter().any(serves);
        if view.row.state == State::Terminated || !may_ask {
            return Err(unknown());
        }
        let network = match view.ports.first() {
            Some(port) => networks::by_id(&mut tx, port.network).await.ok().flatten(),
            None => None,
        };
        drop(tx);
        let user_data = match self.vpn_payload(&view.row).await? {
            Some(payload) => Some(payload),
            None => self.user_data(&view.row)?,
        };
        let row = view.row;
        let settings = &self.config().settings;
        let domain = network
            .as_ref()
            .map_or(settings.dhcp_domain.as_str(), |n| n.domain_or(settings));
        Ok(Metadata {
            instance_id: row.id.to_string(),
            ami_id: AmiId(row.image.0).to_string(),
            ami_launch_index: row.launch_index,
            reservation_id: row.reservation.to_string(),
            instance_type: row.instance_type,
            hostname: if domain.is_empty() {
                row.hostname
            } else {
                format!("{}.{domain}", row.hostname)
            },
            local_ipv4: view
                .ports
                .first()
                .map(|p| p.address.to_string())
                .unwrap_or_default(),
            public_ipv4: view
                .public_address
                .map(|a| a.to_string())
                .unwrap_or_default(),
            security_groups: view.groups.into_iter().map(|g| g.name).collect(),
            public_keys: row.key_name.zip(row.key_data).into_iter().collect(),
            availability_zone: row.availability_zone,
            user_data: user_data.map(|data| base64::engine::general_purpose::STANDARD.encode(data)),
        })
    }
}

/// Ends a deletion whose hosts have all let go; `false`: not yet. An address goes back to the pool
/// only here, when no host knows it any more.
pub(crate) async fn finish_deleting(tx: &mut Tx, id: InstanceId) -> Result<bool> {
    for owner in [PlanOwner::Instance(id), PlanOwner::Membership(id)] {
        if !objects::removed_everywhere(tx, owner).await? {
            return Ok(false);
        }
    }
    if novanet_store::views::float_clings(tx, id).await? {
        return Ok(false);
    }
    let row = instances::by_id(tx, id).await?;
    let project = row.map(|r| r.project.to_string()).unwrap_or_default();
    for address in instances::forget(tx, id).await? {
        let of = (project.as_str(), &address.to_string());
        let actor = controller("deletions");
        note(tx, &actor, "fixed_ip.release", of, &id.to_string()).await?;
    }
    Ok(true)
}

pub(crate) async fn find(c: &mut Conn, caller: &Caller, id: InstanceId) -> Result<Row> {
    instances::by_id(c, id)
        .await?
        .filter(|r| r.project == caller.project || caller.admin)
        .ok_or_else(|| ControlError::not_found(Kind::Instance, id))
}

/// With how many instances it is cheaper to ask for each.
const FEW: usize = 10;

impl Cloud {
    async fn view(&self, c: &mut Conn, row: Row) -> Result<InstanceView> {
        let floats = floating_ips::of_instance(c, row.id).await?;
        let mut remarks = self.remarks(c, None, Some(row.id)).await?;
        Ok(InstanceView {
            groups: groups::of_instance(c, row.id).await?,
            ports: interfaces::ports(c, row.id).await?,
            public_address: floats.first().map(|f| f.address),
            remark: remark(&mut remarks, &row),
            row,
        })
    }

    /// The views of a project, or of all: as many statements for a thousand as for one.
    async fn all_views(
        &self,
        c: &mut Conn,
        project: Option<&ProjectId>,
    ) -> Result<Vec<InstanceView>> {
        let remarks = self.remarks(c, project, None).await?;
        all_views(c, project, remarks).await
    }

    /// What may leave instances that run without a network: a port that is not in force, and no
    /// lease though the time of one has passed (the instance asks for one when it starts).
    async fn remarks(
        &self,
        c: &mut Conn,
        project: Option<&ProjectId>,
        instance: Option<InstanceId>,
    ) -> Result<BTreeMap<InstanceId, String>> {
        let lease = self.config().settings.dhcp_lease_time;
        let since = now() - Duration::from_secs(lease.into());
        let without = fixed_ips::without_lease(c, project, instance, since).await?;
        let mut remarks: BTreeMap<InstanceId, String> = without
            .into_iter()
            .map(|(id, addresses)| {
                let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                let text = format!(
                    "no DHCP lease of {} is known after {lease} s, so it may have no network: see \
                     its console, and nova-manage service list for what is wrong on its host",
                    all.join(", ")
                );
                (id, text)
            })
            .collect();
        remarks.extend(hosts::port_errors(c, instance).await?);
        Ok(remarks)
    }
}

fn remark(remarks: &mut BTreeMap<InstanceId, String>, row: &Row) -> Option<String> {
    remarks
        .remove(&row.id)
        .filter(|_| row.state == State::Running)
}

async fn all_views(
    c: &mut Conn,
    project: Option<&ProjectId>,
    mut remarks: BTreeMap<InstanceId, String>,
) -> Result<Vec<InstanceView>> {
    let rows = instances::list(c, project).await?;
    let mut ports = novanet_store::views::ports(c, project).await?;
    let mut groups = novanet_store::views::groups(c, project).await?;
    let floats = match project {
        Some(project) => floating_ips::of_project(c, project).await?,
        None => floating_ips::list(c).await?,
    };
    let mut public = BTreeMap::new();
    for float in floats {
        if let Some(target) = float.fixed {
            public.entry(target.instance).or_insert(float.address);
        }
    }
    Ok(rows
        .into_iter()
        .map(|row| InstanceView {
            groups: groups.remove(&row.id).unwrap_or_default(),
            ports: ports.remove(&row.id).unwrap_or_default(),
            public_address: public.get(&row.id).copied(),
            remark: remark(&mut remarks, &row),
            row,
        })
        .collect())
}

/// What keeps an instance from being changed.
pub(crate) fn word(row: &Row) -> &'static str {
    match row.state {
        State::Deleting => "being terminated",
        State::Terminated => "terminated",
        _ if row.is_stopping() => "being stopped",
        _ if row.halted => "stopped",
        _ => "not running yet",
    }
}

pub(crate) async fn record(tx: &mut Tx, caller: &Caller, action: &str, row: &Row) -> Result<()> {
    let of = (row.project.as_str(), &row.id.to_string());
    note(tx, &caller.actor, action, of, "").await
}

/// Records what happened to an object of a project.
pub(crate) async fn note(
    tx: &mut Tx,
    actor: &Actor,
    action: &str,
    (project, object): (&str, &String),
    detail: &str,
) -> Result<()> {
    Ok(audit::record(tx, actor, action, Some(project), object, detail).await?)
}
