//! `db restored --adopt`: the host is right, and the database learns from its objects which
//! instances, addresses and rules there are (docs/restore.md). All or nothing: if an instance of
//! the host could not be kept, nothing is changed and the reasons are said.

mod rules;

use crate::caller::operator;
use crate::restored::raise_counters;
use crate::{Caller, Cloud, ControlError, Kind, Result};
use novanet_model::instance_type::INSTANCE_TYPES;
use novanet_model::object::{FloatingIp, Group, Instance, NO_INSTANCE, Port, Rule};
use novanet_model::wire::{Follow, Objects};
use novanet_model::{
    FixedIpId, GroupId, HostObject, InstanceId, Micros, ObjectKey, ObjectKind, ProjectNumber,
    ReservationId,
};
use novanet_store::instances::{self, Row, State};
use novanet_store::interfaces::{self, Interface};
use novanet_store::members::{self, Placement};
use novanet_store::projects::{self, Project};
use novanet_store::{
    PlanOwner, Tx, audit, clock, counters, fixed_ips, groups, images, networks, objects, plan, pool,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Whether an instance of the host would lose itself or its network without objects of this kind.
fn is_needed(kind: ObjectKind) -> bool {
    match kind {
        ObjectKind::Bridge
        | ObjectKind::Gateway
        | ObjectKind::Dhcp
        | ObjectKind::Binding
        | ObjectKind::Port
        | ObjectKind::Instance => true,
        ObjectKind::FloatingIp
        | ObjectKind::Group
        | ObjectKind::Rule
        | ObjectKind::Block
        | ObjectKind::Member
        | ObjectKind::ProjectAddress
        | ObjectKind::VpnForward => false,
    }
}

/// What a host has, sorted.
#[derive(Default)]
struct Held<'a> {
    instances: BTreeMap<InstanceId, (&'a Instance, Vec<&'a Port>)>,
    groups: Vec<&'a Group>,
    rules: Vec<&'a Rule>,
    floats: Vec<&'a FloatingIp>,
    /// Which instance has an address.
    owners: BTreeMap<Ipv4Addr, InstanceId>,
}

impl<'a> Held<'a> {
    fn of(list: &'a Objects) -> Self {
        let mut held = Self::default();
        let mut ports: BTreeMap<InstanceId, Vec<&Port>> = BTreeMap::new();
        for object in list.changes.iter().filter_map(|c| c.object.as_ref()) {
            match object {
                HostObject::Instance(o) => {
                    held.instances.insert(o.instance, (o, Vec::new()));
                }
                HostObject::Port(o) => {
                    held.owners.insert(o.address, o.instance);
                    ports.entry(o.instance).or_default().push(o);
                }
                HostObject::Group(o) => held.groups.push(o),
                HostObject::Rule(o) => held.rules.push(o),
                HostObject::FloatingIp(o) => held.floats.push(o),
                HostObject::Bridge(_)
                | HostObject::Gateway(_)
                | HostObject::Dhcp(_)
                | HostObject::Binding(_)
                | HostObject::Block(_)
                | HostObject::Member(_)
                | HostObject::ProjectAddress(_)
                | HostObject::VpnForward(_) => {}
            }
        }
        for (id, mut of_one) in ports {
            of_one.sort_by_key(|port| port.index);
            if let Some((_, ports)) = held.instances.get_mut(&id) {
                *ports = of_one;
            }
        }
        held
    }
}

/// One adoption: its results, its refusals, and the owners to plan again.
struct Adoption<'a> {
    cloud: &'a Cloud,
    tx: Tx,
    host: &'a str,
    held: Held<'a>,
    done: Vec<String>,
    refused: Vec<String>,
    owners: BTreeSet<PlanOwner>,
}

impl Cloud {
    /// `db restored --adopt`: `held` is what `host` has. Answers with what was done, a line each.
    /// Refuses, and changes nothing, if an instance of the host could not be kept.
    pub async fn adopt_restored(&self, host: &str, held: &Objects) -> Result<Vec<String>> {
        let mut tx = self.db().begin_planned().await?;
        let there = clock::read(&mut tx).await?;
        // A state of the host's own past: what the host does not have was taken away since.
        let past = there.epoch == held.epoch && tx.version <= held.version;
        raise_counters(&mut tx, held).await?;
        let mut adoption = Adoption {
            cloud: self,
            tx,
            host,
            held: Held::of(held),
            done: Vec::new(),
            refused: Vec::new(),
            owners: BTreeSet::new(),
        };
        if past {
            adoption.end_departed().await?;
        }
        adoption.groups().await?;
        adoption.instances().await?;
        adoption.rules(past).await?;
        adoption.floats(past).await?;
        adoption.plan(held).await?;
        let Adoption {
            mut tx,
            done,
            refused,
            ..
        } = adoption;
        if !refused.is_empty() {
            let reason = format!(
                "nothing was adopted, because this would be lost: {}",
                refused.join("; ")
            );
            return Err(ControlError::in_use(Kind::Host, host, reason));
        }
        clock::accept(&mut tx, host, &held.epoch).await?;
        let detail = format!("adopt: was at {} of {}", held.version, held.epoch);
        audit::record(&mut tx, &operator(), "db.restored", None, host, &detail).await?;
        tx.commit().await?;
        Ok(done)
    }
}

