//! Use cases of instances after their launch ([`crate::launch`]).

use crate::{Caller, Cloud, ControlError, Kind, Result, Role};
use base64::Engine as _;
use novanet_model::wire::Metadata;
use novanet_model::{AmiId, InstanceId};
use novanet_store::groups::{self, Group};
use novanet_store::instances::{self, Row, State};
use novanet_store::{Committed, Conn, Thing, Tx, audit, floating_ips, members, objects};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

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
    pub ports: Vec<novanet_model::rows::InstancePort>,
    /// The floating IP that leads to it.
    pub public_address: Option<Ipv4Addr>,
}

impl Cloud {
    /// DescribeInstances: the project's, terminated ones of the last hour too.
    pub async fn instances(&self, caller: &Caller) -> Result<Vec<InstanceView>> {
        let mut tx = self.db().read().await?;
        let rows = instances::list(&mut tx, Some(&caller.project)).await?;
        views(&mut tx, rows).await
    }

    /// `vm list`: of all projects.
    pub async fn all_instances(&self) -> Result<Vec<InstanceView>> {
        let mut tx = self.db().read().await?;
        let rows = instances::list(&mut tx, None).await?;
        views(&mut tx, rows).await
    }

    /// One of the project's instances; an administrator finds those of all projects.
    pub async fn instance(&self, caller: &Caller, id: InstanceId) -> Result<InstanceView> {
        let mut tx = self.db().read().await?;
        let row = find(&mut tx, caller, id).await?;
        let mut views = views(&mut tx, vec![row]).await?;
        views
            .pop()
            .ok_or_else(|| ControlError::not_found(Kind::Instance, id))
    }

    /// RebootInstances: all or none.
    pub async fn reboot(&self, caller: &Caller, ids: &[InstanceId]) -> Result<Committed> {
        caller.require(Role::SysAdmin)?;
        let mut tx = self.db().change().await?;
        for &id in ids {
            let row = find(&mut tx, caller, id).await?;
            if matches!(row.state, State::Deleting | State::Terminated) {
                return Err(ControlError::in_use(
                    Kind::Instance,
                    id,
                    format!("is {}, which cannot be rebooted", word(row.state)),
                ));
            }
            instances::count_boot(&mut tx, id).await?;
            record(&mut tx, caller, "instance.reboot", &row).await?;
        }
        let things: Vec<Thing> = ids.iter().copied().map(Thing::Instance).collect();
        self.plan(&mut tx, things).await?;
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
        let mut tx = self.db().change().await?;
        let mut before = Vec::new();
        let mut things = BTreeSet::new();
        for &id in ids {
            let row = find(&mut tx, caller, id).await?;
            before.push((id, row.state));
            if matches!(row.state, State::Deleting | State::Terminated) {
                continue;
            }
            things.extend(self.let_go(&mut tx, caller, &row).await?);
        }
        self.plan(&mut tx, things).await?;
        for &(id, state) in &before {
            if !matches!(state, State::Deleting | State::Terminated) {
                finish_deleting(&mut tx, id).await?;
            }
        }
        Ok((before, tx.commit().await?))
    }

    /// Marks an instance as going; what has to be planned for it.
    async fn let_go(&self, tx: &mut Tx, caller: &Caller, row: &Row) -> Result<BTreeSet<Thing>> {
        let mut things = BTreeSet::from([Thing::Instance(row.id), Thing::Membership(row.id)]);
        for float in floating_ips::of_instance(tx, row.id).await? {
            floating_ips::point(tx, float.id, None).await?;
            if floating_ips::is_auto_assigned(tx, float.id).await? {
                floating_ips::release(tx, float.id).await?;
            }
            things.insert(Thing::Float(float.id));
        }
        instances::set_state(tx, row.id, State::Deleting, None).await?;
        if let Some(host) = &row.host {
            let groups: Vec<_> = groups::of_instance(tx, row.id)
                .await?
                .into_iter()
                .map(|g| g.id)
                .collect();
            things.extend(members::leave(tx, row.id, &row.project, &groups, host).await?);
        }
        record(tx, caller, "instance.terminate", row).await?;
        Ok(things)
    }

    /// What an instance may learn about itself.
    pub async fn metadata(&self, id: InstanceId) -> Result<Metadata> {
        let mut tx = self.db().read().await?;
        let row = instances::by_id(&mut tx, id)
            .await?
            .filter(|r| r.state != State::Terminated)
            .ok_or_else(|| ControlError::not_found(Kind::Instance, id))?;
        let view = views(&mut tx, vec![row])
            .await?
            .pop()
            .ok_or_else(|| ControlError::not_found(Kind::Instance, id))?;
        let row = view.row;
        let domain = &self.config().settings.dhcp_domain;
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
            user_data: row
                .user_data
                .map(|data| base64::engine::general_purpose::STANDARD.encode(data)),
        })
    }
}

/// Ends a deletion whose hosts have all let go; `false`: not yet. An address goes back to the pool
/// only here, when no host knows it any more.
pub(crate) async fn finish_deleting(tx: &mut Tx, id: InstanceId) -> Result<bool> {
    for thing in [Thing::Instance(id), Thing::Membership(id)] {
        if !objects::gone_everywhere(tx, thing).await? {
            return Ok(false);
        }
    }
    instances::forget(tx, id).await?;
    Ok(true)
}

async fn find(c: &mut Conn, caller: &Caller, id: InstanceId) -> Result<Row> {
    instances::by_id(c, id)
        .await?
        .filter(|r| r.project == caller.project || caller.admin)
        .ok_or_else(|| ControlError::not_found(Kind::Instance, id))
}

async fn views(c: &mut Conn, rows: Vec<Row>) -> Result<Vec<InstanceView>> {
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        let (ports, groups, public_address) = if row.state == State::Terminated {
            (Vec::new(), Vec::new(), None)
        } else {
            let floats = floating_ips::of_instance(c, row.id).await?;
            (
                instances::ports(c, row.id).await?,
                groups::of_instance(c, row.id).await?,
                floats.first().map(|f| f.address),
            )
        };
        views.push(InstanceView {
            row,
            groups,
            ports,
            public_address,
        });
    }
    Ok(views)
}

fn word(state: State) -> &'static str {
    match state {
        State::Deleting => "being terminated",
        _ => "terminated",
    }
}

async fn record(tx: &mut Tx, caller: &Caller, action: &str, row: &Row) -> Result<()> {
    let project = Some(row.project.as_str());
    Ok(audit::record(tx, &caller.actor, action, project, &row.id.to_string(), "").await?)
}
