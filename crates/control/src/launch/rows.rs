//! Writes the rows of new instances, for as many as one transaction launches. Depends on the
//! addresses that the transaction has allocated, and on [`crate::placement`].

use super::idempotency::digest;
use super::types::{Call, Plan};
use crate::cloud::no_key;
use crate::placement::{Place, unused_mac};
use crate::{Result, user_data};
use novanet_model::{GroupId, InstanceId, Micros, ReservationId};
use novanet_pki::Vault;
use novanet_store::instances::{self, Row, State};
use novanet_store::interfaces::{self, Interface};
use novanet_store::members::Placement;
use novanet_store::pool::{self, AllocatedIp, Given};
use novanet_store::{Tx, audit};

/// An instance to be written.
pub(super) struct NewInstance<'a> {
    pub(super) row: Row,
    call: &'a Call,
    plan: &'a Plan,
    addresses: &'a [AllocatedIp],
}

impl<'a> NewInstance<'a> {
    pub(super) fn new(
        call: &'a Call,
        plan: &'a Plan,
        addresses: &'a [AllocatedIp],
        place: (InstanceId, ReservationId, i64, &Place),
        vault: Option<&Vault>,
    ) -> Result<Self> {
        let mut row = row_of(call, plan, place);
        if let Some(data) = &call.launch.user_data {
            let vault = vault.ok_or_else(no_key)?;
            row.user_data = Some(user_data::sealed(vault, row.id, data));
        }
        Ok(Self {
            row,
            call,
            plan,
            addresses,
        })
    }

    fn interfaces(&self) -> impl Iterator<Item = (Interface, &'a AllocatedIp)> {
        let instance = self.row.id;
        let in_networks = self.plan.networks.iter().zip(self.addresses);
        (0..)
            .zip(in_networks)
            .map(move |(index, (network, taken))| {
                let interface = Interface {
                    instance,
                    index,
                    network: network.id,
                    mac: unused_mac(),
                };
                (interface, taken)
            })
    }

    fn host(&self) -> &str {
        self.row.host.as_deref().unwrap_or_default()
    }

    pub(super) fn placement(&self) -> Placement<'_> {
        Placement {
            instance: self.row.id,
            project: &self.row.project,
            groups: &self.plan.groups,
            host: self.host(),
            vcpus: self.row.vcpus,
            memory_mb: self.row.memory_mb,
        }
    }
}

/// Inserts instances with their interfaces and addresses, a table at a time.
pub(super) async fn insert(tx: &mut Tx, all: &[NewInstance<'_>]) -> Result<()> {
    let rows: Vec<(&Row, &[GroupId])> = all
        .iter()
        .map(|new| (&new.row, &new.plan.groups[..]))
        .collect();
    instances::insert(tx, &rows).await?;
    let (interfaces, taken): (Vec<Interface>, Vec<&AllocatedIp>) =
        all.iter().flat_map(NewInstance::interfaces).unzip();
    interfaces::insert(tx, &interfaces).await?;
    let given = |(interface, taken): (&Interface, &&AllocatedIp)| Given {
        id: taken.id,
        instance: interface.instance,
        interface: interface.id(),
    };
    let given: Vec<Given> = interfaces.iter().zip(&taken).map(given).collect();
    Ok(pool::give(tx, &given).await?)
}

/// Records the launches in the audit log.
pub(super) async fn record(tx: &mut Tx, all: &[NewInstance<'_>]) -> Result<()> {
    let texts: Vec<(String, String)> = all
        .iter()
        .map(|new| {
            let ips: Vec<String> = new
                .addresses
                .iter()
                .map(|ip| ip.address.to_string())
                .collect();
            let (size, host) = (&new.row.instance_type, new.host());
            let detail = format!("{size} on {host} with {}", ips.join(" "));
            (new.row.id.to_string(), detail)
        })
        .collect();
    let changes: Vec<audit::Change<'_>> = all
        .iter()
        .zip(&texts)
        .map(|(new, (object, detail))| audit::Change {
            actor: &new.call.caller.actor,
            action: "instance.run",
            project: Some(new.row.project.as_str()),
            object,
            detail,
        })
        .collect();
    Ok(audit::record_all(tx, &changes).await?)
}

fn row_of(
    call: &Call,
    plan: &Plan,
    (id, reservation, launch_index, place): (InstanceId, ReservationId, i64, &Place),
) -> Row {
    let Call { caller, launch, .. } = call;
    Row {
        id,
        reservation,
        launch_index,
        client_token: launch.client_token.clone(),
        launch_digest: launch.client_token.as_ref().map(|_| digest(launch)),
        project: caller.project.clone(),
        user: caller.actor.who.clone(),
        image: plan.image.id,
        image_digest: plan.image.digest.clone(),
        instance_type: plan.size.name.to_owned(),
        memory_mb: plan.size.memory_mb,
        vcpus: plan.size.vcpus,
        hostname: id.to_string(),
        key_name: plan.key.as_ref().map(|k| k.name.clone()),
        key_data: plan.key.as_ref().map(|k| k.public_key.clone()),
        user_data: None,
        host: Some(place.host.clone()),
        availability_zone: place.zone.clone(),
        state: State::Pending,
        detail: None,
        boot: 1,
        halted: false,
        combination: plan.combination,
        created_at: Micros::new(0),
        terminated_at: None,
    }
}