impl Adoption<'_> {
    /// Instances that were terminated after the copy was made: their host has nothing of them.
    async fn end_departed(&mut self) -> Result<()> {
        for row in instances::list(&mut self.tx, None).await? {
            let here = row.host.as_deref() == Some(self.host);
            let going = matches!(row.state, State::Deleting | State::Terminated);
            if !here || going || self.held.instances.contains_key(&row.id) {
                continue;
            }
            let caller = Caller::operator(row.project.clone());
            let owners = self.cloud.let_go(&mut self.tx, &caller, &row).await?;
            self.owners.extend(owners);
            instances::forget(&mut self.tx, row.id).await?;
            let id = row.id;
            self.done
                .push(format!("{id}: terminated, the host has not had it since"));
        }
        Ok(())
    }

    async fn project(&mut self, number: ProjectNumber) -> Result<Option<Project>> {
        let all = projects::list(&mut self.tx, "").await?;
        Ok(all.into_iter().find(|project| project.number == number))
    }

    async fn groups(&mut self) -> Result<()> {
        for group in std::mem::take(&mut self.held.groups) {
            if groups::by_id(&mut self.tx, group.group).await?.is_some() {
                continue;
            }
            let Some(project) = self.project(group.project).await? else {
                let (group, number) = (group.group, group.project);
                self.done.push(format!(
                    "{group}: left out, the database has no project number {number}"
                ));
                continue;
            };
            let name = format!("restored-{}", group.group);
            let about = "brought back by nova-manage db restored --adopt";
            let of = (&project.id, project.manager.as_str());
            groups::insert_as(&mut self.tx, group.group, of, &name, about).await?;
            self.owners.insert(PlanOwner::Group(group.group));
            self.done.push(format!(
                "{}: adopted as {name}, without its name",
                group.group
            ));
        }
        Ok(())
    }

    async fn instances(&mut self) -> Result<()> {
        for (id, (instance, ports)) in std::mem::take(&mut self.held.instances) {
            match instances::by_id(&mut self.tx, id).await? {
                Some(row) if row.host.as_deref() == Some(self.host) && is_living(&row) => {
                    let there = interfaces::ports(&mut self.tx, id).await?;
                    let same = |port: &&Port| there.iter().any(|t| t.mac == port.mac);
                    if !ports.iter().all(same) {
                        self.refused
                            .push(format!("{id}: the database has another one of this number"));
                    } else if (row.boot, row.halted) != (instance.boot, instance.halted) {
                        // With the older number it would be rebooted.
                        instances::set_boot(&mut self.tx, id, instance.boot).await?;
                        instances::set_halted(&mut self.tx, id, instance.halted).await?;
                    }
                    continue;
                }
                Some(row) => {
                    let state = row.state;
                    self.refused
                        .push(format!("{id}: is {state} in the database, on another host"));
                    continue;
                }
                None => {}
            }
            if let Err(why) = self.instance(instance, &ports).await? {
                self.refused.push(format!("{id}: {why}"));
            }
        }
        Ok(())
    }

    /// Makes the rows of an instance; the inner error says why it cannot be.
    async fn instance(
        &mut self,
        instance: &Instance,
        ports: &[&Port],
    ) -> Result<Result<(), String>> {
        let Some(first) = ports.first() else {
            return Ok(Err("the host has no port of it".to_owned()));
        };
        let mut group = None;
        for id in &first.groups {
            match groups::by_id(&mut self.tx, *id).await? {
                Some(found) => group = Some(found),
                None => return Ok(Err(format!("the database does not know its group {id}"))),
            }
        }
        let Some(group) = group else {
            return Ok(Err("it is in no group".to_owned()));
        };
        let Some(project) = projects::by_id(&mut self.tx, &group.project).await? else {
            return Ok(Err(format!("its project {} is missing", group.project)));
        };
        let mut given = Vec::with_capacity(ports.len());
        for port in ports {
            match self.address(port).await? {
                Ok(fixed) => given.push((port, fixed)),
                Err(why) => return Ok(Err(why)),
            }
        }
        let row = self.row(instance, &project, &first.groups).await?;
        instances::insert(&mut self.tx, &[(&row, first.groups.as_slice())]).await?;
        let interface = |port: &Port| Interface {
            instance: port.instance,
            index: port.index,
            network: port.network,
            mac: port.mac,
        };
        let interfaces: Vec<Interface> = ports.iter().map(|port| interface(port)).collect();
        interfaces::insert(&mut self.tx, &interfaces).await?;
        let given: Vec<pool::Given> = given
            .iter()
            .map(|(port, fixed)| pool::Given {
                id: *fixed,
                instance: port.instance,
                interface: interface(port).id(),
            })
            .collect();
        pool::give(&mut self.tx, &given).await?;
        let placement = Placement {
            instance: row.id,
            project: &row.project,
            groups: &first.groups,
            host: self.host,
            vcpus: row.vcpus,
            memory_mb: row.memory_mb,
        };
        self.owners
            .extend(members::add_members(&mut self.tx, &[placement]).await?);
        let addresses: Vec<String> = ports.iter().map(|p| p.address.to_string()).collect();
        let (id, project) = (row.id, &row.project);
        self.done.push(format!(
            "{id}: adopted in project {project} with {}, without its key pair, user data and launch",
            addresses.join(" ")
        ));
        Ok(Ok(()))
    }

    async fn row(
        &mut self,
        instance: &Instance,
        project: &Project,
        in_groups: &[GroupId],
    ) -> Result<Row> {
        let found = images::with_digest(&mut self.tx, &instance.image).await?;
        let size = INSTANCE_TYPES
            .iter()
            .find(|t| (t.memory_mb, t.vcpus) == (instance.memory_mb, instance.vcpus))
            .unwrap_or(&INSTANCE_TYPES[0]);
        let reservation = counters::next(&mut self.tx, "reservations").await?;
        Ok(Row {
            id: instance.instance,
            reservation: ReservationId(reservation),
            launch_index: 0,
            client_token: None,
            launch_digest: None,
            project: project.id.clone(),
            user: project.manager.clone(),
            // Zero is no image: one that the database has lost.
            image: found
                .first()
                .map_or(novanet_model::ImageId(0), |image| image.id),
            image_digest: instance.image.clone(),
            instance_type: size.name.to_owned(),
            memory_mb: instance.memory_mb,
            vcpus: instance.vcpus,
            hostname: instance.hostname.clone(),
            key_name: None,
            key_data: None,
            user_data: None,
            host: Some(self.host.to_owned()),
            availability_zone: "nova".to_owned(),
            state: State::Running,
            detail: None,
            boot: instance.boot,
            halted: instance.halted,
            combination: groups::combination(&mut self.tx, in_groups).await?,
            created_at: Micros::new(0),
            terminated_at: None,
        })
    }

    /// Takes a port's address out of the pool: its row.
    async fn address(&mut self, port: &Port) -> Result<Result<FixedIpId, String>> {
        let Port {
            network, address, ..
        } = port;
        let Some(row) = networks::by_id(&mut self.tx, *network).await? else {
            return Ok(Err(format!(
                "the database does not know its network {network}"
            )));
        };
        if !row.cidr.contains(address) || row.bridge != port.bridge {
            let cidr = row.cidr;
            return Ok(Err(format!(
                "its address {address} on {} is not of network {network} ({cidr})",
                port.bridge
            )));
        }
        if row.host.is_none() {
            networks::set_host(&mut self.tx, *network, self.host).await?;
        }
        if let Some(id) = pool::take(&mut self.tx, *network, *address).await? {
            return Ok(Ok(id));
        }
        let owner = fixed_ips::by_address(&mut self.tx, *network, *address).await?;
        Ok(Err(match owner.and_then(|ip| ip.instance) {
            Some(id) => format!("its address {address} is that of {id} in the database"),
            None => format!("its address {address} is reserved in the database"),
        }))
    }

    /// Plans everything, and refuses if the host would lose what an instance needs.
    async fn plan(&mut self, held: &Objects) -> Result<()> {
        let mut owners = plan::all_owners(&mut self.tx).await?;
        owners.append(&mut self.owners);
        self.cloud.plan(&mut self.tx, owners).await?;
        let list = objects::follow(&mut self.tx, self.host, &Follow::default()).await?;
        let planned: BTreeSet<&ObjectKey> = list
            .changes
            .iter()
            .filter(|change| change.object.is_some())
            .map(|change| &change.key)
            .collect();
        let lost = held.changes.iter().filter(|change| {
            let object = change.object.as_ref();
            let reserved =
                |o: &HostObject| matches!(o, HostObject::Binding(b) if b.instance == NO_INSTANCE);
            let needed = object.is_some_and(|o| is_needed(o.kind()) && !reserved(o));
            needed && !planned.contains(&change.key)
        });
        for change in lost {
            let key = &change.key;
            self.refused
                .push(format!("{key} does not follow from the database"));
        }
        Ok(())
    }
}

fn is_living(row: &Row) -> bool {
    !matches!(row.state, State::Deleting | State::Terminated)
}
